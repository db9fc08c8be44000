"""The optimizers that a config describes, from optax, each for weights by name."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax

from jaxdiff.config.build import build
from jaxdiff.training import learning_rate
from jaxdiff.typing import Params

KIND = optax.GradientTransformation | optax.GradientTransformationExtraArgs

REST = "rest"
"""The label of all weights without an optimizer of their own."""


def make_optimizer(
    config: Mapping[str, Any], others: Mapping[str, Mapping[str, Any]] | None = None
) -> tuple[optax.GradientTransformation, dict[str, optax.Schedule]]:
    """Returns the optimizer, and learning rates as functions of the optimizer step.

    `config` has `name` (of an optax optimizer), `learning_rate` (the peak), `schedule` (of
    `learning_rate.py`), `clip_norm` (of the whole gradient; 0 for none), and the optimizer's
    own options. Weight decay spares vectors and scalars: biases and the norms' scales.

    `others` has, for weights by name, fields that differ from `config`; and `every`: these weights
    move at each `every`-th step only. Their clipping is their own. Rates are by name, that of
    `config` under "".

    Raises:
        ValueError: a name or an option is unknown.
    """
    optimizer, rate = _one(config)
    if not others:
        return optimizer, {"": rate}
    parts: dict[Any, optax.GradientTransformation] = {REST: optimizer}
    rates = {"": rate}
    for name, changes in others.items():
        options = dict(changes)
        every = options.pop("every", 1)
        if every < 1:
            raise ValueError(f"optimizers.{name}.every={every} is less than 1")
        parts[name], rates[name] = _one({**config, **options})
        if every > 1:
            parts[name] = optax.transforms.conditionally_mask(parts[name], _due(every))
    label = lambda params: {name: name if name in others else REST for name in params}
    return optax.partition(parts, label), rates


def _one(config: Mapping[str, Any]) -> tuple[optax.GradientTransformation, optax.Schedule]:
    options = dict(config)
    peak, schedule = options.pop("learning_rate"), options.pop("schedule")
    clip_norm = options.pop("clip_norm")
    rate = build(learning_rate, schedule, peak=peak)
    optimizer = build(optax, options, KIND, learning_rate=rate, mask=_decayed)
    clip = [optax.clip_by_global_norm(clip_norm)] if clip_norm else []
    return optax.chain(*clip, optimizer), rate


def _due(every: int) -> Callable[..., Any]:
    return lambda step, **rest: step % every == 0


def _decayed(params: Params):
    return jax.tree.map(lambda p: p.ndim > 1, params)
