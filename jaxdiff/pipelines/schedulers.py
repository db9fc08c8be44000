"""The scheduler_config.json of a diffusers folder: a process, a parameterization, a grid, a solver.

One class there holds all four. docs/released.md has the table of what becomes of each field.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxdiff.config.build import suggest
from jaxdiff.diffusion import parameterizations, timesteps
from jaxdiff.diffusion.preconditioning import (
    DiscreteIndex,
    InputScaling,
    LogNoise,
    ScaledTime,
    TimeInput,
    UnitVariance,
    Unscaled,
)
from jaxdiff.diffusion.process import Parameterization, Process
from jaxdiff.diffusion.schedules import (
    EDM,
    RectifiedFlow,
    Schedule,
    Tabulated,
    ZeroTerminalSNR,
    cosine_betas,
    linear_betas,
    scaled_linear_betas,
)
from jaxdiff.pipelines.scheduler_fields import IGNORED, SPREADS
from jaxdiff.pretrained.config import Config


class Scheduler(NamedTuple):
    """The meaning of a scheduler's fields: process, parameterization, and defaults of sampling."""

    process: Process
    parameterization: Parameterization
    time_input: TimeInput
    timesteps: timesteps.Timesteps
    solver: str
    guidance: str = "ClassifierFree"
    input_scaling: InputScaling = Unscaled()


class _Kind(NamedTuple):
    """How a class counts times: its spacing by default, and where it stops."""

    solver: Callable[[Config], str]
    spacing: str = "linspace"
    spare: bool = False
    """Whether its grid is part of one with one step more."""
    whole: bool = True
    """Whether its times between the model's own are rounded to these."""
    over_all: bool = False
    """Whether noise levels are spread over the whole schedule, not over those of the spacing."""
    alpha_to_one: bool | None = None
    """Whether the last step leads to the data by default, where the class has the field for it."""
    skips: bool = False
    """Whether its times are some of those on which a consistency model was distilled."""
    flow: str = "euler"
    """How the times of a rectified flow are counted."""


def read_scheduler(config: Config) -> Scheduler:
    """Returns the parts that the fields of a scheduler_config.json describe.

    Raises:
        ValueError: the class is unknown, or a field has a value that cannot be expressed; names it.
    """
    name = config.get("_class_name")
    if name not in KINDS:
        known = suggest(str(name), list(KINDS))
        raise config.error("_class_name", name, f"this scheduler is not known{known}")
    kind = KINDS[name]
    config.only(thresholding=False, interpolation_type="linear", timestep_type="discrete")
    config.only(stochastic_sampling=False, use_dynamic_shifting=False, invert_sigmas=False)
    if name == CONSISTENCY:
        return _consistency(config)
    flow = name.startswith("FlowMatch") or config.get("use_flow_sigmas", False)
    read = _flow if flow else _table
    process, row, time_input, grid = read(config, kind)
    guidance = _clipping(config, str(name))
    for each in IGNORED:
        config.get(each)
    solver = kind.solver(config)
    config.finish()
    return Scheduler(process, row, time_input, grid, solver, guidance)


def _clipping(config: Config, name: str) -> str:
    """Returns the guidance that clips x0 as the classes with such a field do."""
    if name not in ("DDIMScheduler", "DDPMScheduler") or not config.get("clip_sample", True):
        return "ClassifierFree"
    limit = float(config.get("clip_sample_range", 1.0))
    # DDIM there keeps the network's noise, DDPM goes by x_t and the clipped data.
    return f"StaticThreshold(limit={limit}, keeps_noise={name == 'DDIMScheduler'})"


def _consistency(config: Config) -> Scheduler:
    """Returns the parts of a consistency model of noise levels (Song et al. 2023)."""
    config.only(s_noise=1.0)
    low, high = float(config.get("sigma_min", 0.002)), float(config.get("sigma_max", 80.0))
    std, rho = float(config.get("sigma_data", 0.5)), float(config.get("rho", 7.0))
    count = config.get("num_train_timesteps", 40)
    clips = config.get("clip_denoised", True)
    config.finish()
    return Scheduler(
        Process(EDM(sigma_max=high)),
        parameterizations.bounded_edm(std, low),
        LogNoise(scale=250.0),
        timesteps.ConsistencyLevels(count, (), low, high, rho),
        "Consistency",
        "StaticThreshold" if clips else "ClassifierFree",
        UnitVariance(std),
    )


CONSISTENCY = "CMStochasticIterativeScheduler"


def _table(config: Config, kind: _Kind) -> tuple[Any, ...]:
    """Returns the parts of a model with a table of betas."""
    schedule = _schedule(config)
    process = Process(schedule)
    rows = {
        "epsilon": parameterizations.noise,
        "v_prediction": parameterizations.v,
        "sample": parameterizations.x0,
    }
    row = rows.get(predicted := config.get("prediction_type", "epsilon"))
    if row is None:
        raise config.error("prediction_type", predicted, f"must be one of {', '.join(rows)}")
    steps = config.get("num_train_timesteps", 1000)
    time_input = DiscreteIndex(steps, round=kind.whole)
    return process, row, time_input, _grid(config, kind, steps)


def _flow(config: Config, kind: _Kind) -> tuple[Any, ...]:
    """Returns the parts of a rectified flow."""
    # Wan's scheduler of the other family has both fields.
    config.only(prediction_type="flow_prediction", shift_terminal=None)
    for name in SPREADS:
        config.only(**{name: False})
    steps = config.get("num_train_timesteps", 1000)
    shift = config.get("flow_shift", config.get("shift", 1.0))
    row, time_input = parameterizations.velocity, ScaledTime(float(steps))
    grid = timesteps.Shifted(float(shift), steps, kind.flow)
    return Process(RectifiedFlow()), row, time_input, grid


def _schedule(config: Config) -> Schedule:
    steps = config.get("num_train_timesteps", 1000)
    ends = config.get("beta_start", 0.0001), config.get("beta_end", 0.02)
    name, trained = config.get("beta_schedule", "linear"), config.get("trained_betas")
    makers = {
        "linear": lambda: linear_betas(steps, *ends),
        "scaled_linear": lambda: scaled_linear_betas(steps, *ends),
        "squaredcos_cap_v2": lambda: cosine_betas(steps),
    }
    if trained is None and name not in makers:
        raise config.error("beta_schedule", name, f"must be one of {', '.join(makers)}")
    schedule = Tabulated(tuple(map(float, trained)) if trained else makers[name]())
    return ZeroTerminalSNR(schedule) if config.get("rescale_betas_zero_snr", False) else schedule


def _grid(config: Config, kind: _Kind, steps: int) -> timesteps.Timesteps:
    spacing = config.get("timestep_spacing", kind.spacing)
    if kind.skips:
        # The network's output is x0 to within 1e-5: c_skip of the first time with this factor.
        config.only(timestep_scaling=10.0, clip_sample=False)
        config.get("steps_offset")  # which pipelines write, and this class does not read
        return timesteps.Skipping(steps, config.get("original_inference_steps", 50))
    end = int(_ends_early(config, kind))
    offset = config.get("steps_offset", 0)
    match spacing:
        case "leading":
            grid = timesteps.Leading(steps, offset, kind.spare, end)
        case "linspace":
            grid = timesteps.Linspace(steps, kind.whole, kind.spare, end)
        case "trailing":
            grid = timesteps.Trailing(steps, end)
        case _:
            known = "leading, linspace or trailing"
            raise config.error("timestep_spacing", spacing, f"must be {known}")
    chosen = [rule for name, rule in SPREADS.items() if config.get(name, False)]
    if len(chosen) > 1:
        raise config.error("use_karras_sigmas", True, f"stands beside another rule: {chosen}")
    ends = config.get("sigma_min"), config.get("sigma_max")
    if not chosen:
        return grid
    if ends != (None, None):
        if chosen != ["karras"] or None in ends or end:
            raise config.error("sigma_min", ends[0], "needs sigma_max and use_karras_sigmas")
        return timesteps.Karras(*map(float, ends))
    if kind.over_all:
        grid = timesteps.Linspace(steps, end=end)
    return timesteps.Respaced(grid, chosen[0])


def _ends_early(config: Config, kind: _Kind) -> bool:
    """Whether the last step leads to the model's first discrete time, and not to the data."""
    final = config.get("final_sigmas_type", "zero")
    if final not in ("zero", "sigma_min"):
        raise config.error("final_sigmas_type", final, "must be zero or sigma_min")
    # Other classes carry the field along, and end at the data.
    to_one = config.get("set_alpha_to_one", kind.alpha_to_one)
    kept = kind.alpha_to_one is not None and not to_one
    return final == "sigma_min" or kept or config.get("_class_name") == "DEISMultistepScheduler"


def _ddpm(config: Config) -> str:
    variances = {
        "fixed_small": "small",
        "fixed_small_log": "small",
        "fixed_large": "large",
        "fixed_large_log": "large",
        "learned_range": "learned",
    }
    kind = config.get("variance_type", "fixed_small")
    if kind not in variances:
        raise config.error("variance_type", kind, f"must be one of {', '.join(variances)}")
    return f"DDPM(variance={variances[kind]!r})"


def _pndm(config: Config) -> str:
    return "PLMS" if config.get("skip_prk_steps", False) else "PNDM"


def _dpm(config: Config) -> str:
    order, kind = config.get("solver_order", 2), config.get("algorithm_type", "dpmsolver++")
    names = {
        ("dpmsolver++", 1): "Euler",
        ("dpmsolver++", 2): "DPMpp2M",
        ("dpmsolver++", 3): "DPMpp3M",
        ("sde-dpmsolver++", 2): "DPMpp2MSDE",
        ("sde-dpmsolver++", 3): "DPMpp3MSDE",
    }
    if (kind, order) not in names:
        raise config.error("algorithm_type", kind, f"cannot be expressed with order {order}")
    config.only(solver_type="midpoint")
    return names[kind, order]


def _unipc(config: Config) -> str:
    config.only(predict_x0=True, solver_p=None, disable_corrector=())
    order, variant = config.get("solver_order", 2), config.get("solver_type", "bh2")
    return f"UniPC(order={order}, variant={variant!r})"


def _always(name: str) -> Callable[[Config], str]:
    return lambda config: name


_MULTISTEP = {"spare": True, "over_all": True}

KINDS = {
    "DDIMScheduler": _Kind(_always("DDIM"), "leading", alpha_to_one=True),
    "DDPMScheduler": _Kind(_ddpm, "leading"),
    "PNDMScheduler": _Kind(_pndm, "leading", alpha_to_one=False),
    "EulerDiscreteScheduler": _Kind(_always("Euler"), whole=False),
    "EulerAncestralDiscreteScheduler": _Kind(_always("EulerAncestral"), whole=False),
    "HeunDiscreteScheduler": _Kind(_always("Heun"), whole=False),
    "LMSDiscreteScheduler": _Kind(_always("LMS"), whole=False),
    "KDPM2DiscreteScheduler": _Kind(_always("DPM2"), whole=False),
    "KDPM2AncestralDiscreteScheduler": _Kind(_always("DPM2Ancestral"), whole=False),
    "DPMSolverMultistepScheduler": _Kind(_dpm, **_MULTISTEP, flow="dpm"),
    "UniPCMultistepScheduler": _Kind(_unipc, **_MULTISTEP, flow="unipc"),
    "DEISMultistepScheduler": _Kind(_always("DEIS"), **_MULTISTEP),
    "LCMScheduler": _Kind(_always("LCM"), "leading", skips=True),
    "FlowMatchEulerDiscreteScheduler": _Kind(_always("Euler")),
    "FlowMatchHeunDiscreteScheduler": _Kind(_always("Heun")),
    CONSISTENCY: _Kind(_always("Consistency")),
}
"""The schedulers by their names in diffusers."""
