"""Scheduler settings of released models as a process, a grid and a solver."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.config.build import build
from jaxdiff.diffusion import solvers, timesteps
from jaxdiff.diffusion.parameterizations import bounded_edm
from jaxdiff.diffusion.schedules import RectifiedFlow, ZeroTerminalSNR
from jaxdiff.pipelines.schedulers import KINDS, read_scheduler
from jaxdiff.pretrained.config import Config
from tests.support.released import DDIM, EULER, FLOW


def read(fields):
    return read_scheduler(Config(fields, "scheduler_config.json"))


@pytest.mark.parametrize("name", KINDS)
def test_every_scheduler_names_a_solver_that_there_is(name):
    """Fails if a name is misspelt, or a default of its fields is refused."""
    found = read({"_class_name": name, "clip_sample": False})
    build(solvers, found.solver, process=found.process)
    assert found.timesteps(found.process, 4).shape == (5,)


def test_stable_diffusion_ends_at_its_first_time():
    """The step that `set_alpha_to_one=False` leaves out; fails if the offset or the end is lost."""
    found = read(DDIM)
    times = found.timesteps(found.process, 50)
    np.testing.assert_allclose(1000 * times[np.array([0, 1, -2, -1])], [982, 962, 2, 1], atol=1e-3)
    assert found.parameterization.__name__ == "noise"
    np.testing.assert_allclose(found.time_input(found.process, times)[0], 981, atol=1e-3)
    to_data = read({**DDIM, "set_alpha_to_one": True})
    assert to_data.timesteps(found.process, 50)[-1] == 0
    # Carried along by another class, where it means nothing.
    assert read({**EULER, "set_alpha_to_one": False}).timesteps(found.process, 50)[-1] == 0


@pytest.mark.parametrize(
    ("fields", "grid"),
    [
        ({**EULER, "use_karras_sigmas": True}, "Respaced(of=Leading(offset=1))"),
        (
            {**EULER, "use_karras_sigmas": True, "sigma_min": 0.1, "sigma_max": 9.0},
            "Karras(sigma_min=0.1, sigma_max=9.0)",
        ),
        ({**EULER, "timestep_spacing": "linspace"}, "Linspace(round=False)"),
        ({**EULER, "timestep_spacing": "trailing"}, "Trailing()"),
        (
            {**EULER, "_class_name": "DPMSolverMultistepScheduler"},
            "Leading(offset=1, spare=True)",
        ),
        (FLOW, "Shifted(shift=3.0)"),
    ],
)
def test_a_grid_is_what_its_fields_say(fields, grid):
    assert read(fields).timesteps == build(timesteps, grid)


def test_other_processes():
    zero = read({**DDIM, "rescale_betas_zero_snr": True, "prediction_type": "v_prediction"})
    assert isinstance(zero.process.schedule, ZeroTerminalSNR)
    assert zero.parameterization.__name__ == "v"
    flow = read(FLOW)
    assert isinstance(flow.process.schedule, RectifiedFlow)
    np.testing.assert_allclose(flow.time_input(flow.process, jnp.array([0.25])), [250])
    own = read({"_class_name": "EulerDiscreteScheduler", "trained_betas": [0.1, 0.2]})
    np.testing.assert_allclose(own.process.schedule.betas, [0.1, 0.2])


def test_clipped_data_are_a_guidance():
    """DDIM there steps with the noise as predicted; fails if its own default is lost."""
    clipped = {**DDIM, "clip_sample": True, "clip_sample_range": 2.0}
    assert read(clipped).guidance == "StaticThreshold(limit=2.0, keeps_noise=True)"
    ddpm = {"_class_name": "DDPMScheduler"}
    assert read(ddpm).guidance == "StaticThreshold(limit=1.0, keeps_noise=False)"
    assert read({**ddpm, "clip_sample": False}).guidance == "ClassifierFree"


def test_a_consistency_model_has_its_own_bounds():
    found = read({"_class_name": "CMStochasticIterativeScheduler", "sigma_min": 0.01})
    assert found.parameterization == bounded_edm(0.5, 0.01)
    assert found.timesteps == timesteps.ConsistencyLevels(sigma_min=0.01)
    assert (found.solver, found.guidance) == ("Consistency", "StaticThreshold")
    with pytest.raises(ValueError, match="s_noise"):
        read({"_class_name": "CMStochasticIterativeScheduler", "s_noise": 1.1})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"_class_name": "DDIMSchedular"}, "_class_name='DDIMSchedular'.*DDIMScheduler"),
        ({"beta_schedule": "linnear"}, "beta_schedule='linnear': must be one of linear"),
        ({"prediction_type": "eps"}, "prediction_type='eps': must be one of epsilon"),
        ({"timestep_spacing": "even"}, "timestep_spacing='even'"),
        ({"thresholding": True}, "thresholding=True: only False"),
        ({"new_option": 3}, "new_option=3: this field is not known"),
        ({"final_sigmas_type": "half"}, "final_sigmas_type='half'"),
    ],
)
def test_fields_that_cannot_be_expressed_are_named(changes, message):
    """Fails if a model would be sampled in another way than its file says."""
    with pytest.raises(ValueError, match=message):
        read({**DDIM, **changes})
