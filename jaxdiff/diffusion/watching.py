"""Sampling that is watched: each step is shown to the host, which may end it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import io_callback
from jaxtyping import Array, Float, Key

from jaxdiff import random
from jaxdiff.typing import Cond, Denoiser, Solver, Span


@dataclass(frozen=True)
class Watched:
    """The loop of `sampling.sample`, which shows every step, and ends when it is asked to.

    `report(step, steps, x0)` is called on the host after each step, counted from 1, with the
    prediction of x0 that the step began with, [b, ...]; where it returns False, no further step is
    done, and that x0 is the result. The same function is the same compiled program.

    A solver that asks the denoiser in a loop of its own, such as `Restart`, shows x itself.
    """

    report: Callable[[int, int, Any], bool]

    def __call__(
        self,
        solver: Solver,
        denoiser: Denoiser,
        x: Float[Array, "b *shape"],
        times: Float[Array, " times"],
        cond: Cond,
        keys: Key[Array, " b"],
    ) -> Float[Array, "b *shape"]:
        """Takes `x` at `times[0]` to `times[-1]`, or as far as the host lets it."""
        keys = random.stream(keys, "solver")
        steps, history = len(times) - 1, solver.init(x)

        def stepped(x, history, t, s, index, shows=True):
            seen = []

            def noted(*inputs):
                prediction = denoiser(*inputs)
                seen.append(prediction.x0)
                return prediction

            broadcast = lambda time: jnp.broadcast_to(time, (len(x), *time.shape))
            span = Span(broadcast(t), broadcast(s), random.fold_in(keys, index), steps)
            x, history = solver.step(noted if shows else denoiser, x, span, cond, history)
            return x, seen[0] if seen else x, history

        at = (times[0], times[1], jnp.int32(0))
        try:
            jax.eval_shape(stepped, x, history, *at)
            shows = True
        except jax.errors.UnexpectedTracerError:
            shows = False

        def step(carry, at):
            x, x0, history, goes_on = carry
            go = lambda: stepped(x, history, *at, shows=shows)
            x, x0, history = jax.lax.cond(goes_on, go, lambda: (x, x0, history))
            asked = io_callback(self._ask, jax.ShapeDtypeStruct((), bool), at[2], steps, x0)
            return (x, x0, history, goes_on & asked), None

        start = (x, x, history, jnp.array(True))
        inputs = (times[:-1], times[1:], jnp.arange(steps))
        (x, x0, _, whole), _ = jax.lax.scan(step, start, inputs)
        return jnp.where(whole, x, x0)

    def _ask(self, index, steps, x0):
        return np.bool_(self.report(int(index) + 1, int(steps), x0))
