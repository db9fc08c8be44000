"""Adapters that other runs have trained, put on a run's weights by a strength."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxdiff import config as configs
from jaxdiff.config.build import build
from jaxdiff.files import AnyPath
from jaxdiff.typing import Params, Scalar
from jaxdiff.weights import adapters
from jaxdiff.weights.sources import OfRun


def adapted(weights: Mapping[str, Params], strengths: Mapping[str, Scalar]) -> dict[str, Params]:
    """Returns weights with the adapters of other runs, each change times its strength.

    Args:
        weights: by name, as the adapters found them when they were trained.
        strengths: by the run's folder: 1 is the change as trained, 0 none, -1 its opposite.

    Raises:
        FileNotFoundError: a folder holds no run.
        ValueError: a run has no adapter or no checkpoint yet, or its factors are of other weights.
    """
    changed = dict(weights)
    for path, strength in strengths.items():
        for name, adapter in adapters_of_run(path).items():
            if adapter.of not in changed:
                raise ValueError(
                    f"{path}: its adapter {name!r} is of {adapter.of!r}; this run has"
                    f" {', '.join(changed)}"
                )
            base = changed[adapter.of]
            factors = _factors(path, name, adapter, base)
            move = lambda b, a: b + jnp.asarray(strength, b.dtype) * (a - b)
            changed[adapter.of] = jax.tree.map(move, base, adapter.apply(base, factors))
    return changed


def adapters_of_run(path: str | AnyPath) -> dict[str, adapters.Adapter]:
    """Returns the adapters of a run by name.

    Raises:
        FileNotFoundError: there is no run in the folder.
        ValueError: it has none.
    """
    config: Any = configs.read_config(path)
    found = {name: build(adapters, spec) for name, spec in config.adapters.items()}
    if not found:
        raise ValueError(f"{path}: this run has no adapter; config.adapters is empty")
    return found


def _factors(path: str | AnyPath, name: str, adapter: adapters.Adapter, base: Params) -> Params:
    shape = lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
    try:
        first = jax.eval_shape(adapter.init, jax.random.key(0), jax.tree.map(shape, base))
        return OfRun(str(path), name=name).load(first)
    except ValueError as error:
        raise ValueError(f"{path}: adapter {name!r}: {error}") from error
