"""A convolutional autoencoder of clips that is causal in time, as Wan 2.1's (Wan Team, 2025)."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxdiff.networks.autoencoder import Gaussian, check_channels, posterior
from jaxdiff.networks.layers import RMSNorm, level_sizes
from jaxdiff.networks.video_autoencoder.layers import (
    HISTORY,
    CausalConv,
    ClipResidualBlock,
    DownsampleClip,
    FrameAttention,
    UpsampleClip,
)
from jaxdiff.networks.video_autoencoder.settings import (
    VideoAutoencoderSettings,
    check_frames,
    settings_from_config,
    wan_vae,
)

__all__ = ["VideoAutoencoder", "VideoAutoencoderSettings", "settings_from_config", "wan_vae"]


class ClipEncoder(nn.Module):
    """Residual blocks from a clip down to `out_channels` at the smallest size."""

    settings: VideoAutoencoderSettings
    out_channels: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b f h w c"]) -> Float[Array, "b f2 h2 w2 out"]:
        """Returns the features at the smallest size.

        Raises:
            ValueError: the size cannot be halved often enough, or the channels are others.
        """
        settings, last = self.settings, len(self.settings.channels) - 1
        level_sizes(x.shape[2:4], last + 1)
        check_channels("clips", x.shape[-1], settings.image_channels)
        h = CausalConv(settings.channels[0], dtype=self.dtype, name="conv_in")(x)
        for level, features in enumerate(settings.channels):
            for i in range(settings.layers_per_block):
                h = _residual(settings, features, self.dtype, f"down_{level}_{i}")(h)
            if level < last:
                halve = settings.halve_frames[level]
                h = DownsampleClip(halve, self.dtype, name=f"down_{level}")(h)
        h = _middle(settings, h, self.dtype)
        return _head(settings, h, self.out_channels, self.dtype)


class ClipDecoder(nn.Module):
    """Residual blocks from latents at the smallest size up to a clip."""

    settings: VideoAutoencoderSettings
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: Float[Array, "b f h w c"]) -> Float[Array, "b f2 h2 w2 out"]:
        """Returns a clip of the settings' `factor` times the size."""
        settings = self.settings
        h = CausalConv(settings.channels[-1], dtype=self.dtype, name="conv_in")(z)
        h = _middle(settings, h, self.dtype)
        for level, features in reversed(list(enumerate(settings.channels))):
            for i in range(settings.layers_per_block + 1):
                h = _residual(settings, features, self.dtype, f"up_{level}_{i}")(h)
            if level > 0:
                double = settings.halve_frames[level - 1]
                h = UpsampleClip(double, self.dtype, name=f"up_{level}")(h)
        return _head(settings, h, settings.image_channels, self.dtype)


class VideoAutoencoder(nn.Module):
    """The autoencoder of clips whose latents are normally distributed.

    An image is a clip of one frame, and is encoded as any clip's first frame is.
    `network.apply(variables, x, method="encode")` returns the `Gaussian`, `method="decode"` clips;
    either also takes a clip in chunks with `mutable=["history"]`, see `layers`.
    """

    settings: VideoAutoencoderSettings = wan_vae()
    dtype: Any = jnp.float32

    def setup(self):
        """Makes the parts."""
        latent = self.settings.latent_channels
        self.encoder = ClipEncoder(self.settings, 2 * latent, self.dtype)
        self.decoder = ClipDecoder(self.settings, self.dtype)
        if self.settings.quant_convs:
            self.quant = CausalConv(2 * latent, frames=1, size=1, dtype=self.dtype)
            self.post_quant = CausalConv(latent, frames=1, size=1, dtype=self.dtype)

    def __call__(
        self, x: Float[Array, "b f h w c"], keys: Key[Array, " b"] | None = None
    ) -> tuple[Float[Array, "b f h w c"], Gaussian]:
        """Returns the reconstruction, of the mean or with keys of a sample, and the posterior."""
        latents = self.encode(x)
        return self.decode(latents.mean if keys is None else latents.sample(keys)), latents

    def encode(self, x: Float[Array, "b f h w c"]) -> Gaussian:
        """Returns the posterior of clips in [-1, 1], of 1 + n·`frame_factor` frames.

        A chunk that is not a clip's first has n·`frame_factor` frames.

        Raises:
            ValueError: the number of frames does not fit, the size is not a multiple of `factor`,
                or the channels are others.
        """
        begun = bool(self.variables.get(HISTORY))
        check_frames(x.shape[1], self.settings.frame_factor, begun)
        moments = self.encoder(x)
        return posterior(self.quant(moments) if self.settings.quant_convs else moments)

    def decode(self, z: Float[Array, "b f h w c"]) -> Float[Array, "b f2 h2 w2 out"]:
        """Returns the clips of latents.

        Raises:
            ValueError: the latents have other channels.
        """
        check_channels("latents", z.shape[-1], self.settings.latent_channels)
        x = self.decoder(self.post_quant(z) if self.settings.quant_convs else z)
        return jnp.clip(x, -1, 1) if self.settings.clamp else x


def _residual(
    settings: VideoAutoencoderSettings, features: int, dtype: Any, name: str
) -> ClipResidualBlock:
    return ClipResidualBlock(features, settings.eps, dtype, name=f"{name}_residual")


def _middle(settings: VideoAutoencoderSettings, h: Array, dtype: Any) -> Array:
    h = _residual(settings, h.shape[-1], dtype, "middle_0")(h)
    if settings.middle_attention:
        h = FrameAttention(settings.eps, dtype, name="middle_attention")(h)
    return _residual(settings, h.shape[-1], dtype, "middle_1")(h)


def _head(settings: VideoAutoencoderSettings, h: Array, features: int, dtype: Any) -> Array:
    norm = RMSNorm(settings.eps, dtype, name="norm_out")
    return CausalConv(features, dtype=dtype, name="conv_out")(nn.silu(norm(h)))
