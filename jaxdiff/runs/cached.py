"""Batches of what frozen encoders make of the data, computed once and kept beside other runs'."""

import dataclasses
import hashlib
import json
import logging
import shutil
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grain
import jax
import numpy as np

from jaxdiff import config as configs
from jaxdiff.caches import cache_folder
from jaxdiff.codecs.posterior import Posterior, Summarizing
from jaxdiff.conditioning.conditions import Conditions
from jaxdiff.config.build import build
from jaxdiff.data import caches, pipeline
from jaxdiff.files import read_json, write_json
from jaxdiff.networks.autoencoder import Gaussian
from jaxdiff.progress import progress
from jaxdiff.typing import Condition, Frozen, Params

if TYPE_CHECKING:
    from jaxdiff.runs.experiment import Experiment

logger = logging.getLogger(__name__)

FORMAT = 1
PROBES = 16
"""Examples whose content is a part of the key, evenly spaced in the data."""

BATCH = 64
"""Examples that are encoded at a time, at most."""


def training_batches(experiment: "Experiment") -> grain.DatasetIterator:
    """Returns the batches of a training: from the cache of `config.train.cache`, if it names one.

    What the cache lacks is computed first. Its batches are shuffled anew in each epoch.

    Raises:
        ValueError: the task has nothing to cache, or the cache would have to be made by several
            processes.
        OSError: the cache cannot be written.
    """
    spec = configs.plain(experiment.config.train.cache)
    if not spec:
        return experiment.batches()
    cache = build(caches, spec)
    source = filled(experiment, cache)
    task: Any = experiment.task
    return pipeline.loader(
        source,
        batch_size=experiment.config.batch_size,
        seed=experiment.config.seed,
        prepare=Restored(task.conditions, _stateful(experiment)),
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        workers=experiment.config.train.workers,
    )


def filled(experiment: "Experiment", cache: caches.Cache) -> caches.CachedExamples:
    """Returns the examples of a cache, after computing those that it lacks.

    Raises:
        ValueError: as in `training_batches`.
    """
    _check(experiment)
    num = cache.examples or len(experiment.source())
    shard = min(cache.shard, num)
    key = key_of(experiment, cache, shard)
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    place = Path(cache.folder) if cache.folder else cache_folder() / "examples"
    folder = place / digest
    wanted = range(-(-num // shard))
    missing = [i for i in wanted if caches.count(caches.shard_path(folder, i)) != shard]
    if missing and jax.process_count() > 1:
        raise ValueError(
            f"train.cache: {folder} lacks {len(missing)} of {len(wanted)} shards; make it by one"
            " process first, `python -m jaxdiff cache` with the same flags"
        )
    if missing:
        for other in stale(place, key):
            why = "; ".join(_changed(read_json(other / caches.DESCRIPTION, dict)["key"], key))
            logger.info("%s is of others (%s); it can be deleted", other, why)
        layout = _fill(experiment, cache, folder, key, shard, missing)
    else:
        table = read_json(folder / caches.DESCRIPTION, dict)
        layout = caches.Layout.read(table["layout"])
    logger.info("%d cached examples in %s", num, folder)
    return caches.CachedExamples(folder, layout, num, shard)


def key_of(experiment: "Experiment", cache: caches.Cache, shard: int) -> dict[str, Any]:
    """Returns all that the numbers of a cache depend on; of the data, a sample of examples.

    The seed is among them: it decides which examples are the first, and their augmentation.
    """
    config = configs.as_dict(experiment.config)
    states = _stateful(experiment)
    prints = experiment.table.fingerprints()
    return {
        "format": FORMAT,
        "data": {**config["data"], "examples": len(experiment.source())},
        "transforms": config["transforms"],
        "seed": config["seed"],
        "codec": config["codec"],
        "encoders": {name: config["encoders"][name] for name in states},
        "conditions": config["conditions"],
        "weights": {name: prints[name] for name in ("codec", *states) if name in prints},
        "content": _content(experiment),
        "dtype": str(np.dtype(jax.numpy.dtype(cache.dtype))),
        "shard": shard,
    }


def stale(place: Path, key: Mapping[str, Any]) -> list[Path]:
    """Returns the folders of caches of the same data by other weights, transforms or options."""
    found = []
    for file in sorted(place.glob(f"*/{caches.DESCRIPTION}")):
        other = read_json(file, dict).get("key", {})
        if other.get("data") == key["data"] and other != key:
            found.append(file.parent)
    return found


def remove_stale(experiment: "Experiment", cache: caches.Cache) -> list[Path]:
    """Deletes caches of the same data by other weights, transforms or options; returns which."""
    num = cache.examples or len(experiment.source())
    place = Path(cache.folder) if cache.folder else cache_folder() / "examples"
    found = stale(place, key_of(experiment, cache, min(cache.shard, num)))
    for folder in found:
        shutil.rmtree(folder)
    return found


def computed(
    experiment: "Experiment", weights: Mapping[str, Params], x: Any, inputs: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the arrays [b, ...] of a cache by name: "x.mean", "text.value"; under jit."""
    task: Any = experiment.task
    z = task.codec.posterior(weights.get("codec"), x)
    found = {f"x.{n}": a for n, a in z._asdict().items()} if isinstance(z, Gaussian) else {"x": z}
    for name, condition in task.conditions.encode(weights, inputs).items():
        for part in ("value", "mask", "pooled"):
            if (array := getattr(condition, part)) is not None:
                found[f"{name}.{part}"] = array
    return found


@dataclasses.dataclass(frozen=True)
class Restored:
    """Makes of the columns of a cache a batch as `Diffusion.losses` takes it; on the host.

    Attributes:
        conditions: of the task; `states`, those of which the cache has the encoding.
    """

    conditions: Conditions
    states: tuple[str, ...]

    def __call__(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """Returns a batch with a `Posterior`, and a `Condition` for each cached state."""
        cached = {name: value for name, value in columns.items() if "." in name}
        batch = {name: value for name, value in columns.items() if name not in cached}
        names = tuple(n for n in self.conditions.names if n not in self.states)
        encoders = {n: e for n, e in self.conditions.encoders.items() if n in names}
        rest = dataclasses.replace(self.conditions, names=names, encoders=encoders)
        batch = rest.prepare(batch)
        moments = {name: cached[f"x.{name}"] for name in Gaussian._fields if f"x.{name}" in cached}
        batch["x"] = Posterior(Gaussian(**moments) if moments else batch["x"])
        for name in self.states:
            parts = {p: cached.get(f"{name}.{p}") for p in ("value", "mask", "pooled")}
            batch[name] = Condition(**parts)
        return batch


def _fill(
    experiment: "Experiment",
    cache: caches.Cache,
    folder: Path,
    key: Mapping[str, Any],
    shard: int,
    missing: list[int],
) -> caches.Layout:
    """Computes and writes the missing shards; returns the layout."""
    task: Any = experiment.task
    states, devices = _stateful(experiment), experiment.devices
    wanted = *task.conditions.names, *dict(task.model.controls)
    names = [name for name in wanted if name not in states]
    size = next(n for n in range(min(BATCH, shard), 0, -1) if shard % n == 0)
    weights = experiment.load_frozen()
    encode = jax.jit(lambda weights, x, inputs: computed(experiment, weights, x, inputs))
    layout = None
    alone = {"process_index": 0, "process_count": 1, "prepare": None}
    with closing(experiment.batches(batch_size=size, **alone)) as batches:
        for index in progress(missing, f"shards of {shard} examples cached in {folder}"):
            batches.set_state({"batches": index * shard // size})
            examples = []
            for _ in range(shard // size):
                raw = next(batches)
                inputs = {n: task.conditions.encoders[n].prepare(list(raw[n])) for n in states}
                with devices.algorithms():
                    arrays = encode(weights, *devices.spread((raw["x"], inputs)))
                columns = devices.gather(arrays) | {name: raw[name] for name in names}
                examples += caches.rows(columns)
            if layout is None:
                layout = caches.Layout.of(examples[0], key["dtype"])
                _check_room(folder, len(missing) * shard, layout.size)
                table = {"key": key, "layout": dataclasses.asdict(layout)}
                write_json(folder / caches.DESCRIPTION, table)
            caches.write_shard(caches.shard_path(folder, index), layout, examples)
    assert layout is not None
    return layout


def _check(experiment: "Experiment") -> None:
    if hasattr(experiment.source(), "buckets"):
        raise ValueError("train.cache: data in buckets have several shapes, and are not cached")
    codec = getattr(experiment.task, "codec", None)
    if not isinstance(codec, Summarizing) or not hasattr(experiment.task, "conditions"):
        raise ValueError(
            "train.cache: only the task Diffusion in latents has what can be cached, and this is"
            f" {type(experiment.task).__name__} with the codec {type(codec).__name__}"
        )


def _stateful(experiment: "Experiment") -> tuple[str, ...]:
    """Returns the conditions whose encoders have weights that stay; others cost nothing.

    Of an encoder with an adapter, such as words that are learned, nothing can be kept.
    """
    task: Any = experiment.task
    changing = {adapter.of for adapter in experiment.table.adapters.values()}
    encoders = task.conditions.encoders.items()
    return tuple(n for n, each in encoders if isinstance(each, Frozen) and n not in changing)


def _content(experiment: "Experiment") -> str:
    """Returns a hash of a sample of the data, as they are before the transforms."""
    source, digest = experiment.source(), hashlib.blake2b(digest_size=8)
    for index in np.unique(np.linspace(0, len(source) - 1, PROBES).astype(int)).tolist():
        for name, value in sorted(source[index].items()):
            column = np.asarray(value)
            content = str(value).encode() if column.dtype.kind == "U" else column.tobytes()
            digest.update(name.encode() + content)
    return digest.hexdigest()


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    return [name for name in after if before.get(name) != after[name]]


def _check_room(folder: Path, num: int, size: int) -> None:
    there = next(each for each in folder.absolute().parents if each.exists())
    if shutil.disk_usage(there).free < 1.05 * num * size:
        raise OSError(
            f"train.cache: {num} examples of {size} bytes do not fit on the disk of {folder};"
            " choose dtype='float16', or fewer examples"
        )
