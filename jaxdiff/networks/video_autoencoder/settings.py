"""The sizes of video autoencoders, and the scale of their latents."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from jaxdiff.options import Depth, Filled, PositiveFloat, Width, checked

WAN_MEAN = (
    -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
    0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
)  # fmt: skip
WAN_DEVIATION = (
    2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
    3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
)  # fmt: skip


@checked
@dataclass(frozen=True)
class VideoAutoencoderSettings:
    """The sizes of a video autoencoder, and the scale of its latents.

    Attributes:
        channels: the width of each level, from the full image size down; each halves the size.
        halve_frames: for each step from a level to the next, whether it halves the frames too.
        layers_per_block: residual blocks of a level of the encoder; the decoder has one more.
        latent_channels: of the latents; `image_channels`, of the frames.
        middle_attention: whether attention of one head, within each frame, is between the two
            blocks at the smallest size.
        quant_convs: whether 1×1×1 convolutions follow the encoder and precede the decoder.
        clamp: whether decoded values are clipped to [-1, 1], without a gradient beyond.
        eps: of the norms.
        scale, shift: (latent - shift) · scale has mean 0 and deviation 1 over the training clips;
            a number for each channel, or one for all.

    Raises:
        ValueError: there is no level, no block or no channel, or the numbers do not match.
    """

    channels: Annotated[Sequence[Width], Filled()] = (96, 192, 384, 384)
    halve_frames: Sequence[bool] = (False, True, True)
    layers_per_block: Depth = 2
    latent_channels: Width = 16
    image_channels: Width = 3
    middle_attention: bool = True
    quant_convs: bool = True
    clamp: bool = True
    eps: PositiveFloat = 1e-24
    scale: PositiveFloat | Sequence[PositiveFloat] = 1.0
    shift: float | Sequence[float] = 0.0

    def __post_init__(self):
        for name in ("channels", "halve_frames", "scale", "shift"):
            value = getattr(self, name)
            object.__setattr__(self, name, tuple(value) if isinstance(value, list) else value)
        if len(self.halve_frames) != len(self.channels) - 1:
            raise ValueError(
                f"halve_frames={self.halve_frames}: one for each of the"
                f" {len(self.channels) - 1} steps between {len(self.channels)} levels"
            )
        # Each step up halves the width.
        if any(width % 2 for width in self.channels[1:]):
            raise ValueError(f"channels={self.channels}: all but the first must be even")
        for name in ("scale", "shift"):
            value = getattr(self, name)
            if isinstance(value, tuple) and len(value) != self.latent_channels:
                raise ValueError(
                    f"{name} of {len(value)} numbers: one, or one for each of the"
                    f" {self.latent_channels} latent channels"
                )

    @property
    def factor(self) -> int:
        """The width of a latent in pixels."""
        return 2 ** (len(self.channels) - 1)

    @property
    def frame_factor(self) -> int:
        """The number of frames of a latent; the first latent has one frame."""
        return 2 ** sum(self.halve_frames)

    @property
    def encoder_radius(self) -> int:
        """The distance, in latents, of pixels that change a latent, without middle attention."""
        radius = 1 + 4 + 2 * self.layers_per_block
        for _ in self.halve_frames:
            # A kernel of 3 at a stride of 2 begins at its place: it reaches farther to the right.
            radius = 2 * radius + 2 + 2 * self.layers_per_block
        return (radius + 1) // self.factor

    @property
    def decoder_radius(self) -> int:
        """The distance, in latents, of latents that change a pixel, without middle attention."""
        blocks = 2 * (self.layers_per_block + 1)
        radius = 1 + blocks
        for _ in self.halve_frames:
            radius = -(-(radius + 1) // 2) + blocks
        return radius + 4 + 1


def wan_vae() -> VideoAutoencoderSettings:
    """Returns the sizes of Wan 2.1's autoencoder (Wan Team, 2025)."""
    return VideoAutoencoderSettings(scale=_inverse(WAN_DEVIATION), shift=WAN_MEAN)


def settings_from_config(config: Any) -> VideoAutoencoderSettings:
    """Returns the settings in a config.json of diffusers' AutoencoderKLWan.

    Raises:
        ValueError: an option cannot be expressed, such as those of Wan 2.2.
    """
    base, multipliers = config.get("base_dim", 96), config.get("dim_mult", (1, 2, 4, 4))
    only = {
        "is_residual": False,
        "patch_size": None,
        "attn_scales": [],
        "decoder_base_dim": base,
        "out_channels": config.get("in_channels", 3),
    }
    for name, value in only.items():
        found = config.get(name, value)
        found = list(found) if isinstance(found, tuple) else found
        if found != value and not (name == "decoder_base_dim" and found is None):
            raise ValueError(f"{name}={found!r}: only {value!r} can be expressed")
    if multipliers[0] != 1:
        raise ValueError(f"dim_mult={multipliers!r}: only lists that begin with 1 can be expressed")
    return VideoAutoencoderSettings(
        channels=tuple(base * multiplier for multiplier in multipliers),
        # Misspelt in config.json, too.
        halve_frames=tuple(config.get("temperal_downsample", (False, True, True))),
        layers_per_block=config.get("num_res_blocks", 2),
        latent_channels=config.get("z_dim", 16),
        image_channels=config.get("in_channels", 3),
        scale=_inverse(config.get("latents_std", WAN_DEVIATION)),
        shift=tuple(config.get("latents_mean", WAN_MEAN)),
    )


def check_frames(frames: int, factor: int, begun: bool = False) -> None:
    """Raises ValueError if a clip has not 1 + n·factor frames, or with `begun` a chunk n·factor."""
    alone = 0 if begun else 1
    if frames < 1 or (frames - alone) % factor:
        below = alone + max(frames - alone, 0) // factor * factor
        nearest = [n for n in (below, below + factor) if n > 0]
        raise ValueError(
            f"{'a later chunk' if begun else 'a clip'} of {frames} frames: this autoencoder takes"
            f" {'' if begun else '1 + '}{factor}·n; the nearest: {' and '.join(map(str, nearest))}"
        )


def _inverse(deviation: Any) -> tuple[float, ...]:
    return tuple(1 / value for value in deviation)
