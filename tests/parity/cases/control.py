"""Control networks beside diffusers': ControlNet's residuals, T2I-Adapter's features."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdiff.networks.control import ControlNet, control_of
from jaxdiff.networks.t2i_adapter import T2IAdapter
from jaxdiff.pretrained.tables.control import controlnet, t2i_adapter
from tests.parity.cases import Case, Ours, Peer
from tests.parity.cases.unet_text import NETWORKS, PEER_OPTIONS, PEER_SMALL, TIME, inputs

SIZE = (8, 8)
CHANNELS = (16, 32)
LEVELS = {"channels": CHANNELS, "layers_per_block": 2, "downscale": 2}


def maps(seed: int = 3) -> np.ndarray:
    """Returns two maps, twice as large as the images."""
    return np.random.default_rng(seed).random((2, 16, 16, 3)).astype(np.float32)


def control(name: str) -> ControlNet:
    """Returns the control network of one of the U-Nets."""
    return control_of(NETWORKS[name], 3, 2).clone(hint_channels=CHANNELS)


def named(middle: Any, skips: Any) -> dict[str, Any]:
    """Returns residuals by name."""
    return {"middle": middle, **{f"skip_{i}": skip for i, skip in enumerate(skips)}}


def ours(name: str) -> Ours:
    network = control(name)
    x, cond = jax.tree.map(jnp.asarray, inputs(name, SIZE, False))
    given = x, jnp.asarray(TIME), cond, jnp.asarray(maps())
    target = jax.eval_shape(network.init, jax.random.key(0), *given)["params"]

    def apply(params):
        found = network.apply({"params": params}, *given)
        return named(found.middle, found.skips)

    return Ours(apply, target, controlnet(2, linear_projection=name != "Stable Diffusion 1"))


def peer(name: str) -> Peer:
    import diffusers
    import torch

    options = {k: v for k, v in PEER_OPTIONS[name].items() if k != "up_block_types"}
    module = diffusers.ControlNetModel(
        **PEER_SMALL, **options, conditioning_embedding_out_channels=CHANNELS
    )
    x, cond = jax.tree.map(torch.tensor, inputs(name, SIZE, False))
    added = {}
    if name == "SDXL":
        sizes = {"text_embeds": cond["text"].pooled, "time_ids": cond["size"]}
        added = {"added_cond_kwargs": sizes}

    def run():
        hint = torch.tensor(maps()).permute(0, 3, 1, 2)
        image, text = x.permute(0, 3, 1, 2), cond["text"].value
        skips, middle = module(
            image, torch.tensor(TIME), text, controlnet_cond=hint, return_dict=False, **added
        )
        back = lambda a: a.permute(0, 2, 3, 1)
        return named(back(middle), map(back, skips))

    return Peer(module, run)


def our_adapter(large: bool) -> Ours:
    options = {**LEVELS, "downscale": 4} if large else LEVELS
    network = T2IAdapter(**options, large=large)
    given = jnp.zeros((2, *SIZE, 4)), jnp.asarray(TIME), {}, jnp.asarray(maps())
    target = jax.eval_shape(network.init, jax.random.key(0), *given)["params"]

    def apply(params):
        levels = network.apply({"params": params}, *given).levels
        return {f"level_{i}": level for i, level in enumerate(levels)}

    return Ours(apply, target, t2i_adapter())


def peer_adapter(large: bool) -> Peer:
    import diffusers
    import torch

    kind = "full_adapter_xl" if large else "full_adapter"
    module = diffusers.T2IAdapter(
        channels=list(CHANNELS), num_res_blocks=2, downscale_factor=4 if large else 2,
        adapter_type=kind,
    )  # fmt: skip

    def run():
        levels = module(torch.tensor(maps()).permute(0, 3, 1, 2))
        return {f"level_{i}": level.permute(0, 2, 3, 1) for i, level in enumerate(levels)}

    return Peer(module, run)


def cases() -> list[Case]:
    """Returns the control networks' cases."""
    of = lambda name: [functools.partial(side, name) for side in (ours, peer)]
    nets = [
        Case("ControlNet", name, "diffusers", *of(name), gradients=name == "SDXL")
        for name in ("Stable Diffusion 1", "SDXL")
    ]
    sides = our_adapter, peer_adapter
    return nets + [
        Case("T2I-Adapter", name, "diffusers", *(functools.partial(side, large) for side in sides))
        for name, large in (("Stable Diffusion", False), ("SDXL", True))
    ]
