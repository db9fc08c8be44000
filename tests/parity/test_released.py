"""Whole pipelines beside diffusers: from a prompt's text to pixels, on the same noise."""

import functools
import json

import numpy as np
import pytest

from jaxdiff.diffusion.schedules import RectifiedFlow
from jaxdiff.pipelines import released
from jaxdiff.pipelines.schedulers import read_scheduler
from jaxdiff.pretrained.config import Config
from tests.support import released as tiny

pytestmark = pytest.mark.parity

PROMPTS = ["a red cat", "the blue house of a dog, and a b"]
NEGATIVE = "blue"
# Steps that divide 1000: DDIM there leaves other grids by its own step.
STEPS, SCALE = 5, 4.0

EPSILON = {**tiny.SCALED, "prediction_type": "epsilon", "steps_offset": 1}
V = {**tiny.SCALED, "prediction_type": "v_prediction", "steps_offset": 1}
SD2 = {"use_linear_projection": True, "attention_head_dim": [2, 4]}
DPM = {"_class_name": "DPMSolverMultistepScheduler"}
EULER = {"_class_name": "EulerDiscreteScheduler"}
LEADING = {"timestep_spacing": "leading"}

CASES = {
    "SD 1, DDIM": (tiny.write_sd, tiny.DDIM, {}),
    "SD 1, DDIM to the data": (tiny.write_sd, {**tiny.DDIM, "set_alpha_to_one": True}, {}),
    "SD 1, PNDM": (
        tiny.write_sd,
        {"_class_name": "PNDMScheduler", **EPSILON, "skip_prk_steps": True},
        {},
    ),
    "SD 1, Euler": (tiny.write_sd, {**EULER, **EPSILON}, {}),
    "SD 1, Euler trailing": (
        tiny.write_sd, {**EULER, **EPSILON, "timestep_spacing": "trailing"}, {},
    ),
    "SD 1, Euler Karras": (
        tiny.write_sd, {**EULER, **EPSILON, **LEADING, "use_karras_sigmas": True}, {},
    ),
    "SD 1, Euler beta": (
        tiny.write_sd, {**EULER, **EPSILON, "use_beta_sigmas": True}, {},
    ),
    "SD 1, DPM++ 2M": (tiny.write_sd, {**DPM, **EPSILON}, {}),
    "SD 1, DPM++ 2M Karras": (
        tiny.write_sd, {**DPM, **EPSILON, "use_karras_sigmas": True}, {},
    ),
    "SD 1, DPM++ 2M leading": (tiny.write_sd, {**DPM, **EPSILON, **LEADING}, {}),
    "SD 1, UniPC": (
        tiny.write_sd, {"_class_name": "UniPCMultistepScheduler", **EPSILON}, {},
    ),
    "SD 2, v, DDIM": (tiny.write_sd, {**tiny.DDIM, "prediction_type": "v_prediction"}, SD2),
    "SD 2, v, DDIM, zero terminal SNR": (
        tiny.write_sd,
        {
            **tiny.DDIM, "prediction_type": "v_prediction", "rescale_betas_zero_snr": True,
            "timestep_spacing": "trailing", "set_alpha_to_one": True,
        },
        SD2,
    ),
    "SD 2, v, DPM++ 2M": (tiny.write_sd, {**DPM, **V}, SD2),
    "SDXL, Euler": (tiny.write_sdxl, tiny.EULER, {}),
    "SDXL, DPM++ 2M": (tiny.write_sdxl, {**DPM, **EPSILON}, {}),
    "SD 3, Euler": (tiny.write_sd3, tiny.FLOW, {}),
    "SD 3 without T5, Euler": (functools.partial(tiny.write_sd3, t5=False), tiny.FLOW, {}),
    "SD 3.5 medium, Euler": (tiny.write_sd3, tiny.FLOW, {"t5": False, **tiny.DUAL}),
    "SD 3, DPM++ 2M": (
        tiny.write_sd3,
        {
            **DPM, "num_train_timesteps": 1000, "use_flow_sigmas": True, "flow_shift": 3.0,
            "prediction_type": "flow_prediction",
        },
        {},
    ),
}  # fmt: skip


NULL = [None, None]


def opened(folder, write, scheduler, options):
    """Both sides of a folder."""
    torch, diffusers = pytest.importorskip("torch"), pytest.importorskip("diffusers")
    torch.set_num_threads(1)
    write(folder, scheduler, **options)
    index = json.loads((folder / "model_index.json").read_text())
    # Parts that may be absent have to be named.
    absent = {
        name: None for name in ("text_encoder_3", "tokenizer_3") if index.get(name, 1) == NULL
    }
    theirs = diffusers.DiffusionPipeline.from_pretrained(folder, **absent)
    theirs.set_progress_bar_config(disable=True)
    return released(folder), theirs


def start(theirs, noise):
    """Returns the peer's first x_t of its scaled noise, as a variance-preserving process has it."""
    theirs.scheduler.set_timesteps(STEPS)
    if "Euler" in type(theirs.scheduler).__name__ and hasattr(theirs.scheduler, "init_noise_sigma"):
        most = theirs.scheduler.sigmas.max()
        noise = noise * float(theirs.scheduler.init_noise_sigma / (most**2 + 1).sqrt())
    return noise


def exact_times(scheduler):
    """Makes DPM-Solver on flows ask the network at the time of x, which it rounds down."""
    original = scheduler.set_timesteps

    def set_timesteps(*args, **kwargs):
        original(*args, **kwargs)
        scheduler.timesteps = scheduler.sigmas[:-1] * scheduler.config.num_train_timesteps

    scheduler.set_timesteps = set_timesteps


def compare_pictures(ours, theirs):
    """Draws the same pictures on both sides; returns the largest difference in [0, 1]."""
    torch = pytest.importorskip("torch")
    noise = np.random.default_rng(0).standard_normal((2, 8, 8, 4)).astype(np.float32)
    with torch.no_grad():
        expected = theirs(
            PROMPTS,
            negative_prompt=[NEGATIVE] * 2,
            num_inference_steps=STEPS,
            guidance_scale=SCALE,
            latents=torch.tensor(noise.transpose(0, 3, 1, 2)),
            height=16,
            width=16,
            output_type="np",
        ).images
    found = ours.sample(
        2,
        {"text": PROMPTS},
        negative=NEGATIVE,
        noise=start(theirs, noise),
        steps=STEPS,
        guidance_scale=SCALE,
    )
    assert expected.std() > 0.1
    pictures = np.clip(found / 2 + 0.5, 0, 1)
    np.testing.assert_allclose(pictures, expected, atol=1e-3)
    return np.abs(pictures - expected).max()


@pytest.mark.parametrize("name", CASES)
def test_from_text_to_pixels(name, tmp_path):
    """Fails if one stage differs: a token, a weight, a time, a step, the guidance, the latents."""
    ours, theirs = opened(tmp_path, *CASES[name])
    if getattr(theirs.scheduler.config, "use_flow_sigmas", False):
        exact_times(theirs.scheduler)
    compare_pictures(ours, theirs)


@pytest.mark.parametrize(
    ("kind", "write"),
    [
        ("StableDiffusionPipeline", tiny.write_sd),
        ("StableDiffusionXLPipeline", tiny.write_sdxl),
        ("StableDiffusion3Pipeline", functools.partial(tiny.write_sd3, t5=False)),
        ("StableDiffusion3Pipeline", functools.partial(tiny.write_sd3, t5=False, **tiny.DUAL)),
    ],
)
def test_a_single_file_from_text_to_pixels(kind, write, tmp_path):
    """Both sides read one file; fails if a key of its layout means something else to them."""
    torch, diffusers = pytest.importorskip("torch"), pytest.importorskip("diffusers")
    torch.set_num_threads(1)
    folder, file = write(tmp_path / "folder"), tmp_path / "model.safetensors"
    tiny.write_single(released(folder), file)
    # Without weights in the folder: all are the file's.
    for weights in folder.rglob("*.safetensors"):
        weights.unlink()
    absent = {name: None for name in ("text_encoder_3", "tokenizer_3") if "3" in kind}
    theirs = getattr(diffusers, kind).from_single_file(file, config=str(folder), **absent)
    theirs.set_progress_bar_config(disable=True)
    ours = released(file, config=folder)
    compare_pictures(ours, theirs)


SPACINGS = ("linspace", "leading", "trailing")
RULES = ("karras", "exponential", "beta")
ENDS = {"beta_start": 0.00085, "beta_end": 0.012}
TABLES = [
    {"_class_name": name, **ENDS, "beta_schedule": betas, "timestep_spacing": spacing, **more}
    for name, betas, offset in (
        ("DDIMScheduler", "scaled_linear", {"steps_offset": 1, "clip_sample": False}),
        ("DDPMScheduler", "linear", {"clip_sample": False}),
        ("EulerDiscreteScheduler", "scaled_linear", {"steps_offset": 1}),
        ("EulerDiscreteScheduler", "squaredcos_cap_v2", {}),
        ("EulerAncestralDiscreteScheduler", "linear", {"steps_offset": 1}),
        ("LMSDiscreteScheduler", "scaled_linear", {}),
        ("DPMSolverMultistepScheduler", "scaled_linear", {"steps_offset": 1}),
        ("UniPCMultistepScheduler", "scaled_linear", {"steps_offset": 1}),
        ("DEISMultistepScheduler", "linear", {}),
    )
    for spacing in SPACINGS
    for more in [offset]
]
TABLES += [
    {
        "_class_name": name, **ENDS, "beta_schedule": "scaled_linear",
        "timestep_spacing": spacing, f"use_{rule}_sigmas": True, "steps_offset": 1,
    }
    for name in ("EulerDiscreteScheduler", "DPMSolverMultistepScheduler", "UniPCMultistepScheduler")
    for spacing in ("linspace", "leading")
    for rule in RULES
]  # fmt: skip
TABLES += [
    {
        "_class_name": "EulerDiscreteScheduler", **ENDS, "beta_schedule": "scaled_linear",
        "use_karras_sigmas": True, "sigma_min": 0.1, "sigma_max": 10.0,
    },
    {
        "_class_name": "DPMSolverMultistepScheduler", **ENDS, "beta_schedule": "scaled_linear",
        "use_lu_lambdas": True, "final_sigmas_type": "sigma_min",
    },
    {"_class_name": "LCMScheduler", **ENDS, "beta_schedule": "scaled_linear", "steps_offset": 1},
    {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0},
    {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 1.0},
    {
        "_class_name": "UniPCMultistepScheduler", "use_flow_sigmas": True, "flow_shift": 5.0,
        "prediction_type": "flow_prediction",
    },
]  # fmt: skip


@pytest.mark.parametrize("fields", TABLES, ids=lambda f: "-".join(map(str, f.values())))
def test_noise_levels_of_schedulers(fields):
    """Fails if a field means another schedule, or a grid is counted in another way."""
    diffusers = pytest.importorskip("diffusers")
    theirs = getattr(diffusers, fields["_class_name"])(
        **{k: v for k, v in fields.items() if k != "_class_name"}
    )
    ours = read_scheduler(Config(fields, "scheduler_config.json"))
    schedule = ours.process.schedule
    for steps in (1, 2, 4, 5, 10, 20, 30, 37):
        if steps == 1 and fields.get("timestep_spacing") == "linspace":
            continue  # where theirs begins at the data
        theirs.set_timesteps(steps)
        times = ours.timesteps(ours.process, steps)
        index = np.asarray(ours.time_input(ours.process, times[:-1]))
        # Between the model's own times, theirs are rounded or interpolated in another way.
        whole = "Multistep" in fields["_class_name"] and any(k.startswith("use_") for k in fields)
        np.testing.assert_allclose(index, theirs.timesteps.numpy(), atol=1 if whole else 0.1)
        if hasattr(theirs, "sigmas"):
            flow = isinstance(schedule, RectifiedFlow)
            levels = schedule.sigma(times) / (1 if flow else schedule.alpha(times))
            np.testing.assert_allclose(levels, theirs.sigmas.numpy(), rtol=1e-3, atol=1e-5)
