"""Sliders: an adapter whose strength turns a concept up and down (Gandikota et al. 2024)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxtyping import Array, Float, Integer

from jaxdiff.config.fields import Text
from jaxdiff.diffusion.process import Parameterization, Process
from jaxdiff.diffusion.time_sampling import TimeSampling
from jaxdiff.diffusion.weighting import Weighting
from jaxdiff.objectives.one_time import with_noise
from jaxdiff.objectives.two_times import mean_square, stop, teacher_of
from jaxdiff.options import PositiveFloat, checked
from jaxdiff.typing import Cond, Data, Draw, Metrics, Roles

POSITIVE, NEGATIVE = "positive", "negative"
"""Conditions that a task adds to those of the examples: the encoded `prompts` of an objective."""


@checked
@dataclass(frozen=True)
class Slider:
    """‖v_θ(c) - v(c) - strength·(v(positive) - v(negative))‖² (Gandikota et al. 2024, eq. 8).

    v is the teacher, the model before tuning, as which the student begins: with an adapter, of
    which `run.adapted({"runs/slider": -1.0})` turns the concept down. c are the examples'
    conditions, none of them dropped. The paper draws x_t by the model; here it is of the data.

    Attributes:
        positive, negative: prompts with more and with less of the concept, otherwise alike.
        strength: of the change at an adapter's strength of 1.
    """

    process: Process
    parameterization: Parameterization
    time_sampling: TimeSampling
    weighting: Weighting
    positive: Text
    negative: Text
    strength: PositiveFloat = 1.0
    learns = "denoiser"
    needs_teacher = True

    def check_config(self, config: Any) -> None:
        """Raises ValueError if a run's config does not fit."""
        if "text" not in config.encoders:
            raise ValueError("Slider: config.encoders has no 'text', which reads its prompts")
        if config.condition_dropout:
            raise ValueError(f"Slider: condition_dropout={config.condition_dropout} must be 0")

    @property
    def prompts(self) -> Mapping[str, str]:
        """Returns the prompts that a task encodes, by the names under which `cond` has them."""
        return {POSITIVE: self.positive, NEGATIVE: self.negative}

    def __call__(
        self, roles: Roles, x0: Data, cond: Cond, draw: Draw, step: Integer[Array, ""]
    ) -> tuple[Float[Array, " b"], Metrics]:
        """Returns the loss of each example."""
        own = {name: each for name, each in cond.items() if name not in self.prompts}
        under = {name: {**own, "text": cond[name]} for name in self.prompts}
        t, importance = self.time_sampling(self.process, draw)
        x = self.process.perturb(with_noise(x0, draw.keys), t)
        teacher = teacher_of(roles)
        read = lambda denoiser, cond: self.process.read(
            self.parameterization, denoiser(x, t, cond), t
        )
        change = read(teacher, under[POSITIVE]) - read(teacher, under[NEGATIVE])
        target = read(teacher, own) + self.strength * change
        loss = mean_square(read(roles.student, own) - stop(target))
        loss *= self.weighting(self.process, self.parameterization, t)
        logged = {"logsnr": self.process.logsnr(t), "importance": importance}
        return importance * loss, {**logged, "change": mean_square(change)}
