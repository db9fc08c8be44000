"""The autoencoder whose latents are codes from a learned book (van den Oord et al., 2017)."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from jaxdiff.networks.autoencoder import (
    AutoencoderSettings,
    Decoder,
    Encoder,
    check_channels,
)
from jaxdiff.networks.layers import Conv
from jaxdiff.typing import Metrics


class Quantized(NamedTuple):
    """Latents brought to their nearest codes.

    The gradient of `codes` is given to the latents as it is ("straight through"); the codebook
    learns from `metrics`, whose mean squared distances have values per example: "codebook" moves
    codes to latents, "commitment" latents to codes. "perplexity" is the number of codes in use:
    the exponential of the entropy of an example's indices.
    """

    codes: Float[Array, "b h w c"]
    indices: Int[Array, "b h w"]
    metrics: Metrics


class AutoencoderVQ(nn.Module):
    """The autoencoder of `settings` with a codebook (Esser et al., 2021; Rombach et al., 2022).

    Diffusion runs on what `encode` returns, which is not yet quantized; `decode` does that first.

    Attributes:
        settings: the sizes.
        num_codes: how many codes the book has; `code_channels`, how wide they are, None for
            `settings.latent_channels`.

    Raises:
        ValueError: a number is not positive, or the settings are without quant convolutions.
    """

    settings: AutoencoderSettings = AutoencoderSettings()
    num_codes: int = 8192
    code_channels: int | None = None
    dtype: Any = jnp.float32

    def setup(self):
        """Makes the parts."""
        settings = self.settings
        width = settings.latent_channels if self.code_channels is None else self.code_channels
        if self.num_codes < 1 or width < 1 or not settings.quant_convs:
            raise ValueError(
                f"num_codes={self.num_codes}, code_channels={width},"
                f" quant_convs={settings.quant_convs}: both must be at least 1, and quant"
                " convolutions are where the codes' width begins and ends"
            )
        self.encoder = Encoder(settings, settings.latent_channels, self.dtype)
        self.quant = Conv(width, size=1, dtype=self.dtype)
        near_zero = lambda key, shape: (
            jax.random.uniform(key, shape, minval=-1, maxval=1) / shape[0]
        )
        self.codebook = self.param("codebook", near_zero, (self.num_codes, width))
        self.post_quant = Conv(settings.latent_channels, size=1, dtype=self.dtype)
        self.decoder = Decoder(settings, self.dtype)

    def __call__(self, x: Float[Array, "b h w c"]) -> tuple[Float[Array, "b h w c"], Quantized]:
        """Returns the reconstruction and what it was made from."""
        quantized = self.quantize(self.encode(x))
        return self._image(quantized.codes), quantized

    def encode(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        """Returns the latents of images in [-1, 1], before they are quantized.

        Raises:
            ValueError: the size is not a multiple of `settings.factor`, or other channels.
        """
        return self.quant(self.encoder(x)).astype(jnp.float32)

    def quantize(self, z: Float[Array, "b h w d"]) -> Quantized:
        """Returns the nearest codes.

        Raises:
            ValueError: the latents have other channels.
        """
        check_channels("latents", z.shape[-1], self.codebook.shape[-1])
        indices = nearest(z, self.codebook)
        codes = self.codebook[indices]
        distance = lambda a, b: jnp.square(a - b).mean((1, 2, 3))
        metrics = {
            "commitment": distance(z, lax.stop_gradient(codes)),
            "codebook": distance(lax.stop_gradient(z), codes),
            "perplexity": perplexity(indices, self.num_codes),
        }
        return Quantized(z + lax.stop_gradient(codes - z), indices, metrics)

    def lookup(self, indices: Int[Array, "b h w"]) -> Float[Array, "b h w d"]:
        """Returns the codes of indices; under jit, NaN for those out of range.

        Raises:
            ValueError: an index is out of range, where the indices are known.
        """
        if not isinstance(indices, jax.core.Tracer):
            values = np.asarray(indices)
            wrong = np.unique(values[(values < 0) | (values >= self.num_codes)])
            if wrong.size:
                raise ValueError(
                    f"indices {wrong[:5].tolist()} are not in the codebook of {self.num_codes}"
                    f" codes: 0 to {self.num_codes - 1}"
                )
        known = (indices >= 0) & (indices < self.num_codes)
        return jnp.where(known[..., None], self.codebook[indices], jnp.nan)

    def decode(self, z: Float[Array, "b h w d"]) -> Float[Array, "b h2 w2 out"]:
        """Returns the images of latents, which are quantized first; codes are their own nearest.

        Raises:
            ValueError: the latents have other channels.
        """
        return self._image(self.quantize(z).codes)

    def decode_indices(self, indices: Int[Array, "b h w"]) -> Float[Array, "b h2 w2 out"]:
        """Returns the images of indices, which are as in `lookup`."""
        return self._image(self.lookup(indices))

    def _image(self, codes: Array) -> Array:
        return self.decoder(self.post_quant(codes))


def nearest(z: Float[Array, "*b d"], codebook: Float[Array, "n d"]) -> Int[Array, "*b"]:
    """Returns the index of the code nearest to each latent, the first among equals."""
    # The products decide between codes that are close together: no hardware may round them.
    products = jnp.einsum("...d,nd->...n", z, codebook, precision=lax.Precision.HIGHEST)
    return jnp.argmin(jnp.square(codebook).sum(-1) - 2 * products, axis=-1)


def perplexity(indices: Int[Array, "b h w"], num_codes: int) -> Float[Array, " b"]:
    """Returns the exponential of the entropy of each example's indices."""
    count = lambda one: jnp.bincount(one.reshape(-1), length=num_codes)
    shares = jax.vmap(count)(indices) / indices[0].size
    return jnp.exp(-jax.scipy.special.xlogy(shares, shares).sum(-1))
