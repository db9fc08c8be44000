"""The optimizers that a config describes, from optax, each for weights by name."""

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax

from jaxdiff.config.build import build
from jaxdiff.config.kinds import find, names, nearest
from jaxdiff.config.specs import parse
from jaxdiff.options import NonNegativeFloat, Range, Size, check
from jaxdiff.training import learning_rate
from jaxdiff.typing import Params

KIND = optax.GradientTransformation | optax.GradientTransformationExtraArgs

REST = "rest"
"""The label of all weights without an optimizer of their own."""


RATE = Annotated[float | None, Range(ge=0, lt=1)]
RANGES: dict[str, Any] = dict.fromkeys(("b1", "b2", "b3", "decay", "momentum"), RATE)
RANGES |= dict.fromkeys(("eps", "eps_root", "weight_decay"), NonNegativeFloat)
"""Ranges of options that optax's annotations do not tell."""


def optimizers() -> list[str]:
    """Lists the optimizers of optax that take a learning rate."""
    takes = lambda each: "learning_rate" in inspect.signature(getattr(optax, each)).parameters
    return [each for each in names(optax, KIND) if takes(each)]


def make_optimizer(
    config: Mapping[str, Any],
    others: Mapping[str, Mapping[str, Any]] | None = None,
    steps: int | None = None,
) -> tuple[optax.GradientTransformationExtraArgs, dict[str, optax.Schedule]]:
    """Returns the optimizer, and the learning rates as functions of the step.

    The optimizer's `update` takes the rates of the step by name, `rates={"": 1e-3}`: they are no
    part of the program.

    `config` has `name` (of an optax optimizer), `learning_rate` (the peak), `schedule` (of
    `learning_rate.py`), `clip_norm` (of the whole gradient; 0 for none), and the optimizer's
    own options. Weight decay spares vectors and scalars: biases and the norms' scales.

    `others` has, for weights by name, fields that differ from `config`; and `every`: these weights
    move at each `every`-th step only. Their clipping is their own. Rates are by name, that of
    `config` under "". A schedule that does not say how long it is takes the run's `steps`.

    Raises:
        ValueError: a name or an option is unknown, or a value of the wrong type or range.
    """
    optimizer, rate = _one(config, steps, "")
    if not others:
        return optimizer, {"": rate}
    parts: dict[Any, Any] = {REST: optimizer}
    rates = {"": rate}
    for name, changes in others.items():
        options = dict(changes)
        every = options.pop("every", 1)
        check(f"optimizers.{name}.every", Size, every)
        parts[name], rates[name] = _one({**config, **options}, steps, name)
        if every > 1:
            parts[name] = optax.transforms.conditionally_mask(parts[name], _due(every))
    label = lambda params: {name: name if name in others else REST for name in params}
    return optax.partition(parts, label), rates


def mismatches(
    config: Mapping[str, Any], others: Mapping[str, Mapping[str, Any]], steps: int
) -> list[str]:
    """Returns a line for each schedule whose own length is not that of the run."""
    found = []
    for name, changes in {"": {}, **others}.items():
        schedule = {**config, **changes}["schedule"]
        field = f"optimizers.{name}.schedule" if name else "optimizer.schedule"
        call = parse(schedule)
        own, warmup = (call.options.get(each, 0) for each in ("steps", "warmup_steps"))
        if own and own != steps:
            end = call.options.get("end", 0.0)
            rest = f"the last {steps - own} steps have" if own < steps else "it does not reach"
            found.append(f"{field} ends at step {own}, train.steps={steps}: {rest} a rate of {end}")
        if warmup >= steps:
            found.append(f"{field}: the warm-up of {warmup} steps lasts all train.steps={steps}")
    return found


def _one(
    config: Mapping[str, Any], steps: int | None, rate_name: str
) -> tuple[optax.GradientTransformationExtraArgs, optax.Schedule]:
    options = dict(config)
    peak, schedule = float(options.pop("learning_rate")), options.pop("schedule")
    clip_norm = options.pop("clip_norm")
    known = {} if steps is None else {"steps": steps}
    rate = build(learning_rate, schedule, peak=peak, **known)
    _check_name(options)
    for name, kind in RANGES.items():
        if name in options:
            check(f"optimizer.{name}", kind, options[name])
    # A rate of 1, since optax multiplies by it last; `_by_rate` then does.
    optimizer = build(optax, options, KIND, learning_rate=1.0, mask=_decayed)
    clip = [optax.clip_by_global_norm(clip_norm)] if clip_norm else []
    return optax.chain(*clip, optimizer, _by_rate(rate_name)), rate


def _by_rate(name: str) -> optax.GradientTransformationExtraArgs:
    """Multiplies updates by `rates[name]`, an argument of `update`."""

    def update(updates, state, params=None, **arguments):
        rate = arguments["rates"][name]
        return jax.tree.map(lambda u: jnp.asarray(rate, u.dtype) * u, updates), state

    return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)


def _check_name(options: Mapping[str, Any]) -> None:
    """Raises ValueError where optax has no such optimizer, or its name is that of another part."""
    call = parse(options)
    if call.module:
        return
    known = optimizers()
    try:
        name = find(optax, call.name).__name__
    except ValueError:
        name = ""
    if name not in known:
        raise ValueError(
            f"unknown optimizer {call.name!r}{nearest(call.name, known)}; known: {', '.join(known)}"
        )


def _due(every: int) -> Callable[..., Any]:
    return lambda step, **rest: step % every == 0


def _decayed(params: Params):
    return jax.tree.map(lambda p: p.ndim > 1, params)
