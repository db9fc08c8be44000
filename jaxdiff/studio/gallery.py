"""The gallery: pictures of the output folder, the newest first, searched in their settings."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from jaxdiff.studio.folders import Folders, inside

MOST = 20_000


@dataclass(frozen=True)
class Kept:
    """A picture in the output folder: its name there, its path, and the text of its settings."""

    name: str
    path: Path
    text: str


def search(folders: Folders, words: str = "", most: int = 100) -> list[Kept]:
    """Returns the newest pictures in whose settings all words are, in any case."""
    root = folders.folder("output")
    wanted = words.lower().split()
    files = [path for path in root.rglob("*.png") if path.is_file()][:MOST]
    found: list[Kept] = []
    for path in sorted(files, key=lambda each: each.stat().st_mtime, reverse=True):
        name = path.relative_to(root).as_posix()
        try:
            inside(root, name)
            text = settings(path)
        except (ValueError, OSError):
            continue
        if all(word in text.lower() for word in wanted):
            found.append(Kept(name, path, text))
        if len(found) == most:
            break
    return found


def settings(path: Path) -> str:
    """Returns the text of settings of a PNG file, or the graph that it was drawn by."""
    with Image.open(path, formats=("PNG",)) as image:
        texts = dict(getattr(image, "text", {}) or {})
    return texts.get("parameters") or texts.get("prompt") or ""
