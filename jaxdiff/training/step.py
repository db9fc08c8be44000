"""One optimizer step, the same under jit and pmap."""

import dataclasses
import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from einops import reduce
from jaxtyping import Array, Float, Key, UInt32

from jaxdiff import random
from jaxdiff.objectives.players import check_players
from jaxdiff.training import ema
from jaxdiff.training.numbers import numbers_of, with_numbers
from jaxdiff.training.state import TrainState
from jaxdiff.training.task import Losses, Task
from jaxdiff.typing import Draw, Params
from jaxdiff.weights.table import Table

logger = logging.getLogger(__name__)

Batch = dict[str, Any]

RATES_AT_ONCE = 1024
"""Steps whose learning rates are computed in one call."""


class Numbers(NamedTuple):
    """The numbers of a run that are arguments of its step: another seed or rate compiles nothing.

    Attributes:
        key: of the run's randomness in training, as raw data.
        rates: the learning rates at this step, by the names of `config.optimizers`.
        values: the floats at `Recipe.arguments`, by path.
    """

    key: UInt32[np.ndarray, " words"]
    rates: Mapping[str, np.float32]
    values: Mapping[str, Any]


Step = Callable[[TrainState, Batch, Numbers], tuple[TrainState, dict[str, Any]]]

LOGSNR_EDGES = np.arange(-12.0, 12.1, 2.0, dtype=np.float32)
"""Edges of the noise-level bins of the logged loss; the outermost bins hold all levels beyond."""


@dataclass(frozen=True)
class Recipe:
    """All that a step needs beside the state and the batch; `accumulate` micro-batches make one.

    `rates` are the learning rates of the optimizers as functions of the step, by name. `arguments`
    are paths of `floats` that are arguments of the step as well, such as
    "task/objective/weighting/gamma": runs that differ in these share a program.

    Raises:
        ValueError: micro-batches of a loss that compares the examples of a batch.
    """

    task: Task
    optimizer: optax.GradientTransformationExtraArgs
    rates: Mapping[str, optax.Schedule]
    ema_decay: ema.Decay
    batch_size: int
    seed: int = 0
    accumulate: int = 1
    arguments: Sequence[str] = ()
    table: Table = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "table", self.task.table())
        if self.accumulate > 1 and not self.task.per_example:
            raise ValueError(
                f"accumulate={self.accumulate}: the loss compares the examples of a batch, so "
                "micro-batches would make another loss; use accumulate=1"
            )

    def numbers(self, step: int) -> Numbers:
        """Returns the numbers of a step, on the host."""
        first = step - step % RATES_AT_ONCE
        rates = {name: table[step - first] for name, table in self._rates(first).items()}
        # Python's floats, whose type is that of what they are multiplied with, as a constant's is.
        return Numbers(self._key, rates, {path: self.floats[path] for path in self.arguments})

    @functools.cached_property
    def floats(self) -> dict[str, float]:
        """Returns the floats of the task and of the average's decay, by path."""
        parts = {"task": self.task, "ema": self.ema_decay}
        return {
            f"{name}/{p}": v for name, part in parts.items() for p, v in numbers_of(part).items()
        }

    def given(self, values: Mapping[str, Any]) -> "Recipe":
        """Returns the recipe with other floats, which may be tracers, at some of their paths."""
        of = lambda name: {
            path.removeprefix(f"{name}/"): value
            for path, value in values.items()
            if path.startswith(f"{name}/")
        }
        task, decay = with_numbers(self.task, of("task")), with_numbers(self.ema_decay, of("ema"))
        return dataclasses.replace(self, task=task, ema_decay=decay) if values else self

    @functools.cached_property
    def _key(self) -> UInt32[np.ndarray, " words"]:
        key = random.stream(jax.random.key(self.seed), "train")
        return np.asarray(jax.random.key_data(key))

    @functools.cached_property
    def _tables(self) -> dict[int, dict[str, Float[np.ndarray, " steps"]]]:
        return {}

    def _rates(self, first: int) -> dict[str, Float[np.ndarray, " steps"]]:
        """Returns the rates of the steps from `first` on; the last table is kept."""
        if first not in self._tables:
            steps = jnp.arange(first, first + RATES_AT_ONCE)
            at = lambda rate: jax.vmap(lambda n: jnp.asarray(rate(n), jnp.float32))(steps)
            self._tables.clear()
            self._tables[first] = {name: np.asarray(at(rate)) for name, rate in self.rates.items()}
        return self._tables[first]


def make_step(recipe: Recipe, axis: str | None = None) -> Step:
    """Returns `(state, batch, numbers) -> (state, metrics)`; with an axis name, for `jax.pmap`.

    The batch holds the task's fields, and "position": each example's place in the global batch.
    A step whose losses, gradients or updates are not finite leaves the state as it was; the metric
    "good" is False then.
    """
    table, constant = recipe.table, recipe

    def step(
        state: TrainState, batch: Batch, numbers: Numbers
    ) -> tuple[TrainState, dict[str, Any]]:
        recipe = constant.given(numbers.values)
        step_key = jax.random.fold_in(
            jax.random.wrap_key_data(jnp.asarray(numbers.key)), state.step
        )

        def loss_of(params, micro_batch):
            found = losses(recipe, params, state, micro_batch, step_key, axis)
            total = sum(jnp.mean(loss) for loss in found.by_player.values())
            return total, (_summary(found), found.observed)

        gradient_of = jax.grad(loss_of, has_aux=True)
        if recipe.accumulate > 1:
            gradient_of = optax.microbatching.microbatch(
                gradient_of,
                argnums=1,
                microbatch_size=len(batch["position"]) // recipe.accumulate,
                accumulator=optax.microbatching.AccumulationType.MEAN,
            )
        gradients, (summary, observed) = mean_over(axis, gradient_of(state.params, batch))

        updates, opt_state = recipe.optimizer.update(
            gradients, state.opt_state, state.params, rates=numbers.rates
        )
        params: Any = optax.apply_updates(state.params, updates)
        decay = recipe.ema_decay(state.step, recipe.batch_size)
        new = state.replace(
            step=state.step + 1,
            params=params,
            opt_state=opt_state,
            ema=ema.update(state.ema, table.averaged(params), decay),
            statistics=recipe.task.absorb(state.statistics, observed),
        )
        finite = _finite(gradients)
        # A rate that is not finite shows in every value: one of each array is enough, and is free.
        firsts = jax.tree.map(lambda update: update[(0,) * update.ndim], updates)
        good = finite.all() & _finite(firsts).all() & jnp.isfinite(summary["loss"])
        new = jax.tree.map(lambda n, old: jnp.where(good, n, old), new, state)
        norm = optax.global_norm(gradients)
        return new, summary | {"gradient_norm": norm, "good": good, "finite_gradients": finite}

    return step


def losses(
    recipe: Recipe,
    params: Mapping[str, Params],
    state: TrainState,
    batch: Batch,
    step_key: Key[Array, ""],
    axis: str | None = None,
) -> Losses:
    """Returns the task's losses at some parameters, the state's others being as they are."""
    keys = random.example_keys(step_key, batch["position"])
    # A stream's name decides its numbers: to rename this one would change every training.
    offset = jax.random.uniform(random.stream(step_key, "lattice"))
    draw = Draw(keys, (offset + batch["position"] / recipe.batch_size) % 1)
    adapt = recipe.table.adapt
    return recipe.task.losses(
        adapt({**state.frozen, **params}),
        adapt({**state.frozen, **params, **state.ema}),
        state.statistics,
        batch,
        draw,
        state.step,
        axis,
    )


def check_losses(recipe: Recipe, state: TrainState, count: int) -> None:
    """Checks that each weight has one player, and that no gradient leaks between players.

    `state` may be shapes; the losses are traced on `count` examples.

    Raises:
        ValueError: see `check_players`.
    """

    def by_player(params, state, batch, key):
        return losses(recipe, params, state, batch, key).by_player

    key = jax.eval_shape(lambda: jax.random.key(0))
    given = state.params, state, recipe.task.example(count), key
    check_players(recipe.task.players, by_player, *given)


def with_floats(recipe: Recipe, state: TrainState, arguments: Sequence[str]) -> Recipe:
    """Returns the recipe with some of its floats as arguments of the step; `state` may be shapes.

    The step is traced. If it cannot be, because a number decides which operations there are, the
    recipe is returned as it was, and the reason logged.

    Raises:
        ValueError: an argument is the path of no float.
    """
    if unknown := [path for path in arguments if path not in recipe.floats]:
        raise ValueError(f"arguments={unknown[0]!r} is no float; there are {sorted(recipe.floats)}")
    found = dataclasses.replace(recipe, arguments=tuple(arguments))
    try:
        jax.eval_shape(
            make_step(found), state, recipe.task.example(recipe.batch_size), found.numbers(0)
        )
    except Exception as error:  # of any kind: Python asks a tracer for its value
        why = next(iter(str(error).strip().splitlines()), type(error).__name__)
        logger.warning("the step compiles anew for each of %s: %s", ", ".join(arguments), why)
        return recipe
    return found


def mean_over(axis: str | None, tree: Any) -> Any:
    """Averages over a mapped axis; the identity without one."""
    return tree if axis is None else jax.lax.pmean(tree, axis)


def _finite(tree: Any) -> Array:
    """Returns for each leaf whether all of its values are finite."""
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)])


def _summary(found: Losses):
    """Means over the batch, and per noise level the sum of losses and the share of examples.

    Under importance sampling these are estimates of the means without; the loss has its factor.
    """
    metrics, by_player = dict(found.metrics), found.by_player
    loss = sum(by_player.values(), jnp.zeros(()))
    importance = metrics.pop("importance", jnp.ones_like(loss))
    logsnr = metrics.pop("logsnr", None)
    summary = {
        "loss": jnp.mean(loss),
        **{name: jnp.mean(importance * value) for name, value in metrics.items()},
    }
    if len(by_player) > 1:
        summary |= {f"loss_{name}": jnp.mean(value) for name, value in by_player.items()}
    if logsnr is None:
        return summary
    level = jnp.clip(jnp.digitize(logsnr, LOGSNR_EDGES) - 1, 0, len(LOGSNR_EDGES) - 2)
    in_level = jax.nn.one_hot(level, len(LOGSNR_EDGES) - 1)
    over_all = lambda values: reduce(in_level * values[..., None], "... level -> level", "mean")
    return summary | {"level_loss": over_all(loss), "level_share": over_all(importance)}
