"""A folder of image files as a data set."""

import zlib
from os import PathLike
from pathlib import Path
from typing import Literal, SupportsIndex

from PIL import Image

from jaxdiff.data.images import MODES, decode
from jaxdiff.options import Share

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
SPLITS = {"train", "validation", "val", "test"}


class ImageFolder:
    """Image files below a folder; each subfolder is a class. Without subfolders, no labels.

    Subfolders named train, validation, val or test are splits. Without them, split "all" holds
    every file, "test" the share `test_fraction` of the files, and "train" the others. A hash of the
    file's name decides, so a file stays in its split when files are added.

    Images vary in size, so `shape` is (None, None, channels) and transforms must fix the size. With
    `captions`, the "text" of cat.png is the content of cat.txt in the same folder.

    Raises:
        FileNotFoundError: the folder does not exist, or an image has no caption.
        ValueError: the split is unknown, the split has no images, or images lie both in subfolders
            and in the folder itself; on reading, if a file is not a readable image.
    """

    def __init__(
        self,
        split: str,
        folder: str | PathLike,
        *,
        channels: Literal[1, 3, 4] = 3,
        test_fraction: Share = 0.1,
        captions: bool = False,
    ):
        root = Path(folder)
        if not root.is_dir():
            raise FileNotFoundError(f"image_folder: folder={str(folder)!r} is not a folder")
        if channels not in MODES:
            raise ValueError(f"image_folder: channels={channels}; 1, 3 or 4 are possible")
        splits = [p.name for p in root.iterdir() if p.is_dir() and p.name in SPLITS]
        known = splits or ["train", "test", "all"]
        if split not in known:
            raise ValueError(f"{root}: unknown split {split!r}; known: {', '.join(sorted(known))}")
        files = {name: _images(root / name) for name in splits} or {split: _images(root)}
        names = sorted(set.union(*(_classes(below) for below in files.values())))
        self.root = root / split if splits else root
        self.files = files[split] if splits else share_of(files[split], split, test_fraction)
        if not self.files:
            raise ValueError(
                f"{root}: no images in split {split!r}; looked for {', '.join(sorted(SUFFIXES))}"
            )
        if captions and (bare := [f for f in self.files if not self._caption(f).exists()]):
            raise FileNotFoundError(
                f"image_folder: captions=True, but {len(bare)} images have none, such as"
                f" {self.root / bare[0]}: {self._caption(bare[0]).name} is missing"
            )
        self.captions = captions
        self.shape = (None, None, channels)
        self.class_names = tuple(names) or None
        self.num_classes = len(names) or None

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: SupportsIndex) -> dict:
        file = self.files[index]
        path = self.root / file
        example = {"x": decode(path, self.shape[-1], str(path))}
        if self.class_names:
            example["label"] = self.class_names.index(file.parts[0])
        if self.captions:
            caption = self._caption(file)
            try:
                example["text"] = caption.read_text(encoding="utf-8").strip()
            except UnicodeDecodeError as error:
                raise ValueError(f"{caption} is not a text in UTF-8: {error}") from None
        return example

    def size(self, index: SupportsIndex) -> tuple[int, int]:
        """Returns height and width of an image, upright, without decoding it."""
        with Image.open(self.root / self.files[index]) as image:
            turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
            return image.size if turned else image.size[::-1]

    def _caption(self, file):
        return (self.root / file).with_suffix(".txt")


def _images(folder: Path) -> list[Path]:
    """Lists the images below a folder, as paths relative to it."""
    return sorted(
        path.relative_to(folder)
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )


def _classes(files: list[Path]) -> set[str]:
    """Returns the subfolders that hold images; empty if the images lie in the folder itself."""
    classes = {file.parts[0] for file in files if len(file.parts) > 1}
    loose = [file for file in files if len(file.parts) == 1]
    if loose and classes:
        raise ValueError(
            f"{loose[0]}: lies beside class folders ({', '.join(sorted(classes))}); "
            "move it into one of them, or all images out of them"
        )
    return classes


def share_of(files: list[Path], split: str, test_fraction: float) -> list[Path]:
    """Returns the files of a split; the split of a file depends on its own path only."""
    if split == "all":
        return files
    held_out = lambda file: zlib.crc32(file.as_posix().encode()) < test_fraction * 2**32
    return [file for file in files if held_out(file) == (split == "test")]
