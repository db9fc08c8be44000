"""The convolutional autoencoder of latent diffusion (Rombach et al., 2022), with a KL penalty."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from einops import reduce
from jaxtyping import Array, Float, Key

from jaxdiff.networks.attention import SelfAttention
from jaxdiff.networks.blocks import ResidualBlock
from jaxdiff.networks.layers import Conv, GroupNorm
from jaxdiff.networks.resampling import Downsample, Upsample, level_sizes
from jaxdiff.options import Depth, Filled, PositiveFloat, Width, checked
from jaxdiff.random import normal


@checked
@dataclass(frozen=True)
class AutoencoderSettings:
    """The sizes of an autoencoder, and the scale of its latents.

    Attributes:
        channels: the width of each level, from the full image size down; each halves the size.
        layers_per_block: residual blocks of a level of the encoder; the decoder has one more.
        latent_channels: of the latents; `image_channels`, of the images.
        middle_attention: whether attention of one head is between the two blocks at the smallest
            size.
        quant_convs: whether 1×1 convolutions follow the encoder and precede the decoder.
        num_groups: groups of the norms, reduced if it does not divide the width; `eps`: epsilon of
            the norms.
        scale, shift: (latent - shift) · scale has mean 0 and deviation 1 over the training images.

    Raises:
        ValueError: there is no level, no block or no channel.
    """

    channels: Annotated[Sequence[Width], Filled()] = (128, 256, 512, 512)
    layers_per_block: Depth = 2
    latent_channels: Width = 4
    image_channels: Width = 3
    middle_attention: bool = True
    quant_convs: bool = True
    num_groups: Width = 32
    eps: PositiveFloat = 1e-6
    scale: PositiveFloat = 0.18215
    shift: float = 0.0

    def __post_init__(self):
        object.__setattr__(self, "channels", tuple(self.channels))

    @property
    def factor(self) -> int:
        """The width of a latent in pixels."""
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


def settings_from_config(config: Any) -> AutoencoderSettings:
    """Returns the settings in a config.json of diffusers' AutoencoderKL or VQModel.

    Raises:
        ValueError: an option cannot be expressed.
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
            raise ValueError(f"{name}={found!r}: only {value!r} can be expressed")
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
        return reduce(terms, "b ... -> b", "sum") / 2


def posterior(moments: Float[Array, "b *size c2"]) -> Gaussian:
    """Returns the distribution of a mean and a log-variance, concatenated along the channels.

    The log-variance is clipped to [-30, 20] as by Rombach et al. (2022), who trained with it.
    """
    mean, log_variance = jnp.split(moments.astype(jnp.float32), 2, axis=-1)
    return Gaussian(mean, jnp.clip(log_variance, -30, 20))


class Layers(NamedTuple):
    """The layers of an encoder and a decoder of `noun`, each made from a size and a name.

    `down` and `up` are made for a level, `conv` and `residual` for a width.
    """

    noun: str
    settings: Any
    conv: Callable[[int, str], nn.Module]
    residual: Callable[[int, str], nn.Module]
    down: Callable[[int, str], nn.Module]
    up: Callable[[int, str], nn.Module]
    attention: Callable[[str], nn.Module]
    norm: Callable[[str], nn.Module]


def image_layers(settings: AutoencoderSettings, dtype: Any) -> Layers:
    """Returns the layers of an autoencoder of images."""
    norm = {"num_groups": settings.num_groups, "eps": settings.eps, "dtype": dtype}
    return Layers(
        "images",
        settings,
        conv=lambda features, name: Conv(features, dtype=dtype, name=name),
        residual=lambda features, name: ResidualBlock(features, name=name, **norm),
        down=lambda level, name: Downsample((0, 1), dtype, name=name),
        up=lambda level, name: Upsample(dtype, name=name),
        attention=lambda name: SelfAttention(name=name, **norm),
        norm=lambda name: GroupNorm(name=name, **norm),
    )


class Encoder(nn.Module):
    """Residual blocks from an image or a clip down to `out_channels` at the smallest size."""

    layers: Layers
    out_channels: int

    @nn.compact
    def __call__(self, x: Float[Array, "b *size c"]) -> Float[Array, "b *size2 out"]:
        """Returns the features at the smallest size.

        Raises:
            ValueError: the size cannot be halved often enough; wrong number of channels.
        """
        layers, cfg = self.layers, self.layers.settings
        level_sizes(x.shape[-3:-1], len(cfg.channels))
        check_channels(layers.noun, x.shape[-1], cfg.image_channels)
        h = layers.conv(cfg.channels[0], "conv_in")(x)
        for level, features in enumerate(cfg.channels):
            for i in range(cfg.layers_per_block):
                h = layers.residual(features, f"down_{level}_{i}_residual")(h)
            if level < len(cfg.channels) - 1:
                h = layers.down(level, f"down_{level}")(h)
        h = _middle(layers, h)
        return _last(layers, h, self.out_channels)


class Decoder(nn.Module):
    """Residual blocks from latents at the smallest size up to an image or a clip."""

    layers: Layers

    @nn.compact
    def __call__(self, z: Float[Array, "b *size c"]) -> Float[Array, "b *size2 out"]:
        """Returns an image or a clip of the settings' `factor` times the size."""
        layers, cfg = self.layers, self.layers.settings
        h = layers.conv(cfg.channels[-1], "conv_in")(z)
        h = _middle(layers, h)
        for level, features in reversed(list(enumerate(cfg.channels))):
            for i in range(cfg.layers_per_block + 1):
                h = layers.residual(features, f"up_{level}_{i}_residual")(h)
            if level > 0:
                h = layers.up(level, f"up_{level}")(h)
        return _last(layers, h, cfg.image_channels)


def _middle(layers: Layers, h: Array) -> Array:
    h = layers.residual(h.shape[-1], "middle_0_residual")(h)
    if layers.settings.middle_attention:
        h = layers.attention("middle_attention")(h)
    return layers.residual(h.shape[-1], "middle_1_residual")(h)


def _last(layers: Layers, h: Array, features: int) -> Array:
    return layers.conv(features, "conv_out")(nn.silu(layers.norm("norm_out")(h)))


class AutoencoderKL(nn.Module):
    """The autoencoder whose latents are normally distributed (Kingma & Welling, 2014).

    `network.apply(variables, x, method="encode")` returns the `Gaussian`, `method="decode"` images.
    """

    settings: AutoencoderSettings = AutoencoderSettings()
    dtype: Any = jnp.float32

    def setup(self):
        """Makes the parts."""
        latent = self.settings.latent_channels
        layers = image_layers(self.settings, self.dtype)
        self.encoder, self.decoder = Encoder(layers, 2 * latent), Decoder(layers)
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
            ValueError: the size is not a multiple of `factor`; wrong number of channels.
        """
        moments = self.encoder(x)
        return posterior(self.quant(moments) if self.settings.quant_convs else moments)

    def decode(self, z: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 out"]:
        """Returns the images of latents.

        Raises:
            ValueError: wrong number of channels.
        """
        check_channels("latents", z.shape[-1], self.settings.latent_channels)
        return self.decoder(self.post_quant(z) if self.settings.quant_convs else z)


def check_channels(noun: str, found: int, expected: int) -> None:
    """Raises ValueError if the number of channels is not the network's."""
    if found != expected:
        raise ValueError(f"{noun} of {found} channels: this autoencoder's have {expected}")
