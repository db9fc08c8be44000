"""The default of every config field, and variants of recipes."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxdiff.config.fields import Fields
from jaxdiff.config.kinds import suggest


def default() -> ConfigDict:
    """Returns a config with every field; recipes in `configs/` fill in and override."""
    return ConfigDict(dataclasses.asdict(Fields()))


def variant(config: ConfigDict, variants: Mapping[str, Mapping[str, Any]], name: str) -> ConfigDict:
    """Returns the config with the named variant's fields; how recipes serve `file.py:name`.

    Raises:
        ValueError: there is no such variant.
    """
    if name not in variants:
        raise ValueError(f"no variant {name!r}{suggest(name, [v for v in variants if v])}")
    config.update_from_flattened_dict(variants[name])
    return config
