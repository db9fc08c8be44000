"""Counts the evaluations that a training example of an objective costs, without any network."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.interpreters.ad import JVPTracer

from jaxdiff.condition import Condition
from jaxdiff.typing import Denoiser, Draw, Prediction, Roles

WHO = ("student", "student, jvp", "target", "teacher", "fake score", "discriminator")
"""Who may be asked; a discriminator's evaluation is one of its trunk."""


def calls_of(objective: Any, teacher: bool, shape: tuple[int, ...]) -> dict[str, int]:
    """Returns the evaluations by who is asked and in which mode; those of none are left out."""
    calls: dict[str, int] = dict.fromkeys(WHO, 0)

    def count(who: str, *inputs: Any) -> None:
        tangents = any(isinstance(a, JVPTracer) for a in jax.tree.leaves(inputs))
        # Guidance asks once, of twice as many examples.
        calls["student, jvp" if tangents and who == "student" else who] += len(inputs[0]) // batch

    def counting(who: str) -> Denoiser:
        def denoiser(x, t, cond):
            count(who, x, t, cond)
            return Prediction(0.5 * x, 0.5 * x)

        return denoiser

    batch = getattr(objective, "group", 2)
    roles = Roles(
        counting("student"),
        counting("target"),
        counting("teacher") if teacher else None,
        {"fake_score": counting("fake score")},
        _Critic(count),
    )
    x0 = jnp.zeros((batch, *shape))
    draw = Draw(jax.random.split(jax.random.key(0), batch), jnp.linspace(0.1, 0.9, batch))
    cond = {"label": Condition(jnp.zeros(batch, jnp.int32))}  # guidance needs one
    with jax.disable_jit():
        objective(roles, x0, cond, draw, jnp.asarray(10_000))
    return {who: n for who, n in calls.items() if n}


@dataclass(frozen=True)
class _Critic:
    count: Callable[..., None]

    def features(self, x, t, cond):
        self.count("discriminator", x, t, cond)
        return x

    def scores(self, features):
        return features.reshape(len(features), -1)
