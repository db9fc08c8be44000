"""Clips in files: GIF and WebP by Pillow, MP4 and its kind by PyAV, folders of frames.

`probe` says how long a clip is, `read` decodes some of its frames; neither keeps a whole clip in
memory.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageSequence

from jaxdiff.data.image_folder import SUFFIXES as IMAGES
from jaxdiff.data.images import MODES, decode, from_pillow

ANIMATIONS = {".gif", ".webp"}
FRAMES = IMAGES - ANIMATIONS
"""The kinds of images that may be a frame in a folder."""

VIDEOS = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm"}

Pixels = UInt8[np.ndarray, "h w c"]


class Length(NamedTuple):
    """The length of a clip: its frames, and how many there are in a second; 0 if it does not say.

    An animation says so by the duration of its first frame.
    """

    frames: int
    rate: float


def is_clip(path: Path) -> bool:
    """Returns whether a path is a file of a known kind, or a folder that holds images."""
    if path.is_dir():
        return any(child.suffix.lower() in FRAMES for child in path.iterdir() if child.is_file())
    return path.suffix.lower() in ANIMATIONS | VIDEOS


def probe(path: Path) -> Length:
    """Returns the length of a clip, whose first frame is read as a proof that it can be.

    Raises:
        ValueError: it cannot be read; names the file.
    """
    return _named(path, _probe_video, _probe_animation, _probe_folder)


def read(path: Path, indices: Sequence[int], channels: int) -> list[Pixels]:
    """Returns the frames of some indices, which rise; one may occur several times.

    Raises:
        ValueError: the clip cannot be read, or is shorter; names the file.
    """
    frames = _named(
        path,
        lambda path: _read_video(path, indices, channels),
        lambda path: _read_animation(path, indices, channels),
        lambda path: [decode(_frames(path)[i], channels, str(_frames(path)[i])) for i in indices],
    )
    if len(frames) != len(indices):
        raise ValueError(f"{path}: ends before frame {indices[len(frames)]}")
    return frames


def _named(path: Path, video: Callable, animation: Callable, folder: Callable) -> Any:
    """Calls the function of a clip's kind; its errors name the file."""
    kind = folder if path.is_dir() else video if path.suffix.lower() in VIDEOS else animation
    try:
        return kind(path)
    except ModuleNotFoundError:
        raise
    except (OSError, EOFError, ValueError, IndexError, SyntaxError) as error:
        if str(error).startswith(f"{path}"):
            raise
        raise ValueError(f"{path}: not a readable clip ({error or 'it has no frame'})") from error


def _probe_animation(path: Path) -> Length:
    with Image.open(path) as image:
        image.load()
        duration = image.info.get("duration", 0)
        return Length(getattr(image, "n_frames", 1), 1000 / duration if duration else 0.0)


def _read_animation(path: Path, indices: Sequence[int], channels: int) -> list[Pixels]:
    wanted, found = list(indices), []
    with Image.open(path) as image:
        for index, frame in enumerate(ImageSequence.Iterator(image)):
            while wanted and wanted[0] == index:
                pixels = from_pillow(frame.convert(MODES[channels]))
                found.append(pixels)
                wanted.pop(0)
            if not wanted:
                break
    return found


def _frames(path: Path) -> list[Path]:
    return sorted(child for child in path.iterdir() if child.suffix.lower() in FRAMES)


def _probe_folder(path: Path) -> Length:
    frames = _frames(path)
    decode(frames[0], 3, str(frames[0]))
    return Length(len(frames), 0.0)


def _probe_video(path: Path) -> Length:
    with _av().open(str(path)) as container:
        stream = container.streams.video[0]
        rate = float(stream.average_rate or stream.guessed_rate or 0)
        next(container.decode(stream))
        count = stream.frames
        if not count and stream.duration and stream.time_base:
            count = round(float(stream.duration * stream.time_base) * rate)
        elif not count and container.duration:
            count = round(container.duration / _av().time_base * rate)
        return Length(int(count), rate)


def _read_video(path: Path, indices: Sequence[int], channels: int) -> list[Pixels]:
    wanted, found, latest = list(indices), [], None
    with _av().open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"  # the loader has threads of its own
        rate, base = float(stream.average_rate or stream.guessed_rate), float(stream.time_base)
        start = (stream.start_time or 0) * base
        # To the key frame before the first frame that is wanted.
        container.seek(int((start + wanted[0] / rate) / base), stream=stream, backward=True)
        for frame in container.decode(stream):
            index = round((float(frame.time) - start) * rate)
            latest = frame
            while wanted and wanted[0] <= index:
                found.append(_of_video(frame, channels))
                wanted.pop(0)
            if not wanted:
                break
    # A header may count a frame more than there is.
    if len(wanted) == 1 and latest is not None:
        found.append(_of_video(latest, channels))
    return found


def _of_video(frame: Any, channels: int) -> Pixels:
    kinds = {1: "gray", 3: "rgb24", 4: "rgba"}
    pixels = frame.to_ndarray(format=kinds[channels])
    return pixels[..., None] if channels == 1 else pixels


def _av() -> Any:
    try:
        import av  # noqa: PLC0415  an extra, and slow to import
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'{error}: videos are read by PyAV: pip install "jaxdiff[scenes]"'
        ) from error
    return av
