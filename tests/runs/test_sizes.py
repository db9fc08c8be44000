"""Samples of another size than that of training."""

import jax
import pytest

from jaxdiff import Experiment, Run
from jaxdiff import config as defaults
from jaxdiff.runs.sizes import resized, unit_of
from jaxdiff.weights.devices import Devices, make_mesh


@pytest.fixture(scope="module")
def run():
    config = defaults.default()
    config.network = {"name": "DiT", "features": 8, "depth": 1, "num_heads": 2, "patch": (1, 2, 2)}
    config.evaluation.evaluators = ()
    return Run(Experiment(config, Devices(make_mesh(jax.devices()[:1]))), {}, 0)


def test_a_transformer_draws_in_other_sizes(run):
    """Fails if the size does not reach the sampler, or the weights would be others."""
    assert unit_of(run) == 2
    assert resized(run) is run
    wide = resized(run, width=12)
    assert wide.shape == wide.latent_shape == (8, 12, 1)
    assert wide.weights is run.weights


def test_sizes_that_do_not_fit_name_those_that_do(run):
    with pytest.raises(ValueError, match=r"height=9: .* a multiple of 2; the nearest are 8 and 10"):
        resized(run, height=9)
    with pytest.raises(ValueError, match=r"frames=4: samples are no clips"):
        resized(run, frames=4)
