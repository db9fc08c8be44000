"""LoRA that was trained here as a file that public tools read."""

import os
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np

from jaxdiff.networks.dit import MMDiT
from jaxdiff.networks.unet import UNet
from jaxdiff.options import check
from jaxdiff.pretrained.convert import names, pairs, split_layers
from jaxdiff.pretrained.files import write_tensors
from jaxdiff.pretrained.rules import Table
from jaxdiff.pretrained.tables import dit, unet
from jaxdiff.typing import Params

Naming = Literal["peft", "kohya"]
ENDS = {"peft": ("lora_A.weight", "lora_B.weight"), "kohya": ("lora_down.weight", "lora_up.weight")}


def save_lora(
    factors: Params,
    network: Any,
    params: Params,
    path: str | os.PathLike,
    *,
    alpha: float | None = None,
    naming: Naming = "peft",
    linear_projection: bool = True,
) -> None:
    """Writes the factors of an adapter `LoRA` of a network as a .safetensors file.

    Args:
        factors: "down" and "up" at the path of each kernel, `run.weights["lora"]`.
        network: a UNet or an MMDiT; `params`, its weights, or their shapes.
        path: of the file.
        alpha: as in training; the change is times alpha/rank, or 1 without it.
        naming: "peft", of diffusers and PEFT, whose factors hold alpha/rank; or "kohya".
        linear_projection: as in `tables.unet`: False for Stable Diffusion 1.

    Raises:
        ValueError: the name has another suffix, the network has no public names, or factors are of
            another kind, or at another place.
    """
    check("naming", Naming, naming)
    if Path(path).suffix != ".safetensors":
        raise ValueError(f"{str(path)!r}: the file name must end in .safetensors")
    table, part = _table(network, linear_projection)
    tensors: dict[str, Any] = {}
    for module, (down, up) in modules(table, params, factors).items():
        rank = down.shape[0]
        of_module = f"{part}.{module}" if naming == "peft" else f"lora_unet_{module}"
        key = of_module if naming == "peft" else of_module.replace(".", "_")
        scale = 1.0 if alpha is None or naming == "kohya" else alpha / rank
        ends = ENDS[naming]
        tensors |= {f"{key}.{ends[0]}": down, f"{key}.{ends[1]}": scale * up}
        if naming == "kohya":
            tensors[f"{key}.alpha"] = np.float32(rank if alpha is None else alpha)
    write_tensors(tensors, path)


def modules(table: Table, params: Params, factors: Params) -> dict[str, tuple[Any, Any]]:
    """Returns down [rank, in, ...] and up [out, rank, ...] by the public name of each module.

    Raises:
        ValueError: factors are of another kind, or at a place that the table does not have alone.
    """
    given = names(factors)
    wrong = sorted({key.rpartition("/")[2] for key in given} - {"down", "up"})
    if wrong or not given:
        raise ValueError(f"factors are {', '.join(wrong) or 'none'}; LoRA's are down and up")
    leaves, homes = split_layers(table, names(params))
    found, used = {}, set()
    for pair in pairs(table, leaves):
        for name in pair.ours:
            whole = homes.get(name, name)
            if f"{whole}/down" not in given:
                continue
            if len(pair.ours) > 1 or len(pair.theirs) != 1:
                raise ValueError(f"{name} shares its key in public files with other arrays")
            layer = int(name.split("[")[1].split("]")[0]) if name in homes else None
            both = [jnp.asarray(given[f"{whole}/{role}"]) for role in ("down", "up")]
            down, up = both if layer is None else [factor[layer] for factor in both]
            up = up.reshape(*(1,) * (down.ndim - 2), *up.shape)
            to_theirs = pair.rule.layout.to_theirs
            found[pair.theirs[0].removesuffix(".weight")] = to_theirs(down), to_theirs(up)
            used.add(whole)
    if unused := sorted({key.rpartition("/")[0] for key in given} - used):
        raise ValueError(f"the network has no kernel at {', '.join(unused[:4])}")
    return found


def _table(network: Any, linear_projection: bool) -> tuple[Table, str]:
    if isinstance(network, UNet):
        levels = len(network.channels)
        return unet.unet2d(levels, linear_projection=linear_projection), "unet"
    if isinstance(network, MMDiT):
        return dit.sd3(network.depth, network.patch[-1]), "transformer"
    raise ValueError(f"{type(network).__name__} has no public names of LoRA; UNet and MMDiT have")
