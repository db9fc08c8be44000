"""A convolutional autoencoder of clips that is causal in time, as Wan 2.1's (Wan Team, 2025)."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxdiff.networks.autoencoder import (
    Decoder,
    Encoder,
    Gaussian,
    Layers,
    check_channels,
    posterior,
)
from jaxdiff.networks.layers import RMSNorm
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


def clip_layers(settings: VideoAutoencoderSettings, dtype: Any) -> Layers:
    """Returns the layers of an autoencoder of clips."""
    halve, eps = settings.halve_frames, settings.eps
    return Layers(
        "clips",
        settings,
        conv=lambda features, name: CausalConv(features, dtype=dtype, name=name),
        residual=lambda features, name: ClipResidualBlock(features, eps, dtype, name=name),
        down=lambda level, name: DownsampleClip(halve[level], dtype, name=name),
        up=lambda level, name: UpsampleClip(halve[level - 1], dtype, name=name),
        attention=lambda name: FrameAttention(eps, dtype, name=name),
        norm=lambda name: RMSNorm(eps, dtype, name=name),
    )


class VideoAutoencoder(nn.Module):
    """The autoencoder of clips whose latents are normally distributed.

    An image is a clip of one frame.
    `network.apply(variables, x, method="encode")` returns the `Gaussian`, `method="decode"` clips;
    either also takes a clip in chunks with `mutable=["history"]`, see `layers`.
    """

    settings: VideoAutoencoderSettings = wan_vae()
    dtype: Any = jnp.float32

    def setup(self):
        """Makes the parts."""
        latent = self.settings.latent_channels
        layers = clip_layers(self.settings, self.dtype)
        self.encoder, self.decoder = Encoder(layers, 2 * latent), Decoder(layers)
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
            ValueError: the number of frames is not of that form; the size is not a multiple of
                `factor`; wrong number of channels.
        """
        begun = bool(self.variables.get(HISTORY))
        check_frames(x.shape[1], self.settings.frame_factor, begun)
        moments = self.encoder(x)
        return posterior(self.quant(moments) if self.settings.quant_convs else moments)

    def decode(self, z: Float[Array, "b f h w c"]) -> Float[Array, "b f2 h2 w2 out"]:
        """Returns the clips of latents.

        Raises:
            ValueError: wrong number of channels.
        """
        check_channels("latents", z.shape[-1], self.settings.latent_channels)
        x = self.decoder(self.post_quant(z) if self.settings.quant_convs else z)
        return jnp.clip(x, -1, 1) if self.settings.clamp else x
