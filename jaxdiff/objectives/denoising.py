"""Denoising: predict from x_t what x_t was made of."""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

from jaxdiff import random
from jaxdiff.diffusion.process import Parameterization, Process
from jaxdiff.diffusion.time_sampling import TimeSampling
from jaxdiff.diffusion.weighting import Weighting
from jaxdiff.typing import Cond, Draw, Metrics, Prediction, Roles


@dataclass(frozen=True)
class Denoising:
    """The weighted squared error of the student's prediction (Ho et al. 2020, eq. 14).

    The loss reads prediction and truth in `parameterization`, whatever the network predicts.
    """

    process: Process
    parameterization: Parameterization
    time_sampling: TimeSampling
    weighting: Weighting

    def __call__(
        self,
        roles: Roles,
        x0: Float[Array, "b *shape"],
        cond: Cond,
        draw: Draw,
        step: Integer[Array, ""],
    ) -> tuple[Float[Array, "b *frames"], Metrics]:
        """Returns the loss, its mean over the values at one time: [b], or of each frame [b, f]."""
        t, importance = self.time_sampling(self.process, draw)
        truth = Prediction(x0, random.normal(random.stream(draw.keys, "noise"), x0))
        prediction = roles.student(self.process.perturb(truth, t), t, cond)
        read = lambda p: self.process.read(self.parameterization, p, t)
        error = mean_per_time((read(prediction) - read(truth)) ** 2, t)
        loss = importance * self.weighting(self.process, self.parameterization, t) * error
        logsnr = self.process.logsnr(t)
        return loss, {"logsnr": logsnr, "importance": importance, "squared_error": error}


def mean_per_time(values: Float[Array, "b *shape"], t: Float[Array, "b *frames"]) -> Array:
    """Returns the mean of each example's values, or with times [b, f] of each frame's."""
    return jnp.mean(values, axis=tuple(range(t.ndim, values.ndim)))
