"""IP-Adapters from files: image prompts by attention of its own beside that to the text."""

import os
from typing import Any

import jax
import jax.numpy as jnp

from jaxdiff.conditioning.images import ImageProjection, ImagePrompt
from jaxdiff.conditioning.loading import load_image_encoder
from jaxdiff.networks.unet import UNet
from jaxdiff.pretrained import open_tensors, resolve, to_ours
from jaxdiff.pretrained.files import refuse_pickled
from jaxdiff.pretrained.tables.ip_adapter import attentions, ip_adapter
from jaxdiff.typing import Params

PROJECTION = "image_proj.proj.weight"
PLUS = "image_proj.latents"


def read_ip_adapter(
    source: str | os.PathLike,
    image_encoder: str | os.PathLike,
    network: Any,
    params: Params,
    weight: float,
) -> tuple[UNet, Params, ImagePrompt, Params]:
    """Returns a U-Net that reads image prompts with its weights, and their encoder with its.

    Args:
        source: a .safetensors file with `image_proj.*` and `ip_adapter.*`.
        image_encoder: the folder of CLIP's image encoder that it was trained with.
        network: a U-Net with text; `params`, its weights.
        weight: how strong image prompts are; the values of the attention are multiplied by it.

    Raises:
        ValueError: the file is missing, damaged, of another kind, or of another network.
    """
    path, name = resolve(source), repr(os.fspath(source))
    refuse_pickled(path)
    if type(network) is not UNet or not network.inputs.text_features:
        raise ValueError(
            f"{name}: {type(network).__name__} takes no IP-Adapter; U-Nets with text do"
        )
    if network.inputs.image_features:
        raise ValueError(f"{name}: the model has an IP-Adapter already; open it anew")
    tensors = open_tensors(path)
    if PROJECTION not in tensors:
        plus = " it is of the kind Plus, whose tokens are resampled, which cannot be expressed"
        keys = f" it has {', '.join(sorted(tensors)[:3])}, ..."
        raise ValueError(f"{name} has no key {PROJECTION}:{plus if PLUS in tensors else keys}")
    width = network.inputs.text_features
    out, vector = tensors[PROJECTION].shape
    if out % width:
        raise ValueError(f"{name} makes tokens of another width than the text's, {width}")
    vision, vision_params = load_image_encoder(image_encoder, dtype=network.dtype)
    if vision.settings.projection != vector:
        raise ValueError(
            f"{name} reads vectors of width {vector}, and the image encoder in"
            f" {os.fspath(image_encoder)!r} gives {vision.settings.projection}"
        )
    depths = network.transformer_depth
    middle = depths[-1] if network.middle_depth is None else network.middle_depth
    sizes = depths, network.layers_per_block, middle
    like = {"network": {}, "projection": _shapes(out, vector, width)}
    for place in attentions(*sizes):
        kernel = _at(params, f"{place}/key/kernel")
        shape = jax.ShapeDtypeStruct((width, kernel.shape[1]), kernel.dtype)
        _put(like["network"], f"{place}/image_key/kernel", shape)
        _put(like["network"], f"{place}/image_value/kernel", shape)
    found = to_ours(ip_adapter(*sizes), tensors, like, source=name)
    scaled = jax.tree_util.tree_map_with_path(
        lambda path, a: weight * a if path[-2].key == "image_value" else a, found["network"]
    )
    prompt = ImagePrompt(vision, ImageProjection(out // width, width, network.dtype))
    inputs = {f: getattr(network.inputs, f) for f in network.inputs.__dataclass_fields__}
    inputs = type(network.inputs)(**{**inputs, "image_features": width})
    weights = {"network": vision_params, "projection": found["projection"]}
    return network.clone(inputs=inputs), _merged(params, scaled), prompt, weights


def _shapes(out: int, vector: int, width: int) -> Params:
    of = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.float32)
    return {
        "out": {"kernel": of(vector, out), "bias": of(out)},
        "norm": {"scale": of(width), "bias": of(width)},
    }


def _at(tree: Params, path: str) -> Any:
    for name in path.split("/"):
        tree = tree[name]
    return tree


def _put(tree: dict[str, Any], path: str, value: Any) -> None:
    *places, last = path.split("/")
    for name in places:
        tree = tree.setdefault(name, {})
    tree[last] = value


def _merged(tree: Params, more: Params) -> Params:
    """Returns nested dicts with the leaves of both."""
    new = {name: value for name, value in more.items() if name not in tree}
    both = {n: _merged(v, more[n]) if n in more else v for n, v in tree.items()}
    return {**both, **new}
