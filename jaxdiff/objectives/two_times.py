"""The parts of losses of flow maps: two times, a noised example, and an equation between them.

Each such objective has a method `loss(roles, truth, span, cond, step)`, its equation, without any
randomness but that of `span.keys`. Its attributes say what it learns and needs:

    learns          "denoiser", "consistency" (until = 0) or "flow map" (any `until`)
    needs_teacher   whether `roles.teacher` is asked
    needs_scalars   numbers that the student must read, such as "until"
    takes_tangents  whether the student is differentiated in time by `jax.jvp`
    guided          the guidance scale that samples have, where it is not 1
    companions      further networks, in `roles.others`; each begins as the student
"""

from typing import Any

import jax
import jax.numpy as jnp
from einops import reduce
from jaxtyping import Array, Float, Integer

from jaxdiff.condition import conditions, keep_of
from jaxdiff.diffusion.flow_map import UNTIL, ask
from jaxdiff.diffusion.parameterizations import velocity
from jaxdiff.diffusion.process import Process
from jaxdiff.objectives.one_time import with_noise
from jaxdiff.typing import Cond, Denoiser, Draw, Metrics, Prediction, Roles

Data = Float[Array, "b *shape"]
Time = Float[Array, " b"]

stop = jax.lax.stop_gradient


def two_times(
    self: Any, roles: Roles, x0: Data, cond: Cond, draw: Draw, step: Integer[Array, ""]
) -> tuple[Any, Metrics]:
    """Draws times and noise, and returns the loss [b], or that of each player."""
    t, importance = self.time_sampling(self.process, draw)
    span = self.spans(self.process, t, draw.keys, step)
    truth = with_noise(x0, draw.keys)
    loss, metrics = self.loss(roles, truth, span, cond, step)
    logsnr = self.process.logsnr(span.t)
    loss = jax.tree.map(lambda each: importance * each, loss)  # one, or one for each player
    return loss, {"logsnr": logsnr, "importance": importance, **metrics}


def teacher_of(roles: Roles) -> Denoiser:
    """Returns the teacher.

    Raises:
        ValueError: there is none.
    """
    if roles.teacher is None:
        raise ValueError("the objective asks a teacher: name its run, --config.weights.teacher=RUN")
    return roles.teacher


def slope(process: Process, roles: Roles, truth: Prediction, x: Data, t: Time, cond: Cond) -> Data:
    """Returns dx/dt, fixed: the teacher's, or without one that of the example itself.

    The second is right in the mean over all examples with this x_t.
    """
    found = truth if roles.teacher is None else roles.teacher(x, t, cond)
    return stop(process.read(velocity, found, t))


def own_slope(process: Process, student: Denoiser, x: Data, t: Time, cond: Cond) -> Data:
    """Returns the student's own dx/dt, its mean velocity over no time."""
    return process.read(velocity, ask(student, x, t, t, cond), t)


def mean_square(error: Data) -> Float[Array, " b"]:
    """Returns the mean over the values of each example."""
    return reduce(error**2, "b ... -> b", "mean")


def norm(values: Data) -> Float[Array, " b"]:
    """Returns the Euclidean norm of each example."""
    return jnp.sqrt(reduce(values**2, "b ... -> b", "sum"))


def conditional(cond: Cond, batch: int) -> Array:
    """Returns which examples [b] keep a condition; none where there are none."""
    kept = [keep_of(c) for name, c in conditions(cond).items() if name != UNTIL]
    return jnp.stack(kept).any(axis=0) if kept else jnp.zeros(batch, bool)
