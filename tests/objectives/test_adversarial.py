"""Adversarial terms of distillation, against critics that are known; in float64."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff import objectives
from jaxdiff.diffusion import oracles, parameterizations, time_sampling, weighting
from jaxdiff.trees import pytree
from jaxdiff.typing import Prediction, Roles, Span
from tests.support.gaussians import COSINE, given

PARTS = {"time_sampling": time_sampling.Uniform(), "weighting": weighting.Simple()}
STEP = jnp.asarray(0)
MEAN, STD = np.array([0.4, -0.3, 0.1]), 0.5
SHIFT = np.array([0.3, 0.0, -0.2])


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


@pytree(data=("scale", "mean", "away"))
@dataclass(frozen=True)
class LogRatio:
    """log p/q of data at a mean and samples `away` from it, which is the best critic."""

    scale: Any
    mean: Any
    away: Any

    def features(self, x, t, cond):
        """Returns the share of each coordinate."""
        alpha, sigma = COSINE.at(t, x)
        log = lambda mean: -0.5 * (x - alpha * mean) ** 2 / ((alpha * STD) ** 2 + sigma**2)
        return {"share": log(self.mean) - log(self.mean + self.away)}

    def scores(self, features):
        return self.scale * features["share"].sum(axis=1, keepdims=True)


def real():
    return oracles.Gaussian(COSINE, jnp.asarray(MEAN), STD)


def moved(shift):
    """The one-step sampler of the data, moved away from them."""
    flow = oracles.FlowMap(real())
    return lambda x, t, cond: Prediction(flow(x, t, cond).x0 + shift, x)


def span_of():
    t = given()[1]
    return Span(t, t, jax.random.split(jax.random.key(0), len(t)), 1)


def losses_of(objective, shift, scale, away, generator=False):
    """The losses of a student moved by `shift`, with the critic of samples moved by `away`."""
    x0 = given()[0]
    noise = jax.random.normal(jax.random.key(1), x0.shape, x0.dtype)
    critic = LogRatio(scale, jnp.asarray(MEAN), jnp.asarray(away))
    fake = oracles.Gaussian(COSINE, jnp.asarray(MEAN + away), STD)
    roles = Roles(moved(shift), moved(shift), real(), {"fake_score": fake}, critic)
    losses, metrics = objective.loss(roles, Prediction(x0, noise), span_of(), {}, STEP)
    return losses, metrics


MATCHING = objectives.DistributionMatching(
    COSINE, parameterization=parameterizations.v, **PARTS, adversarial=1.0, critic_weight=2.0
)
DISTILLATION = objectives.AdversarialDistillation(COSINE, **PARTS, distillation=0.0, penalty=0.0)


@pytest.mark.parametrize(
    ("objective", "player"), [(MATCHING, "generator"), (DISTILLATION, "student")]
)
def test_nothing_moves_at_the_truth_and_samples_are_led_back_to_it(objective, player):
    """The best critic of equal distributions scores 0; of others it leads from samples to data.

    Fails for the other sign, and where the term is left out.
    """

    def gradient(shift, away):
        loss = lambda shift: losses_of(objective, shift, 1.0, away)[0][player].sum()
        return jax.grad(loss)(jnp.asarray(shift))

    np.testing.assert_array_equal(gradient(np.zeros(3), np.zeros(3)), 0)
    found = gradient(SHIFT, SHIFT)
    assert float(found[0]) > 1e-2 and float(found[2]) < -1e-2
    np.testing.assert_allclose(found[1], 0, atol=1e-12)
    losses, metrics = losses_of(objective, SHIFT, 1.0, SHIFT)
    assert metrics["real_score"].mean() > metrics["fake_score"].mean()
    assert set(losses) == set(objective.players)


@pytest.mark.parametrize(
    ("objective", "owned"), [(MATCHING, "fake_score"), (DISTILLATION, "discriminator")]
)
def test_no_gradient_leaks_between_student_and_critic(objective, owned):
    """Fails if a loss forgets that the other's weights are fixed."""
    for player in objective.players:
        loss = lambda shift, scale, player=player: losses_of(objective, shift, scale, SHIFT)[0][
            player
        ].sum()
        by_shift, by_scale = jax.grad(loss, argnums=(0, 1))(jnp.asarray(SHIFT), 1.0)
        of_critic = player == owned
        assert bool(np.any(by_scale)) == of_critic
        assert bool(np.any(by_shift)) == (not of_critic)


def test_the_terms_have_their_factors():
    """Logistic and hinge losses of a critic that scores 0 are 2·log 2 and 2; R1 is the gradient's.

    Fails if a factor is dropped, or belongs to the other player.
    """
    blind = np.zeros(3)
    plain = objectives.DistributionMatching(COSINE, parameterization=parameterizations.v, **PARTS)
    assert plain.players["fake_score"] == ("fake_score",) and not plain.trunk
    losses, bare = (losses_of(o, blind, 1.0, blind)[0] for o in (MATCHING, plain))
    difference = jax.tree.map(lambda a, b: a - b, losses, bare)
    np.testing.assert_allclose(difference["generator"], np.log(2), rtol=1e-6)
    np.testing.assert_allclose(difference["fake_score"], 2 * 2 * np.log(2), rtol=1e-6)
    losses, _ = losses_of(DISTILLATION, blind, 1.0, blind)
    np.testing.assert_allclose(losses["student"], 0, atol=1e-12)
    np.testing.assert_allclose(losses["discriminator"], 2, rtol=1e-12)

    penal = objectives.AdversarialDistillation(COSINE, **PARTS, distillation=0.0, penalty=0.1)
    more = losses_of(penal, blind, 2.0, SHIFT)[0]["discriminator"]
    more -= losses_of(DISTILLATION, blind, 2.0, SHIFT)[0]["discriminator"]
    np.testing.assert_allclose(more, 0.1 * 3 * 2.0**2, rtol=1e-9)  # the slope is 2 in each of 3


def test_the_teacher_draws_samples_to_its_own_estimate():
    """The gradient of λ·|x - x0|² is 2λ·(x - x0), with x0 the teacher's of the noised sample.

    Fails if it flows through the teacher, or the sample is noised otherwise than said.
    """
    objective = objectives.AdversarialDistillation(COSINE, **PARTS, distillation=2.5, steps=1)
    loss = lambda shift: losses_of(objective, shift, 1.0, np.zeros(3))[0]["student"].sum()
    span, ones = span_of(), jnp.ones(5)
    noise = jax.random.normal(jax.random.key(1), (5, 3), float)
    x = moved(SHIFT)(COSINE.perturb(Prediction(given()[0], noise), ones), ones, {"until": 0 * ones})
    x = x.x0
    x_t = COSINE.perturb(Prediction(x, span.noise(x, "level")), span.t)
    expected = 2.5 * 2 / 3 * (x - real()(x_t, span.t, {}).x0).sum(axis=0)
    np.testing.assert_allclose(jax.grad(loss)(jnp.asarray(SHIFT)), expected, rtol=1e-9)
    roles = Roles(real(), real(), real())
    with pytest.raises(ValueError, match=r"needs roles\.critic"):
        objective.loss(roles, Prediction(x, x), span, {}, STEP)
