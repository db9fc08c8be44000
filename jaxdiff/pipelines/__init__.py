"""Released models, opened by one call: `jaxdiff.released("path/to/it")`."""

from jaxdiff.pipelines.opening import released
from jaxdiff.pipelines.pipeline import Pipeline

__all__ = ["Pipeline", "released"]
