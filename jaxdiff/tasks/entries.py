"""Entries of a diffusion model's table of weights: parts that are never trained, and new layers."""

import functools
from collections.abc import Mapping
from typing import Any

from jaxdiff import codecs
from jaxdiff.networks.temporal import NAME as TEMPORAL
from jaxdiff.tasks.model import Model
from jaxdiff.typing import Frozen
from jaxdiff.weights import sources
from jaxdiff.weights.configured import unnamed_in
from jaxdiff.weights.table import Weights


def frozen_entries(config: Any, parts: Mapping[str, Frozen]) -> dict[str, Weights]:
    """Returns the entries of frozen parts by name, from `config.weights`: files, or our runs."""
    entries = {}
    for name, part in parts.items():
        path = config.weights.get(name, "")
        named = isinstance(part, codecs.Latents) and isinstance(path, str) and path
        ours = named and sources.is_run(path)
        entries[name] = Weights(
            shapes=part.shapes,
            source=sources.OfRun(path) if ours else part,
            trained=False,
            config_field=f"weights.{name}",
            unnamed=functools.partial(unnamed_in, part, f"weights.{name}"),
        )
    return entries


def gained(model: Model) -> tuple[str, ...]:
    """Returns parts of names of parameters that the run a network begins as need not have.

    They are of new inputs and of layers across frames, which begin as nothing.
    """
    temporal = getattr(model.network, "temporal", False)
    return (*(f"cond/{name}_" for name in model.scalars), *((TEMPORAL,) if temporal else ()))
