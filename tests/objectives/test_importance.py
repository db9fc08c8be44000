"""What holds of every objective: losses are divided by the density of their times."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff import objectives, random
from jaxdiff.config.build import build, names
from jaxdiff.diffusion import parameterizations, schedules, weighting
from jaxdiff.diffusion.process import Process
from jaxdiff.objectives.sliders import NEGATIVE, POSITIVE
from jaxdiff.typing import Draw, Prediction, Roles, Times

SPECS = ["Denoising", "LearnedVariance", "VariationalBound", "LearnedUncertainty(of=Denoising())"]
SPECS += ["MomentMatching(group=3)", "DiffusionNFT(group=3, kl=1.0)"]
SPECS += ["Slider(positive='old', negative='young')"]
PAIRS = {"DPO": ("rejected",), "Slider": (POSITIVE, NEGATIVE)}
"""What objectives read beside the conditions."""
# Without training times of `time_sampling`, or with a critic's features beside the loss.
OTHERS = {"AdversarialDistillation", "Drifting", "FlowGRPO", "MaskedAutoencoding", "Published"}
NAMED = OTHERS | {spec.partition("(")[0] for spec in SPECS}
FEW_STEP = [name for name in names(objectives) if name not in NAMED]


def student(x, t, cond):
    return Prediction(0.5 * x, 0.8 * x, jnp.full_like(x, 0.3))


@pytest.mark.parametrize("spec", [*SPECS, *FEW_STEP])
def test_importance_multiplies_the_whole_loss(spec):
    """And no metric but itself; fails if a part of a loss, or all of it, is left without."""
    x0 = jnp.linspace(-1, 1, 9).reshape(3, 3)
    draw = Draw(random.example_keys(jax.random.key(0), jnp.arange(3)), jnp.array([0.2, 0.5, 0.9]))
    also = [name for part, each in PAIRS.items() if part in spec for name in each]

    @jax.jit
    def run(importance):
        objective = build(
            objectives,
            spec,
            process=Process(schedules.Learned()),
            parameterization=parameterizations.noise,
            time_sampling=lambda process, draw: Times(draw.stratified_u, importance),
            weighting=weighting.Simple(),
        )
        return objective(
            Roles(student, student, student, {"fake_score": student}),
            x0,
            {"label": jnp.arange(3), **{name: x0[::-1] for name in also}},
            draw,
            jnp.zeros((), int),
        )

    importance = jnp.array([0.5, 2.0, 3.0])
    (plain, metrics), (loss, others) = run(jnp.ones(3)), run(importance)
    for each, before in zip(jax.tree.leaves(loss), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(each, importance * before, rtol=1e-5)
    np.testing.assert_array_equal(others.pop("importance"), importance)
    for name, value in others.items():
        np.testing.assert_allclose(value, metrics[name], rtol=1e-5)
