"""ControlNets and T2I-Adapters from files: diffusers folders, single files of ControlNets."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxdiff.networks.control import ControlNet, control_of
from jaxdiff.networks.t2i_adapter import T2IAdapter
from jaxdiff.networks.unet import UNet
from jaxdiff.pretrained import open_tensors, resolve, to_ours
from jaxdiff.pretrained.families import describe
from jaxdiff.pretrained.files import refuse_pickled
from jaxdiff.pretrained.rules import Table
from jaxdiff.pretrained.tables.control import controlnet, original_controlnet, t2i_adapter
from jaxdiff.typing import Params

PREFIX = "control_model."
HINT = ("controlnet_cond_embedding.conv_in.weight", "input_hint_block.0.weight")
"""The first convolution of the map in diffusers' and in the authors' layout."""


def read_control(
    source: str | os.PathLike, base: Any, factor: int, place: Any, dtype: Any
) -> tuple[ControlNet | T2IAdapter, Params]:
    """Returns a ControlNet or a T2I-Adapter for a U-Net, and its weights.

    Args:
        source: a diffusers folder, with config.json, or a .safetensors file.
        base: the network that it is to steer.
        factor: how many times as large as latents pictures are.
        place: a function from shapes to shapes with shardings.
        dtype: of the weights.

    Raises:
        ValueError: the file is missing, damaged, of another kind, or of another network.
    """
    path, name = resolve(source), repr(os.fspath(source))
    refuse_pickled(path)
    if type(base) is not UNet:
        raise ValueError(f"{name}: {type(base).__name__} takes no ControlNet; U-Nets do")
    tensors = open_tensors(path)
    if any(key.startswith(PREFIX) for key in tensors):
        inside = {k: v for k, v in tensors.items() if k.startswith(PREFIX)}
        tensors = {key.removeprefix(PREFIX): value for key, value in inside.items()}
    config = _config_of(path)
    network = described(config, base) if config else inferred(tensors, base, name)
    check_fits(network, base, factor, name)
    side = 2 ** len(base.channels)
    hint = jnp.zeros((1, side * factor, side * factor, network.map_channels))
    x = jnp.zeros((1, side, side, channels_of(tensors)))
    shapes = jax.eval_shape(network.init, jax.random.key(0), x, jnp.zeros(1), {}, hint)["params"]
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, jnp.dtype(dtype)), shapes)
    return network, to_ours(table_of(network, tensors), tensors, place(shapes), source=name)


def described(config: Path, base: UNet) -> ControlNet | T2IAdapter:
    """Returns the network that a config.json describes.

    Raises:
        ValueError: a field cannot be expressed, or it is of another kind.
    """
    network = describe(config, base.dtype).network
    if not isinstance(network, ControlNet | T2IAdapter):
        kind = type(network).__name__
        raise ValueError(f"{str(config)!r} is of a {kind}, no ControlNet and no T2I-Adapter")
    return network


def inferred(tensors: Mapping[str, Any], base: UNet, name: str) -> ControlNet:
    """Returns the ControlNet of a file without a config, which has the sizes of the U-Net.

    Raises:
        ValueError: the file is no ControlNet.
    """
    first = next((key for key in HINT if key in tensors), None)
    if first is None:
        raise ValueError(
            f"{name} is no ControlNet: it has no key {HINT[0]} (diffusers) or {PREFIX}{HINT[1]},"
            f" but {', '.join(sorted(tensors)[:3])}, ..."
        )
    out, channels = tensors[first].shape[:2]
    key = "controlnet_cond_embedding.blocks.{}.weight" if first == HINT[0] else ""
    key = key or "input_hint_block.{}.weight"
    # Every second convolution within halves the size; the last one of the authors' is the exit.
    places = range(1, 100, 2) if first == HINT[0] else range(4, 100, 4)
    found = [tensors[key.format(i)].shape[0] for i in places if key.format(i) in tensors]
    network = control_of(base, channels, 2 ** len(found))
    return network.clone(hint_channels=(out, *found))


def check_fits(network: Any, base: UNet, factor: int, name: str) -> None:
    """Raises ValueError if a network is of another U-Net, or of maps of another size."""
    levels = len(base.channels)
    pairs = {"channels": (tuple(network.channels)[:levels], tuple(base.channels))}
    if isinstance(network, ControlNet):
        pairs["layers_per_block"] = network.layers_per_block, base.layers_per_block
        for field in ("text_features", "pooled_features"):
            pairs[field] = getattr(network.inputs, field), getattr(base.inputs, field)
    for field, (one, other) in pairs.items():
        if one != other:
            raise ValueError(f"{name} is of a network with {field}={one}; this one has {other}")
    if (least := network.map_factor) != factor:
        raise ValueError(
            f"{name} divides the sides of maps by {least}, the autoencoder by {factor}"
        )


def table_of(network: ControlNet | T2IAdapter, tensors: Mapping[str, Any]) -> Table:
    """Returns the table between a network and the keys of a file."""
    if isinstance(network, T2IAdapter):
        return t2i_adapter()
    inner = [key for key in tensors if key.endswith("proj_in.weight")]
    linear = all(len(tensors[key].shape) == 2 for key in inner)
    if HINT[0] in tensors:
        return controlnet(len(network.channels), linear_projection=linear)
    depths = network.transformer_depth or (0,) * len(network.channels)
    hints = len(network.hint_channels)
    return original_controlnet(depths, network.layers_per_block, hints, linear_projection=linear)


def _config_of(path: Path) -> Path | None:
    folder = path if path.is_dir() else path.parent
    config = folder / "config.json"
    return (
        config
        if path.is_dir() or (config.is_file() and path.name.startswith("diffusion_"))
        else None
    )


def channels_of(tensors: Mapping[str, Any]) -> int:
    """Returns the number of channels of a ControlNet's input; a T2I-Adapter reads none of them."""
    keys = ("conv_in.weight", "input_blocks.0.0.weight")
    return next((tensors[key].shape[1] for key in keys if key in tensors), 1)
