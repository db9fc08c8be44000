"""Wrappers of guidance: intervals of noise levels, negative conditions, thresholds of x0.

`of` is the wrapped guidance; by default classifier-free, at `guidance_scale`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdiff.condition import drop, fill
from jaxdiff.diffusion.guidance.branches import Guidance, predict_batched, with_x0
from jaxdiff.diffusion.guidance.extrapolation import ClassifierFree, Scale
from jaxdiff.diffusion.process import Process, expand
from jaxdiff.options import Between, NonNegativeFloat, PositiveFloat
from jaxdiff.trees import pytree
from jaxdiff.typing import Denoiser

GUIDANCE, FROM, TO = "guidance_scale", "guidance_from", "guidance_to"
"""A model's inputs for guidance: the scale, and the times between which it acts."""


@pytree(data=("guidance_scale", "low", "high"))
@dataclass(frozen=True)
class AsInput:
    """The scale as cond["guidance_scale"], for models that have learned it (Meng et al. 2023).

    With `interval` the times between which it acts are conditions too (Geng et al. 2025b, iMF).
    """

    guidance_scale: float | Array | None = 1.0
    low: float = 0.0
    high: float = 1.0
    interval: bool = False

    def __call__(self, denoiser: Denoiser) -> Denoiser:
        """Returns the denoiser with the scale as a condition."""
        scale = 1.0 if self.guidance_scale is None else self.guidance_scale
        ends = {FROM: self.low, TO: self.high} if self.interval else {}

        def given(x):
            numbers = {GUIDANCE: scale, **ends}
            return {name: jnp.full(len(x), value, x.dtype) for name, value in numbers.items()}

        return lambda x, t, cond: denoiser(x, t, {**cond, **given(x)})


@pytree(data=("guidance_scale",))
@dataclass(frozen=True)
class Interval:
    """Guidance within an interval of noise levels only (Kynkäänniemi et al. 2024).

    `low` and `high` are times in [0, 1], or with `unit="noise"` values of sigma/alpha.
    """

    process: Process
    guidance_scale: Scale = 1.0
    low: NonNegativeFloat = 0.0
    high: PositiveFloat = 1.0
    unit: Literal["time", "noise"] = "time"
    of: Guidance | None = None

    def __post_init__(self):
        end, range_ = (1, "[0, 1]") if self.unit == "time" else (float("inf"), "[0, inf)")
        if not 0 <= self.low < self.high <= end:
            raise ValueError(
                f"Interval: low={self.low}, high={self.high}: low must be less than high, and both "
                f"in {range_} for unit={self.unit!r}"
            )

    def inside(self, t: Float[Array, "*t"]) -> Array:
        """Returns True for times at which the guidance acts."""
        level = t if self.unit == "time" else jnp.exp(-self.process.logsnr(t) / 2)
        return (self.low <= level) & (level <= self.high)

    def __call__(self, denoiser: Denoiser) -> Denoiser:
        """Returns the denoiser that is guided within the interval, at the plain cost outside."""
        guided = _inner(self)(denoiser)

        def limited(x, t, cond):
            inside = self.inside(t)
            # Each denoiser runs only if an example needs it: in sampling, where all examples are at
            # one time, the other costs nothing.
            within = _predict_if(inside.any(), guided, x, t, cond)
            outside = _predict_if(~inside.all(), denoiser, x, t, cond)
            return jax.tree.map(lambda a, b: jnp.where(expand(inside, a), a, b), within, outside)

        return limited


@pytree(data=("guidance_scale",))
@dataclass(frozen=True)
class StaticThreshold:
    """x0 clipped to ±`limit`, the range of the data (Saharia et al. 2022, section 2.3).

    The noise follows from x_t, or with `keeps_noise` is as predicted: of a released DDIM.
    """

    process: Process
    guidance_scale: Scale = 1.0
    limit: PositiveFloat = 1.0
    keeps_noise: bool = False
    of: Guidance | None = None

    def __call__(self, denoiser: Denoiser) -> Denoiser:
        """Returns the denoiser whose x0 is in range."""
        clip = lambda x0: jnp.clip(x0, -self.limit, self.limit)
        inner = _inner(self)(denoiser)
        if not self.keeps_noise:
            return _mapped(self.process, inner, clip)

        def clipped(x, t, cond):
            prediction = inner(x, t, cond)
            return prediction._replace(x0=clip(prediction.x0))

        return clipped


@pytree(data=("guidance_scale",))
@dataclass(frozen=True)
class DynamicThreshold:
    """x0 clipped to each example's `percentile` of |x0|, then scaled into ±`limit`.

    Below the limit, the limit clips (Saharia et al. 2022, section 2.3).
    """

    process: Process
    guidance_scale: Scale = 1.0
    percentile: Annotated[float, Between(0, 100)] = 99.5
    limit: PositiveFloat = 1.0
    of: Guidance | None = None

    def __call__(self, denoiser: Denoiser) -> Denoiser:
        """Returns the denoiser whose x0 is in range."""

        def clip(x0):
            flat = jnp.abs(x0).reshape(len(x0), -1)
            s = expand(jnp.percentile(flat, self.percentile, axis=1), x0)
            s = jnp.maximum(s, self.limit)
            return jnp.clip(x0, -s, s) * (self.limit / s)

        return _mapped(self.process, _inner(self)(denoiser), clip)


@pytree(data=("condition", "guidance_scale"))
@dataclass(frozen=True, eq=False)
class Negative:
    """Guidance away from a condition, which replaces dropped conditions.

    `condition` has one value for each name, without a batch axis: `{"label": 3}`.
    """

    condition: Mapping[str, Any]
    guidance_scale: Scale = 1.0
    of: Guidance | None = None

    def __post_init__(self):
        if not self.condition:
            raise ValueError("Negative: condition={}: name at least one, such as {'label': 3}")
        if texts := [name for name, value in self.condition.items() if isinstance(value, str)]:
            raise ValueError(
                f"Negative: condition {texts[0]!r} is a text, which needs an encoder: give it as"
                f" negative={{{texts[0]!r}: ...}} where samples are drawn"
            )

    def __call__(self, denoiser: Denoiser) -> Denoiser:
        """Returns the guided denoiser."""

        def substituted(x, t, cond):
            if not cond:
                return denoiser(x, t, cond)
            if missing := [name for name in self.condition if name not in cond]:
                raise ValueError(
                    f"Negative: no condition {missing[0]!r} is given; given: {sorted(cond)}"
                )
            negative = jax.tree.map(lambda a: jnp.asarray(a)[None], dict(self.condition))
            return denoiser(x, t, fill(cond, negative, len(x)))

        return _inner(self)(substituted)


@pytree(data=("conditions", "scales"))
@dataclass(frozen=True, eq=False)
class Composed:
    """Several conditions at once: u + Σ scale_i·(c_i - u) (Liu et al. 2022), in one call.

    Each of `conditions` has one value for each name, without a batch axis; names that it lacks are
    dropped. The conditions of the call are ignored. A negative scale leads away from a condition.
    """

    conditions: tuple[Mapping[str, Any], ...] | list[Mapping[str, Any]]
    scales: tuple[float, ...] | list[float]

    def __post_init__(self):
        if not self.conditions or len(self.conditions) != len(self.scales):
            raise ValueError(
                f"Composed: {len(self.conditions)} conditions and scales={self.scales}: there must "
                "be one scale for each, and at least one"
            )

    def __call__(self, denoiser: Denoiser) -> Denoiser:
        """Returns the guided denoiser."""
        placeholders = {name: value for c in self.conditions for name, value in c.items()}

        def branch(condition, b):
            repeated = lambda a: jnp.broadcast_to(a, (b, *jnp.shape(a)))
            cond = jax.tree.map(repeated, {**placeholders, **condition})
            return drop(cond, [name for name in placeholders if name not in condition])

        def guided(x, t, cond):
            branches = [branch(condition, len(x)) for condition in (*self.conditions, {})]
            *conditional, u = predict_batched(denoiser, x, t, branches)
            weighted = lambda u, *cs: (
                u + sum(scale * (c - u) for scale, c in zip(self.scales, cs, strict=True))
            )
            return conditional[0]._replace(
                x0=weighted(u.x0, *(c.x0 for c in conditional)),
                noise=weighted(u.noise, *(c.noise for c in conditional)),
            )

        return guided


def _inner(wrapper):
    return ClassifierFree(wrapper.guidance_scale) if wrapper.of is None else wrapper.of


def _predict_if(wanted, denoiser, x, t, cond):
    shapes = jax.eval_shape(denoiser, x, t, cond)
    nothing = lambda: jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    return jax.lax.cond(wanted, lambda: denoiser(x, t, cond), nothing)


def _mapped(process, denoiser, f):
    def mapped(x, t, cond):
        prediction = denoiser(x, t, cond)
        return with_x0(process, prediction, f(prediction.x0), t)

    return mapped
