"""The log-likelihood by the probability flow (Song, Y. et al. 2021, section 4.3).

In the noise angle φ the flow of every Gaussian process is dz/dφ = v, with v = cos(φ)·noise -
sin(φ)·x0 (Salimans & Ho 2022, appendix D), and along it d log p(z)/dφ = -div v (Chen et al. 2018).
v is bounded at both ends: no step is special at alpha = 0, and none of a schedule's slopes is used.
"""

import functools

import jax
import jax.numpy as jnp
from einops import reduce
from jax.scipy.stats import norm
from jaxtyping import Array, Float, Key

from jaxdiff import random
from jaxdiff.diffusion.likelihood.angle import span
from jaxdiff.diffusion.likelihood.divergence import Divergence
from jaxdiff.diffusion.likelihood.integrators import RK4, Integrator
from jaxdiff.diffusion.process import Process, expand
from jaxdiff.diffusion.solvers.coordinates import angle_slope
from jaxdiff.typing import Cond, Denoiser


def log_density(
    process: Process,
    denoiser: Denoiser,
    x: Float[Array, "b *shape"],
    cond: Cond,
    keys: Key[Array, " b"],
    divergence: Divergence,
    *,
    integrator: Integrator | None = None,
    noise_level: float = 1e-3,
) -> Float[Array, "b k"]:
    """Returns log p(x) in nats, one estimate for each of the divergence's columns.

    p is the density of x_t/alpha at sigma/alpha = `noise_level`, of data with that much noise: at 0
    few networks are defined, and quantized data have no density. The flow ends at
    t = 1 in N(0, sigma²·I). That is exact where alpha = 0. Elsewhere (VE, EDM) it leaves the data's
    share out, as sampling does: p is the density of the samples, and differs from that of the data
    by about alpha·|mean|/sigma nats at a point, and by the square of it on average.

    Each step draws new probes for Hutchinson's estimate, which averages their errors; the integral
    is linear in the divergence, so its estimate stays unbiased. `integrator` is `RK4()` by default.

    Raises:
        ValueError: the integrator is a solver that draws samples.
    """
    integrator = RK4() if integrator is None else integrator
    _check_integrator(integrator)
    follow = functools.partial(_follow, process, denoiser, divergence, integrator, noise_level)
    if not integrator.adaptive:
        return follow(x, cond, keys)
    # Alone, each example chooses its own steps: it has the same value in any batch.
    alone = lambda *one: follow(*jax.tree.map(lambda a: a[None], one))[0]
    return jax.vmap(alone)(x, cond, keys)


def bits_per_dimension(
    log_density: Float[Array, "b *k"], log_q: Float[Array, " b"], dimensions: int
) -> Float[Array, "b *k"]:
    """Returns (log q(y|x) - log p(y))/(d·log 2); log q is the dequantization's, 0 without one."""
    return (expand(log_q, log_density) - log_density) / (dimensions * jnp.log(2))


def _check_integrator(integrator):
    if not isinstance(integrator, Integrator):
        stochastic = getattr(integrator, "stochastic", False)
        why = "is stochastic and has no likelihood" if stochastic else "draws samples only"
        raise ValueError(f"integrator={integrator} {why}; take likelihood.RK4(), Heun, Adaptive")


def _follow(process, denoiser, divergence, integrator, noise_level, x, cond, keys):
    start, end = span(process, noise_level)
    keys = random.stream(keys, "divergence")

    def slope(angle, state, step):
        t = jnp.broadcast_to(process.time_of_angle(angle), len(x))
        velocity = lambda z: angle_slope(process, denoiser, z, t, cond)[0]
        return divergence(velocity, state[0], random.fold_in(keys, step))

    state = jnp.cos(start) * x, jnp.zeros((len(x), divergence.columns), x.dtype)
    z, integral = integrator(slope, state, start.astype(x.dtype), end.astype(x.dtype))
    log_prior = reduce(norm.logpdf(z, scale=jnp.sin(end)), "b ... -> b", "sum")
    # z = cos(φ)·x_t/alpha where the flow starts.
    log_volume = x[0].size * jnp.log(jnp.cos(start))
    return (log_prior + log_volume)[:, None] + integral
