"""The user's cache folder: compiled programs, trained classifiers, cached examples."""

import os
from pathlib import Path

import jax


def cache_folder() -> Path:
    """Returns the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxdiff"


def use_compilation_cache() -> None:
    """Keeps compiled programs from one process to the next, unless the user chose where already."""
    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "xla"))
