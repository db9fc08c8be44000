"""A folder of clips as a data set: GIF, WebP, MP4, and folders of frames."""

import logging
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Literal, SupportsIndex

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from jaxdiff.data.clip_files import Length, is_clip, probe, read
from jaxdiff.data.image_folder import SPLITS, share_of
from jaxdiff.data.images import MODES, from_pillow, to_pillow
from jaxdiff.options import Positive, Share, Size
from jaxdiff.progress import progress

logger = logging.getLogger(__name__)

Rate = Annotated[float, Positive]


class ClipFolder:
    """Clips uint8 [frames, h, w, channels] below a folder: a window of each.

    A clip is a file of GIF, WebP, MP4, WebM, MOV, MKV or AVI, or a folder of images, which are its
    frames by name. In training the window begins anywhere; `source[i]` is the window in the middle.
    No whole file is in memory. Splits are as in `image_folder`; there are no classes.

    Attributes:
        frames: of an example; with a `rate`, the clip lasts frames / rate seconds.
        rate: frames per second of an example; by default each clip's own. A folder of frames and an
            animation without durations have `frame_rate`.
        size: frames are scaled and their centre is cropped to a square of this side; without it
            they keep their size, and transforms must fix it.
        captions: whether cat.txt has the "text" of the clip cat.mp4, or of the folder of frames
            cat/, in the same folder as it.
        unusable: whether clips that cannot be read, or are too short, are an "error", or "left_out"
            with a warning that counts and names them.

    Raises:
        FileNotFoundError: the folder does not exist, or a clip has no caption.
        ValueError: the split is unknown or has no clips, or clips are unusable; names them.
    """

    num_classes = None
    class_names = None

    def __init__(
        self,
        split: str,
        folder: str | PathLike,
        *,
        frames: Size = 17,
        rate: Rate | None = None,
        frame_rate: Rate = 8.0,
        size: Size | None = None,
        channels: Literal[1, 3, 4] = 3,
        captions: bool = False,
        test_fraction: Share = 0.1,
        unusable: Literal["error", "left_out"] = "error",
    ):
        root = Path(folder)
        if not root.is_dir():
            raise FileNotFoundError(f"clip_folder: folder={str(folder)!r} is not a folder")
        if channels not in MODES:
            raise ValueError(f"clip_folder: channels={channels}; 1, 3 or 4 are possible")
        splits = [p.name for p in root.iterdir() if p.is_dir() and p.name in SPLITS]
        known = splits or ["train", "test", "all"]
        if split not in known:
            raise ValueError(f"{root}: unknown split {split!r}; known: {', '.join(sorted(known))}")
        self.root = root / split if splits else root
        paths = [path.relative_to(self.root) for path in _clips(self.root)]
        paths = paths if splits else share_of(paths, split, test_fraction)
        self._rate, self._frame_rate, self._size = rate, frame_rate, size
        self._captions = captions
        self.shape = (frames, size, size, channels)
        self.lengths = self._probed(paths, unusable)
        self.paths = list(self.lengths)
        if not self.paths:
            raise ValueError(f"{root}: no clips in split {split!r}")
        bare = [path for path in self.paths if captions and not self._caption(path).exists()]
        if bare:
            raise FileNotFoundError(
                f"clip_folder: captions=True, but {len(bare)} clips have none, such as"
                f" {self.root / bare[0]}: {self._caption(bare[0]).name} is missing"
            )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        return self._example(index, 0.5)

    def draw(self, index: SupportsIndex, rng: np.random.Generator) -> dict[str, Any]:
        """Returns an example whose window begins at a random time."""
        return self._example(index, float(rng.random()))

    def _example(self, index: SupportsIndex, share: float) -> dict[str, Any]:
        """Reads the window that begins after a share of the time that is left for it."""
        path, channels = self.paths[index], self.shape[-1]
        indices = self._window(self.lengths[path], share)
        frames = [self._sized(f) for f in read(self.root / path, indices, channels)]
        if len({frame.shape for frame in frames}) > 1:
            raise ValueError(f"{self.root / path}: its frames differ in size")
        example: dict[str, Any] = {"x": np.stack(frames)}
        if self._captions:
            caption = self._caption(path)
            try:
                example["text"] = caption.read_text(encoding="utf-8").strip()
            except UnicodeDecodeError as error:
                raise ValueError(f"{caption} is not a text in UTF-8: {error}") from None
        return example

    def _window(self, length: Length, share: float) -> list[int]:
        """Returns the clip's frames at the times of the window."""
        step = (length.rate or self._frame_rate) / self._rate if self._rate else 1.0
        room = length.frames - 1 - (self.shape[0] - 1) * step
        begin = share * room if self._rate else np.floor(share * (int(room) + 1) * (1 - 1e-9))
        return [round(begin + step * i) for i in range(self.shape[0])]

    def _probed(self, paths: list[Path], unusable: str) -> dict[Path, Length]:
        """Returns the lengths of the clips that can be used."""
        lengths, bad = {}, []
        for path in progress(paths, "clips looked at"):
            try:
                lengths[path] = self._checked(self.root / path, probe(self.root / path))
            except ValueError as error:
                bad.append(str(error))
        if bad and unusable == "error":
            raise ValueError(
                f"clip_folder: {len(bad)} of {len(paths)} clips cannot be used: {bad[0]}; repair or"
                " remove them, or set unusable='left_out'"
            )
        if bad:
            logger.warning("%d of %d clips left out: %s", len(bad), len(paths), "; ".join(bad))
        return lengths

    def _checked(self, path: Path, length: Length) -> Length:
        if self._window(length, 0.0)[-1] > length.frames - 1 or length.frames < 1:
            rate = length.rate or self._frame_rate
            raise ValueError(
                f"{path}: too short, {length.frames} frames at {rate:g} a second; wanted are"
                f" {self.shape[0]} at {self._rate or rate:g}"
            )
        return length

    def _sized(self, frame: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h2 w2 c"]:
        if self._size is None:
            return frame
        image = ImageOps.fit(to_pillow(frame), (self._size,) * 2, Image.Resampling.LANCZOS)
        return from_pillow(image)

    def _caption(self, path: Path) -> Path:
        whole = self.root / path
        return whole.parent / f"{whole.name if whole.is_dir() else whole.stem}.txt"


def _clips(folder: Path) -> list[Path]:
    """Lists the clips below a folder; a folder of frames is one clip."""
    found = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if is_clip(path):
            found.append(path)
        elif path.is_dir():
            found += _clips(path)
    return found
