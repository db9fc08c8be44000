"""The convolutional autoencoder of latent diffusion (Rombach et al., 2022), with a KL penalty."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxdiff.networks.attention import SelfAttention
from jaxdiff.networks.blocks import ResidualBlock
from jaxdiff.networks.layers import Conv, Downsample, GroupNorm, Upsample, level_sizes
from jaxdiff.random import normal


@dataclass(frozen=True)
class AutoencoderSettings:
    """The sizes of an autoencoder, and where its latents lie.

    Attributes:
        channels: the width of each level, from the full image size down; each halves the size.
        layers_per_block: residual blocks of a level of the encoder; the decoder has one more.
        latent_channels: of what the decoder takes.
        image_channels: of the images.
        middle_attention: whether attention of one head stands between the two blocks at the
            smallest size.
        quant_convs: whether 1×1 convolutions follow the encoder and precede the decoder.
        num_groups: groups of the norms, fewer where the width asks for it; `eps` is theirs.
        scale, shift: (latent - shift) · scale has mean 0 and deviation 1 over the training images.

    Raises:
        ValueError: there is no level, no block or no channel.
    """

    channels: Sequence[int] = (128, 256, 512, 512)
    layers_per_block: int = 2
    latent_channels: int = 4
    image_channels: int = 3
    middle_attention: bool = True
    quant_convs: bool = True
    num_groups: int = 32
    eps: float = 1e-6
    scale: float = 0.18215
    shift: float = 0.0

    def __post_init__(self):
        object.__setattr__(self, "channels", tuple(self.channels))
        if not self.channels or min(self.channels) < 1:
            raise ValueError(f"channels={self.channels}: one positive width per level")
        for name in ("layers_per_block", "latent_channels", "image_channels", "num_groups"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")

    @property
    def factor(self) -> int:
        """How many pixels a latent is wide."""
        return 2 ** (len(self.channels) - 1)


def sd_vae() -> AutoencoderSettings:
    """Returns the sizes of Stable Diffusion 1 and 2's autoencoder."""
    return AutoencoderSettings()


def sdxl_vae() -> AutoencoderSettings:
    """Returns the sizes of SDXL's autoencoder (Podell et al., 2023)."""
    return AutoencoderSettings(scale=0.13025)


def sd3_vae() -> AutoencoderSettings:
    """Returns the sizes of Stable Diffusion 3's autoencoder (Esser et al., 2024)."""
    return AutoencoderSettings(latent_channels=16, quant_convs=False, scale=1.5305, shift=0.0609)


def flux_vae() -> AutoencoderSettings:
    """Returns the sizes of FLUX.1's autoencoder."""
    return AutoencoderSettings(latent_channels=16, quant_convs=False, scale=0.3611, shift=0.1159)


def ldm_f4() -> AutoencoderSettings:
    """Returns the sizes of Rombach et al.'s (2022) autoencoders, KL and VQ, a quarter as wide."""
    return AutoencoderSettings(channels=(128, 256, 512), latent_channels=3, scale=1.0)


def settings_from_config(config: Mapping[str, Any]) -> AutoencoderSettings:
    """Reads config.json of diffusers' AutoencoderKL or VQModel.

    Raises:
        ValueError: the network has parts that ours does not.
    """
    channels = config.get("block_out_channels", (64,))
    quant_convs = config.get("use_quant_conv", True)
    only = {
        "down_block_types": ["DownEncoderBlock2D"] * len(channels),
        "up_block_types": ["UpDecoderBlock2D"] * len(channels),
        "act_fn": "silu",
        "norm_type": "group",
        "out_channels": config.get("in_channels", 3),
        "use_post_quant_conv": quant_convs,
        "latents_mean": None,
        "latents_std": None,
    }
    for name, value in only.items():
        found = config.get(name, value)
        if (list(found) if isinstance(found, tuple) else found) != value:
            raise ValueError(f"{name}={found!r}: this autoencoder has {value!r}")
    return AutoencoderSettings(
        channels=tuple(channels),
        layers_per_block=config.get("layers_per_block", 1),
        latent_channels=config.get("latent_channels", 3 if "num_vq_embeddings" in config else 4),
        image_channels=config.get("in_channels", 3),
        middle_attention=config.get("mid_block_add_attention", True),
        quant_convs=quant_convs,
        num_groups=config.get("norm_num_groups", 32),
        scale=config.get("scaling_factor", 0.18215),
        shift=config.get("shift_factor") or 0.0,
    )


class Gaussian(NamedTuple):
    """A normal distribution of independent latents: the posterior of an image or a clip."""

    mean: Float[Array, "b *size c"]
    log_variance: Float[Array, "b *size c"]

    def sample(self, keys: Key[Array, " b"]) -> Float[Array, "b *size c"]:
        """Draws latents, each example's by its own key."""
        return self.mean + jnp.exp(self.log_variance / 2) * normal(keys, self.mean)

    def kl(self) -> Float[Array, " b"]:
        """Returns the divergence from the standard normal, in nats, summed over an example."""
        terms = jnp.square(self.mean) + jnp.exp(self.log_variance) - 1 - self.log_variance
        return terms.sum(tuple(range(1, terms.ndim))) / 2


def posterior(moments: Float[Array, "b *size c2"]) -> Gaussian:
    """Returns the distribution of which an encoder gives mean and log-variance, side by side.

    The log-variance is clipped to [-30, 20] as by Rombach et al. (2022), who trained with it.
    """
    mean, log_variance = jnp.split(moments.astype(jnp.float32), 2, axis=-1)
    return Gaussian(mean, jnp.clip(log_variance, -30, 20))


class Encoder(nn.Module):
    """Residual blocks from an image down to `out_channels` at the smallest size."""

    settings: AutoencoderSettings
    out_channels: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 out"]:
        """Returns the features at the smallest size.

        Raises:
            ValueError: the size cannot be halved often enough, or the channels are others.
        """
        settings, last = self.settings, len(self.settings.channels) - 1
        level_sizes(x.shape[1:3], last + 1)
        check_channels("images", x.shape[-1], settings.image_channels)
        h = Conv(settings.channels[0], dtype=self.dtype, name="conv_in")(x)
        for level, features in enumerate(settings.channels):
            for i in range(settings.layers_per_block):
                h = _residual(settings, features, self.dtype, f"down_{level}_{i}")(h)
            if level < last:
                h = Downsample((0, 1), self.dtype, name=f"down_{level}")(h)
        h = _middle(settings, h, self.dtype)
        return _head(settings, h, self.out_channels, self.dtype)


class Decoder(nn.Module):
    """Residual blocks from latents at the smallest size up to an image."""

    settings: AutoencoderSettings
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 out"]:
        """Returns an image of the settings' `factor` times the size."""
        settings = self.settings
        h = Conv(settings.channels[-1], dtype=self.dtype, name="conv_in")(z)
        h = _middle(settings, h, self.dtype)
        for level, features in reversed(list(enumerate(settings.channels))):
            for i in range(settings.layers_per_block + 1):
                h = _residual(settings, features, self.dtype, f"up_{level}_{i}")(h)
            if level > 0:
                h = Upsample(self.dtype, name=f"up_{level}")(h)
        return _head(settings, h, settings.image_channels, self.dtype)


class AutoencoderKL(nn.Module):
    """The autoencoder whose latents are normally distributed (Kingma & Welling, 2014).

    `network.apply(variables, x, method="encode")` returns the `Gaussian`, `method="decode"` images.
    """

    settings: AutoencoderSettings = AutoencoderSettings()
    dtype: Any = jnp.float32

    def setup(self):
        """Makes the parts."""
        latent = self.settings.latent_channels
        self.encoder = Encoder(self.settings, 2 * latent, self.dtype)
        self.decoder = Decoder(self.settings, self.dtype)
        if self.settings.quant_convs:
            self.quant = Conv(2 * latent, size=1, dtype=self.dtype)
            self.post_quant = Conv(latent, size=1, dtype=self.dtype)

    def __call__(
        self, x: Float[Array, "b h w c"], keys: Key[Array, " b"] | None = None
    ) -> tuple[Float[Array, "b h w c"], Gaussian]:
        """Returns the reconstruction, of the mean or with keys of a sample, and the posterior."""
        latents = self.encode(x)
        return self.decode(latents.mean if keys is None else latents.sample(keys)), latents

    def encode(self, x: Float[Array, "b h w c"]) -> Gaussian:
        """Returns the posterior of images in [-1, 1].

        Raises:
            ValueError: the size is not a multiple of `factor`, or the channels are others.
        """
        moments = self.encoder(x)
        return posterior(self.quant(moments) if self.settings.quant_convs else moments)

    def decode(self, z: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 out"]:
        """Returns the images of latents.

        Raises:
            ValueError: the latents have other channels.
        """
        check_channels("latents", z.shape[-1], self.settings.latent_channels)
        return self.decoder(self.post_quant(z) if self.settings.quant_convs else z)


def _residual(settings: AutoencoderSettings, features: int, dtype: Any, name: str) -> ResidualBlock:
    return ResidualBlock(
        features,
        num_groups=settings.num_groups,
        eps=settings.eps,
        dtype=dtype,
        name=f"{name}_residual",
    )


def _middle(settings: AutoencoderSettings, h: Array, dtype: Any) -> Array:
    h = _residual(settings, h.shape[-1], dtype, "middle_0")(h)
    if settings.middle_attention:
        h = SelfAttention(
            num_groups=settings.num_groups,
            eps=settings.eps,
            dtype=dtype,
            name="middle_attention",
        )(h)
    return _residual(settings, h.shape[-1], dtype, "middle_1")(h)


def _head(settings: AutoencoderSettings, h: Array, features: int, dtype: Any) -> Array:
    norm = GroupNorm(settings.num_groups, settings.eps, dtype, name="norm_out")
    return Conv(features, dtype=dtype, name="conv_out")(nn.silu(norm(h)))


def check_channels(what: str, found: int, expected: int) -> None:
    """Raises ValueError where channels are not those that the network has."""
    if found != expected:
        raise ValueError(f"{what} of {found} channels: this autoencoder's have {expected}")
