"""Preference tuning on a Gaussian whose mean is trained: zeros, directions, and ratios of 1."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff import random
from jaxdiff.diffusion import parameterizations, schedules
from jaxdiff.diffusion.process import Process
from jaxdiff.diffusion.time_sampling import Uniform
from jaxdiff.diffusion.weighting import Simple
from jaxdiff.objectives import DiffusionDPO, DiffusionNFT, FlowGRPO
from jaxdiff.objectives.online import advantages
from jaxdiff.typing import Draw, Prediction, Roles

PROCESS = Process(schedules.RectifiedFlow())
PARTS = {
    "process": PROCESS,
    "parameterization": parameterizations.velocity,
    "time_sampling": Uniform(),
}
BATCH, START = 256, jnp.array([0.3, -0.2])


def denoiser(mean):
    """The exact denoiser of N(mean, 1): E[x0 | x_t], and the noise that goes with it."""

    def ask(x, t, cond):
        alpha, sigma = PROCESS.at(t, x)
        share = 1 / (alpha**2 + sigma**2)
        x0 = mean + share * alpha * (x - alpha * mean)
        return Prediction(x0, share * sigma * (x - alpha * mean))

    return ask


def draw(seed=0):
    keys = random.example_keys(jax.random.key(seed), jnp.arange(BATCH))
    return Draw(keys, (jnp.arange(BATCH) + 0.5) / BATCH)


class FirstCoordinate:
    """A taste."""

    def __call__(self, images, cond):
        return images[:, 0]


class Indifferent:
    """A taste without preferences."""

    def __call__(self, images, cond):
        return jnp.zeros(len(images))


@functools.partial(jax.jit, static_argnums=0)
def gradient(objective, x0, cond, mean):
    """The gradient with regard to the student's mean, all other roles being at the start."""

    def loss(mean):
        roles = Roles(denoiser(mean), target=denoiser(START), teacher=denoiser(START))
        loss, metrics = objective(roles, x0, cond, draw(), jnp.int32(0))
        return loss.mean(), metrics

    return jax.grad(loss, has_aux=True)(mean)


def data(seed):
    return START + jax.random.normal(jax.random.key(seed), (BATCH, 2))


def test_dpo_moves_towards_the_chosen_and_not_where_both_are_alike():
    """Fails if the two pictures change places, or have different noises or times."""
    objective = DiffusionDPO(**PARTS, beta=10.0)
    chosen = data(1)
    away, metrics = gradient(objective, chosen, {"rejected": chosen - jnp.array([1.0, 0])}, START)
    # One shift for all: -beta/2·d(chosen - rejected)/d(mean) = -beta/2·shift·(share of v)².
    assert away[0] < -0.5
    assert abs(away[1]) < 1e-5
    np.testing.assert_allclose(metrics["margin"], 0, atol=1e-6)  # the student is the teacher
    back, _ = gradient(objective, chosen - jnp.array([1.0, 0]), {"rejected": chosen}, START)
    np.testing.assert_allclose(back, -away, rtol=1e-4, atol=1e-5)
    none, _ = gradient(objective, chosen, {"rejected": chosen}, START)
    np.testing.assert_allclose(none, 0, atol=1e-6)


def test_dpo_s_loss_is_that_of_its_equation():
    """Fails if a sign, a factor or the teacher's share is another; the reference is by hand."""
    objective = DiffusionDPO(**PARTS, beta=3.0)
    chosen, rejected, mean = data(1), data(2), START + 0.4
    roles = Roles(denoiser(mean), target=denoiser(START), teacher=denoiser(START))
    loss, metrics = objective(roles, chosen, {"rejected": rejected}, draw(), jnp.int32(0))
    t = Uniform()(PROCESS, draw()).t
    noise = random.normal(random.stream(draw().keys, "noise"), chosen)

    def error(mean, x0):
        alpha, sigma = PROCESS.at(t, x0)
        found = denoiser(mean)(alpha * x0 + sigma * noise, t, {})
        return np.mean(((found.noise - found.x0) - (noise - x0)) ** 2, axis=1)

    gain = lambda x0: error(mean, x0) - error(START, x0)
    margin = -3.0 / 2 * (gain(chosen) - gain(rejected))
    np.testing.assert_allclose(metrics["margin"], margin, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(loss, np.log1p(np.exp(-margin)), rtol=1e-4)


ONLINE = {
    "nft": lambda taste: DiffusionNFT(
        **PARTS, weighting=Simple(), reward=taste, group=8, steps=4, clip=2.0
    ),
    "grpo": lambda taste: FlowGRPO(PROCESS, reward=taste, group=8, steps=4),
}


@pytest.mark.parametrize("name", ONLINE)
def test_online_tuning_follows_the_reward_and_rests_without_one(name):
    """Fails if advantages have the wrong sign, or equal rewards move the model."""
    cond = {"label": jnp.arange(BATCH)}
    towards, metrics = gradient(ONLINE[name](FirstCoordinate()), data(1), cond, START)
    assert towards[0] < 0
    assert abs(towards[1]) < 0.4 * abs(towards[0])
    assert metrics["reward"].shape == (BATCH,)
    rest, _ = gradient(ONLINE[name](Indifferent()), data(1), cond, START)
    np.testing.assert_allclose(rest, 0, atol=1e-5)


def test_the_ratio_is_one_until_the_model_has_moved():
    """Fails if log p is of other means or deviations than the pictures were drawn with."""
    objective = ONLINE["grpo"](FirstCoordinate())
    _, at_start = gradient(objective, data(1), {}, START)
    np.testing.assert_allclose(at_start["ratio"], 1, atol=1e-6)
    np.testing.assert_allclose(at_start["drift"], 0, atol=1e-8)
    _, moved = gradient(objective, data(1), {}, START + 0.5)
    assert np.ptp(moved["ratio"]) > 0.1
    assert np.all(np.asarray(moved["drift"]) > 0)


def test_advantages_are_within_groups():
    """Fails if an easy condition counts as a good picture."""
    found = advantages(jnp.array([1.0, 3.0, 101.0, 103.0]), 2)
    np.testing.assert_allclose(found, [-1, 1, -1, 1], rtol=1e-4)
    np.testing.assert_array_equal(advantages(jnp.array([5.0, 5.0, 7.0, 7.0]), 2), 0)


def test_what_does_not_fit_is_named():
    """Fails if a group is cut in two, or an unknown taste is found in the first step."""
    with pytest.raises(ValueError, match=r"unknown .*'Brightnes'"):
        FlowGRPO(PROCESS, reward="Brightnes")
    with pytest.raises(ValueError, match="group"):
        DiffusionNFT(**PARTS, weighting=Simple(), group=1)
