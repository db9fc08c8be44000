"""How names in configs and flags become objects; the defaults and checks of config fields."""

from jaxdiff.config.checks import (
    Config,
    allowed_changes,
    as_dict,
    check,
    differences,
    plain,
    read_config,
)
from jaxdiff.config.defaults import default, variant
from jaxdiff.config.trusted import trust

__all__ = [
    "Config",
    "allowed_changes",
    "as_dict",
    "check",
    "default",
    "differences",
    "plain",
    "read_config",
    "trust",
    "variant",
]
