"""Denoising: predict x0 and noise from x_t."""

from dataclasses import dataclass

from jaxtyping import Array, Key

from jaxdiff.diffusion.process import Parameterization, Process
from jaxdiff.diffusion.time_sampling import TimeSampling
from jaxdiff.diffusion.weighting import Weighting
from jaxdiff.objectives.one_time import one_time, squared_error
from jaxdiff.typing import Metrics, Prediction, Time


@dataclass(frozen=True)
class Denoising:
    """The weighted squared error of the student's prediction (Ho et al. 2020, eq. 14).

    The loss reads prediction and truth in `parameterization`, whatever the network predicts.
    """

    process: Process
    parameterization: Parameterization
    time_sampling: TimeSampling
    weighting: Weighting
    __call__ = one_time

    def loss(
        self, prediction: Prediction, truth: Prediction, t: Time, keys: Key[Array, " b"]
    ) -> tuple[Time, Metrics]:
        """Returns the loss, its mean over the values at one time: [b], or of each frame [b, f]."""
        error = squared_error(self.process, self.parameterization, prediction, truth, t)
        weight = self.weighting(self.process, self.parameterization, t)
        return weight * error, {"squared_error": error}
