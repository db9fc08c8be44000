"""Guidance by two predictions of one x_t: conditional and unconditional, or strong and weak.

A rule combines the two predictions; called with a denoiser, it returns the guided denoiser. A
`guidance_scale` of 1 is no guidance: the denoiser itself, which needs no condition.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, runtime_checkable

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdiff.diffusion.flow_map import UNTIL
from jaxdiff.diffusion.guidance.branches import Guidance, cond_and_uncond, dot, with_x0
from jaxdiff.diffusion.parameterizations import v, velocity
from jaxdiff.diffusion.process import Parameterization, Process, expand
from jaxdiff.options import Filled, NonNegativeFloat, Share
from jaxdiff.trees import pytree
from jaxdiff.typing import Data, Denoiser, Prediction, Time

Scale = float | Float[Array, ""] | Callable[[Array], Array] | None
"""A guidance scale: a number, a function of the times [b], or None for no guidance."""


@runtime_checkable
class Rule(Protocol):
    """A rule that combines the conditional and the unconditional prediction of x_t."""

    guidance_scale: Scale

    def combine(
        self, conditional: Prediction, unconditional: Prediction, x: Data, t: Time
    ) -> Prediction:
        """Returns the guided prediction."""


def is_off(scale: Scale) -> bool:
    """Returns whether a scale is None or exactly 1, no guidance; False for a traced scale."""
    return scale is None or (isinstance(scale, int | float) and scale == 1)


def simplified(guidance: Any) -> Any:
    """Replaces guidance scales of exactly 1 by None, in nested guidance too.

    Other scales are traced in a compiled program: a new one compiles nothing. A scale of exactly 1
    needs one evaluation of the denoiser instead of two, so it is another, cheaper program.
    """
    if not dataclasses.is_dataclass(guidance) or isinstance(guidance, type):
        return guidance
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(guidance):
        value = getattr(guidance, field.name)
        if field.name == "guidance_scale" and is_off(value):
            changes[field.name] = None
        elif field.name == "of" and value is not None:
            changes[field.name] = simplified(value)
    return dataclasses.replace(guidance, **changes) if changes else guidance


def classifier_free(denoiser: Denoiser, guidance_scale: Scale) -> Denoiser:
    """Returns the denoiser with classifier-free guidance."""
    return ClassifierFree(guidance_scale)(denoiser)


@pytree(data=("guidance_scale", "start"))
@dataclass(frozen=True)
class LinearScale:
    """A guidance scale linear in t: `start` at t = 1, `guidance_scale` at 0 (Wang et al. 2024)."""

    guidance_scale: float
    start: float = 1.0

    def __call__(self, t: Time) -> Time:
        """Returns the scale at each time."""
        return self.guidance_scale + (self.start - self.guidance_scale) * t


@pytree(data=("guidance_scale",))
@dataclass(frozen=True)
class ClassifierFree:
    """Classifier-free guidance: unconditional + scale·(conditional - unconditional).

    The scale is 1 + w in Ho & Salimans (2022, eq. 6).

    Raises:
        ValueError: a guided denoiser is called without a condition.
    """

    guidance_scale: Scale = 1.0

    def __call__(self, denoiser: Denoiser) -> Denoiser:
        """Returns the guided denoiser."""
        return denoiser if is_off(self.guidance_scale) else _two_branches(self, denoiser)

    def combine(
        self, conditional: Prediction, unconditional: Prediction, x: Data, t: Time
    ) -> Prediction:
        """Extrapolates x0 and noise by the same scale."""
        scale = _at(self.guidance_scale, t, x)
        extrapolate = lambda c, u: u + scale * (c - u)
        return conditional._replace(
            x0=extrapolate(conditional.x0, unconditional.x0),
            noise=extrapolate(conditional.noise, unconditional.noise),
        )


@pytree(data=("guidance_scale",))
@dataclass(frozen=True)
class Rescaled:
    """Guidance whose result is rescaled to the conditional's deviation (Lin et al. 2024, 3.4).

    `rescale` in [0, 1] interpolates from no rescaling to all of it. The standard deviations are
    those of predictions read in `parameterization`. `of` is the rule; by default classifier-free.
    """

    process: Process
    guidance_scale: Scale = 1.0
    rescale: Share = 0.7
    parameterization: Parameterization = v
    of: Rule | Guidance | None = None

    def __post_init__(self):
        _rule(self)

    def __call__(self, denoiser: Denoiser) -> Denoiser:
        """Returns the guided denoiser."""
        return denoiser if is_off(_rule(self).guidance_scale) else _two_branches(self, denoiser)

    def combine(
        self, conditional: Prediction, unconditional: Prediction, x: Data, t: Time
    ) -> Prediction:
        """Multiplies by the ratio of the deviations over each example."""
        guided = _rule(self).combine(conditional, unconditional, x, t)
        y = self.process.read(self.parameterization, guided, t)
        deviation = lambda y: jnp.std(y, axis=tuple(range(1, y.ndim)), keepdims=True)
        target = deviation(self.process.read(self.parameterization, conditional, t))
        current = deviation(y)
        ratio = jnp.where(current > 0, target / jnp.where(current > 0, current, 1), 1)
        y = self.rescale * ratio * y + (1 - self.rescale) * y
        x0, noise, _ = self.process.solve(self.parameterization, y, x, t)
        return guided._replace(x0=x0, noise=noise)


@pytree(data=("guidance_scale",))
@dataclass(frozen=True)
class AdaptiveProjected:
    """Adaptive projected guidance: a step orthogonal to x0, of limited norm (Sadat et al. 2024).

    `eta` is the factor of the parallel part, which saturates images; 1 keeps all of it.
    `norm_threshold` limits the norm of the difference; 0 is no limit. The momentum of the paper is
    left out: it needs earlier steps, and a denoiser has one x_t only.
    """

    process: Process
    guidance_scale: Scale = 1.0
    eta: float = 0.0
    norm_threshold: NonNegativeFloat = 0.0

    def __call__(self, denoiser: Denoiser) -> Denoiser:
        """Returns the guided denoiser."""
        return denoiser if is_off(self.guidance_scale) else _two_branches(self, denoiser)

    def combine(
        self, conditional: Prediction, unconditional: Prediction, x: Data, t: Time
    ) -> Prediction:
        """x0 + (scale - 1)·(orthogonal + eta·parallel), from the conditional x0."""
        x0 = conditional.x0
        difference = x0 - unconditional.x0
        if self.norm_threshold > 0:
            norm = jnp.sqrt(dot(difference, difference))
            difference *= self.norm_threshold / jnp.maximum(norm, self.norm_threshold)
        parallel = _projection(difference, x0)
        update = difference - parallel + self.eta * parallel
        scale = _at(self.guidance_scale, t, x)
        return with_x0(self.process, conditional, x0 + (scale - 1) * update, t)


@pytree(data=("guidance_scale",))
@dataclass(frozen=True)
class CFGZeroStar:
    """CFG-Zero*: extrapolates from a multiple of the unconditional velocity (Fan et al. 2025).

    The multiple is the projection of the conditional velocity. At times above `zero_above` the
    velocity is zero, as in the first steps of the paper; 1 is for never.
    """

    process: Process
    guidance_scale: Scale = 1.0
    zero_above: Share = 0.96

    def __call__(self, denoiser: Denoiser) -> Denoiser:
        """Returns the guided denoiser."""
        return denoiser if is_off(self.guidance_scale) else _two_branches(self, denoiser)

    def combine(
        self, conditional: Prediction, unconditional: Prediction, x: Data, t: Time
    ) -> Prediction:
        """s·u + scale·(c - s·u), where s·u is the projection of c on u."""
        c = self.process.read(velocity, conditional, t)
        su = _projection(c, self.process.read(velocity, unconditional, t))
        guided = su + _at(self.guidance_scale, t, x) * (c - su)
        y = jnp.where(expand(t, x) > self.zero_above, 0, guided)
        x0, noise, _ = self.process.solve(velocity, y, x, t)
        return conditional._replace(x0=x0, noise=noise)


@pytree(data=("weight",))
@dataclass(frozen=True)
class CFGPlusPlus:
    """CFG++: the guided x0 with the unconditional noise (Chung et al. 2024).

    `weight` in [0, 1] is λ of the paper, by which x0 interpolates; 0 is unconditional. It takes the
    place of `guidance_scale`. x0 and noise together do not give x_t, on purpose: use a solver whose
    step is alpha·x0 + sigma·noise, such as DDIM. A solver that reads x0 alone is guided weakly.
    """

    weight: Share = 0.6

    def __call__(self, denoiser: Denoiser) -> Denoiser:
        """Returns the guided denoiser."""
        return _two_branches(self, denoiser)

    def combine(
        self, conditional: Prediction, unconditional: Prediction, x: Data, t: Time
    ) -> Prediction:
        """Returns x0 of `ClassifierFree` at the scale `weight`, and the unconditional noise."""
        guided = ClassifierFree(self.weight).combine(conditional, unconditional, x, t)
        return guided._replace(noise=unconditional.noise)


@pytree(data=("guidance_scale",))
@dataclass(frozen=True)
class AutoGuidance:
    """Autoguidance: a weaker model in the place of the unconditional one (Karras et al. 2024).

    `weak` is a denoiser with the same condition: a smaller or less trained network, or an earlier
    average. In a config or a flag it is the folder of its run, "AutoGuidance(weak='runs/small')".
    `of` is the rule; by default classifier-free.
    """

    weak: Annotated[str, Filled()] | Denoiser
    guidance_scale: Scale = 1.0
    of: Rule | Guidance | None = None

    def __post_init__(self):
        _rule(self)

    def __call__(self, denoiser: Denoiser) -> Denoiser:
        """Returns the guided denoiser."""
        rule, weak = _rule(self), self.weak
        if isinstance(weak, str):
            raise ValueError(f"AutoGuidance: weak={weak!r} has not been loaded")

        def guided(x, t, cond):
            return rule.combine(denoiser(x, t, cond), weak(x, t, cond), x, t)

        return guided


def _rule(guidance):
    if guidance.of is None:
        return ClassifierFree(guidance.guidance_scale)
    if not isinstance(guidance.of, Rule):
        raise ValueError(
            f"{type(guidance).__name__}: of={guidance.of} must combine two predictions, such as "
            "ClassifierFree(); wrap this guidance in it instead"
        )
    return guidance.of


def _two_branches(rule, denoiser):
    def guided(x, t, cond):
        if not set(cond) - {UNTIL}:
            raise ValueError(f"{rule}: guidance needs a condition; without one, use scale 1")
        return rule.combine(*cond_and_uncond(denoiser, x, t, cond), x, t)

    return guided


def _at(scale: Any, t: Time, x: Data) -> Any:
    return expand(jnp.asarray(scale(t)), x) if callable(scale) else scale


def _projection(a, b):
    squared = dot(b, b)
    return dot(a, b) / jnp.where(squared > 0, squared, 1) * b
