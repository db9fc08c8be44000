"""LoRA that was trained here as a file that public tools read."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import block_diag

from jaxdiff.networks.dit import MMDiT
from jaxdiff.networks.unet import UNet
from jaxdiff.options import check
from jaxdiff.pipelines.lora import OF_SEVERAL
from jaxdiff.pretrained.convert import Pair, names, pairs, split_layers
from jaxdiff.pretrained.files import write_tensors
from jaxdiff.pretrained.layouts import KERNEL, POINTWISE_CONV, SWAPPED_KERNEL, Layout
from jaxdiff.pretrained.lora.files import ENCODERS
from jaxdiff.pretrained.rules import Table
from jaxdiff.pretrained.tables import dit, original, unet
from jaxdiff.pretrained.tables import text as texts
from jaxdiff.typing import Params

Naming = Literal["peft", "kohya"]
ENDS = {"peft": ("lora_A.weight", "lora_B.weight"), "kohya": ("lora_down.weight", "lora_up.weight")}
ALONE, OF_ENCODERS = "lora_te_", {part: f"lora_te{i}_" for i, part in enumerate(ENCODERS, 1)}
"""How kohya's names of text encoders begin, of one encoder and of several."""


class Factors(NamedTuple):
    """down [n, in, ...] and up [out, n, ...]; n is `rank`, or that of several arrays together."""

    down: Any
    up: Any
    rank: int


class OfText(NamedTuple):
    """Factors of text encoders, `run.weights["lora"]` of an adapter of "text".

    `params` are their weights, `run.weights["text"]`, or their shapes; `alpha` is as in training.
    """

    factors: Params
    params: Params
    alpha: float | None = None


def save_lora(
    factors: Params,
    network: Any,
    params: Params,
    path: str | os.PathLike,
    *,
    alpha: float | None = None,
    naming: Naming = "peft",
    linear_projection: bool = True,
    text: OfText | None = None,
) -> None:
    """Writes the factors of an adapter `LoRA` of a network as a .safetensors file.

    Args:
        factors: "down" and "up" at the path of each kernel, `run.weights["lora"]`; {} for none.
        network: a UNet or an MMDiT; `params`, its weights, or their shapes.
        path: of the file.
        alpha: as in training; the change is times alpha/rank, or 1 without it.
        naming: "peft", of diffusers and PEFT, whose factors hold alpha/rank; or "kohya", which are
            the authors' for SDXL and Stable Diffusion 3.
        linear_projection: as in `tables.unet`: False for Stable Diffusion 1.
        text: factors of the text encoders as well.

    Raises:
        ValueError: the name has another suffix, the network has no public names, or factors are of
            another kind, or at another place.
    """
    check("naming", Naming, naming)
    if Path(path).suffix != ".safetensors":
        raise ValueError(f"{str(path)!r}: the file name must end in .safetensors")
    tensors: dict[str, Any] = {}
    if factors:
        table, part = _table(network, linear_projection, naming)
        start = f"{part}." if naming == "peft" else "lora_unet_"
        tensors |= _named(modules(table, params, factors), start, alpha, naming)
    for part, (tree, weights) in encoders_of(text).items() if text else ():
        alone = "words" in text.params["network"]
        start = f"{part}." if naming == "peft" else ALONE if alone else OF_ENCODERS[part]
        table = texts.t5() if "distances" in weights else texts.clip_text()
        tensors |= _named(modules(table, weights, tree), start, text.alpha, naming)
    if not tensors:
        raise ValueError("there are no factors: neither of the network nor of the text")
    write_tensors(tensors, path)


def encoders_of(text: OfText) -> dict[str, tuple[Params, Params]]:
    """Returns the factors and the weights of each text encoder that has factors.

    Raises:
        ValueError: the factors are of other weights.
    """
    if set(text.factors) != {"network"}:
        there = ", ".join(sorted(text.factors)) or "nothing"
        raise ValueError(f"the factors of the text have {there}; those of an adapter have network")
    factors, params = text.factors["network"], text.params["network"]
    if "words" in params:
        return {ENCODERS[0]: (factors, params)}
    if unknown := sorted(set(factors) - set(params)):
        raise ValueError(f"there is no text encoder {unknown}; known: {', '.join(params)}")
    return {OF_SEVERAL[name]: (tree, params[name]) for name, tree in factors.items()}


def modules(table: Table, params: Params, factors: Params) -> dict[str, Factors]:
    """Returns the factors by the public name of each module.

    Factors of arrays that are one array there, such as queries, keys and values, become those of
    the whole: below each other, and on a diagonal.

    Raises:
        ValueError: factors are of another kind, or at a place that the table does not have.
    """
    given = names(factors)
    wrong = sorted({key.rpartition("/")[2] for key in given} - {"down", "up"})
    if wrong or not given:
        raise ValueError(f"factors are {', '.join(wrong) or 'none'}; LoRA's are down and up")
    leaves, homes = split_layers(table, names(params))

    def of(name: str) -> tuple[Any, Any] | None:
        whole = homes.get(name, name)
        if f"{whole}/down" not in given:
            return None
        used.add(whole)
        both = [jnp.asarray(given[f"{whole}/{role}"]) for role in ("down", "up")]
        if name not in homes:
            return both[0], both[1]
        layer = int(name.split("[")[1].split("]", maxsplit=1)[0])
        return both[0][layer], both[1][layer]

    found, used = {}, set()
    for pair in pairs(table, leaves):
        each = [of(name) for name in pair.ours]
        if all(one is None for one in each):
            continue
        if len(pair.theirs) != 1:
            raise ValueError(f"{pair.ours[0]} has several keys in public files")
        found[pair.theirs[0].removesuffix(".weight")] = _joined(pair, each, leaves)
    if unused := sorted({key.rpartition("/")[0] for key in given} - used):
        raise ValueError(f"the network has no kernel at {', '.join(unused[:4])}")
    return found


def _joined(
    pair: Pair, each: Sequence[tuple[Any, Any] | None], leaves: Mapping[str, Any]
) -> Factors:
    """Returns the factors of the arrays that are one array in public files."""
    kept = [one and _in_layout(pair.rule.layout, *one) for one in each]
    rank = next(one.rank for one in kept if one)
    if len(kept) == 1:
        return kept[0]
    outputs = [leaves[name].shape[-1] for name in pair.ours]
    blocks = [
        one.up if one else jnp.zeros((rows, 0)) for one, rows in zip(kept, outputs, strict=True)
    ]
    return Factors(jnp.concatenate([one.down for one in kept if one]), block_diag(*blocks), rank)


def _in_layout(layout: Layout, down: Any, up: Any) -> Factors:
    """Returns both factors as public files have them: `up` has the order of the outputs."""
    rank = up.shape[0]
    if layout is SWAPPED_KERNEL:
        return Factors(KERNEL.to_theirs(down), layout.to_theirs(up), rank)
    there = layout.to_theirs(down)
    outputs = POINTWISE_CONV if there.ndim == 4 else KERNEL
    return Factors(there, outputs.to_theirs(up), rank)


def _named(
    found: dict[str, Factors], start: str, alpha: float | None, naming: Naming
) -> dict[str, Any]:
    """Returns the tensors of modules in a way of naming."""
    tensors: dict[str, Any] = {}
    for module, (down, up, rank) in found.items():
        key = start + (module if naming == "peft" else module.replace(".", "_"))
        scale = 1.0 if alpha is None or naming == "kohya" else alpha / rank
        ends = ENDS[naming]
        tensors |= {f"{key}.{ends[0]}": down, f"{key}.{ends[1]}": scale * up}
        if naming == "kohya":
            # Readers divide by the number of rows of `down`.
            rows = down.shape[0]
            tensors[f"{key}.alpha"] = np.float32(rows if alpha is None else alpha * rows / rank)
    return tensors


def _table(network: Any, linear_projection: bool, naming: Naming) -> tuple[Table, str]:
    if isinstance(network, UNet):
        if naming == "kohya" and "size" in network.inputs.joint_numbers:  # SDXL
            depths, layers = network.transformer_depth, network.layers_per_block
            return original.unet(depths, layers), "unet"
        levels = len(network.channels)
        return unet.unet2d(levels, linear_projection=linear_projection), "unet"
    if isinstance(network, MMDiT):
        sizes = network.depth, network.patch[-1], network.dual_depth
        return (original.mmdit if naming == "kohya" else dit.sd3)(*sizes), "transformer"
    raise ValueError(f"{type(network).__name__} has no public names of LoRA; UNet and MMDiT have")
