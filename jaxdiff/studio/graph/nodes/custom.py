"""The pieces that SamplerCustom is made of: noise, guiders, solvers and grids of times."""

from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxdiff.diffusion import timesteps
from jaxdiff.diffusion.process import Process
from jaxdiff.diffusion.schedules import Tabulated, scaled_linear_betas
from jaxdiff.options import Between, PositiveFloat, Share, Steps
from jaxdiff.studio.graph.drawing import draw
from jaxdiff.studio.graph.names import SAMPLERS, SCHEDULERS, grid, sampler_of
from jaxdiff.studio.graph.nodes.sampling import _guided, _watch
from jaxdiff.studio.graph.values import (
    Conditioning,
    Guider,
    Here,
    Latent,
    Model,
    Noise,
    OfGuider,
    OfNoise,
    OfSampler,
    Sampler,
    Scale,
    Seed,
    Sigmas,
    noise_key,
)

STABLE = Process(Tabulated(scaled_linear_betas(1000, 0.00085, 0.012)))
"""The process of Stable Diffusion 1 and SDXL."""
One = Annotated[float, Between(1.0, 1.0)]
Hundred = Annotated[float, Between(0.0, 100.0)]


def SamplerCustom(
    *,
    model: Model,
    add_noise: bool = True,
    noise_seed: Seed = 0,
    cfg: Scale = 8.0,
    positive: Conditioning,
    negative: Conditioning,
    sampler: Sampler,
    sigmas: Sigmas,
    latent_image: Latent,
    studio: Here = None,
) -> tuple[Latent, Latent]:
    """Draws latents by a solver on a grid of times."""
    key = noise_key(noise_seed) if add_noise else None
    guider = _guided(model, positive, negative, cfg)
    drawn = draw(guider, sampler, sigmas, latent_image, key, _watch(studio))
    return drawn, drawn


def SamplerCustomAdvanced(
    noise: Noise,
    guider: Guider,
    sampler: Sampler,
    sigmas: Sigmas,
    latent_image: Latent,
    studio: Here = None,
) -> tuple[Latent, Latent]:
    """Draws latents by a solver on a grid of times, with a guider."""
    drawn = draw(guider, sampler, sigmas, latent_image, noise.key, _watch(studio))
    return drawn, drawn


def RandomNoise(noise_seed: Seed = 0) -> Noise:
    """The noise of a seed."""
    return OfNoise(noise_key(noise_seed))


def DisableNoise() -> Noise:
    """No noise: the latents are noised already."""
    return OfNoise()


def BasicGuider(model: Model, conditioning: Conditioning) -> Guider:
    """A model under one condition, without guidance."""
    return OfGuider(model, conditioning)


def CFGGuider(
    *, model: Model, positive: Conditioning, negative: Conditioning, cfg: Scale = 8.0
) -> Guider:
    """A model under classifier-free guidance."""
    return _guided(model, positive, negative, cfg)


def KSamplerSelect(sampler_name: SAMPLERS = "euler") -> Sampler:
    """A solver by its name."""
    return sampler_of(sampler_name)


def SamplerEulerAncestral(eta: Share = 1.0, s_noise: One = 1.0) -> Sampler:
    """Euler's method that renews a share of the noise."""
    return OfSampler("EulerAncestral", (("eta", float(eta)),))


def SamplerDPMPP_2M_SDE(
    solver_type: Literal["midpoint", "heun"] = "midpoint",
    eta: Hundred = 1.0,
    s_noise: One = 1.0,
    noise_device: Literal["gpu", "cpu"] = "gpu",
) -> Sampler:
    """DPM-Solver++(2M) that renews the noise."""
    if solver_type != "midpoint":
        raise ValueError("SamplerDPMPP_2M_SDE: solver_type='heun' is not here, only 'midpoint'")
    return OfSampler("DPMpp2MSDE", (("tau", float(eta)),))


def BasicScheduler(
    model: Model,
    scheduler: SCHEDULERS = "normal",
    steps: Steps = 20,
    denoise: Share = 1.0,
) -> Sigmas:
    """The times of a scheduler; with `denoise`, the last of a longer grid."""
    return grid(model, scheduler, steps, denoise)


def KarrasScheduler(
    steps: Steps = 20,
    sigma_max: PositiveFloat = 14.614642,
    sigma_min: PositiveFloat = 0.0291675,
    rho: PositiveFloat = 7.0,
    model: Model | None = None,
) -> Sigmas:
    """The grid of Karras et al. (2022, eq. 5) between two noise levels, of Stable Diffusion 1."""
    ramp = np.linspace(0, 1, steps)
    high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return _times((high + ramp * (low - high)) ** rho, model)


def ExponentialScheduler(
    steps: Steps = 20,
    sigma_max: PositiveFloat = 14.614642,
    sigma_min: PositiveFloat = 0.0291675,
    model: Model | None = None,
) -> Sigmas:
    """Even steps in the logarithm of the noise level, of Stable Diffusion 1."""
    return _times(np.exp(np.linspace(np.log(sigma_max), np.log(sigma_min), steps)), model)


def BetaSamplingScheduler(
    model: Model,
    steps: Steps = 20,
    alpha: Hundred = 0.6,
    beta: Hundred = 0.6,
) -> Sigmas:
    """Quantiles of a Beta distribution in the model's times (Lee et al. 2024)."""
    with jax.ensure_compile_time_eval():
        return timesteps.Beta(float(alpha), float(beta))(model.network.process, steps)


def SDTurboScheduler(
    model: Model,
    steps: Annotated[int, Between(1, 10)] = 1,
    denoise: Share = 1.0,
) -> Sigmas:
    """The times 1, 0.9, ... of distilled models, and 0."""
    begin = 10 - int(10 * denoise)
    times = np.arange(10, 0, -1)[begin : begin + steps] / 10
    return jnp.append(jnp.asarray(times, jnp.result_type(float)), 0.0)


def SplitSigmas(
    sigmas: Sigmas, step: Annotated[int, Between(0, 10_000)] = 0
) -> tuple[Sigmas, Sigmas]:
    """The times before a step, and those after it."""
    return sigmas[: step + 1], sigmas[step:]


def FlipSigmas(sigmas: Sigmas) -> Sigmas:
    """The times in the other order."""
    return sigmas[::-1]


def _times(levels: np.ndarray, model: Model | None) -> Sigmas:
    """Returns the times of noise levels sigma/alpha, of a model, or of Stable Diffusion's table."""
    process = STABLE if model is None else model.network.process
    with jax.ensure_compile_time_eval():
        return jnp.append(process.time(-2 * jnp.log(jnp.asarray(levels))), 0.0)
