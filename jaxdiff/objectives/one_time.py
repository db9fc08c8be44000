"""The loss of one prediction per example: times and noise are drawn, the student is asked once.

Such an objective has a method `loss(prediction, truth, t, keys)`, its equation.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Integer, Key

from jaxdiff import random
from jaxdiff.diffusion.process import Parameterization, Process
from jaxdiff.typing import Cond, Data, Draw, Metrics, Prediction, Roles, Time


def one_time(
    self: Any, roles: Roles, x0: Data, cond: Cond, draw: Draw, step: Integer[Array, ""]
) -> tuple[Time, Metrics]:
    """Draws times and noise, asks the student at x_t, and returns the loss [b] or [b, frames]."""
    t, importance = self.time_sampling(self.process, draw)
    truth = with_noise(x0, draw.keys)
    prediction = roles.student(self.process.perturb(truth, t), t, cond)
    loss, metrics = self.loss(prediction, truth, t, draw.keys)
    logsnr = self.process.logsnr(t)
    return importance * loss, {"logsnr": logsnr, "importance": importance, **metrics}


def with_noise(x0: Data, keys: Key[Array, " b"]) -> Prediction:
    """Returns the data and noise from each example's key, as a perfect prediction has them."""
    return Prediction(x0, random.normal(random.stream(keys, "noise"), x0))


def squared_error(
    process: Process,
    parameterization: Parameterization,
    prediction: Prediction,
    truth: Prediction,
    t: Time,
) -> Time:
    """Returns the mean squared error of a prediction, read in the parameterization."""
    read = lambda p: process.read(parameterization, p, t)
    return mean_per_time((read(prediction) - read(truth)) ** 2, t)


def mean_per_time(values: Data, t: Time) -> Float[Array, "..."]:
    """Returns the mean of each example's values, or with times [b, f] of each frame's."""
    return jnp.mean(values, axis=tuple(range(t.ndim, values.ndim)))
