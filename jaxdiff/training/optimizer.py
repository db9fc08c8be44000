"""The optimizer that a config describes, from optax."""

from collections.abc import Mapping
from typing import Any

import jax
import optax

from jaxdiff.config.build import build
from jaxdiff.training import learning_rate
from jaxdiff.typing import Params


def make_optimizer(
    config: Mapping[str, Any],
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """Returns the optimizer and its learning rate as a function of the optimizer step.

    `config` has `name` (of an optax optimizer), `learning_rate` (the peak), `schedule` (of
    `learning_rate.py`), `clip_norm` (of the whole gradient; 0 for none), and the optimizer's
    own options. Weight decay spares vectors and scalars: biases and the norms' scales.
    """
    options = dict(config)
    peak, schedule = options.pop("learning_rate"), options.pop("schedule")
    clip_norm = options.pop("clip_norm")
    rate = build(learning_rate, schedule if "(" in schedule else f"{schedule}()", peak=peak)
    optimizer = build(optax, options, learning_rate=rate, mask=_decayed)
    clip = [optax.clip_by_global_norm(clip_norm)] if clip_norm else []
    return optax.chain(*clip, optimizer), rate


def _decayed(params: Params):
    return jax.tree.map(lambda p: p.ndim > 1, params)
