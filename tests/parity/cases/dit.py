"""Diffusion transformers beside diffusers' DiT, PixArt, Stable Diffusion 3 and Wan."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdiff.networks.dit import CentredGrid, DiT, MMDiT, Rotary, SinCosPositions, StretchedGrid
from jaxdiff.networks.inputs import Inputs
from jaxdiff.networks.times import SinCos
from jaxdiff.pretrained.tables import dit as tables
from jaxdiff.typing import Cond, Condition
from tests.parity.cases import Case, Ours, Peer

TEXT, POOLED, CLASSES = 20, 10, 6
READ_TEXT = Inputs(text_features=TEXT, learned_null=False)
NETWORKS = {
    "DiT": DiT(
        24, 3, 2, unroll=3, inputs=Inputs(num_classes=CLASSES), out_channels=8,
        time_sinusoids=SinCos(frequency_shift=1.0),
    ),
    "PixArt": DiT(
        24, 2, 2, positions=SinCosPositions(StretchedGrid(2.0)), shared_modulation=True,
        inputs=READ_TEXT, out_channels=8, unroll=2,
    ),
    "Stable Diffusion 3": MMDiT(
        32, 3, 2, positions=SinCosPositions(CentredGrid(4.0, 12)), unroll=2,
        inputs=Inputs(text_features=TEXT, pooled_features=POOLED, learned_null=False),
    ),
    "Wan": DiT(
        48, 2, 2, mlp_features=40, positions=Rotary(), shared_modulation=True, qk_norm="all",
        inputs=READ_TEXT, text_norm=True, time_features=16, unroll=2,
    ),
}  # fmt: skip
NETWORKS["Stable Diffusion 3.5"] = NETWORKS["Stable Diffusion 3"].clone(qk_norm="head")
NETWORKS["Stable Diffusion 3.5 medium"] = NETWORKS["Stable Diffusion 3.5"].clone(
    depth=4, dual_depth=2
)
TABLES = {
    "DiT": tables.dit(3),
    "PixArt": tables.pixart(),
    "Stable Diffusion 3": tables.sd3(3),
    "Stable Diffusion 3.5": tables.sd3(3),
    "Stable Diffusion 3.5 medium": tables.sd3(4, dual_depth=2),
    "Wan": tables.wan(),
}
TIME = np.array([3.0, 700.0], np.float32)


def inputs(size: tuple[int, ...], masked: bool) -> tuple[np.ndarray, Cond]:
    """Returns two images or clips of four channels and their conditions."""
    rng = np.random.default_rng(0)
    normal = lambda *shape: rng.standard_normal(shape).astype(np.float32)
    tokens, pooled = normal(2, 7, TEXT), normal(2, POOLED)
    mask = np.arange(7) < np.array([[7], [4]]) if masked else None
    label, text = np.array([1, 4], np.int32), Condition(tokens, mask, pooled)
    return normal(2, *size, 4), {"label": label, "text": text}


def ours(name: str, size: tuple[int, ...], masked: bool) -> Ours:
    network = NETWORKS[name]
    x, cond = jax.tree.map(jnp.asarray, inputs(size, masked))
    target = jax.eval_shape(network.init, jax.random.key(0), x, TIME, cond)["params"]
    apply = lambda params: {"x": network.apply({"params": params}, x, jnp.asarray(TIME), cond)}
    return Ours(apply, target, TABLES[name])


def peer(name: str, size: tuple[int, ...], masked: bool) -> Peer:
    import diffusers
    import torch

    x, cond = jax.tree.map(torch.tensor, inputs(size, masked))
    time = torch.tensor(TIME)
    heads = {"num_attention_heads": 2, "in_channels": 4}
    options: dict[str, Any]
    match name:
        case "DiT":
            module = diffusers.DiTTransformer2DModel(
                **heads, attention_head_dim=12, num_layers=3, out_channels=8, sample_size=size[0],
                num_embeds_ada_norm=CLASSES, norm_eps=1e-6,
            )  # fmt: skip
            options = {"timestep": time, "class_labels": cond["label"].long()}
        case "PixArt":
            module = diffusers.PixArtTransformer2DModel(
                **heads, attention_head_dim=12, num_layers=2, out_channels=8, sample_size=4,
                cross_attention_dim=24, caption_channels=TEXT, interpolation_scale=1,
            )  # fmt: skip
            options = {"encoder_hidden_states": cond["text"].value, "timestep": time}
            if masked:
                options["encoder_attention_mask"] = cond["text"].mask.float()
        case "Wan":
            module = diffusers.WanTransformer3DModel(
                **heads, attention_head_dim=24, out_channels=4, text_dim=TEXT, freq_dim=16,
                ffn_dim=40, num_layers=2,
            )  # fmt: skip
            options = {"encoder_hidden_states": cond["text"].value, "timestep": time}
        case _:
            depth = NETWORKS[name].depth
            module = diffusers.SD3Transformer2DModel(
                **heads, attention_head_dim=16, num_layers=depth, out_channels=4, sample_size=8,
                pos_embed_max_size=12, joint_attention_dim=TEXT, caption_projection_dim=32,
                pooled_projection_dim=POOLED,
                qk_norm="rms_norm" if "3.5" in name else None,
                dual_attention_layers=tuple(range(NETWORKS[name].dual_depth)),
            )  # fmt: skip
            options = {"encoder_hidden_states": cond["text"].value, "timestep": time}
            options["pooled_projections"] = cond["text"].pooled
    x = x.movedim(-1, 1)
    return Peer(module, lambda: {"x": module(x, **options).sample.movedim(1, -1)})


def case(name: str, size: tuple[int, ...], words: str = "", **options: Any) -> Case:
    masked = options.pop("masked", False)
    sides = [functools.partial(side, name, size, masked) for side in (ours, peer)]
    return Case("Diffusion transformer", f"{name}{words}", "diffusers", *sides, **options)


def cases() -> list[Case]:
    """Returns the transformers' cases."""
    return [
        case("DiT", (8, 8), gradients=True, recorded=True),
        case("PixArt", (4, 4), gradients=True),
        case("PixArt", (4, 12), ", wide, with a mask", masked=True, recorded=True),
        case("Stable Diffusion 3", (8, 8), gradients=True),
        case("Stable Diffusion 3.5", (12, 8), ", high", gradients=True, recorded=True),
        case("Stable Diffusion 3.5 medium", (8, 8), gradients=True, recorded=True),
        case("Wan", (1, 6, 4), ", an image"),
        case("Wan", (3, 4, 6), ", a clip", gradients=True, recorded=True),
    ]
