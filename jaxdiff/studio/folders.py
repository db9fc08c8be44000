"""The folders of a studio: no path outside of them is ever read or written.

    models/checkpoints, loras, vae, controlnet, text_encoders, diffusion_models, embeddings
    input, output, temp

A name is a path within one of them, "style/ink.safetensors". Absolute paths, "..", and links that
lead out are refused.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath

from jaxdiff.config.kinds import suggest

WEIGHTS = (".safetensors",)
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")
INDEX = "model_index.json"
MODELS = (
    "checkpoints",
    "loras",
    "vae",
    "controlnet",
    "text_encoders",
    "diffusion_models",
    "embeddings",
)
LONGEST = 200
MOST = 10_000
"""The number of files of a folder that are listed."""

NAME = re.compile(r"[^\x00-\x1f<>:\"|?*\\]+")


def inside(root: str | Path, name: str) -> Path:
    """Returns the path of a name within a folder; nothing is opened.

    Raises:
        ValueError: the name is empty, too long, absolute, has ".." or characters that no file
            should have, or leads out of the folder by a link.
    """
    parts = PurePosixPath(name).parts
    whole = (
        0 < len(name) <= LONGEST
        and NAME.fullmatch(name)
        and not PurePosixPath(name).is_absolute()
        and not PureWindowsPath(name).drive
        and parts
        and not {"..", "."} & set(name.split("/"))
    )
    if not whole:
        raise ValueError(f"{name[:LONGEST]!r} is no name of a file within its folder")
    root = Path(root).resolve()
    path = root.joinpath(*parts)
    if not path.resolve().is_relative_to(root):
        raise ValueError(f"{name!r} leads out of its folder")
    return path


@dataclass(frozen=True)
class Folders:
    """The folders of a studio.

    Attributes:
        root: has `models`, `input`, `output` and `temp`.
        checkpoints: models beside those in `models/checkpoints`, by the names they go by.
    """

    root: Path
    checkpoints: Mapping[str, Path] = field(default_factory=dict)

    def made(self) -> "Folders":
        """Makes the folders that are not there, and returns the same."""
        for name in ("input", "output", "temp", *(f"models/{each}" for each in MODELS)):
            (Path(self.root) / name).mkdir(parents=True, exist_ok=True)
        return self

    def folder(self, name: str) -> Path:
        """Returns the path of a folder by its name, "checkpoints" or "input".

        Raises:
            ValueError: there is no folder of this name.
        """
        if name in MODELS:
            return Path(self.root) / "models" / name
        if name not in ("input", "output", "temp"):
            known = ["input", "output", "temp", *MODELS]
            raise ValueError(f"there is no folder {name!r}{suggest(name, known)}")
        return Path(self.root) / name

    def listed(self, folder: str) -> list[str]:
        """Returns the names of files in a folder; of models, folders of diffusers too."""
        root = self.folder(folder)
        found = list(self.checkpoints) if folder == "checkpoints" else []
        suffixes = WEIGHTS if folder in MODELS else PICTURES
        for path in sorted(root.rglob("*"))[:MOST] if root.is_dir() else []:
            name = path.relative_to(root).as_posix()
            within = not any(_is_model(root / each) for each in _above(name))
            model = path.is_dir() and _is_model(path)
            file = path.is_file() and path.suffix.lower() in suffixes
            if within and (model or file) and _leads_inside(root, name):
                found.append(name)
        return found

    def path(self, folder: str, name: str) -> Path:
        """Returns the path of a file that is there.

        Raises:
            ValueError: the name leads out of the folder, or there is no such file.
        """
        if folder == "checkpoints" and name in self.checkpoints:
            return Path(self.checkpoints[name])
        path = inside(self.folder(folder), name)
        if not path.exists():
            known = self.listed(folder)
            nearest = suggest(name, known) if known else ": the folder is empty"
            raise ValueError(f"there is no {name!r} in {folder}{nearest}")
        return path

    def fresh(self, folder: str, prefix: str, suffix: str, count: int) -> list[str]:
        """Returns names of `count` files that are not there yet, prefix_00001_.png, ...

        Raises:
            ValueError: the prefix leads out of the folder.
        """
        root = self.folder(folder)
        first = inside(root, f"{prefix}_00001_{suffix}")
        first.parent.mkdir(parents=True, exist_ok=True)
        stem = PurePosixPath(prefix).name
        number = re.compile(re.escape(stem) + r"_(\d{5,})_")
        matches = (number.match(each.name) for each in first.parent.iterdir())
        taken = [int(match[1]) for match in matches if match]
        start = max(taken, default=0) + 1
        return [f"{prefix}_{n:05d}_{suffix}" for n in range(start, start + count)]


def _is_model(folder: Path) -> bool:
    """Whether a folder is a model: of diffusers, or with a config.json, as its parts and runs."""
    return any((folder / each).is_file() for each in (INDEX, "config.json"))


def _above(name: str) -> list[str]:
    """Returns the folders above a name, within the root."""
    return [str(each) for each in PurePosixPath(name).parents if str(each) != "."]


def _leads_inside(root: Path, name: str) -> bool:
    try:
        inside(root, name)
    except ValueError:
        return False
    return True
