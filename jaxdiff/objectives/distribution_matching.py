"""Distributions instead of paths: a generator whose samples have the teacher's scores."""

from dataclasses import dataclass
from typing import Annotated

import jax.numpy as jnp
from einops import reduce
from jaxtyping import Array, Float, Integer

from jaxdiff import random
from jaxdiff.config.build import Spec
from jaxdiff.diffusion import flow_map
from jaxdiff.diffusion.guidance import ClassifierFree
from jaxdiff.diffusion.process import Parameterization, Process, expand
from jaxdiff.diffusion.time_sampling import TimeSampling
from jaxdiff.diffusion.weighting import Weighting
from jaxdiff.objectives.adversarial import critic_loss, critic_of, generator_loss, judged
from jaxdiff.objectives.players import fixed
from jaxdiff.objectives.two_times import Data, Time, mean_square, stop, teacher_of, two_times
from jaxdiff.options import Between, NonNegativeFloat, PositiveFloat, checked
from jaxdiff.typing import Cond, Metrics, Prediction, Roles, Span

FAKE = "fake_score"
"""The name of the denoiser of the generator's samples, and of its player."""


@checked
@dataclass(frozen=True)
class DistributionMatching:
    """The difference of two scores moves the samples (Yin et al. 2024a, eq. 7; 2024b, DMD2).

    Two players: the generator, and "fake_score", a denoiser of the generator's samples that begins
    as the student. At noise level t, the samples x move against (x0_fake - x0_real)/mean|x -
    x0_real|, where x0_real is the teacher's, under guidance if `guidance_scale` is not 1. The
    denominator, a mean over the values of an example, is at least `floor`. For more than one step
    the generator starts at any of `steps` even times from its own noised samples. The paper moves
    the generator in every fifth step: `optimizers.network.every=5`.

    With `adversarial` above 0 there is DMD2's term (2024b, eq. 4): `discriminator` tells noised
    samples from noised data by features of the fake score, which learns to tell them apart, too.
    Its logistic loss has the factor `critic_weight`, the generator's the factor `adversarial`.
    """

    process: Process
    parameterization: Parameterization
    time_sampling: TimeSampling
    weighting: Weighting
    steps: Annotated[int, Between(1, 64)] = 1
    guidance_scale: float = 1.0
    floor: PositiveFloat = 1e-3
    adversarial: NonNegativeFloat = 0.0
    critic_weight: PositiveFloat = 0.01
    discriminator: Spec = "FeatureDiscriminator"
    learns = "consistency"
    needs_teacher = True
    companions = (FAKE,)
    __call__ = two_times

    @property
    def players(self) -> dict[str, tuple[str, ...]]:
        """Returns the weights that each loss trains."""
        return {"generator": ("network",), FAKE: (FAKE, "discriminator") if self.trunk else (FAKE,)}

    @property
    def trunk(self) -> str:
        """Returns the weights whose features the discriminator reads; "" without one."""
        return FAKE if self.adversarial else ""

    @property
    def guided(self) -> float:
        """Returns the guidance scale that samples have."""
        return self.guidance_scale

    @staticmethod
    def spans(process: Process, t: Time, keys: Array, step: Array) -> Span:
        """Returns spans of no length."""
        return Span(t, t, keys, 1)

    def loss(
        self, roles: Roles, truth: Prediction, span: Span, cond: Cond, step: Integer[Array, ""]
    ) -> tuple[dict[str, Float[Array, " b"]], Metrics]:
        """Returns each player's loss [b]; of the data, only the shape and the condition matter."""
        t, x = span.t, self._generated(roles, truth, span, cond)
        at_t = Prediction(stop(x), span.noise(x, "level"))
        x_t = self.process.perturb(at_t, t)
        teacher = ClassifierFree(self.guidance_scale)(teacher_of(roles))
        real = stop(teacher(x_t, t, cond).x0)
        fake = roles.others[FAKE]
        move = stop(fixed(fake)(x_t, t, cond).x0) - real
        scale = reduce(jnp.abs(at_t.x0 - real), "b ... -> b", "mean")
        move /= expand(jnp.maximum(scale, self.floor), x)
        read = lambda p: self.process.read(self.parameterization, p, t)
        error = mean_square(read(fake(x_t, t, cond)) - read(at_t))
        weight = self.weighting(self.process, self.parameterization, t)
        by_player = {
            # The gradient of the first with regard to x is `move`, divided by the values.
            "generator": mean_square(x - stop(x - move)) / 2,
            FAKE: weight * error,
        }
        metrics = {"squared_error": error, "move": mean_square(move)}
        if not self.adversarial:
            return by_player, metrics
        critic = critic_of(roles)
        noised = lambda x, name: self.process.perturb(Prediction(x, span.noise(x, name)), t)
        drawn, data = noised(x, "critic"), noised(truth.x0, "data")
        fooled = judged(fixed(critic), drawn, t, cond)
        scores = [judged(critic, stop(each), t, cond) for each in (data, drawn)]
        mean = lambda loss: reduce(loss, "b n -> b", "mean")
        by_player["generator"] += self.adversarial * mean(generator_loss(fooled))
        by_player[FAKE] += self.critic_weight * mean(critic_loss(*scores))
        return by_player, metrics | {"real_score": mean(scores[0]), "fake_score": mean(scores[1])}

    def _generated(self, roles: Roles, truth: Prediction, span: Span, cond: Cond) -> Data:
        """Returns samples of the generator, each in one evaluation from one of its times."""
        ones = jnp.ones_like(span.t)
        zeros = jnp.zeros_like(span.t)
        ask = lambda x, t: flow_map.ask(roles.student, x, t, zeros, cond).x0
        start = self.process.perturb(Prediction(0 * truth.x0, truth.noise), ones)
        if self.steps == 1:
            return ask(start, ones)
        u = random.uniform(random.stream(span.keys, "place"))
        place = (jnp.floor(u * self.steps) + 1) / self.steps
        again = Prediction(stop(ask(start, ones)), span.noise(truth.x0, "again"))
        first = expand(place == 1, start)
        x = jnp.where(first, start, self.process.perturb(again, place))
        return ask(x, place.astype(span.t.dtype))
