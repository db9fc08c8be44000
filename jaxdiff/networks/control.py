"""ControlNet: a trained copy of a network's first half reads a map and steers the network.

Its last maps are zero at first, so that the network begins as it was (Zhang et al., 2023):

    control = control_of(network, channels=1, factor=4)
    residuals = control.apply(variables, x, time, cond, hint)
    y = network.apply(variables, x, time, cond, residuals=residuals)
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Annotated, Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxdiff.networks.conditioning import with_maps
from jaxdiff.networks.dit.blocks import Block
from jaxdiff.networks.dit.dit import DiT
from jaxdiff.networks.dit.ends import as_clip
from jaxdiff.networks.dit.joint import JointBlock, MMDiT
from jaxdiff.networks.dit.patches import to_patches
from jaxdiff.networks.dit.stack import stacked
from jaxdiff.networks.layers import Conv, Dense, zero_init
from jaxdiff.networks.residuals import Residuals
from jaxdiff.networks.unet import UNet
from jaxdiff.options import Filled, Width, checked
from jaxdiff.typing import Cond, Params

HINT_CHANNELS = (16, 32, 96, 256)
"""The widths of the convolutions that read a map, each at half the size of the one before."""


@checked
class ControlNet(UNet):
    """The encoder of a U-Net, which reads a map beside its input (Zhang et al., 2023).

    The other attributes are those of the U-Net that it steers.

    Attributes:
        map_channels: of the map, whose values are in [0, 1].
        hint_channels: widths of the convolutions between the map and the first features; the map is
            `2^(n - 1)` times as large as the input, where n are the widths.
    """

    map_channels: Width = 3
    hint_channels: Annotated[Sequence[Width], Filled()] = HINT_CHANNELS

    @property
    def map_factor(self) -> int:
        """Returns how many times as large as the input the map is."""
        return 2 ** (len(self.hint_channels) - 1)

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        time: Float[Array, " b"],
        cond: Cond,
        hint: Float[Array, "b h2 w2 m"],
        dropout_keys: Key[Array, " b"] | None = None,
    ) -> Residuals:
        """Returns the features that are to be added to the output of the U-Net's encoder.

        Raises:
            ValueError: the map has another size or number of channels; or as in `UNet`.
        """
        check_map(hint, x, self.map_factor, self.map_channels)
        inputs = self._block_inputs(time, cond, dropout_keys)
        read = Hint(self.hint_channels, self.channels[0], self.dtype, name="hint")
        found = self._encode(with_maps(self.inputs, x, cond, self.dtype), inputs, read(hint))
        zero = lambda h, name: Conv(
            h.shape[-1], 1, kernel_init=zero_init, dtype=self.dtype, name=f"zero_{name}"
        )(h)
        skips = tuple(zero(h, i) for i, h in enumerate(found.skips))
        return Residuals(zero(found.middle, "middle"), skips)


class Hint(nn.Module):
    """Convolutions that make features of a map, at a fraction of its size; zero at first."""

    channels: Sequence[int]
    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w m"]) -> Float[Array, "b h2 w2 f"]:
        """Returns the features."""
        h = nn.silu(Conv(self.channels[0], dtype=self.dtype, name="conv_in")(x))
        for i, (before, after) in enumerate(zip(self.channels, self.channels[1:], strict=False)):
            h = nn.silu(Conv(before, dtype=self.dtype, name=f"conv_{2 * i}")(h))
            h = nn.silu(Conv(after, stride=2, dtype=self.dtype, name=f"conv_{2 * i + 1}")(h))
        out = Conv(self.features, kernel_init=zero_init, dtype=self.dtype, name="conv_out")
        return out(h)


class _ControlBlock(Block):
    """A block whose tokens, through a map that is zero at first, are its second output."""

    @nn.compact
    def __call__(self, x, layer, inputs):
        x, _ = super().__call__(x, layer, inputs)
        return x, Dense(x.shape[-1], zero_init, dtype=self.dtype, name="zero")(x)


@checked
class ControlDiT(DiT):
    """The first `depth` blocks of a DiT, which read a map beside the input (Chen et al., 2024).

    A linear map of the map's patches is added to the tokens. It is not zero at first, unlike the
    maps after the blocks: these alone leave the DiT as it was. The other attributes are those of
    the DiT.

    Attributes:
        map_channels: of the map, whose values are in [0, 1].
        map_factor: how many times as large as the input the map is.
    """

    map_channels: Width = 3
    map_factor: Width = 1

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        time: Float[Array, " b"],
        cond: Cond,
        hint: Float[Array, "b h2 w2 m"],
        dropout_keys: Key[Array, " b"] | None = None,
    ) -> Float[Array, "b layers n d"]:
        """Returns the features that are to be added to the outputs of the DiT's first blocks.

        Raises:
            ValueError: the map has another size or number of channels; or as in `DiT`.
        """
        self._check()
        check_map(hint, x, self.map_factor, self.map_channels)
        patches, grid, inputs = self._enter(x, time, cond, dropout_keys)
        of_map = _of_map(self, hint)
        places = jnp.asarray(self.positions.places(grid))[None]
        h, inputs = self._tokens(patches, places, inputs, of_map)
        frames_of = grid[0] if self.factored else None
        _, each = self._blocks(_ControlBlock, frames_of, each=True)(h, inputs)
        return jnp.moveaxis(each, 0, 1)[:, :, self.registers :]


class _ControlJointBlock(JointBlock):
    """A block whose image tokens, through a map that is zero at first, are its second output."""

    @nn.compact
    def __call__(self, streams, layer, inputs):
        streams, _ = super().__call__(streams, layer, inputs)
        h = streams[0]
        return streams, Dense(h.shape[-1], zero_init, dtype=self.dtype, name="zero")(h)


@checked
class ControlMMDiT(MMDiT):
    """The first `depth` blocks of an MMDiT, which read a map beside the image and the text.

    As in `ControlDiT`, only the maps after the blocks are zero at first. The MMDiT adds the output
    of each block to several of its own, as ControlNets of Stable Diffusion 3 do. The other
    attributes are those of the MMDiT.

    Attributes:
        map_channels: of the map, whose values are in [0, 1].
        map_factor: how many times as large as the input the map is.
    """

    map_channels: Width = 3
    map_factor: Width = 1

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        time: Float[Array, " b"],
        cond: Cond,
        hint: Float[Array, "b h2 w2 m"],
        dropout_keys: Key[Array, " b"] | None = None,
    ) -> Float[Array, "b layers n d"]:
        """Returns the features that are to be added to the image's tokens in the MMDiT.

        Raises:
            ValueError: the map has another size or number of channels; or as in `MMDiT`.
        """
        check_map(hint, x, self.map_factor, self.map_channels)
        (h, text), _, inputs = self._enter(x, time, cond, dropout_keys)
        streams, first, found = (h + _of_map(self, hint), text), 0, []
        for name, depth in self._rows(self.depth).items():
            row = stacked(
                _ControlJointBlock, depth, self.remat, self.unroll, each=True, first=first
            )(**self._options(), dual=name == "dual_blocks", name=name)
            streams, each = row(streams, inputs)
            found, first = [*found, each], first + depth
        return jnp.moveaxis(jnp.concatenate(found), 0, 1)


def _of_map(network: Any, hint: Float[Array, "b h w m"]) -> Float[Array, "b n d"]:
    """Returns a linear map of a map's patches, one for each patch of the network's input."""
    frames, *sides = network.patch
    patches, _ = to_patches(as_clip(hint), (frames, *(p * network.map_factor for p in sides)))
    return Dense(network.features, dtype=network.dtype, name="map")(patches)


Controls = ControlNet | ControlDiT | ControlMMDiT
TRANSFORMERS = {DiT: ControlDiT, MMDiT: ControlMMDiT}


def control_of(network: Any, channels: int, factor: int, depth: int | None = None) -> Controls:
    """Returns the network that steers `network` by maps.

    Args:
        network: a UNet, a DiT or an MMDiT.
        channels: of a map.
        factor: how many times as large as the network's input a map is; for a U-Net a power of two.
        depth: of a transformer, the number of its blocks that are copied; half of them by default.

    Raises:
        ValueError: the network is none of these; the depth or the factor is out of range.
    """
    options = {f.name: getattr(network, f.name) for f in fields(network) if f.init}
    options = {k: v for k, v in options.items() if k not in ("parent", "name")}
    if type(network) is UNet:
        halvings = factor.bit_length() - 1
        if factor != 2**halvings or halvings >= len(HINT_CHANNELS):
            raise ValueError(f"control: maps are {factor} times as large as the input, not 1 to 8")
        if depth is not None:
            raise ValueError(f"control.depth={depth}: a U-Net's whole encoder is copied")
        hint = HINT_CHANNELS[: halvings + 1]
        return ControlNet(**options, map_channels=channels, hint_channels=hint)
    if type(network) in TRANSFORMERS:
        depth = depth or max(network.depth // 2, 1)
        most = network.depth - (type(network) is MMDiT)  # its last block ends the text
        if depth > most:
            raise ValueError(f"control.depth={depth}: {most} blocks of the network can be copied")
        options |= {"depth": depth, "map_channels": channels, "map_factor": factor}
        return TRANSFORMERS[type(network)](**options)
    kinds = ", ".join(each.__name__ for each in (UNet, *TRANSFORMERS))
    raise ValueError(f"control: {type(network).__name__} cannot be steered, only {kinds}")


def begun(fresh: Params, base: Params) -> Params:
    """Returns a control network's first parameters: copies of the base's, where it has such.

    Of stacked layers it takes the first.
    """
    if not isinstance(fresh, Mapping):
        return base if base.shape == fresh.shape else base[: len(fresh)]
    return {n: begun(part, base[n]) if n in base else part for n, part in fresh.items()}


def check_map(hint: Any, x: Any, factor: int, channels: int) -> None:
    """Raises ValueError if a map has another size, or another number of channels."""
    expected = (*(factor * side for side in x.shape[1:3]), channels)
    if hint.shape[1:] != expected:
        raise ValueError(f"the map of a control network has shape {hint.shape[1:]}, not {expected}")


def added(residuals: Sequence[Any]) -> Any:
    """Returns the sum of the residuals of several control networks of one network."""
    plus = lambda one, other: one.plus(other) if isinstance(one, Residuals) else one + other
    return functools.reduce(plus, residuals)
