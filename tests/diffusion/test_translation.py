"""A denoiser of one process in the terms of another."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.diffusion import flow_map, oracles, schedules
from jaxdiff.diffusion.process import Process
from jaxdiff.diffusion.translation import check_translation, translated

COSINE, FLOW = Process(schedules.Cosine()), Process(schedules.RectifiedFlow())
EDM = Process(schedules.EDM(sigma_max=20.0))


@pytest.mark.parametrize("of", [FLOW, EDM])
def test_a_translated_oracle_is_the_oracle_of_the_other_process(of):
    """Its flow map too; fails for another scale of x, or times at another noise level."""
    oracle = lambda process: oracles.FlowMap(oracles.Gaussian(process, jnp.array([0.5, -1]), 0.6))
    x, t = jnp.array([[0.3, 0.2], [-1.0, 0.4]]), jnp.array([0.3, 0.8])
    asked = translated(oracle(of), of, COSINE)
    for cond in ({}, {flow_map.UNTIL: t / 3}):
        found, wanted = asked(x, t, cond), oracle(COSINE)(x, t, cond)
        np.testing.assert_allclose(found[:2], wanted[:2], rtol=1e-4, atol=1e-5)
    assert translated(asked, COSINE, COSINE) is asked


def test_a_process_without_the_noise_levels_is_named():
    check_translation(COSINE, FLOW)
    with pytest.raises(ValueError, match=r"EDM\(sigma_max=0.5\) has log-SNRs from 1.39 .*Cosine"):
        check_translation(Process(schedules.EDM(sigma_max=0.5)), COSINE)
