"""A run made small, to be given away: its average in bfloat16, its config, and a card."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from jaxdiff import config as configs
from jaxdiff.files import atomic_write, write_json
from jaxdiff.runs.run import Run
from jaxdiff.tasks import students
from jaxdiff.trees import size_of
from jaxdiff.typing import Params
from jaxdiff.weights.checksums import checksums
from jaxdiff.weights.stored import AVERAGE, CHECKPOINTS

TRAINING = "training_config.json"
"""The config that the run was trained with."""


def publish(run: Run, folder: str | Path, card: str = "") -> int:
    """Writes a folder that `load` reads as it reads a run's, and returns its size in bytes.

    Matrices and kernels are rounded to bfloat16, vectors are not. A student's folder stands
    without its teacher. `card` is text for the README.md, such as the data's licence.

    Raises:
        ValueError: the folder is not empty.
        OSError: it cannot be written to.
    """
    folder = Path(folder)
    if folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty: publish into a folder of its own")
    average = {name: run.weights[name] for name in run.experiment.abstract_state().ema}
    small = jax.tree.map(rounded, average)
    step = folder / CHECKPOINTS / str(run.step)
    with ocp.PyTreeCheckpointer() as checkpointer:
        checkpointer.save((step / AVERAGE).absolute(), small)
    # Of object stores, where Orbax cannot rename; it has the path on this machine.
    (step / AVERAGE / "commit_success.txt").unlink(missing_ok=True)
    (step / "checksums").mkdir()
    # Of the values as they are read again.
    read = jax.tree.map(lambda leaf, like: leaf.astype(like.dtype), small, average)
    write_json(step / "checksums" / "metadata", {AVERAGE: checksums(read)})
    config = configs.as_dict(run.config)
    write_json(folder / TRAINING, {**config, "weights": _portable(config["weights"])})
    write_json(folder / "config.json", sampled_only(config, run.experiment.task))
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    with atomic_write(folder / "README.md") as draft:
        draft.write_text(_card(run, folder.name, average, size, card))
    return size


def rounded(array: jax.Array) -> jax.Array:
    """Returns a matrix or a kernel in bfloat16, any other array as it is."""
    is_large = array.ndim > 1 and jnp.issubdtype(array.dtype, jnp.floating)
    return array.astype(jnp.bfloat16) if is_large else array


def sampled_only(config: Mapping[str, Any], task: Any) -> dict[str, Any]:
    """Returns a config whose trained weights have no source, and whose objective has no teacher."""
    entries = task.table().entries
    sources = {
        name: path
        for name, path in config["weights"].items()
        if name in entries and not entries[name].trained and name != "teacher"
    }
    found = {**config, "weights": {"network": "", "teacher": "", **sources}}
    if objective := getattr(task, "objective", None):
        learned, guided = students.learns(objective), students.guidance_within(objective)
        found["objective"] = {"name": "Published", "learns": learned, "guided": guided}
    return found


def _portable(sources: Mapping[str, Any]) -> dict[str, Any]:
    """Returns sources without the folders above them on this machine."""
    is_path = lambda source: isinstance(source, str) and Path(source).is_absolute()
    return {name: Path(s).name if is_path(s) else s for name, s in sources.items()}


def _card(run: Run, name: str, average: Mapping[str, Params], size: int, text: str) -> str:
    config = run.config
    counts = ", ".join(f"{key} {size_of(tree):,}" for key, tree in average.items())
    return "\n".join((
        f"# {name}\n",
        f"{configs.plain(config.objective)!r} on {config.data.name}, {run.shape}.\n",
        f"- parameters: {counts}; {size / 1e6:.1f} MB, matrices in bfloat16",
        f"- trained for {run.step} steps of {config.batch_size} examples, seed {config.seed};"
        f" the weights are the average; all settings in {TRAINING}",
        f"- samples by {configs.plain(config.sampling.solver)!r} in {config.sampling.steps} steps"
        f" where nothing else is asked for: `jaxdiff.load(FOLDER).sample(16)`\n",
        text,
    ))  # fmt: skip
