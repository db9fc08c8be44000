"""ComfyUI's names of samplers and schedulers, as solvers and grids of times."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdiff.diffusion import solvers, timesteps
from jaxdiff.diffusion.process import Process
from jaxdiff.diffusion.schedules import RectifiedFlow
from jaxdiff.studio.graph.values import OfModel, OfSampler

N = 1000
"""The number of a model's discrete times."""

SOLVERS = {
    "euler": ("Euler", {}),
    "euler_ancestral": ("EulerAncestral", {}),
    "heun": ("Heun", {}),
    "dpm_2": ("DPM2", {}),
    "dpm_2_ancestral": ("DPM2Ancestral", {}),
    "lms": ("LMS", {}),
    "dpmpp_2s_ancestral": ("DPMpp2SAncestral", {}),
    "dpmpp_sde": ("DPMppSDE", {}),
    "dpmpp_sde_gpu": ("DPMppSDE", {}),
    "dpmpp_2m": ("DPMpp2M", {}),
    "dpmpp_2m_sde": ("DPMpp2MSDE", {}),
    "dpmpp_2m_sde_gpu": ("DPMpp2MSDE", {}),
    "dpmpp_3m_sde": ("DPMpp3MSDE", {}),
    "dpmpp_3m_sde_gpu": ("DPMpp3MSDE", {}),
    "ddpm": ("DDPM", {}),
    "lcm": ("LCM", {}),
    "ipndm": ("IPNDM", {}),
    "deis": ("DEIS", {}),
    "ddim": ("DDIM", {}),
    "uni_pc": ("UniPC", {"variant": "bh1"}),
    "uni_pc_bh2": ("UniPC", {"variant": "bh2"}),
}
"""Solvers with options, by the names of samplers."""

OWN = tuple(
    name
    for name in solvers.__all__
    if name not in ("Ancestral", "DataMultistep", "FlowMap", "Consistency")
)
SPARE = ("dpm_2", "dpm_2_ancestral", "uni_pc", "uni_pc_bh2")
"""Samplers whose grids have one step more there, of which the last but one is left out."""

SAMPLERS = Literal[*SOLVERS, *OWN]
"""Names of samplers there, and of solvers here."""

SCHEDULERS = Literal[
    "normal",
    "karras",
    "exponential",
    "sgm_uniform",
    "simple",
    "ddim_uniform",
    "beta",
    "kl_optimal",
]


def sampler_of(name: str) -> OfSampler:
    """Returns the solver that a sampler's name stands for."""
    solver, options = SOLVERS.get(name, (name, {}))
    return OfSampler(solver, tuple(options.items()))


def grid(
    model: OfModel, scheduler: str, steps: int, denoise: float = 1.0, sampler: str = ""
) -> Float[Array, " times"]:
    """Returns the times [steps + 1] of a scheduler; with `denoise`, the last of a longer grid.

    Raises:
        ValueError: `denoise` leaves no step; two times are the same.
    """
    if denoise <= 0:
        return jnp.zeros(1)
    whole = steps if denoise > 0.9999 else int(steps / denoise)
    more = sampler in SPARE
    process = model.network.process
    # Times are numbers, also in a graph that is compiled whole.
    with jax.ensure_compile_time_eval():
        if isinstance(process.schedule, RectifiedFlow):
            times = _of_flow(scheduler, whole + more, model_shift(model))
        else:
            times = _of_table(process, scheduler, whole + more)
        if more:
            times = jnp.concatenate([times[:-2], times[-1:]])
        return times[-(steps + 1) :]


def model_shift(model: OfModel) -> float:
    """Returns the shift of a flow's times: a node's, or that of the model's own grid."""
    own = getattr(model.parts.options.timesteps, "shift", 1.0)
    return own if model.shift is None else model.shift


def _of_table(process: Process, scheduler: str, steps: int) -> Float[Array, " times"]:
    even = timesteps.Linspace(N, round=False)
    grids: dict[str, Any] = {
        "normal": even,
        "karras": timesteps.Respaced(even, "karras"),
        "exponential": timesteps.Respaced(even, "exponential"),
        "sgm_uniform": timesteps.SGMUniform(N),
        "simple": timesteps.Trailing(N),
        "ddim_uniform": timesteps.Leading(N, offset=1),
        "beta": timesteps.Beta(),
    }
    if scheduler != "kl_optimal":
        return grids[scheduler](process, steps)
    lowest, highest = jnp.exp(-process.logsnr(jnp.array([1 / N, 1.0])) / 2)
    ramp = jnp.linspace(0, 1, steps)
    levels = jnp.tan(ramp * jnp.arctan(lowest) + (1 - ramp) * jnp.arctan(highest))
    return jnp.append(process.time(-2 * jnp.log(levels)), 0.0)


def _of_flow(scheduler: str, steps: int, shift: float) -> Float[Array, " times"]:
    """Returns the times of a rectified flow, where the noise level of other tools is t."""
    move = lambda t: shift * t / (1 + (shift - 1) * t)
    first, ramp = move(1 / N), np.linspace(0, 1, steps)
    if scheduler == "karras":
        times = (1 + ramp * (first ** (1 / 7) - 1)) ** 7
    elif scheduler == "exponential":
        times = np.exp(ramp * np.log(first))
    elif scheduler == "kl_optimal":
        times = np.tan(ramp * np.arctan(first) + (1 - ramp) * np.arctan(1.0))
    else:
        even = {
            "normal": lambda: np.linspace(1, first, steps),
            "sgm_uniform": lambda: np.linspace(1, first, steps + 1)[:-1],
            "simple": lambda: np.linspace(1, 0, steps + 1)[:-1],
            "ddim_uniform": lambda: (np.arange(steps)[::-1] * (N // steps) + 2) / N,
            "beta": lambda: np.asarray(timesteps.Beta()(Process(RectifiedFlow()), steps))[:-1],
        }
        times = move(even[scheduler]())
    return jnp.append(jnp.asarray(times, jnp.result_type(float)), 0.0)
