"""Statistics of features with the protocol that made them; other protocols are refused.

A distance depends on the features, the number of images, their size, their rounding, and how they
were resized (Parmar et al., 2022). A file of statistics names all of these, and samples of
another protocol are an error. Files of other libraries name none: they are read without a check.
"""

import dataclasses
import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jaxdiff.evaluation.frechet import frechet_distance
from jaxdiff.evaluation.moments import Moments, moments
from jaxdiff.files import atomic_write

INCEPTION = "InceptionV3 of FID"
"""The features that the name FID stands for: pool3 of the network of Heusel et al. (2017)."""


@dataclass(frozen=True)
class Protocol:
    """How features of a set of images came about.

    Attributes:
        features: the extractor, with the hash of its weights.
        num: how many images.
        shape: of an image.
        rounded: whether they had the values of 8 bits.
        resize: how images were brought to the extractor's size; "none" if they were not.
        images: which images these are; for a person, and not compared.
    """

    features: str
    num: int
    shape: tuple[int, ...]
    rounded: bool = True
    resize: str = "none"
    images: str = ""


@dataclass(frozen=True)
class Statistics:
    """Mean and covariance of features, with their protocol; None in files that do not say it."""

    moments: Moments
    protocol: Protocol | None = None

    def distance(self, features: ArrayLike, protocol: Protocol | None) -> dict[str, float]:
        """Returns the Fréchet distance of other features under its name.

        It is "fid" only of Inception's features; any other is "frechet_distance".

        Raises:
            ValueError: the protocols contradict each other, or one is missing where the other is
                there; says all fields that do.
        """
        if (self.protocol is None) != (protocol is None):
            raise ValueError(
                "one of the sets does not say how it came about: compare files without a protocol"
                " by `protocol=None`, at your own risk"
            )
        if self.protocol is not None and protocol is not None:
            check_same(self.protocol, protocol)
        inception = self.protocol is not None and self.protocol.features == INCEPTION
        name = "fid" if inception else "frechet_distance"
        return {name: frechet_distance(self.moments, moments(features))}

    def save(self, path: str | os.PathLike) -> None:
        """Writes an .npz, whose "mu" and "sigma" other tools read, too."""
        protocol = json.dumps(self.protocol and dataclasses.asdict(self.protocol))
        arrays = {"mu": self.moments.mean, "sigma": self.moments.covariance}
        with atomic_write(path) as draft, open(draft, "wb") as file:
            np.savez(file, protocol=np.array(protocol), count=self.moments.count, **arrays)


def statistics(features: ArrayLike, protocol: Protocol) -> Statistics:
    """Returns the statistics of features [n, d].

    Raises:
        ValueError: the protocol is of another number of images.
    """
    found = moments(features)
    if found.count != protocol.num:
        raise ValueError(f"num={protocol.num}, but there are {found.count} features")
    return Statistics(found, protocol)


def check_same(reference: Protocol, samples: Protocol) -> None:
    """Raises ValueError, with every field in which two sets differ."""
    fields = [f.name for f in dataclasses.fields(Protocol) if f.name != "images"]
    pairs = {name: (getattr(reference, name), getattr(samples, name)) for name in fields}
    wrong = [f"{n}: {a!r} there, {b!r} here" for n, (a, b) in pairs.items() if a != b]
    if wrong:
        raise ValueError("not comparable with the reference statistics: " + "; ".join(wrong))


def read_statistics(path: str | os.PathLike) -> Statistics:
    """Reads a file of `Statistics.save`, or of others: ADM, EDM, pytorch-fid, and ports to JAX.

    All of these are .npz with "mu" [d] and "sigma" [d, d].

    Raises:
        ValueError: the file is missing, pickled, damaged, or has no such arrays.
    """
    path = Path(path)
    if path.suffix in (".pkl", ".pickle", ".pt"):
        raise ValueError(
            f"{path} is pickled, and may run anything when it is opened; convert it where you trust"
            " it: numpy.savez('statistics.npz', mu=..., sigma=...)"
        )
    try:
        with np.load(path) as file:
            found: dict[str, Any] = {name: file[name] for name in file.files if name != "arr_0"}
            has_images = "arr_0" in file.files
    except FileNotFoundError:
        raise ValueError(f"there is no file {str(path)!r}") from None
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, TypeError) as error:
        raise ValueError(f"{path} is no .npz of statistics: {error}") from None
    if missing := [name for name in ("mu", "sigma") if name not in found]:
        hint = "; it has images, arr_0: give these to your extractor" if has_images else ""
        raise ValueError(f"{path} has {sorted(found)}, no {missing}{hint}")
    mean, covariance = (np.asarray(found[name], np.float64) for name in ("mu", "sigma"))
    if mean.ndim != 1 or covariance.shape != (len(mean),) * 2:
        raise ValueError(f"{path}: mu {mean.shape} and sigma {covariance.shape} do not fit")
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise ValueError(f"{path}: mu or sigma is not finite")
    # A file of others does not say of how many: with two the scatter is the covariance.
    count = int(found.get("count", 2))
    table = json.loads(str(found["protocol"])) if "protocol" in found else None
    protocol = table and Protocol(**{**table, "shape": tuple(table["shape"])})
    return Statistics(Moments(count, mean, covariance * (count - 1)), protocol)
