"""Image prompts: a picture becomes a few tokens, to which a network attends beside the text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jaxtyping import Array, Float

from jaxdiff.conditioning.loading import image_shapes, load_image_weights
from jaxdiff.networks.layers import Dense, LayerNorm
from jaxdiff.networks.text.clip import CLIPVision, CLIPVisionSettings
from jaxdiff.networks.text.images import clip_pixels, encode_images
from jaxdiff.options import FloatType
from jaxdiff.pretrained import fingerprint, resolve
from jaxdiff.typing import Condition, Params


class ImageProjection(nn.Module):
    """A linear map of an image's vector to a few tokens, each normalized (Ye et al., 2023)."""

    tokens: int
    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, vector: Float[Array, "b p"]) -> Float[Array, "b n d"]:
        """Returns the tokens."""
        h = Dense(self.tokens * self.features, dtype=self.dtype, name="out")(vector)
        h = rearrange(h, "b (n d) -> b n d", n=self.tokens)
        return LayerNorm(dtype=self.dtype, name="norm")(h)


def check_picture(value: np.ndarray) -> None:
    """Checks a picture [h, w, 3] in [-1, 1].

    Raises:
        ValueError: it has another number of channels, or values outside.
    """
    if value.ndim != 3 or value.shape[-1] != 3:
        raise ValueError(f"a picture has shape {value.shape}; expected [h, w, 3]")
    if not (value.min() >= -1 and value.max() <= 1):
        raise ValueError(f"a picture has values in [{value.min()}, {value.max()}]: not [-1, 1]")


@dataclass(frozen=True)
class ImageStates:
    """The encoder of pictures whose states a network attends to, as Wan's (2025).

    Attributes:
        settings: of CLIP's image encoder, with the layer whose states are read.
        weights: a folder with config.json and *.safetensors.
        dtype: of the computation; `param_dtype`, of the parameters.
    """

    settings: CLIPVisionSettings
    weights: str = ""
    dtype: FloatType = "float32"
    param_dtype: FloatType = "float32"

    def shapes(self) -> Params:
        """Returns the parameters' shapes; reads nothing."""
        return image_shapes(self.settings, jnp.dtype(self.param_dtype))

    def load(self, target: Params) -> Params:
        """Returns the parameters in `weights` like `target`.

        Raises:
            ValueError: files are missing, damaged or of another network.
        """
        return load_image_weights(self.weights, target)

    def fingerprint(self) -> str:
        """Returns a hash of the files."""
        return fingerprint(resolve(self.weights))

    def __call__(
        self, params: Params, pictures: Float[Array | np.ndarray, "b h w 3"]
    ) -> Float[Array, "b n d"]:
        """Returns the states of pictures in [-1, 1] of any size."""
        network = CLIPVision(self.settings, jnp.dtype(self.dtype))
        return encode_images(network, params, pictures).tokens


@dataclass(frozen=True)
class ImagePrompt:
    """The encoder of pictures [h, w, 3] in [-1, 1] of any size, as IP-Adapter has it.

    Attributes:
        network: the image encoder, whose vector is read.
        projection: from the vector to tokens.
    """

    network: CLIPVision
    projection: ImageProjection

    rank = 3

    def prepare(self, values: Sequence[Any]) -> np.ndarray:
        """Returns the pixels that the image encoder takes [b, size, size, 3].

        Raises:
            ValueError: a picture has another number of channels, or values outside [-1, 1].
        """
        for value in map(np.asarray, values):
            check_picture(value)
        size = self.network.settings.size
        pixels = [np.asarray(clip_pixels(np.asarray(v, np.float32)[None], size)) for v in values]
        return np.concatenate(pixels)

    def inputs(self, batch: int) -> jax.ShapeDtypeStruct:
        """Returns the shape of the pixels of a batch of this size."""
        size = self.network.settings.size
        return jax.ShapeDtypeStruct((batch, size, size, 3), jnp.float32)

    def encode(self, params: Params, inputs: Any) -> Condition:
        """Returns the tokens [b, n, d]."""
        vector = self.network.apply({"params": params["network"]}, inputs).pooled
        return self._projected(params, vector)

    def empty(self, params: Params) -> Condition:
        """Returns the tokens of a vector of zeros, which stands for no image."""
        width = params["projection"]["out"]["kernel"].shape[0]
        return self._projected(params, jnp.zeros((1, width)))

    def _projected(self, params: Params, vector: Array) -> Condition:
        return Condition(self.projection.apply({"params": params["projection"]}, vector))
