"""Reading and writing files, on a disk or in a bucket: one that is written is whole or absent."""

import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
from etils import epath

AnyPath = Path | epath.Path
"""A path on a disk, or in a bucket of Google Cloud Storage."""


def as_path(path: str | os.PathLike) -> AnyPath:
    """Returns a path on a disk, or one in a bucket, "gs://bucket/name".

    Raises:
        ValueError: it begins with another protocol, or packages are missing.
    """
    text = os.fspath(path)
    if "://" not in text:
        return Path(text)
    if not text.startswith("gs://"):
        raise ValueError(
            f"{text!r}: expected a path on a disk, or in a bucket of Google Cloud Storage,"
            " gs://bucket/name"
        )
    try:
        fsspec.get_filesystem_class("gcs")
    except ImportError as error:
        raise ValueError(f"{text!r} needs: pip install jaxdiff[gcs] ({error})") from error
    return epath.Path(text)


def in_bucket(path: AnyPath) -> bool:
    """Returns whether a path is in a bucket, which has no locks, and whose files cannot grow."""
    return not isinstance(path, Path)


def absolute(path: str | os.PathLike) -> AnyPath:
    """Returns the whole path; those in buckets are."""
    path = as_path(path)
    return path if in_bucket(path) else Path(path).absolute()


def files_in(folder: AnyPath) -> Iterator[AnyPath]:
    """Yields all files in a folder and in those within it, in order."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.is_dir():
            yield from files_in(path)
        else:
            yield path


def move_folder(folder: AnyPath, target: AnyPath) -> None:
    """Moves a folder. In a bucket the files are copied one by one, and removed after the last."""
    if not in_bucket(folder):
        shutil.move(folder, target)
        return
    for file in files_in(folder):
        (target / file.relative_to(folder)).write_bytes(file.read_bytes())
    remove_folder(folder)


def remove_folder(folder: AnyPath) -> None:
    """Removes a folder with all that is in it."""
    epath.Path(folder).rmtree()


@contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary path with the same suffix that becomes `path` when the block succeeds.

    It is on a disk in any case: a file is sent to a bucket when it is whole. Folders are made where
    they are missing. If the block raises, `path` stays as it was.

    Raises:
        OSError: the disk is full, or the folder cannot be written to; names the file.
    """
    path = as_path(path)
    try:
        if in_bucket(path):
            with tempfile.TemporaryDirectory() as folder:
                temporary = Path(folder) / path.name
                yield temporary
                path.write_bytes(temporary.read_bytes())
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        # In the same folder, because a rename is atomic only within one file system.
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
            temporary = Path(folder) / path.name
            yield temporary
            os.replace(temporary, path)
    except OSError as error:
        raise OSError(f"{path} cannot be written: {error.strerror or error}") from error


def check_writable(path: str | os.PathLike) -> None:
    """Checks that a file can be written, before its content is computed; makes its folder.

    Raises:
        OSError: it cannot; names the file.
    """
    path = as_path(path)
    if path.is_dir():
        raise OSError(f"{path} cannot be written: it is a folder")
    try:
        check_folder(path.parent)
    except OSError as error:
        raise OSError(f"{path} cannot be written: {error.strerror or error}") from error


def check_folder(folder: AnyPath) -> None:
    """Makes a folder, and checks that files can be written there; OSError if they cannot."""
    if in_bucket(folder):
        probe = folder / f".probe_{uuid.uuid4().hex}"
        probe.write_bytes(b"")
        probe.unlink()
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def read_json(path: str | os.PathLike, kind: type = object) -> Any:
    """Reads a file of JSON, which holds an object (`dict`), a list, or anything.

    Raises:
        ValueError: the file is missing, cannot be read, is not JSON, or holds something else; names
            the file.
    """
    name = repr(os.fspath(path))
    try:
        found = json.loads(as_path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"there is no file {name}") from None
    except OSError as error:
        raise ValueError(f"{name} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} is not JSON: {error}") from None
    if not isinstance(found, kind):
        wanted = "a JSON object" if kind is dict else f"a JSON {kind.__name__}"
        raise ValueError(f"{name} must be {wanted}, not {type(found).__name__}")
    return found


def read_array(path: str | os.PathLike) -> np.ndarray:
    """Reads a .npy file of numbers.

    Raises:
        ValueError: the file is missing, cannot be read, or holds no numbers; names the file.
    """
    name = repr(os.fspath(path))
    try:
        array = np.load(path)
    except OSError as error:
        raise ValueError(f"{name} cannot be read: {error.strerror or error}") from None
    except (ValueError, EOFError, SyntaxError) as error:
        raise ValueError(f"{name} is no .npy file of numbers: {error}") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf" or not array.ndim:
        raise ValueError(f"{name} is no .npy file of numbers, an array with at least one axis")
    return array


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes a value as indented JSON."""
    with atomic_write(path) as draft:
        draft.write_text(json.dumps(value, indent=1) + "\n")
