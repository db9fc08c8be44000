"""Released networks: from a folder's config.json and tensors to a network and its parameters.

network, params = load_network("path/to/unet")
params = read_network("path/to/unet", network, target)
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxdiff.config.build import describe_difference, suggest
from jaxdiff.networks.attention import num_heads
from jaxdiff.networks.autoencoder import AutoencoderKL
from jaxdiff.networks.dit import DiT, MMDiT
from jaxdiff.networks.inputs import Inputs
from jaxdiff.networks.layers import fitting_groups
from jaxdiff.networks.unet import UNet
from jaxdiff.networks.vector_quantized import AutoencoderVQ
from jaxdiff.networks.video_autoencoder import VideoAutoencoder
from jaxdiff.pretrained import control_peers, peers
from jaxdiff.pretrained.config import Config, read_config
from jaxdiff.pretrained.convert import names, to_ours
from jaxdiff.pretrained.files import open_tensors, resolve
from jaxdiff.pretrained.peers import Described
from jaxdiff.pretrained.positions import check_positions
from jaxdiff.pretrained.rules import Table
from jaxdiff.pretrained.tables import autoencoder as autoencoder_tables
from jaxdiff.pretrained.tables import dit as dit_tables
from jaxdiff.pretrained.tables import video_autoencoder as clip_tables
from jaxdiff.pretrained.tables.unet import unet2d as unet_table
from jaxdiff.typing import Params

Autoencoder = AutoencoderKL | AutoencoderVQ | VideoAutoencoder

FAMILIES: Mapping[str, Callable[[Config, Any], Described]] = {
    "UNet2DModel": peers.unet2d,
    "UNet2DConditionModel": peers.unet2d_condition,
    "ControlNetModel": control_peers.controlnet,
    "T2IAdapter": control_peers.t2i_adapter,
    "DiTTransformer2DModel": peers.dit,
    "Transformer2DModel": peers.dit,
    "PixArtTransformer2DModel": peers.pixart,
    "SD3Transformer2DModel": peers.sd3,
    "WanTransformer3DModel": peers.wan,
    "AutoencoderKL": peers.image_autoencoder,
    "VQModel": peers.image_autoencoder,
    "AutoencoderKLWan": peers.clip_autoencoder,
}
"""The function that reads config.json, by its field `_class_name`."""


def load_network(
    path: str | os.PathLike, *, dtype: Any = jnp.float32, param_dtype: Any = jnp.float32
) -> tuple[Any, Params]:
    """Returns the network in a folder of diffusers' and its parameters.

    Args:
        path: a folder, or a name on the hub.
        dtype: type of the computation; `param_dtype`, of the parameters.

    Raises:
        ValueError: files are missing, damaged or of another network; config.json has a class or an
            option that cannot be expressed.
    """
    folder = resolve(path)
    network, shape = describe(folder / "config.json", dtype)
    return network, read_network(folder, network, network_shapes(network, shape, param_dtype))


def read_network(path: str | os.PathLike, network: Any, target: Params) -> Params:
    """Returns the released parameters of `network`, like `target`.

    A config.json in the folder must describe the same network; dropout, types, `remat`, `unroll`
    and the names of conditions may differ.

    Args:
        path: a folder, a file of tensors, or a name on the hub.
        network: a UNet, DiT, MMDiT or an autoencoder.
        target: tree of arrays or of shapes, whose types and shardings the parameters take.

    Raises:
        ValueError: files are missing, damaged or of another network; names the file and the field
            or the tensor.
    """
    source = resolve(path)
    config = (source if source.is_dir() else source.parent) / "config.json"
    if config.is_file() and (source.is_dir() or _is_known(config)):
        theirs = describe(config, getattr(network, "dtype", jnp.float32)).network
        if others := describe_difference(_comparable(network), _comparable(theirs)):
            raise ValueError(f"{others} in {str(config)!r}")
    tensors = open_tensors(source)
    if isinstance(network, Autoencoder):
        tensors = autoencoder_tables.part_of(tensors)
    check_groups(network, target, str(source))
    check_positions(network, tensors.get("pos_embed.pos_embed"), str(source))
    return to_ours(table_of(network, tensors), tensors, target, source=str(source))


def describe(file: Path, dtype: Any = jnp.float32) -> Described:
    """Returns the network that a config.json describes, and the shape of an example.

    Raises:
        ValueError: the file is missing or damaged, or its network cannot be expressed.
    """
    fields = read_config(file)
    kind = fields.get("_class_name")
    if kind not in FAMILIES:
        raise ValueError(
            f"{str(file)!r}: unknown network, _class_name={kind!r}"
            + suggest(str(kind), list(FAMILIES))
        )
    config = Config(fields, str(file))
    described = FAMILIES[kind](config, dtype)
    if kind != "ControlNetModel":  # its fields are those of two networks
        config.finish()
    return described


def network_shapes(network: Any, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Params:
    """Returns the shapes of a network's parameters for an input of shape [*space, c]."""
    x = jnp.zeros((1, *shape))
    given = (x,) if isinstance(network, Autoencoder) else (x, jnp.zeros(1), {})
    shapes = jax.eval_shape(network.init, jax.random.key(0), *given)["params"]
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype), shapes)


def table_of(network: Any, tensors: Mapping[str, Any]) -> Table:  # noqa: PLR0911 - one a network
    """Returns the table between a network's parameters and the tensors of a file.

    Raises:
        ValueError: no table is known for the network.
    """
    match network:
        case UNet():
            inner = [key for key in tensors if key.endswith("proj_in.weight")]
            linear = all(len(tensors[key].shape) == 2 for key in inner)
            return unet_table(len(network.channels), linear_projection=linear)
        case MMDiT():
            return dit_tables.sd3(network.depth, network.patch[1], network.dual_depth)
        case DiT() if network.text_norm:
            return dit_tables.wan(network.patch)
        case DiT() if network.shared_modulation:
            return dit_tables.pixart(network.patch[1])
        case DiT():
            return dit_tables.dit(network.depth, network.patch[1])
        case AutoencoderKL() | AutoencoderVQ():
            return autoencoder_tables.table_of(tensors, len(network.settings.channels))
        case VideoAutoencoder():
            settings = network.settings
            levels = len(settings.channels)
            return clip_tables.table_of(tensors, levels, settings.layers_per_block)
    raise ValueError(f"{type(network).__name__} has no released weights that could be read")


def _is_known(config: Path) -> bool:
    return read_config(config).get("_class_name") in FAMILIES


def check_groups(network: Any, target: Params, source: str) -> None:
    """Checks that all norms have as many groups as the released network's.

    Raises:
        ValueError: a norm would have fewer, because its width is not twice `num_groups`.
    """
    groups = getattr(getattr(network, "settings", network), "num_groups", None)
    for name, leaf in names(target).items() if groups else ():
        part = name.rsplit("/", 2)[-2:]
        grouped = part[-1] == "scale" and part[0].startswith("norm") and "/block_" not in name
        if grouped and (found := fitting_groups(groups, leaf.shape[0])) != groups:
            raise ValueError(
                f"{source}: {name} has {leaf.shape[0]} channels; num_groups={groups} cannot be"
                f" expressed, it would become {found}: a group needs two channels"
            )


def _comparable(network: Any) -> Any:
    """Returns the network without options that its parameters' shapes show, or that change nothing.

    Options with several spellings have one.
    """
    if isinstance(network, Autoencoder):
        return network.clone(dtype=jnp.float32)
    inputs = network.inputs
    kept = Inputs(number_sinusoids=inputs.number_sinusoids) if inputs.joint_numbers else Inputs()
    changes = {"inputs": kept, "dropout": 0.0, "out_channels": None, "dtype": jnp.float32}
    changes |= {"remat": None, "unroll": 1}
    if isinstance(network, UNet):
        levels = range(len(network.channels))
        at = lambda option, i: option[i] if isinstance(option, tuple | list) else option
        changes |= {
            "channels": tuple(network.channels),
            "num_heads": tuple(
                num_heads(c, at(network.num_heads, i), at(network.head_channels, i))
                for i, c in enumerate(network.channels)
            ),
            "head_channels": None,
            "attention_at": (),
            "transformer_depth": tuple(network.transformer_depth or (0 for _ in levels)),
            "downsample_padding": tuple(network.downsample_padding),
            "embedding_features": network.embedding_features or 4 * network.channels[0],
        }
        depths = changes["transformer_depth"]
        changes["middle_depth"] = (
            depths[-1] if network.middle_depth is None else network.middle_depth
        )
    else:
        changes |= {
            "patch": tuple(network.patch),
            "mlp_features": network.mlp_features or 4 * network.features,
        }
    return network.clone(**changes)
