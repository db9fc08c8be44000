"""The autoencoder whose latents are codes from a learned codebook (van den Oord et al., 2017)."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import reduce
from jax import lax
from jaxtyping import Array, Float, Int

from jaxdiff.networks.autoencoder import (
    AutoencoderSettings,
    Decoder,
    Encoder,
    check_channels,
    image_layers,
)
from jaxdiff.networks.layers import Conv
from jaxdiff.typing import Metrics


class Quantized(NamedTuple):
    """The nearest codes of latents.

    The gradient of `codes` passes straight through to the latents. `metrics` has a value per
    example: the mean squared distances "codebook", which moves codes to latents, and "commitment",
    which moves latents to codes; and "perplexity", the exponential of the entropy of the indices.
    """

    codes: Float[Array, "b h w c"]
    indices: Int[Array, "b h w"]
    metrics: Metrics


class AutoencoderVQ(nn.Module):
    """The autoencoder of `settings` with a codebook (Esser et al., 2021; Rombach et al., 2022).

    Diffusion runs on the output of `encode`, which is not quantized yet; `decode` quantizes.

    Attributes:
        settings: the sizes.
        num_codes: number of codes; `code_channels`, their width, None for
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
                f" quant_convs={settings.quant_convs}: numbers must be at least 1, and quant_convs"
                " True, since these convolutions map to the width of the codes and back"
            )
        layers = image_layers(settings, self.dtype)
        self.encoder = Encoder(layers, settings.latent_channels)
        self.quant = Conv(width, size=1, dtype=self.dtype)
        near_zero = lambda key, shape: (
            jax.random.uniform(key, shape, minval=-1, maxval=1) / shape[0]
        )
        self.codebook = self.param("codebook", near_zero, (self.num_codes, width))
        self.post_quant = Conv(settings.latent_channels, size=1, dtype=self.dtype)
        self.decoder = Decoder(layers)

    def __call__(self, x: Float[Array, "b h w c"]) -> tuple[Float[Array, "b h w c"], Quantized]:
        """Returns the reconstruction and the quantized latents."""
        quantized = self.quantize(self.encode(x))
        return self._image(quantized.codes), quantized

    def encode(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        """Returns the latents of images in [-1, 1], before they are quantized.

        Raises:
            ValueError: the size is not a multiple of `settings.factor`; wrong number of channels.
        """
        return self.quant(self.encoder(x)).astype(jnp.float32)

    def quantize(self, z: Float[Array, "b h w d"]) -> Quantized:
        """Returns the nearest codes.

        Raises:
            ValueError: wrong number of channels.
        """
        check_channels("latents", z.shape[-1], self.codebook.shape[-1])
        indices = nearest(z, self.codebook)
        codes = self.codebook[indices]
        distance = lambda a, b: reduce(jnp.square(a - b), "b h w d -> b", "mean")
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
            ValueError: wrong number of channels.
        """
        return self._image(self.quantize(z).codes)

    def decode_indices(self, indices: Int[Array, "b h w"]) -> Float[Array, "b h2 w2 out"]:
        """Returns the images of indices, as in `lookup`."""
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
