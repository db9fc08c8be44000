"""Integrators of the ordinary differential equation that a likelihood follows.

Each takes `slope(angle, state, step)` and a tree of arrays from one angle to another. `step` is
the number of the step, by which a stochastic divergence draws its probes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxdiff.diffusion.likelihood.angle import Angle, nodes
from jaxdiff.options import PositiveFloat, Steps, checked

State = Any
Slope = Callable[[Angle, State, Array], State]


@runtime_checkable
class Integrator(Protocol):
    """A method of integration; `adaptive` is True if its steps depend on the slope."""

    adaptive: ClassVar[bool]

    def __call__(self, slope: Slope, state: State, start: Angle, end: Angle) -> State:
        """Returns the state at `end`."""


KIND = Integrator
"""The kind of objects that the names of this module build."""


@checked
@dataclass(frozen=True)
class Heun:
    """Heun's method, order 2, two evaluations a step."""

    steps: Steps = 100
    adaptive: ClassVar[bool] = False

    def __call__(self, slope: Slope, state: State, start: Angle, end: Angle) -> State:
        """Returns the state at `end`."""
        stages = [0, 1], [1 / 2, 1 / 2]
        return _march(stages, slope, state, nodes(start, end, self.steps))


@checked
@dataclass(frozen=True)
class RK4:
    """The classical method of Runge and Kutta, order 4, four evaluations a step."""

    steps: Steps = 50
    adaptive: ClassVar[bool] = False

    def __call__(self, slope: Slope, state: State, start: Angle, end: Angle) -> State:
        """Returns the state at `end`."""
        stages = [0, 1 / 2, 1 / 2, 1], [1 / 6, 1 / 3, 1 / 3, 1 / 6]
        return _march(stages, slope, state, nodes(start, end, self.steps))


@checked
@dataclass(frozen=True)
class Adaptive:
    """Tsitouras' method of order 5 with its error controlled, by diffrax.

    Every step gets the number 0: an error can be controlled only where the slope is a function.
    Where `max_steps` do not suffice the result is NaN.

    Raises:
        ValueError: diffrax is not installed.
    """

    rtol: PositiveFloat = 1e-5
    atol: PositiveFloat = 1e-5
    max_steps: Steps = 4096
    adaptive: ClassVar[bool] = True

    def __post_init__(self):
        _diffrax()

    def __call__(self, slope: Slope, state: State, start: Angle, end: Angle) -> State:
        """Returns the state at `end`."""
        diffrax = _diffrax()
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(
                lambda angle, y, _: slope(jnp.asarray(angle), y, jnp.zeros((), jnp.int32))
            ),
            diffrax.Tsit5(),
            start,
            end,
            dt0=None,
            y0=state,
            stepsize_controller=diffrax.PIDController(rtol=self.rtol, atol=self.atol),
            max_steps=self.max_steps,
            throw=False,
        )
        good = solution.result == diffrax.RESULTS.successful
        return jax.tree.map(lambda y: jnp.where(good, y[-1], jnp.nan), solution.ys)


def _march(stages, slope, state, angles):
    """Takes k_i = f(a + c_i·h, y + c_i·h·k_{i-1}) and y + h·Σ w_i·k_i, step by step.

    Stages are scanned as steps are, so that a program holds the network once.
    """
    stages = tuple(jnp.asarray(column, angles.dtype) for column in stages)

    def step(y, at):
        start, end, index = at
        h = end - start

        def stage(carry, coefficients):
            (k, total), (c, weight) = carry, coefficients
            k = slope(start + c * h, _add(y, c * h, k), index)
            return (k, _add(total, weight, k)), None

        zero = jax.tree.map(jnp.zeros_like, y)
        (_, mean), _ = jax.lax.scan(stage, (zero, zero), stages)
        return _add(y, h, mean), None

    steps = (angles[:-1], angles[1:], jnp.arange(len(angles) - 1))
    return jax.lax.scan(step, state, steps)[0]


def _add(y, h, k):
    return jax.tree.map(lambda y, k: y + h * k, y, k)


def _diffrax():
    try:
        import diffrax  # noqa: PLC0415  an extra
    except ModuleNotFoundError:
        raise ValueError("Adaptive needs diffrax: pip install 'jaxdiff[ode]'") from None
    return diffrax
