"""Fashion-MNIST (Xiao et al. 2017) from a folder with its four IDX files."""

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import UInt8

from jaxdiff.data.images import png

FOLDER = "/usr/share/datasets/fashion-mnist"
"""Where Debian's package dataset-fashion-mnist puts the files."""

PREFIXES = {"train": "train", "test": "t10k"}
CLASSES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"]
CLASSES += ["Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]


class FashionMnistIdx(tfds.core.GeneratorBasedBuilder):
    """70000 grey pictures of clothes [28, 28, 1], from IDX files in `folder`, plain or gzipped.

    Prepared data are stored under a digest of the files: another folder is another data set.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged, or not an IDX file of images or labels.
    """

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, *, folder: str | PathLike = FOLDER, **options):
        self.files = {
            (split, kind): find(Path(folder), f"{prefix}-{kind}-ubyte")
            for split, prefix in PREFIXES.items()
            for kind in ("images-idx3", "labels-idx1")
        }
        digest = hashlib.sha256(b"".join(path.read_bytes() for path in self.files.values()))
        self._config = tfds.core.BuilderConfig(name=digest.hexdigest()[:12], version=self.VERSION)
        super().__init__(config=self._config, **options)

    def get_builder_config(self, name: str, version: Any = None) -> tfds.core.BuilderConfig:
        """Returns the config named by the digest of this folder's files."""
        return self._config

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Pictures of clothes of 28x28 pixels in ten classes.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(28, 28, 1)),
                    "label": tfds.features.ClassLabel(names=CLASSES),
                }
            ),
            supervised_keys=("image", "label"),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        return {split: self._generate_examples(split) for split in PREFIXES}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict]]:
        paths = self.files[split, "images-idx3"], self.files[split, "labels-idx1"]
        images, labels = (read_idx(path) for path in paths)
        if images.shape[1:] != (28, 28):
            raise ValueError(f"{paths[0]}: holds {images.shape}; images are [n, 28, 28]")
        if labels.shape != images.shape[:1] or labels.max(initial=0) > 9:
            raise ValueError(
                f"{paths[1]}: holds {labels.shape}, at most {labels.max(initial=0)}; "
                f"{paths[0]} needs {len(images)} labels in 0..9"
            )
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            yield i, {"image": png(image[..., None]), "label": int(label)}


def find(folder: Path, name: str) -> Path:
    """Returns the file of this name in a folder, plain or with `.gz` behind.

    Raises:
        FileNotFoundError: neither exists.
    """
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    hint = "; install Debian's dataset-fashion-mnist or set `folder`"
    raise FileNotFoundError(f"{folder / name}: no such file, nor with .gz behind{hint}")


def read_idx(path: Path) -> UInt8[np.ndarray, "..."]:
    """Reads an IDX file of bytes: two zero bytes, type 8, the rank, the sizes, the data.

    Raises:
        ValueError: the header is not that of an IDX file of bytes, or the length of the file does
            not agree with it.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path}: damaged gzip file ({error}); fetch it again") from error
    if data[:3] != b"\0\0\x08" or len(data) < 4 or len(data) < 4 + 4 * data[3]:
        raise ValueError(f"{path}: starts with {data[:4]!r}; an IDX file of bytes with 00 00 08")
    header = 4 + 4 * data[3]
    shape = np.frombuffer(data[4:header], ">u4").astype(int)
    if len(data) != header + shape.prod():
        raise ValueError(
            f"{path}: {len(data)} bytes where its header {tuple(shape.tolist())} needs "
            f"{header + shape.prod()}; truncated or overlong, fetch it again"
        )
    return np.frombuffer(data[header:], np.uint8).reshape(shape)
