"""Solvers of flow maps on the exact one; and which solver fits which model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.condition import conditions
from jaxdiff.diffusion import guidance, oracles, schedules, solvers
from jaxdiff.diffusion.process import Process
from jaxdiff.diffusion.sampling import invert, prior, sample
from jaxdiff.objectives import Denoising, LearnedUncertainty, MeanFlow
from jaxdiff.tasks import students

COSINE = Process(schedules.Cosine())
GAUSSIAN = oracles.Gaussian(COSINE, jnp.array([0.5, -0.2]), 0.4)
MAP = oracles.FlowMap(GAUSSIAN)
TIMES = jnp.array([1.0, 0.7, 0.4, 0.0])
KEYS = jax.random.split(jax.random.key(0), 4000)
NOISE = prior(COSINE, KEYS, jnp.zeros((4000, 2)), jnp.ones(()))
END = GAUSSIAN.flow(NOISE, jnp.ones(4000), jnp.zeros(4000))


@pytest.mark.parametrize("times", [TIMES, TIMES[jnp.array([0, 3])]])
def test_a_flow_map_arrives_in_any_number_of_steps(times):
    """Fails if `until` is not the end of the step. TCD without noise does the same."""
    for solver in (solvers.FlowMap(COSINE), solvers.TCD(COSINE, gamma=0.0)):
        x = sample(solver, MAP, NOISE, times, {}, KEYS)
        np.testing.assert_allclose(x, END, atol=2e-5)


@pytest.mark.parametrize("solver", [solvers.Consistency(COSINE), solvers.TCD(COSINE, gamma=0.5)])
def test_new_noise_leaves_the_distribution_as_it_is(solver):
    """Mean and deviation of 4000 samples; another x for the same noise.

    Fails if noise is added for another level, or none is.
    """
    x = sample(solver, MAP, NOISE, TIMES, {}, KEYS)
    np.testing.assert_allclose(x.mean(0), GAUSSIAN.mean, atol=0.02)
    np.testing.assert_allclose(x.std(0), 0.4, atol=0.02)
    assert np.abs(x - END).mean() > 0.1
    one = sample(solver, MAP, NOISE, TIMES[jnp.array([0, 3])], {}, KEYS)
    np.testing.assert_allclose(one, END, atol=2e-5)


def test_a_flow_map_does_not_lead_back():
    """Fails if it is asked for a later time, which no objective teaches."""
    with pytest.raises(ValueError, match=r"invert: FlowMap.* leads to the data only"):
        invert(solvers.FlowMap(COSINE), MAP, NOISE, TIMES, {}, KEYS)


def test_tcd_at_one_is_consistency():
    same = [solvers.TCD(COSINE, gamma=1.0), solvers.Consistency(COSINE)]
    a, b = (sample(solver, MAP, NOISE, TIMES, {}, KEYS) for solver in same)
    np.testing.assert_allclose(a, b, atol=1e-5)
    with pytest.raises(ValueError, match=r"TCD.gamma is 1.5; expected a number from 0 to 1"):
        solvers.TCD(COSINE, gamma=1.5)


def test_a_solver_that_the_model_cannot_serve_is_named():
    flow_map, consistency = solvers.FlowMap(COSINE), solvers.Consistency(COSINE)
    fit = {
        "denoiser": [solvers.DDIM(COSINE)],
        "consistency": [consistency],
        "flow map": [solvers.DDIM(COSINE), flow_map, consistency],
    }
    for learned, fitting in fit.items():
        for solver in fitting:
            students.check_solver(solver, learned)
    with pytest.raises(ValueError, match="FlowMap needs a flow map, which reads 'until', but the"):
        students.check_solver(flow_map, "denoiser")
    with pytest.raises(ValueError, match=r"FlowMap .* model is a consistency; take Consistency"):
        students.check_solver(flow_map, "consistency")
    with pytest.raises(ValueError, match=r"Consistency needs a consistency model, but .* denoiser"):
        students.check_solver(consistency, "denoiser")
    with pytest.raises(ValueError, match="DDIM asks for the mean of the data"):
        students.check_solver(solvers.DDIM(COSINE), "consistency")


def test_what_an_objective_teaches_is_found_within_others():
    inner = object.__new__(MeanFlow)
    inner.__dict__.update(guidance_scale=1.5, own_share=0.5)
    outer = object.__new__(LearnedUncertainty)
    outer.__dict__.update(of=inner)
    assert students.learns(outer) == "flow map"
    assert students.guidance_within(outer) == 3.0
    assert students.is_student(outer)
    assert students.learns(Denoising) == "denoiser"


def test_guidance_that_a_model_has_is_not_applied_twice():
    """As an input it replaces classifier-free; in the weights a second one is a warning."""
    plain = guidance.ClassifierFree(3.0)
    found = students.guidance_of(plain, 3.0, {"guidance_scale": 100.0}, 1.0)
    told = found(lambda x, t, cond: conditions(cond)["guidance_scale"].value)
    np.testing.assert_array_equal(told(jnp.zeros((2, 3)), None, {}), [3, 3])
    with pytest.raises(ValueError, match="guidance=Rescaled: the model has its guidance_scale as"):
        students.guidance_of(guidance.Rescaled(COSINE), 3.0, {"guidance_scale": 100.0}, 1.0)
    with pytest.warns(UserWarning, match="on top of the scale 3 that the model was trained"):
        assert students.guidance_of(plain, 3.0, {}, 3.0) is plain
    assert students.guidance_of(guidance.ClassifierFree(1.0), 1.0, {}, 3.0).guidance_scale == 1.0
