"""Safetensors files: one, or shards with an index, read one tensor at a time."""

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxdiff.files import atomic_write
from jaxdiff.pretrained.convert import to_ours, to_theirs
from jaxdiff.pretrained.rules import Table
from jaxdiff.typing import Params

PLAIN = ("model.safetensors", "diffusion_pytorch_model.safetensors")
"""The files preferred in a folder of several, such as beside a half-precision copy."""

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)+/?")
"""A name on the hub, perhaps with a folder in it. None of its parts begins with a dot."""

FILES = (".safetensors", ".json")

PICKLED = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
"""Files of PyTorch that run code when they are read."""

KEPT = ("*.safetensors", "*.json", "*.txt")
"""The files fetched from the hub: weights, settings, vocabularies."""


TYPES = {
    "BOOL": np.bool_, "U8": np.uint8, "I8": np.int8, "U16": np.uint16, "I16": np.int16,
    "U32": np.uint32, "I32": np.int32, "U64": np.uint64, "I64": np.int64, "F16": np.float16,
    "F32": np.float32, "F64": np.float64, "BF16": jnp.bfloat16, "F8_E4M3": jnp.float8_e4m3fn,
    "F8_E5M2": jnp.float8_e5m2,
}  # fmt: skip
"""The types of arrays by their names in a file."""


@dataclass(frozen=True)
class Stored:
    """A tensor in a file, `at` its first byte; `numpy.asarray` reads it."""

    key: str
    shape: tuple[int, ...]
    kind: str
    file: Path = field(repr=False)
    at: int = field(repr=False)

    def mapped(self) -> np.ndarray:
        """Returns the tensor as it lies in the file, whose pages are read when they are used.

        Raises:
            ValueError: its type is not known.
        """
        if self.kind not in TYPES:
            raise ValueError(f"{self.key!r} is stored as {self.kind}, which cannot be read")
        kind = np.dtype(TYPES[self.kind])
        if not all(self.shape):
            return np.zeros(self.shape, kind)
        count = math.prod(self.shape)
        data = np.memmap(self.file, np.uint8, "r", self.at, (count * kind.itemsize,))
        return np.asarray(data).view(kind).reshape(self.shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.mapped(), dtype)


def load(table: Table, source: str | os.PathLike, target: Params) -> Params:
    """Returns the weights in `source` as a tree like `target` (arrays, or shapes).

    Raises:
        ValueError: the file is missing, damaged or of another network.
    """
    file = find_weights(resolve(source))
    return to_ours(table, open_tensors(file), target, source=str(file))


def save(table: Table, params: Params, path: str | os.PathLike) -> None:
    """Writes parameters as a safetensors file with the keys of a checkpoint.

    Raises:
        ValueError: no rule of the table matches a parameter.
    """
    write_tensors(to_theirs(table, params), path)


def write_tensors(tensors: Mapping[str, Any], path: str | os.PathLike) -> None:
    """Writes arrays by key as a safetensors file."""
    numpy = {key: np.ascontiguousarray(np.asarray(value)) for key, value in tensors.items()}
    with atomic_write(path) as draft:
        _safetensors().numpy.save_file(numpy, draft, metadata={"format": "pt"})


def resolve(source: str | os.PathLike) -> Path:
    """Returns a local path, or the path of a downloaded repository of the hub.

    "owner/name" may be followed by a folder in the repository. A download needs `huggingface_hub`.
    What may as well be a misspelt path is none: "runs/digitz" where there is a folder "runs".

    Raises:
        ValueError: there is no such path, and no such repository or no `huggingface_hub`.
    """
    path = Path(source).expanduser()
    if path.exists():
        return path
    if not isinstance(source, str) or not REPOSITORY.fullmatch(source) or path.suffix in FILES:
        raise ValueError(f"there is no file or folder {os.fspath(source)!r}")
    owner, name, *below = source.split("/")
    if Path(owner).exists():
        raise ValueError(
            f"there is no file or folder {source!r}, and no download is tried, as {owner!r} is here"
        )
    try:
        import huggingface_hub  # noqa: PLC0415 - an extra
    except ImportError:
        raise ValueError(
            f"there is no file or folder {source!r}; to download a repository of this name, install"
            ' huggingface_hub: pip install "jaxdiff[hub]"'
        ) from None
    inside = "/".join(part for part in below if part)
    kept = [f"{inside}/{pattern}" if inside else pattern for pattern in KEPT]
    try:
        folder = huggingface_hub.snapshot_download(f"{owner}/{name}", allow_patterns=kept)
    except Exception as error:
        raise ValueError(
            f"there is no file or folder {source!r}, and its download from the hub failed: {error}"
        ) from error
    return Path(folder) / inside


def find_weights(path: str | os.PathLike) -> Path:
    """Returns a file itself; of a folder, the index of its shards or its one file of weights.

    Raises:
        ValueError: the file is missing, or the folder has several.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"there is no file or folder {str(path)!r}")
    return _in_folder(path) if path.is_dir() else path


def open_tensors(path: str | os.PathLike) -> Mapping[str, Stored]:
    """Returns the tensors of a file, an index of shards, or a folder by key, without reading them.

    Raises:
        ValueError: the file is missing or damaged, or the folder has several.
    """
    file = find_weights(path)
    if file.name.endswith(".index.json"):
        return _open_shards(file)
    return _open_file(file)


def header_of(file: Path) -> Mapping[str, str]:
    """Returns the texts in the header of a safetensors file.

    Raises:
        ValueError: the file is damaged.
    """
    safetensors = _safetensors()
    try:
        with safetensors.safe_open(file, framework="numpy") as handle:
            return handle.metadata() or {}
    except (safetensors.SafetensorError, OSError) as error:
        raise ValueError(f"{str(file)!r} is no whole safetensors file: {error}") from None


def fingerprint(path: str | os.PathLike) -> str:
    """Returns a hash of the weights in a file, in an index's shards, or in a folder.

    Raises:
        ValueError: the file is missing, or the folder has several.
    """
    file = find_weights(path)
    sharded = file.name.endswith(".index.json")
    whole = hashlib.blake2b(digest_size=16)
    for part in _shards(file)[1].values() if sharded else [file]:
        with part.open("rb") as stream:
            whole.update(hashlib.file_digest(stream, "blake2b").digest())
    return whole.hexdigest()


def _in_folder(folder: Path) -> Path:
    for pattern in ("*.safetensors.index.json", "*.safetensors"):
        files = sorted(folder.glob(pattern))
        plain = [file for file in files if file.name.removesuffix(".index.json") in PLAIN]
        if len(chosen := plain if len(files) > 1 else files) == 1:
            return chosen[0]
        if files:
            there = ", ".join(file.name for file in files)
            raise ValueError(f"{str(folder)!r} has several weight files; name one of: {there}")
    for file in sorted(folder.iterdir()):
        refuse_pickled(file)
    there = ", ".join(sorted(file.name for file in folder.iterdir())[:10]) or "nothing"
    raise ValueError(f"{str(folder)!r} has no *.safetensors; it has {there}")


def _open_shards(index: Path) -> dict[str, Stored]:
    homes, shards = _shards(index)
    opened = {name: _open_file(shard) for name, shard in shards.items()}
    if lost := [key for key, name in homes.items() if key not in opened[name]]:
        raise ValueError(
            f"{str(index)!r}: {len(lost)} keys are not in their shards, such as {lost[0]!r} in"
            f" {homes[lost[0]]}"
        )
    return {key: opened[name][key] for key, name in homes.items()}


def _shards(index: Path) -> tuple[dict[str, str], dict[str, Path]]:
    """Returns the name of each key's shard, and each shard's path, in the order of the names."""
    try:
        homes = dict(json.loads(index.read_text())["weight_map"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{str(index)!r} is not an index of shards: {error!r}") from None
    if outside := [n for n in homes.values() if not isinstance(n, str) or Path(n).name != n]:
        raise ValueError(f"{str(index)!r} names {outside[0]!r}, which is no file beside it")
    shards = {name: index.parent / name for name in sorted(set(homes.values()))}
    if missing := [str(shard) for shard in shards.values() if not shard.exists()]:
        raise ValueError(f"{str(index)!r} names shards that are not there: {', '.join(missing)}")
    return homes, shards


def refuse_pickled(file: Path) -> None:
    """Raises ValueError, which says how to convert it, for a file that may run code."""
    if file.suffix in PICKLED:
        raise ValueError(
            f"{str(file)!r} is a pickle, which may run code when it is read. Convert it to"
            f" .safetensors, which runs nothing: python experiments/convert.py --file={file}"
        )


def _open_file(file: Path) -> dict[str, Stored]:
    refuse_pickled(file)
    safetensors = _safetensors()
    try:
        with safetensors.safe_open(file, framework="numpy"), file.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(size))
    except (safetensors.SafetensorError, OSError) as error:
        raise ValueError(
            f"{str(file)!r} is cut off, or is not a safetensors file: {error}"
        ) from None
    header.pop("__metadata__", None)
    return {
        key: Stored(key, tuple(one["shape"]), one["dtype"], file, 8 + size + one["data_offsets"][0])
        for key, one in header.items()
    }


def _safetensors() -> Any:
    try:
        import safetensors.numpy  # noqa: PLC0415 - an extra
    except ImportError:
        raise ImportError(
            'checkpoints need safetensors: pip install "jaxdiff[pretrained]"'
        ) from None
    return safetensors
