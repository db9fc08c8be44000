"""The evaluations that benchmark and page say an objective costs, counted without a network."""

import importlib.util

import pytest

from jaxdiff import objectives
from jaxdiff.diffusion import parameterizations, schedules, time_sampling, weighting
from jaxdiff.diffusion.process import Process
from tests.support.forked import ROOT

PARTS = {
    "process": Process(schedules.RectifiedFlow()),
    "time_sampling": time_sampling.Uniform(),
    "weighting": weighting.Simple(),
}
V = {"parameterization": parameterizations.v}


def calls_of(*args):
    path = ROOT / "experiments" / "objective_calls.py"
    spec = importlib.util.spec_from_file_location("objective_calls", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.calls_of(*args)


@pytest.mark.parametrize(
    ("objective", "teacher", "expected"),
    [
        (objectives.MeanFlow(**PARTS), False, {"student, jvp": 1}),
        (objectives.ImprovedMeanFlow(**PARTS), False, {"student": 1, "student, jvp": 1}),
        (
            objectives.ImprovedMeanFlow(**PARTS, guidance_high=4.0),
            False,
            {"student": 2, "student, jvp": 1},
        ),
        (
            objectives.ConsistencyDistillation(**PARTS),
            True,
            {"student": 1, "target": 1, "teacher": 2},
        ),
        (  # of a guided teacher, with its condition and without
            objectives.LatentConsistency(**PARTS),
            True,
            {"student": 1, "target": 1, "teacher": 2},
        ),
        (
            objectives.DistributionMatching(**PARTS, **V, adversarial=0.1),
            True,
            {"student": 1, "teacher": 1, "fake score": 2, "discriminator": 3},
        ),
        (
            objectives.AdversarialDistillation(**PARTS),
            True,
            {"student": 1, "teacher": 1, "discriminator": 3},
        ),
    ],
)
def test_evaluations_are_those_of_the_equation(objective, teacher, expected):
    """Fails if an objective asks once more, or a tangent counts as a plain pass."""
    assert calls_of(objective, teacher, (3,)) == expected
