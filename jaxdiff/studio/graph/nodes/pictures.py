"""Nodes that read and write files of pictures and clips."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from jaxdiff.files import atomic_write
from jaxdiff.options import Between
from jaxdiff.studio import pixels
from jaxdiff.studio.graph.ports import Beside, File
from jaxdiff.studio.graph.values import (
    Anything,
    Here,
    Image,
    Mask,
    OfVideo,
    Output,
    Saved,
    Studio,
    Video,
)

Picture = Annotated[str, File("input"), Beside()]
Rate = Annotated[float, Between(0.01, 1000.0)]
Quality = Annotated[int, Between(0, 100)]


def LoadImage(image: Picture, studio: Here = None) -> tuple[Image, Mask]:
    """A picture of the input folder, and the mask of where it is clear."""
    found = pixels.opened(studio.folders.path("input", image), image)
    return pixels.array_of(found)[None], pixels.alpha_of(found)[None]


def LoadImageMask(
    image: Picture,
    channel: Literal["alpha", "red", "green", "blue"] = "alpha",
    studio: Here = None,
) -> Mask:
    """A channel of a picture of the input folder, as a mask."""
    found = pixels.opened(studio.folders.path("input", image), image)
    if channel == "alpha":
        return pixels.alpha_of(found)[None]
    place = ["red", "green", "blue"].index(channel)
    return (pixels.array_of(found)[None, ..., place] + 1) / 2


def SaveImage(
    images: Image, filename_prefix: str = "jaxdiff", studio: Here = None
) -> tuple[Output, Image]:
    """Writes PNG files into the output folder, with the graph in them."""
    return _saved(studio, "output", images, filename_prefix), images


def PreviewImage(images: Image, studio: Here = None) -> tuple[Output, Image]:
    """Writes PNG files into the temporary folder."""
    return _saved(studio, "temp", images, "preview"), images


def SaveAnimatedPNG(
    images: Image,
    filename_prefix: str = "jaxdiff",
    fps: Rate = 6.0,
    compress_level: Annotated[int, Between(0, 9)] = 4,
    studio: Here = None,
) -> Output:
    """Writes pictures as one that moves."""
    options = {"compress_level": compress_level}
    return _moving(studio, images, filename_prefix, ".png", fps, options)


def SaveAnimatedWEBP(
    images: Image,
    filename_prefix: str = "jaxdiff",
    fps: Rate = 6.0,
    lossless: bool = True,
    quality: Quality = 80,
    method: Literal["default", "fastest", "slowest"] = "default",
    studio: Here = None,
) -> Output:
    """Writes pictures as one that moves, in WebP."""
    effort = {"default": 4, "fastest": 0, "slowest": 6}[method]
    options = {"lossless": lossless, "quality": quality, "method": effort}
    return _moving(studio, images, filename_prefix, ".webp", fps, options)


def CreateVideo(
    images: Image,
    fps: Rate = 30.0,
    bit_depth: Literal["auto", 8] = "auto",
    color_space: Literal["sRGB"] = "sRGB",
    audio: Annotated[Anything, "optional"] = None,
) -> Video:
    """Pictures as a clip, without sound."""
    if audio is not None:
        raise ValueError("CreateVideo: audio is not here; leave it out")
    return OfVideo(images, fps)


def SaveVideo(
    video: Video,
    filename_prefix: str = "video/jaxdiff",
    format: Literal["auto", "mp4"] = "auto",
    codec: Literal["auto", "h264"] = "auto",
    studio: Here = None,
) -> Output:
    """Writes a clip as MP4."""
    write = lambda path: _encoded(
        path, _finished(studio, video.frames), video.fps, "mp4", "libx264", {"crf": "18"}
    )
    return _one(studio, filename_prefix, ".mp4", write, "video")


def SaveWEBM(
    images: Image,
    filename_prefix: str = "jaxdiff",
    codec: Literal["vp9"] = "vp9",
    fps: Rate = 24.0,
    crf: Annotated[float, Between(0.0, 63.0)] = 32.0,
    studio: Here = None,
) -> Output:
    """Writes pictures as a clip in WebM."""
    options = {"crf": f"{crf:g}", "b": "0"}
    write = lambda path: _encoded(
        path, _finished(studio, images), fps, "webm", "libvpx-vp9", options
    )
    return _one(studio, filename_prefix, ".webm", write, "video")


def _saved(studio: Studio, folder: str, images: Any, prefix: str) -> Saved:
    images = np.asarray(images)
    names = studio.folders.fresh(folder, prefix, ".png", len(images))
    for name, image in zip(names, images, strict=True):
        with atomic_write(studio.folders.folder(folder) / name) as draft:
            draft.write_bytes(studio.finish.png(image, dict(studio.texts)))
    return Saved(folder, tuple(names))


def _one(
    studio: Studio, prefix: str, suffix: str, write: Callable[[Path], None], kind: str
) -> Saved:
    name = studio.folders.fresh("output", prefix, suffix, 1)[0]
    with atomic_write(studio.folders.folder("output") / name) as draft:
        write(draft)
    return Saved("output", (name,), kind)


def _moving(
    studio: Studio, images: Any, prefix: str, suffix: str, fps: float, options: dict[str, Any]
) -> Saved:
    first, *others = [studio.finish.image(each) for each in np.asarray(images)]
    once = {"save_all": True, "append_images": others, "duration": int(1000 / fps), "loop": 0}
    write = lambda path: first.save(path, **once, **options)
    return _one(studio, prefix, suffix, write, "images")


def _finished(studio: Studio, frames: Any) -> list[Any]:
    """Returns frames as pictures, checked and marked."""
    return [studio.finish.image(each).convert("RGB") for each in np.asarray(frames)]


def _encoded(
    path: Path, frames: list[Any], fps: float, container: str, codec: str, options: dict[str, str]
) -> None:
    """Writes pictures as a clip; sides are cut to even numbers.

    Raises:
        ValueError: PyAV is not installed.
    """
    try:
        import av  # noqa: PLC0415 - an extra, and slow to import
    except ImportError:
        raise ValueError("clips need the extra `scenes`: pip install 'jaxdiff[scenes]'") from None

    width, height = (n // 2 * 2 for n in frames[0].size)
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=Fraction(fps).limit_denominator(1000), options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in frames:
            rgb = np.asarray(frame)[:height, :width].copy()
            file.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        file.mux(stream.encode())
