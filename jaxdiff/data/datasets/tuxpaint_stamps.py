"""The stamps of Tux Paint with captions (GPL-2), from Debian's tuxpaint-stamps-default."""

import hashlib
import zlib
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import UInt8
from PIL import Image, ImageOps

from jaxdiff.data.emoji_files import on_white, raster
from jaxdiff.data.images import decode, png
from jaxdiff.options import Size
from jaxdiff.progress import progress

FOLDER = "/usr/share/tuxpaint/stamps"
"""Where Debian's package puts the files."""

CATEGORIES = ("animals", "clothes", "food", "hobbies", "household", "medical", "military")
CATEGORIES += ("naturalforces", "people", "plants", "seasonal", "space", "sports", "symbols")
CATEGORIES += ("town", "vehicles")


class TuxpaintStamps(tfds.core.GeneratorBasedBuilder):
    """About 950 pictures [size, size, 3], fitted into a white square; the label is the category.

    "text" is the caption; "sound" the path of a recording of the thing below `folder`, "" without
    one. A hash of the path puts a tenth of the stamps into "test". Prepared data are stored under a
    digest of the files' names and sizes: another folder is another data set.

    Raises:
        FileNotFoundError: there are no stamps in `folder`.
    """

    VERSION = tfds.core.Version("1.0.0")
    FIELDS = ("text",)
    ATTRIBUTION = (
        "Stamps of Tux Paint (https://tuxpaint.org), by its contributors. License: GPL-2."
        " The file docs of the stamps names the authors of each."
    )

    def __init__(self, *, folder: str | PathLike = FOLDER, size: Size = 64, **options: Any):
        self._folder, self._size = Path(folder), size
        self.stamps = find_stamps(self._folder)
        listed = [(str(p.relative_to(self._folder)), p.stat().st_size) for p in self.stamps]
        digest = hashlib.sha256(repr(listed).encode()).hexdigest()[:12]
        self._config = tfds.core.BuilderConfig(name=f"{digest}-{size}", version=self.VERSION)
        super().__init__(config=self._config, **options)

    def get_builder_config(self, name: str, version: Any = None) -> tfds.core.BuilderConfig:
        """Returns the config named by the files and the size."""
        return self._config

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Pictures with captions, some with a sound.",
            homepage="https://tuxpaint.org/stamps/",
            license=self.ATTRIBUTION,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(self._size, self._size, 3)),
                    "label": tfds.features.ClassLabel(names=CATEGORIES),
                    "text": tfds.features.Text(),
                    "sound": tfds.features.Text(),
                }
            ),
            supervised_keys=("image", "label"),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        return {split: self._generate_examples(split) for split in ("train", "test")}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict]]:
        held_out = lambda path: (
            zlib.crc32(path.relative_to(self._folder).with_suffix("").as_posix().encode())
            < 0.1 * 2**32
        )
        chosen = [path for path in self.stamps if held_out(path) == (split == "test")]
        for i, path in enumerate(progress(chosen, f"stamps of tuxpaint_stamps, {split}")):
            sounds = [path.with_suffix(end) for end in (".ogg", ".wav")]
            found = [str(s.relative_to(self._folder)) for s in sounds if s.exists()]
            yield (
                i,
                {
                    "image": png(fitted(path, self._size)),
                    "label": path.relative_to(self._folder).parts[0],
                    "text": caption_of(path),
                    "sound": found[0] if found else "",
                },
            )


def find_stamps(folder: Path) -> list[Path]:
    """Lists pictures that have a caption, a PNG before an SVG of the same name, in a fixed order.

    Raises:
        FileNotFoundError: there are none.
    """
    found: dict[Path, Path] = {}
    for end in (".svg", ".png"):
        for path in folder.rglob(f"*{end}"):
            known = path.relative_to(folder).parts[0] in CATEGORIES
            if known and path.with_suffix(".txt").exists():
                found[path.with_suffix("")] = path
    if not found:
        raise FileNotFoundError(
            f"tuxpaint_stamps: folder={str(folder)!r} has no stamps; install Debian's"
            " tuxpaint-stamps-default, or set `folder` to its usr/share/tuxpaint/stamps"
        )
    return [found[stem] for stem in sorted(found)]


def caption_of(path: Path) -> str:
    """Returns the English caption of a stamp: the first line of its text, without the full stop."""
    lines = path.with_suffix(".txt").read_text(encoding="utf-8", errors="replace").splitlines()
    return lines[0].strip().rstrip(".") if lines else ""


def fitted(path: Path, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """Returns a picture, shrunk to fit into a white square."""
    svg = path.suffix == ".svg"
    pixels = raster(path.read_text("utf-8"), 2 * size) if svg else decode(path, 4, str(path))
    image = Image.fromarray(pixels)
    small = ImageOps.contain(image, (size, size), Image.Resampling.LANCZOS)
    return on_white(np.asarray(ImageOps.pad(small, (size, size), color=(255, 255, 255, 0))))
