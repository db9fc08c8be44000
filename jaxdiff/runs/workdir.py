"""A run's folder: what stands in it besides checkpoints and metrics."""

import fcntl
import json
import logging
import os
import platform
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import jax

from jaxdiff import config as configs
from jaxdiff.config import read_config
from jaxdiff.files import AnyPath, check_folder, in_bucket, write_json
from jaxdiff.weights.stored import CHECKPOINTS, steps_in

logger = logging.getLogger(__name__)


def check_workdir(workdir: AnyPath, config: configs.Config) -> list[str]:
    """Makes the folder, and checks that it can be written to and holds no run of another config.

    A run without a checkpoint has nothing to lose: a corrected config takes its place.

    Returns "field: old value -> new value" for what a resumed run may change, and did.

    Raises:
        ValueError: it holds a run of another config; says which fields differ.
        OSError: it cannot be written to.
    """
    try:
        check_folder(workdir)
    except OSError as error:
        why = error.strerror or error
        raise OSError(f"workdir {workdir} cannot be written to: {why}") from error
    if not (workdir / "config.json").exists():
        return []
    before = read_config(workdir, only_compared=True)
    differences = configs.differences(config, before)
    if differences and not has_begun(workdir):
        logger.info("%s: no checkpoint yet, so the run begins with the new config", workdir)
    elif differences:
        raise ValueError(
            f"{workdir} holds a run of another config; differences (there -> here):\n  "
            + "\n  ".join(differences)
            + "\nGive the run a workdir of its own, or take back these fields."
        )
    return configs.allowed_changes(config, before) if has_begun(workdir) else []


def has_begun(workdir: AnyPath) -> bool:
    """Returns whether the folder holds a run with a checkpoint."""
    return bool(steps_in(workdir / CHECKPOINTS))


@contextmanager
def locked(workdir: AnyPath) -> Iterator[None]:
    """Keeps every other training out of the folder until the block, or the process, ends.

    The lock is the operating system's: a killed process leaves none behind, and workers, which are
    other processes, do not hold it. A file system without locks, and a bucket, is used without one.

    Raises:
        ValueError: another process trains there; says which, on which host.
    """
    file = workdir / "lock.json"
    owner = {"host": socket.gethostname(), "process": os.getpid()}
    if in_bucket(workdir):
        logger.warning("%s: a bucket has no locks; start no second training there", workdir)
        write_json(file, owner)
        yield
        return
    with file.open("a+") as stream:
        try:
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            stream.seek(0)
            other = json.loads(stream.read() or "{}")
            raise ValueError(
                f"{workdir}: process {other.get('process', '?')} on {other.get('host', '?')} is "
                "training there; wait for it, or give this run another workdir"
            ) from None
        except OSError as error:
            logger.warning("%s: the file system has no locks (%s)", workdir, error.strerror)
        stream.truncate(0)
        json.dump(owner, stream)
        stream.flush()
        yield


def open_workdir(workdir: AnyPath, config: configs.Config) -> None:
    """Writes config.json, and environment.json: versions and git revision of this launch."""
    write_json(workdir / "config.json", configs.as_dict(config))
    write_json(workdir / "environment.json", _environment())


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
