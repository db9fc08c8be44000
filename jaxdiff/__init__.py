"""jaxdiff: diffusion models in JAX."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxdiff.pipelines.opening import released
    from jaxdiff.runs.experiment import Experiment
    from jaxdiff.runs.run import Run, load

__all__ = ["Experiment", "Run", "load", "released"]

_WHERE = {
    "Experiment": "runs.experiment",
    "Run": "runs.run",
    "load": "runs.run",
    "released": "pipelines.opening",
}


def __getattr__(name: str) -> Any:
    # On first use: the processes that only read data would import JAX for nothing.
    if name not in _WHERE:
        raise AttributeError(f"module 'jaxdiff' has no attribute {name!r}")
    return getattr(importlib.import_module(f"jaxdiff.{_WHERE[name]}"), name)
