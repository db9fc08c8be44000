"""The U-Net that attends to text beside diffusers' `UNet2DConditionModel`."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdiff.networks.inputs import Inputs
from jaxdiff.networks.released import sdxl, sdxl_refiner, stable_diffusion_2, stable_diffusion_15
from jaxdiff.networks.unet import UNet
from jaxdiff.pretrained.tables.unet import unet2d
from jaxdiff.typing import Cond, Condition
from tests.parity.cases import Case, Ours, Peer

TEXT, POOLED, WAVES = 24, 10, 8
READ_TEXT = Inputs(text_features=TEXT, learned_null=False)
SMALL = {"channels": (32, 64), "layers_per_block": 1, "num_groups": 8, "inputs": READ_TEXT}
NETWORKS = {
    "Stable Diffusion 1": stable_diffusion_15(transformer_depth=(1, 0), num_heads=4, **SMALL),
    "Stable Diffusion 2": stable_diffusion_2(transformer_depth=(1, 0), head_channels=8, **SMALL),
    "SDXL": sdxl(
        transformer_depth=(0, 2),
        head_channels=8,
        **{
            **SMALL,
            "inputs": Inputs(
                text_features=TEXT,
                pooled_features=POOLED,
                joint_numbers={"size": 6},
                number_features=WAVES,
                learned_null=False,
            ),
        },
    ),
    "SDXL's refiner": sdxl_refiner(
        transformer_depth=(2, 0),
        middle_depth=2,
        head_channels=8,
        **{
            **SMALL,
            "inputs": Inputs(
                text_features=TEXT,
                pooled_features=TEXT,
                joint_numbers={"size": 4, "aesthetic_score": 1},
                number_features=WAVES,
                learned_null=False,
            ),
        },
    ),
}
PEER_SMALL = {
    "block_out_channels": (32, 64),
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "cross_attention_dim": TEXT,
}
FIRST = {
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}
# Their attention_head_dim is the number of heads.
PEER_OPTIONS = {
    "Stable Diffusion 1": {"attention_head_dim": 4, **FIRST},
    "Stable Diffusion 2": {
        "attention_head_dim": (4, 8),
        "use_linear_projection": True,
        **FIRST,
    },
    "SDXL": {
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "attention_head_dim": (4, 8),
        "transformer_layers_per_block": (1, 2),
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": WAVES,
        "projection_class_embeddings_input_dim": POOLED + 6 * WAVES,
    },
    "SDXL's refiner": {
        **FIRST,
        "attention_head_dim": (4, 8),
        "transformer_layers_per_block": 2,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": WAVES,
        "projection_class_embeddings_input_dim": TEXT + 5 * WAVES,
    },
}
TIME = np.array([3.0, 700.0], np.float32)


def inputs(
    name: str, size: tuple[int, int], masked: bool, seed: int = 0
) -> tuple[np.ndarray, Cond]:
    """Returns two images and their conditions."""
    rng = np.random.default_rng(seed)
    normal = lambda *shape: rng.standard_normal(shape).astype(np.float32)
    pooled = NETWORKS[name].inputs.pooled_features or POOLED
    tokens, pooled = normal(2, 7, TEXT), normal(2, pooled)
    sizes = rng.integers(0, 1024, (2, 6)).astype(np.float32)
    mask = np.arange(7) < np.array([[7], [4]]) if masked else None
    numbers = {"size": sizes}
    if "refiner" in name:
        numbers = {"size": sizes[:, :4], "aesthetic_score": sizes[:, 4:5] / 100}
    return normal(2, *size, 4), {"text": Condition(tokens, mask, pooled), **numbers}


def ours(name: str, size: tuple[int, int], masked: bool) -> Ours:
    network: UNet = NETWORKS[name]
    given = jax.tree.map(jnp.asarray, inputs(name, size, masked))
    x, cond = given
    target = jax.eval_shape(network.init, jax.random.key(0), x, TIME, cond)["params"]
    apply = lambda params: {"image": network.apply({"params": params}, x, jnp.asarray(TIME), cond)}
    return Ours(apply, target, unet2d(2, linear_projection=name != "Stable Diffusion 1"))


def peer(name: str, size: tuple[int, int], masked: bool) -> Peer:
    import diffusers
    import torch

    module = diffusers.UNet2DConditionModel(**PEER_SMALL, **PEER_OPTIONS[name])
    x, cond = jax.tree.map(torch.tensor, inputs(name, size, masked))
    options: dict[str, Any] = {"encoder_attention_mask": cond["text"].mask} if masked else {}
    if "SDXL" in name:
        numbers = [cond[key] for key in ("size", "aesthetic_score") if key in cond]
        added = {"text_embeds": cond["text"].pooled, "time_ids": torch.cat(numbers, 1)}
        options["added_cond_kwargs"] = added

    def run():
        time, image = torch.tensor(TIME), x.permute(0, 3, 1, 2)
        out = module(image, time, cond["text"].value, **options).sample
        return {"image": out.permute(0, 2, 3, 1)}

    return Peer(module, run)


def case(name: str, size: tuple[int, int], masked: bool, words: str, **options: Any) -> Case:
    sides = [functools.partial(side, name, size, masked) for side in (ours, peer)]
    return Case("U-Net with text", f"{name}{words}", "diffusers", *sides, **options)


def cases() -> list[Case]:
    """Returns the U-Nets' cases."""
    return [
        case("Stable Diffusion 1", (16, 16), False, "", gradients=True),
        case("Stable Diffusion 2", (8, 12), True, ", with a mask"),
        case("SDXL", (8, 8), False, "", gradients=True),
        case("SDXL", (8, 8), True, ", with a mask", recorded=True),
        case("SDXL's refiner", (8, 8), False, "", gradients=True, recorded=True),
    ]
