"""Specs in configs and flags become objects, and mistakes in them are named."""

import pytest
from ml_collections import ConfigDict

from jaxdiff import networks
from jaxdiff.conditioning import encoders
from jaxdiff.config import build as build_module
from jaxdiff.config.build import build, names
from jaxdiff.diffusion import schedules, solvers, time_sampling, weighting
from jaxdiff.diffusion.process import Process
from jaxdiff.networks import Inputs, text

PROCESS = Process(schedules.Cosine())


@pytest.mark.parametrize(
    "spec",
    [
        "EDM(sigma_max=5.0)",
        {"name": "EDM", "sigma_max": 5.0},
        ConfigDict({"name": "EDM", "sigma_max": 5.0}),
        schedules.EDM(5.0),
        "jaxdiff.diffusion.schedules:EDM(sigma_max=5.0)",
    ],
)
def test_every_form_of_a_spec_builds_the_same(spec):
    assert build(schedules, spec) == schedules.EDM(5.0)


def test_context_fills_what_the_spec_leaves_open():
    """Fails if context overrules the spec, or reaches a constructor that has no use for it."""
    solver = build(solvers, "DDIM(eta=0.5)", process=PROCESS, eta=1.0, unused=3)
    assert solver == solvers.DDIM(PROCESS, eta=0.5)


def test_functions_stand_for_themselves_until_all_of_their_arguments_are_known():
    """Fails if a function of x is called without it, or a factory is not called."""
    assert (
        build(solvers, "no_history") is solvers.no_history if hasattr(solvers, "no_history") else 1
    )
    assert build(schedules, "Tabulated(betas=cosine_betas(steps=4))").betas == (
        schedules.cosine_betas(4)
    )


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("Cosin", r"unknown schedule 'Cosin'; did you mean 'Cosine'.*; known: Cosine, EDM, "),
        ("EDM(sigma=1.0)", r"EDM has no option 'sigma'.*sigma_max"),
        ("EDM(80)", "named options"),
        ("EDM(sigma_max=oops)", "'oops' is not a literal"),
        ("EDM(", "not a name or a call"),
        ("no.such.module:Thing", "no module 'no.such.module'"),
    ],
)
def test_mistakes_are_named(spec, message):
    with pytest.raises(ValueError, match=message):
        build(schedules, spec)


def test_nothing_runs_but_constructors():
    """Fails if a spec is evaluated as code."""
    with pytest.raises(ValueError, match="not a literal"):
        build(schedules, "EDM(sigma_max=().__class__)")


def test_a_family_lists_its_own_members_only():
    """Fails if what a module imports, or its protocol, counts as a name for configs."""
    assert "Cosine" in names(schedules)
    assert set(names(time_sampling)) >= {"Uniform", "Stratified", "LogitNormal", "EDMLogNormal"}
    imported = {"Protocol", "dataclass", "Process", "Weighting"}
    assert imported & set(vars(weighting))
    assert not imported & set(names(weighting))
    assert not {"Draw", "Process", "TimeSampling"} & set(names(time_sampling))
    assert build_module.suggest("lerning_rate", ["learning_rate", "name"]).endswith(
        "'learning_rate'?"
    )


def test_a_nested_field_takes_its_family_from_its_annotation():
    """Fails if a mapping without a name is passed on, or forgets the default's other fields."""
    plain = build(networks, {"name": "UNet", "inputs": {"text_features": 5}}, num_classes=3)
    assert plain.inputs == Inputs(num_classes=3, text_features=5)
    assert build(networks, "UNet", num_classes=3).inputs == Inputs(num_classes=3)
    changed = build(networks, {"name": "sdxl", "inputs": {"pooled_features": 4}}).inputs
    assert (changed.text_features, changed.pooled_features) == (2048, 4)
    with pytest.raises(ValueError, match="Inputs has no option 'text_feature'; did you mean"):
        build(networks, {"name": "UNet", "inputs": {"text_feature": 5}})


def test_a_string_of_an_annotated_option_is_a_spec_of_its_family():
    """Fails if the name of a factory stays a string, or is looked up in the outer family."""
    encoder = build(encoders, {"name": "TextEncoder", "settings": "minilm_l6"})
    assert encoder.settings == text.minilm_l6()
