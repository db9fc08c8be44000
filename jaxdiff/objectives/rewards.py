"""Rewards: functions `(images [b, h, w, c] in [-1, 1], cond) -> [b]`, higher for better pictures.

One of your own is named as "module:Name"; it is a class without arguments, or with options.
"jaxdiff.tasks.alignment:PromptAlignment" says how well a picture fits its text.
"""

import functools
import os
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from einops import reduce
from jaxtyping import Array, Float

from jaxdiff.condition import conditions
from jaxdiff.config.fields import Text
from jaxdiff.networks import classifier_files
from jaxdiff.options import Share, checked
from jaxdiff.typing import Cond


@runtime_checkable
class Reward(Protocol):
    """A taste: a number for each picture.

    It may have `reads`, names of the examples' fields that it needs, and `check_config(config)`.
    """

    def __call__(self, images: Array, cond: Cond) -> Array:
        """Returns the rewards [b] of images in [-1, 1]."""


KIND = Reward
"""The kind of objects that the names of this module build."""

Images = Float[Array, "b *shape"]


@checked
@dataclass(frozen=True)
class Brightness:
    """The mean of all values, from -1 to 1, or minus its distance to `wanted`.

    Without `wanted`, the brighter the better.
    """

    wanted: float | None = None

    def __call__(self, images: Images, cond: Cond) -> Float[Array, " b"]:
        """Returns the rewards."""
        mean = reduce(jnp.clip(images, -1, 1), "b ... -> b", "mean")
        return mean if self.wanted is None else -jnp.abs(mean - self.wanted)


@checked
@dataclass(frozen=True)
class Compressibility:
    """Minus the mean difference of neighbouring pixels: flat pictures make small files.

    Black et al. (2024) take the size of a JPEG; this is its stand-in as a function of arrays.
    """

    def __call__(self, images: Float[Array, "b h w c"], cond: Cond) -> Float[Array, " b"]:
        """Returns the rewards."""
        images = jnp.clip(images, -1, 1)
        across = jnp.abs(jnp.diff(images, axis=1)).mean(axis=(1, 2, 3))
        return -across - jnp.abs(jnp.diff(images, axis=2)).mean(axis=(1, 2, 3))


@checked
@dataclass(frozen=True)
class Incompressibility:
    """The mean difference of neighbouring pixels."""

    def __call__(self, images: Float[Array, "b h w c"], cond: Cond) -> Float[Array, " b"]:
        """Returns the rewards."""
        return -Compressibility()(images, cond)


@checked
@dataclass(frozen=True)
class Symmetry:
    """Minus the mean difference between a picture and its mirror image."""

    def __call__(self, images: Float[Array, "b h w c"], cond: Cond) -> Float[Array, " b"]:
        """Returns the rewards."""
        images = jnp.clip(images, -1, 1)
        return -jnp.abs(images - images[:, :, ::-1]).mean(axis=(1, 2, 3))


@checked
@dataclass(frozen=True)
class Learned:
    """The taste of votes, from the file that `runs.tastes.learn` or `experiments/taste.py` wrote.

    It knows pictures of one size only, and no conditions.

    Raises:
        ValueError: the file is missing, damaged, or no taste; on use, pictures have another size.
    """

    file: Text

    def __post_init__(self):
        self._read()

    def __call__(self, images: Float[Array, "b h w c"], cond: Cond) -> Float[Array, " b"]:
        """Returns the rewards: differences are log-odds of a vote."""
        return _logits(self, self._read(), images)[:, 0]

    def _read(self):
        if not os.path.isfile(self.file):
            raise ValueError(f"Learned: file={self.file!r} is not a file; see experiments/taste.py")
        found = _of_file(self.file, os.stat(self.file).st_mtime_ns)
        if found[0].classes != 1:
            raise ValueError(f"Learned: file={self.file!r} is a classifier, not a taste")
        return found


def _logits(reward: Any, stored: Any, images: Images) -> Float[Array, "b k"]:
    """Returns what the network of a reward's file says of pictures."""
    network, params, header = stored
    if images.shape[1:] != header["image_shape"]:
        raise ValueError(
            f"{type(reward).__name__}: file={reward.file!r} is of pictures"
            f" {header['image_shape']}, not {images.shape[1:]}"
        )
    return network.apply(params, jnp.clip(images, -1, 1))[0]


@functools.lru_cache(maxsize=4)
def _of_file(file: str, changed: int) -> Any:
    return classifier_files.read(file)


@checked
@dataclass(frozen=True)
class Agreement:
    """The log-probability of the class that was asked for, by a classifier's file.

    `field` has the class: the condition "label", or another field of the data's examples, int [b],
    such as the "count" of `emoji_scenes`, of which the network knows only what the text says.
    `evaluation.features.Classifier.save` writes such a file; it is of pictures of one size.

    Raises:
        ValueError: the file is missing or damaged; on use, pictures have another size, or there is
            no such field.
    """

    file: Text
    field: Text = "label"

    def __post_init__(self):
        self._read()

    @property
    def reads(self) -> tuple[str, ...]:
        """Returns the fields of examples that it reads."""
        return (self.field,)

    def __call__(self, images: Float[Array, "b h w c"], cond: Cond) -> Float[Array, " b"]:
        """Returns the rewards, of examples whose label was dropped as of the others."""
        if self.field not in cond:
            raise ValueError(
                f"Agreement: pictures were asked for by {sorted(cond)}, not by {self.field!r}"
            )
        logits = _logits(self, self._read(), images)
        asked = conditions(cond)[self.field].value
        return jnp.take_along_axis(jax.nn.log_softmax(logits), asked[:, None], axis=1)[:, 0]

    def _read(self):
        if not os.path.isfile(self.file):
            raise ValueError(f"Agreement: file={self.file!r} is not a file")
        return _of_file(self.file, os.stat(self.file).st_mtime_ns)


@checked
@dataclass(frozen=True)
class Mixed:
    """`share` of one reward and the rest of another."""

    first: Reward
    second: Reward
    share: Share = 0.5

    @property
    def reads(self) -> tuple[str, ...]:
        """Returns the fields of examples that either reads."""
        return tuple(dict.fromkeys((*reads(self.first), *reads(self.second))))

    def check_config(self, config: Any) -> None:
        """Raises ValueError if a run's config does not fit one of them."""
        check_config(self.first, config)
        check_config(self.second, config)

    def __call__(self, images: Images, cond: Cond) -> Float[Array, " b"]:
        """Returns the rewards."""
        first, second = self.first(images, cond), self.second(images, cond)
        return self.share * first + (1 - self.share) * second


def reads(reward: Reward) -> tuple[str, ...]:
    """Returns the fields of examples that a reward reads beside the conditions."""
    return tuple(getattr(reward, "reads", ()))


def check_config(reward: Reward, config: Any) -> None:
    """Raises ValueError if a run's config does not fit a reward."""
    getattr(reward, "check_config", lambda config: None)(config)
