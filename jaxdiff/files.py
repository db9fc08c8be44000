"""Reading and writing files: a file that is written is either whole or absent."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np


@contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary path with the same suffix that becomes `path` when the block succeeds.

    Folders are made where they are missing. If the block raises, `path` stays as it was.

    Raises:
        OSError: the disk is full, or the folder cannot be written to; names the file.
    """
    path = Path(path)
    try:
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
    path = Path(path)
    if path.is_dir():
        raise OSError(f"{path} cannot be written: it is a folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise OSError(f"{path} cannot be written: {error.strerror or error}") from error


def read_json(path: str | os.PathLike, kind: type = object) -> Any:
    """Reads a file of JSON, which holds an object (`dict`), a list, or anything.

    Raises:
        ValueError: the file is missing, cannot be read, is not JSON, or holds something else; names
            the file.
    """
    name = repr(os.fspath(path))
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
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
