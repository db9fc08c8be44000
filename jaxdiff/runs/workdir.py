"""A run's folder: what stands in it besides checkpoints and metrics."""

import os
import platform
import subprocess
import tempfile
from importlib import metadata
from pathlib import Path

import jax

from jaxdiff import config as configs
from jaxdiff.config import read_config
from jaxdiff.files import write_json


def check_workdir(workdir: Path, config: configs.Config) -> None:
    """Makes the folder, and checks that it can be written to and holds no run of another config.

    Raises:
        ValueError: it holds a run of another config; says which fields differ.
        OSError: it cannot be written to.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=workdir):
            pass
    except OSError as error:
        raise OSError(f"workdir {workdir} cannot be written to: {error.strerror}") from error
    if (workdir / "config.json").exists():
        differences = configs.differences(config, read_config(workdir))
        if differences:
            raise ValueError(
                f"{workdir} holds a run of another config; differences (there -> here):\n  "
                + "\n  ".join(differences)
                + "\nGive the run a workdir of its own, or take back these fields."
            )


def open_workdir(workdir: Path, config: configs.Config) -> None:
    """Writes config.json, and environment.json: versions and git revision of this launch."""
    write_json(workdir / "config.json", configs.as_dict(config))
    write_json(workdir / "environment.json", _environment())


def cache_folder() -> Path:
    """Returns the user's cache folder for compiled programs and trained classifiers."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxdiff"


def use_compilation_cache() -> None:
    """Keeps compiled programs from one process to the next, unless the user chose where already."""
    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "xla"))


def _environment():
    packages = ("jaxdiff", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
    return {
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in packages},
        "devices": [d.device_kind for d in jax.devices()],
        "processes": jax.process_count(),
        "git_revision": _git("rev-parse", "HEAD"),
        "git_changes": bool(_git("status", "--porcelain")),
    }


def _git(*arguments):
    folder = Path(__file__).parent
    command = ["git", "-C", str(folder), *arguments]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()
