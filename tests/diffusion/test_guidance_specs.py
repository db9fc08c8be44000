"""Guidance by name: specs, what is wrong with them, and the sampler that takes them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff import random
from jaxdiff.codecs import Pixels
from jaxdiff.condition import drop
from jaxdiff.conditioning.conditions import Conditions
from jaxdiff.config.build import build
from jaxdiff.diffusion import guidance
from jaxdiff.diffusion.parameterizations import v, velocity
from jaxdiff.diffusion.sampling import prior, sample
from jaxdiff.diffusion.solvers import DDIM
from jaxdiff.tasks.model import Model
from jaxdiff.tasks.sampler import Sampler
from jaxdiff.tasks.sampling_options import Options
from jaxdiff.weights.devices import Devices, make_mesh
from tests.support.gaussians import COSINE, FLOW, B, equal, given, of_label


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("Interval(low=0.8, high=0.2)", r"low=0\.8, high=0\.2: low must be less than high"),
        ("Interval(low=0.5, high=1.5)", r"high=1\.5.*\[0, 1\]"),
        ("Interval(low=-0.1)", r"low is -0\.1"),
        ("Interval(unit='sigma')", "unit is 'sigma'"),
        ("Rescaled(rescale=1.5)", r"rescale is 1\.5"),
        ("Rescaled(of=Interval())", "must combine two predictions"),
        ("StaticThreshold(limit=0.0)", r"limit is 0\.0"),
        ("DynamicThreshold(percentile=-1.0)", r"percentile is -1\.0"),
        ("CFGPlusPlus(weight=7.5)", r"weight is 7\.5"),
        ("CFGZeroStar(zero_above=2.0)", r"zero_above is 2\.0"),
        ("AdaptiveProjected(norm_threshold=-1.0)", r"norm_threshold is -1\.0"),
        ("Composed(conditions=[{'label': 3}], scales=[])", "1 conditions and scales="),
        ("Negative(condition={})", "condition={}"),
        ("Intervall", "unknown guidance 'Intervall'; did you mean 'Interval'"),
        ("DPS", "unknown guidance 'DPS'"),
        ("classifier_free", "'classifier_free' is no guidance"),
    ],
)
def test_what_cannot_work_is_named(spec, message):
    with pytest.raises(ValueError, match=message):
        build(guidance, spec, process=COSINE, guidance_scale=3.0)


def test_guidance_without_a_condition_is_refused():
    x, t, _ = given()
    for spec in ("ClassifierFree", "Interval()", "CFGPlusPlus", "Negative(condition={'label': 1})"):
        guided = build(guidance, spec, process=COSINE, guidance_scale=3.0)(of_label)
        with pytest.raises(ValueError, match="needs a condition"):
            guided(x, t, {})


def test_nested_specs_share_the_scale():
    """Fails if what is inside does not get the process and the scale."""
    inner = guidance.Rescaled(FLOW, 3.0, rescale=0.5, parameterization=velocity)
    expected = guidance.Interval(FLOW, 3.0, low=0.25, of=inner)
    context = {"process": FLOW, "parameterization": velocity, "guidance_scale": 3.0}
    for spec in (
        "Interval(low=0.25, of=Rescaled(rescale=0.5))",
        {"name": "Interval", "low": 0.25, "of": {"name": "Rescaled", "rescale": 0.5}},
    ):
        assert build(guidance, spec, **context) == expected


class Network:
    """Predicts v of the labelled Gaussians."""

    def apply(self, params, x, t, cond, dropout_keys):
        cond = cond if "label" in cond else drop({"label": jnp.zeros(len(x), int)})
        return COSINE.read(v, of_label(x, t, cond), t)


def make(**options):
    """A sampler of the labelled Gaussians."""
    return Sampler(
        Model(Network(), COSINE, v, lambda process, x, t: x, lambda process, t: t),
        Pixels(),
        (3,),
        (3,),
        conditions=Conditions(("label",), num_classes=3),
        options=Options(steps=4, **options),
        devices=Devices(make_mesh(jax.devices()[:1])),
    )


NOTHING = {"network": {}}


def test_the_sampler_guides_as_it_is_told():
    """Fails if an option does not reach the solver, or the default is not classifier-free."""
    sampler, (_, _, cond) = make(guidance_scale=3.0), given()
    draw = lambda cond=cond, **options: sampler(NOTHING, B, cond, **options)

    times = sampler.times(NOTHING)
    keys = random.example_keys(random.stream(jax.random.key(0), "sample"), jnp.arange(B))
    x = prior(COSINE, keys, jnp.zeros((B, 3)), times[0])
    for options, guide in (
        ({}, guidance.ClassifierFree(3.0)),
        ({"guidance": "CFGPlusPlus(weight=0.3)"}, guidance.CFGPlusPlus(0.3)),
    ):
        expected = sample(DDIM(COSINE), guide(of_label), x, times, cond, keys)
        np.testing.assert_allclose(draw(**options), expected, atol=1e-9)
        np.testing.assert_allclose(draw(guidance=guide), expected, atol=1e-9)
    with pytest.raises(ValueError, match="needs a condition"):
        draw({})
    draw({}, guidance_scale=1.0)
    with pytest.raises(ValueError, match="unknown guidance 'Nonsense'"):
        make(guidance="Nonsense")


def test_the_sampler_s_denoiser_is_guided_only_where_it_is_asked_to_be():
    """Fails if the sampling options guide `run.denoiser()`."""
    sampler = make(guidance="CFGPlusPlus(weight=0.3)", guidance_scale=3.0)
    x, t, cond = given()
    equal(sampler.denoiser(NOTHING)(x, t, cond), of_label(x, t, cond))
    guided = sampler.denoiser(NOTHING, 3.0, "Interval(low=0.5)")(x, t, cond)
    equal(guided, jax.jit(guidance.Interval(COSINE, 3.0, low=0.5)(of_label))(x, t, cond))
