"""Preferences: pairs of pictures of which a person, or a known taste, has chosen one."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

from jaxdiff.diffusion.process import Parameterization, Process
from jaxdiff.diffusion.time_sampling import TimeSampling
from jaxdiff.objectives.one_time import squared_error, with_noise
from jaxdiff.objectives.two_times import teacher_of
from jaxdiff.options import PositiveFloat, checked
from jaxdiff.typing import Cond, Data, Denoiser, Draw, Metrics, Prediction, Roles

REJECTED = "rejected"
"""The field of an example that has the picture that was not chosen."""


def bradley_terry(chosen: Float[Array, " b"], rejected: Float[Array, " b"]) -> Float[Array, " b"]:
    """Returns -log P(chosen), P = sigmoid(r_chosen - r_rejected) (Bradley & Terry 1952)."""
    return -jax.nn.log_sigmoid(chosen - rejected)


@checked
@dataclass(frozen=True)
class DiffusionDPO:
    """-log sigmoid(-beta/2·(d(chosen) - d(rejected))) (Wallace et al. 2024, eq. 14).

    d is the student's mean squared error less the teacher's, of x_t with one noise and one time for
    both pictures. The teacher is the model before tuning, and the student begins as it. The paper
    has `beta` between 2,000 and 5,000; it stands for the paper's beta·T. Examples have the picture
    that was not chosen as "rejected", as the data set `votes` has.
    """

    process: Process
    parameterization: Parameterization
    time_sampling: TimeSampling
    beta: PositiveFloat = 2000.0
    learns = "denoiser"
    needs_teacher = True
    pairs = (REJECTED,)

    def __call__(
        self, roles: Roles, x0: Data, cond: Cond, draw: Draw, step: Integer[Array, ""]
    ) -> tuple[Float[Array, " b"], Metrics]:
        """Returns the loss of each pair."""
        rejected = cond[REJECTED]
        cond = {name: value for name, value in cond.items() if name != REJECTED}
        t, importance = self.time_sampling(self.process, draw)
        noise = with_noise(x0, draw.keys).noise

        def error(denoiser: Denoiser, data: Data) -> Float[Array, " b"]:
            truth = Prediction(data, noise)
            found = denoiser(self.process.perturb(truth, t), t, cond)
            return squared_error(self.process, self.parameterization, found, truth, t)

        teacher = teacher_of(roles)
        gain = lambda data: error(roles.student, data) - error(teacher, data)
        margin = self.beta / 2 * (gain(rejected) - gain(x0))
        loss = -jax.nn.log_sigmoid(margin)
        metrics = {
            "logsnr": self.process.logsnr(t),
            "importance": importance,
            "margin": margin,
            "agreement": jnp.float32(margin > 0),
        }
        return importance * loss, metrics
