"""Nodes that sample, and that change how a model is sampled."""

from dataclasses import replace
from typing import Annotated, Literal

import jax.numpy as jnp

from jaxdiff.diffusion import parameterizations
from jaxdiff.diffusion.process import Process
from jaxdiff.diffusion.schedules import RectifiedFlow, ZeroTerminalSNR
from jaxdiff.options import Between, Share, Steps
from jaxdiff.studio.graph.drawing import draw
from jaxdiff.studio.graph.names import SAMPLERS, SCHEDULERS, grid, sampler_of
from jaxdiff.studio.graph.values import (
    Conditioning,
    Here,
    Latent,
    Model,
    OfGuider,
    Scale,
    Seed,
    noise_key,
)

Step = Annotated[int, Between(0, 10_000)]
Switch = Literal["enable", "disable"]


def KSampler(
    *,
    model: Model,
    seed: Seed,
    steps: Steps = 20,
    cfg: Scale = 8.0,
    sampler_name: SAMPLERS = "euler",
    scheduler: SCHEDULERS = "normal",
    positive: Conditioning,
    negative: Conditioning,
    latent_image: Latent,
    denoise: Share = 1.0,
    studio: Here = None,
) -> Latent:
    """Draws latents: the last `denoise` of the steps, from the latents noised that far."""
    guider = _guided(model, positive, negative, cfg)
    times = grid(model, scheduler, steps, denoise, sampler_name)
    sampler = sampler_of(sampler_name)
    return draw(guider, sampler, times, latent_image, noise_key(seed), _watch(studio))


def KSamplerAdvanced(
    *,
    model: Model,
    add_noise: Switch,
    noise_seed: Seed,
    steps: Steps = 20,
    cfg: Scale = 8.0,
    sampler_name: SAMPLERS = "euler",
    scheduler: SCHEDULERS = "normal",
    positive: Conditioning,
    negative: Conditioning,
    latent_image: Latent,
    start_at_step: Step = 0,
    end_at_step: Step = 10_000,
    return_with_leftover_noise: Switch = "disable",
    studio: Here = None,
) -> Latent:
    """Draws latents by the steps of a grid from one to another.

    Leftover noise is kept if the next sampler is to go on; else the last step leads to the data.
    """
    times = grid(model, scheduler, steps, sampler=sampler_name)
    if end_at_step < steps:
        times = times[: end_at_step + 1]
        if return_with_leftover_noise == "disable":
            times = times.at[-1].set(0.0)
    times = times[start_at_step:]
    key = noise_key(noise_seed) if add_noise == "enable" else None
    guider = _guided(model, positive, negative, cfg)
    return draw(guider, sampler_of(sampler_name), times, latent_image, key, _watch(studio))


def ModelSamplingSD3(model: Model, shift: Annotated[float, Between(0.0, 100.0)] = 3.0) -> Model:
    """The shift of a rectified flow's times towards noise."""
    if not isinstance(model.network.process.schedule, RectifiedFlow):
        raise ValueError("ModelSamplingSD3: the model is no rectified flow; it is for SD 3")
    return replace(model, shift=shift)


def ModelSamplingDiscrete(
    model: Model,
    sampling: Literal["eps", "v_prediction", "lcm", "x0"] = "eps",
    zsnr: bool = False,
) -> Model:
    """What the network predicts, and whether its last time is pure noise.

    "lcm" is sampled with 50 of the model's times in other tools, and is not here.
    """
    rows = {
        "eps": parameterizations.noise,
        "v_prediction": parameterizations.v,
        "x0": parameterizations.x0,
    }
    if sampling not in rows:
        raise ValueError(f"ModelSamplingDiscrete: sampling={sampling!r} is not here yet")
    network = replace(model.network, parameterization=rows[sampling])
    if zsnr:
        schedule = ZeroTerminalSNR(network.process.schedule)
        network = replace(network, process=Process(schedule))
        network.process.check(network.parameterization, jnp.array([1.0]))
    return replace(model, network=network)


def RescaleCFG(model: Model, multiplier: Share = 0.7) -> Model:
    """Guidance whose deviation is rescaled to the conditional's (Lin et al. 2024, 3.4)."""
    return replace(model, guide=("Rescaled", (("rescale", multiplier),)))


def _guided(model, positive, negative, scale):
    """Returns the model with its conditions; at a scale of 1 the negative ones say nothing."""
    if isinstance(scale, float | int) and scale == 1:
        return OfGuider(model, positive)
    return OfGuider(model, positive, negative, scale)


def _watch(studio):
    return studio and studio.watch
