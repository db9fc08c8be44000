"""Folders of ControlNets, tiny and random, as diffusers writes them."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxdiff.pretrained import families, to_theirs
from jaxdiff.pretrained.tables.control import controlnet
from tests.parity.cases import draw
from tests.support.released import UNET, save_tensors

CONTROL = {
    "_class_name": "ControlNetModel", **{k: v for k, v in UNET.items() if k in (
        "block_out_channels", "layers_per_block", "in_channels", "norm_num_groups",
        "down_block_types", "cross_attention_dim", "attention_head_dim",
    )},
    "conditioning_embedding_out_channels": [8, 12],
}  # fmt: skip


def write_control(folder: Path, config: dict[str, Any] = CONTROL, seed: int = 7) -> Path:
    """Writes a ControlNet with random weights in diffusers' layout; returns the folder."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    network, shape = families.describe(folder / "config.json")
    linear = config.get("use_linear_projection", False)
    table = controlnet(len(network.channels), linear_projection=linear)
    hint = jnp.zeros((1, *(2 * side for side in shape[:2]), network.map_channels))
    given = jnp.zeros((1, *shape)), jnp.zeros(1), {}, hint
    shapes = jax.eval_shape(network.init, jax.random.key(0), *given)["params"]
    shapes = jax.eval_shape(lambda tree: to_theirs(table, tree), shapes)
    save_tensors(draw(shapes, seed), folder / "diffusion_pytorch_model.safetensors")
    return folder
