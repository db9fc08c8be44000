"""Adversarial distillation: a student whose samples the teacher's own features cannot tell."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import jax.numpy as jnp
from einops import reduce
from jaxtyping import Array, Float, Integer

from jaxdiff import random
from jaxdiff.config.build import Spec
from jaxdiff.diffusion import flow_map
from jaxdiff.diffusion.guidance import ClassifierFree
from jaxdiff.diffusion.parameterizations import x0 as x0_row
from jaxdiff.diffusion.process import Process
from jaxdiff.diffusion.time_sampling import TimeSampling
from jaxdiff.diffusion.weighting import Weighting
from jaxdiff.objectives.adversarial import (
    critic_of,
    gradient_penalty,
    hinge_critic_loss,
    hinge_generator_loss,
    judged,
)
from jaxdiff.objectives.players import fixed
from jaxdiff.objectives.two_times import Time, mean_square, stop, teacher_of, two_times
from jaxdiff.options import Between, NonNegativeFloat, checked
from jaxdiff.typing import Cond, Metrics, Prediction, Roles, Span


@checked
@dataclass(frozen=True)
class AdversarialDistillation:
    """Hinge losses on the teacher's features, and its score (Sauer et al. 2024, ADD and LADD).

    Two players: the student and "discriminator", heads on the frozen teacher. The student takes
    noised data at any of `steps` even times to the data in one evaluation. The discriminator
    compares its results with data, both noised to a time t of `time_sampling`, by the teacher's
    features at t (LADD, section 3; ADD had those of another network, at t = 0). `distillation` is
    the factor of the squared distance from the teacher's x0 at t (ADD, eq. 4), under guidance if
    `guidance_scale` is not 1; `penalty` that of the discriminator's gradient at the data's
    features (ADD, eq. 3). The weight is that of the distance; ADD's is alpha_t.
    """

    process: Process
    time_sampling: TimeSampling
    weighting: Weighting
    steps: Annotated[int, Between(1, 64)] = 4
    distillation: NonNegativeFloat = 2.5
    penalty: NonNegativeFloat = 1e-5
    guidance_scale: float = 1.0
    discriminator: Spec = "FeatureDiscriminator"
    learns = "consistency"
    needs_teacher = True
    trunk = "teacher"
    players: ClassVar = {"student": ("network",), "discriminator": ("discriminator",)}
    __call__ = two_times

    @property
    def guided(self) -> float:
        """Returns the guidance scale that samples have."""
        return self.guidance_scale if self.distillation else 1.0

    @staticmethod
    def spans(process: Process, t: Time, keys: Array, step: Array) -> Span:
        """Returns spans of no length."""
        return Span(t, t, keys, 1)

    def loss(
        self, roles: Roles, truth: Prediction, span: Span, cond: Cond, step: Integer[Array, ""]
    ) -> tuple[dict[str, Float[Array, " b"]], Metrics]:
        """Returns each player's loss [b].

        Raises:
            ValueError: there is no critic, or no teacher.
        """
        critic = critic_of(roles)
        t, x = span.t, self._predicted(roles, truth, span, cond)
        noised = lambda x, name: self.process.perturb(Prediction(x, span.noise(x, name)), t)
        drawn, data = noised(x, "level"), noised(truth.x0, "data")
        mean = lambda loss: reduce(loss, "b n -> b", "mean")

        fooled = judged(fixed(critic), drawn, t, cond)
        student = mean(hinge_generator_loss(fooled))
        teacher = ClassifierFree(self.guidance_scale)(teacher_of(roles))
        distance = mean_square(x - stop(teacher(stop(drawn), t, cond).x0))
        weight = self.weighting(self.process, x0_row, t)
        student += self.distillation * weight * distance

        features = [stop(critic.features(stop(each), t, cond)) for each in (data, drawn)]
        scores = [critic.scores(each) for each in features]
        told_apart = mean(hinge_critic_loss(*scores))
        told_apart += 2 * self.penalty * gradient_penalty(critic.scores, features[0])
        metrics = {
            "squared_error": distance,
            "real_score": mean(scores[0]),
            "fake_score": mean(scores[1]),
        }
        return {"student": student, "discriminator": told_apart}, metrics

    def _predicted(
        self, roles: Roles, truth: Prediction, span: Span, cond: Cond
    ) -> Float[Array, "b *shape"]:
        """Returns the student's data, each in one evaluation from noised data at a time of its."""
        u = random.uniform(random.stream(span.keys, "place"))
        place = ((jnp.floor(u * self.steps) + 1) / self.steps).astype(span.t.dtype)
        x = self.process.perturb(truth, place)
        return flow_map.ask(roles.student, x, place, jnp.zeros_like(place), cond).x0
