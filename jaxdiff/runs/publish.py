"""A run made small, to be given away: its average in bfloat16, its config, and a card."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from jaxdiff import config as configs
from jaxdiff.codecs.moments import MOMENTS
from jaxdiff.config import read_config
from jaxdiff.files import atomic_write, write_json
from jaxdiff.runs.experiment import Experiment
from jaxdiff.runs.run import Run, load
from jaxdiff.tasks import students
from jaxdiff.trees import size_of
from jaxdiff.typing import Params
from jaxdiff.weights import sources
from jaxdiff.weights.checksums import checksums
from jaxdiff.weights.stored import AVERAGE, CHECKPOINTS, read_item
from jaxdiff.weights.table import record

TRAINING = "training_config.json"
"""The config that the run was trained with."""

ATTRIBUTION = "attribution.txt"

ONLY_TRAINED_WITH = ("teacher", "perceptual")
"""Frozen weights that sampling does not need."""

CODEC = "codec"
"""The weights that are published with a run in latents; its folder, too."""


def publish(run: Run, folder: str | Path, card: str = "", codec: str | Path = "") -> int:
    """Writes a folder that `load` reads as it reads a run's, and returns its size in bytes.

    Matrices and kernels are rounded to bfloat16, vectors are not. A student's folder stands
    without its teacher. An autoencoder keeps its latents' moments. The autoencoder of a run in
    latents is published in "codec" within the folder, or has been: `codec` is its folder then. The
    config names it by a path from its own folder, so that both can be moved together.

    Args:
        run: as `load` returns it.
        folder: a new one.
        card: text for the README.md, such as the data's licence.
        codec: the published folder of the run's autoencoder.

    Raises:
        ValueError: the folder is not empty; `codec` is not the run's autoencoder.
        OSError: it cannot be written to.
    """
    folder = Path(folder)
    if folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty: publish into a folder of its own")
    config = configs.as_dict(run.config)
    source = config["weights"].get(CODEC, "")
    in_latents = isinstance(source, str) and bool(source) and sources.is_run(source)
    if codec and not in_latents:
        raise ValueError(f"codec={str(codec)!r}: the run has no autoencoder that is a run")
    if codec:
        _check_same(run, Path(codec))
    average = {name: run.weights[name] for name in run.experiment.abstract_state().ema}
    _write_weights(folder / CHECKPOINTS / str(run.step), average, _statistics(run))
    write_json(folder / TRAINING, {**config, "weights": _portable(config["weights"])})
    found = sampled_only(config, run.experiment.task, folder)
    if in_latents:
        within = folder / CODEC
        if not codec:
            publish(load(source), within, f"The autoencoder of {folder.name}.")
        relative = os.path.relpath(codec or within, folder)
        found["weights"][CODEC] = relative if relative.startswith("..") else f"./{relative}"
    write_json(folder / "config.json", found)
    if in_latents:
        entries = Experiment(read_config(folder)).table.entries
        record({CODEC: entries[CODEC].source.fingerprint()}, folder)
    notice = run.folder / ATTRIBUTION if run.folder else None
    if notice and notice.exists():
        shutil.copy(notice, folder / ATTRIBUTION)
    files = [file for file in folder.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    with atomic_write(folder / "README.md") as draft:
        draft.write_text(_card(run, folder.name, average, size, card))
    return size


def rounded(array: jax.Array) -> jax.Array:
    """Returns a matrix or a kernel in bfloat16, any other array as it is."""
    is_large = array.ndim > 1 and jnp.issubdtype(array.dtype, jnp.floating)
    return array.astype(jnp.bfloat16) if is_large else array


def sampled_only(config: Mapping[str, Any], task: Any, folder: Path) -> dict[str, Any]:
    """Returns a config whose trained weights have no source, and whose objective has no teacher.

    Runs that lie beside `folder` are named by their path from it.
    """
    entries = task.table().entries
    beside = lambda path: _beside(path, folder)
    kept = {
        name: beside(path)
        for name, path in config["weights"].items()
        if name in entries and not entries[name].trained and name not in ONLY_TRAINED_WITH
    }
    found = {**config, "weights": {"network": "", "teacher": "", **_portable(kept)}}
    found["train"] = {**config["train"], "cache": ""}
    if objective := getattr(task, "objective", None):
        learned, guided = students.learns(objective), students.guidance_within(objective)
        found["objective"] = {"name": "Published", "learns": learned, "guided": guided}
    return found


def _write_weights(step: Path, average: Mapping[str, Params], statistics: Params) -> None:
    """Writes a checkpoint of the average, and of statistics where there are any."""
    small = jax.tree.map(rounded, average)
    # Of the values as they are read again.
    read = jax.tree.map(lambda leaf, like: leaf.astype(like.dtype), small, average)
    items: dict[str, tuple[Any, Any]] = {AVERAGE: (small, read)}
    if statistics:
        items["progress"] = ({"statistics": statistics}, {"statistics": statistics})
    with ocp.PyTreeCheckpointer() as checkpointer:
        for name, (stored, _) in items.items():
            checkpointer.save((step / name).absolute(), stored)
    for name in items:
        # Of object stores, where Orbax cannot rename; it has the path on this machine.
        (step / name / "commit_success.txt").unlink(missing_ok=True)
    (step / "checksums").mkdir()
    sums = {name: checksums(read) for name, (_, read) in items.items()}
    write_json(step / "checksums" / "metadata", sums)


def _statistics(run: Run) -> Params:
    """Returns the moments of an autoencoder's latents, without which it is no codec; else {}."""
    if MOMENTS not in (wanted := run.experiment.task.begin()):
        return {}
    if run.folder is None:
        raise ValueError("the latents' moments are in the run's folder: load the run from it")
    wanted = {"statistics": {MOMENTS: jax.eval_shape(lambda: wanted[MOMENTS])}}
    found, _ = read_item(run.folder / CHECKPOINTS, "progress", wanted, run.step)
    return found["statistics"]


def _check_same(run: Run, codec: Path) -> None:
    """Raises ValueError if a published folder has other weights than the run's autoencoder."""
    mine = run.weights[CODEC]
    network = mine["network"] if isinstance(mine, Mapping) and MOMENTS in mine else mine
    shapes = jax.eval_shape(lambda: network)
    found, _ = read_item(codec / CHECKPOINTS, AVERAGE, {"network": shapes})
    same = lambda a, b: np.array_equal(rounded(a).astype(np.float32), np.asarray(b, np.float32))
    if not all(jax.tree.leaves(jax.tree.map(same, network, found["network"]))):
        raise ValueError(f"codec={str(codec)!r} has other weights than the run was trained with")


def _beside(source: Any, folder: Path) -> Any:
    is_run = isinstance(source, str) and sources.is_run(source)
    if is_run and Path(source).resolve().parent == folder.resolve().parent:
        return f"../{Path(source).name}"
    return source


def _portable(paths: Mapping[str, Any]) -> dict[str, Any]:
    """Returns sources without the folders above them on this machine."""
    is_path = lambda source: isinstance(source, str) and Path(source).is_absolute()
    return {name: Path(s).name if is_path(s) else s for name, s in paths.items()}


def _card(run: Run, name: str, average: Mapping[str, Params], size: int, text: str) -> str:
    config = run.config
    samples = hasattr(run.experiment.task, "process")
    what = configs.plain(config.objective if samples else config.task)
    what = what["name"] if isinstance(what, dict) else what
    counts = ", ".join(f"{key} {size_of(tree):,}" for key, tree in average.items())
    lines = [
        f"# {name}\n",
        f"{what!r} on {config.data.name}, {run.shape}.\n",
        f"- parameters: {counts}; {size / 1e6:.1f} MB, matrices in bfloat16",
        f"- trained for {run.step} steps of {config.batch_size} examples, seed {config.seed};"
        f" the weights are the average; all settings in {TRAINING}",
    ]
    if samples:
        lines.append(
            f"- samples by {configs.plain(config.sampling.solver)!r} in {config.sampling.steps}"
            " steps where nothing else is asked for: `jaxdiff.load(FOLDER).sample(16)`"
        )
    return "\n".join((*lines, f"\n{text}"))
