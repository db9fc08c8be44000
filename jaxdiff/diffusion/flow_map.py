"""Flow maps: from x at time t to where the probability flow is at an earlier time s.

A student is a denoiser that also reads cond["until"] = s. Its prediction says x at both times,

    x_t = alpha_t·x0 + sigma_t·noise    and    x_s = alpha_s·x0 + sigma_s·noise,

so that DDIM's step to s is exact. At s = t it is the denoiser. At s = 0 its x0 is the consistency
function f(x, t) of Song et al. (2023), whose boundary condition f(x, 0) = x holds by the 2×2 solve:
the c_skip and c_out of a consistency model are the row of the parameterization `edm`. In between it
is the mean over the way, and read as a velocity the mean velocity of Geng et al. (2025).

Value and mean velocity are rows `(a, b)` as all parameterizations are, for `Process.solve` and
`Process.read`.
"""

import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Float

from jaxdiff.condition import conditions
from jaxdiff.diffusion.parameterizations import Row, Time, velocity
from jaxdiff.diffusion.process import Parameterization, Process, expand
from jaxdiff.diffusion.schedules import Schedule
from jaxdiff.typing import Cond, Denoiser, Prediction

UNTIL = "until"
"""The condition that holds the second time, [b]."""


def value_at(s: Time) -> Parameterization:
    """Returns the parameterization "x at time s", which says nothing at s = t."""

    def row(schedule: Schedule, t: Time) -> Row:
        return schedule.alpha(s), schedule.sigma(s)

    return row


def mean_velocity(s: Time) -> Parameterization:
    """Returns the parameterization (x_t - x_s)/(t - s); at s = t, the velocity."""

    def row(schedule: Schedule, t: Time) -> Row:
        gap = t - s
        apart = gap != 0
        mean = lambda f, now: jnp.where(apart, (f(t) - f(s)) / jnp.where(apart, gap, 1), now)
        slopes = velocity(schedule, t)
        return mean(schedule.alpha, slopes[0]), mean(schedule.sigma, slopes[1])

    return row


def until_of(cond: Cond, t: Float[Array, " b"]) -> Float[Array, " b"]:
    """Returns the second time of a condition, and `t` where there is none."""
    return conditions(cond)[UNTIL].value if UNTIL in cond else t


def ask(
    denoiser: Denoiser,
    x: Float[Array, "b *shape"],
    t: Float[Array, " b"],
    s: Float[Array, " b"],
    cond: Cond,
) -> Prediction:
    """Returns a student's prediction for the way from t to s.

    Raises:
        ValueError: s is above t, where this can be seen: the times are not traced.
    """
    if not any(isinstance(time, Tracer) for time in (t, s)) and (s > t).any():
        raise ValueError(f"until={s} is above t={t}: a flow map leads towards the data, at 0")
    return denoiser(x, t, {**cond, UNTIL: s})


def jump(
    process: Process,
    denoiser: Denoiser,
    x: Float[Array, "b *shape"],
    t: Float[Array, " b"],
    s: Float[Array, " b"],
    cond: Cond,
) -> Float[Array, "b *shape"]:
    """Returns a student's x at time s; x itself where t is not above s.

    The denoiser is not asked at such times: many networks are not defined at sigma = 0.
    """
    still = t <= s
    prediction = ask(denoiser, x, jnp.where(still, 0.5, t), jnp.where(still, 0.0, s), cond)
    return jnp.where(expand(still, x), x, process.perturb(prediction, s))
