"""One optimizer step, the same under jit and pmap."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Key

from jaxdiff import random
from jaxdiff.conditioning.conditions import Conditions, filled
from jaxdiff.tasks.model import Model
from jaxdiff.training import ema
from jaxdiff.training.state import TrainState
from jaxdiff.typing import Codec, Draw, Metrics, Objective, Roles
from jaxdiff.weights import learned

Batch = dict[str, Any]
Step = Callable[[TrainState, Batch], tuple[TrainState, dict[str, Any]]]

LOGSNR_EDGES = np.arange(-12.0, 12.1, 2.0, dtype=np.float32)
"""Edges of the noise-level bins of the logged loss; the outermost bins hold what is beyond."""


@dataclass(frozen=True)
class Recipe:
    """All that a step needs beside the state and the batch; `accumulate` micro-batches make one."""

    model: Model
    codec: Codec
    objective: Objective
    optimizer: optax.GradientTransformation
    ema_decay: ema.Decay
    batch_size: int
    seed: int = 0
    conditions: Conditions = field(default_factory=Conditions)
    accumulate: int = 1


def make_step(recipe: Recipe, axis: str | None = None) -> Step:
    """Returns `(state, batch) -> (state, metrics)`; with an axis name, for use under `jax.pmap`.

    The batch holds "x", the conditions, and "position": each example's place in the global batch.
    A step whose loss or gradients are not finite leaves the state as it was; the metrics tell.
    """

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Any]]:
        step_key = jax.random.fold_in(
            random.stream(jax.random.key(recipe.seed), "train"), state.step
        )

        def loss_of(params, micro_batch):
            loss, metrics, observed = example_losses(recipe, params, state, micro_batch, step_key)
            return jnp.mean(loss), (_summary(loss, metrics), observed)

        gradient_of = jax.grad(loss_of, has_aux=True)
        means = _accumulate(gradient_of, state.params, batch, recipe.accumulate)
        gradients, (summary, observed) = mean_over(axis, means)

        updates, opt_state = recipe.optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        decay = recipe.ema_decay(state.step, recipe.batch_size)
        new = state.replace(
            step=state.step + 1,
            params=params,
            opt_state=opt_state,
            ema=ema.update(state.ema, params, decay),
            statistics=learned.absorb(learned.bind(recipe.objective, state.statistics), observed),
        )
        finite = jnp.stack([jnp.isfinite(g).all() for g in jax.tree.leaves(gradients)])
        good = finite.all() & jnp.isfinite(summary["loss"])
        new = jax.tree.map(lambda n, old: jnp.where(good, n, old), new, state)
        norm = optax.global_norm(gradients)
        return new, summary | {"gradient_norm": norm, "good": good, "finite_gradients": finite}

    return step


def example_losses(
    recipe: Recipe, params: Any, state: TrainState, batch: Batch, step_key: Key[Array, ""]
) -> tuple[Array, Metrics, learned.Values]:
    """Returns the objective's loss [b] and metrics [b], and what its adaptive parts observe."""
    keys = random.example_keys(step_key, batch["position"])
    offset = jax.random.uniform(random.stream(step_key, "lattice"))
    lattice = (offset + batch["position"] / recipe.batch_size) % 1
    x0 = recipe.codec.encode(state.frozen.get("codec"), batch["x"], random.stream(keys, "codec"))
    inputs = {name: batch[name] for name in recipe.conditions.names}
    cond = recipe.conditions.drop(recipe.conditions.encode(state.frozen, inputs), keys)
    empty = recipe.conditions.empty(state.frozen)
    student = recipe.model.bind(params, dropout_keys=random.stream(keys, "dropout"))
    roles = Roles(filled(student, empty), target=filled(recipe.model.bind(state.ema), empty))
    objective = learned.bind(recipe.objective, {**params, **state.statistics})
    draw = Draw(keys, lattice)
    loss, metrics = objective(roles, x0, cond, draw, state.step)
    return loss, metrics, learned.observe(objective, draw, loss, metrics)


def mean_over(axis: str | None, tree: Any) -> Any:
    """Averages over a mapped axis; the identity where there is none."""
    return tree if axis is None else jax.lax.pmean(tree, axis)


def _accumulate(gradient_of, params, batch, count):
    """Averages gradients and summaries over micro-batches, one after the other.

    Micro-batch i takes every count-th example, which keeps a batch that is divided over devices in
    its place.
    """
    if count == 1:
        return gradient_of(params, batch)
    split = lambda a: jnp.moveaxis(a.reshape(-1, count, *a.shape[1:]), 1, 0)
    micro_batches = jax.tree.map(split, batch)
    shapes = jax.eval_shape(gradient_of, params, jax.tree.map(lambda a: a[0], micro_batches))
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    def add(total, micro_batch):
        return jax.tree.map(jnp.add, total, gradient_of(params, micro_batch)), None

    total, _ = jax.lax.scan(add, zeros, micro_batches)
    return jax.tree.map(lambda a: a / count, total)


def _summary(loss, metrics):
    """Means over the batch, and per noise level the sum of losses and the share of examples.

    Under importance sampling these are estimates of the means without; the loss has its factor.
    """
    metrics = dict(metrics)
    logsnr, importance = metrics.pop("logsnr"), metrics.pop("importance", jnp.ones_like(loss))
    level = jnp.clip(jnp.digitize(logsnr, LOGSNR_EDGES) - 1, 0, len(LOGSNR_EDGES) - 2)
    in_level = jax.nn.one_hot(level, len(LOGSNR_EDGES) - 1)
    return {
        "loss": jnp.mean(loss),
        **{name: jnp.mean(importance * value) for name, value in metrics.items()},
        "level_loss": jnp.mean(in_level * loss[:, None], axis=0),
        "level_share": jnp.mean(in_level * importance[:, None], axis=0),
    }
