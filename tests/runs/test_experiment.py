"""Configs: the recipes that ship, and what is wrong with those that cannot work."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdiff
from jaxdiff import Experiment
from jaxdiff.condition import conditions
from jaxdiff.training.step import make_step
from jaxdiff.weights.devices import Devices, make_mesh
from tests.support.tiny import tiny_config

ROOT = Path(__file__).parents[2]


def recipe(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "configs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def one_device(config):
    return Experiment(config, Devices(make_mesh(jax.devices()[:1]), config.parallel))


VARIANTS = [
    (name, variant)
    for name in ("digits", "fashion_mnist", "score_sde", "toy_2d")
    for variant in (getattr(recipe(name), "VARIANTS", None) or recipe(name).CLASSES)
] + [(name, None) for name in ("cifar10_ddpm", "cifar10_edm", "digits_text", "ncsn", "vdm")]


# One variant of each file is traced quickly, the others with the slow tests.
QUICK = {("digits", ""), ("fashion_mnist", ""), ("score_sde", "ve"), ("digits", "dit")}
SEVERAL = {"digits", "fashion_mnist", "score_sde"}
ALL = [(*which, "whole") for which in VARIANTS] + [(*which, "small") for which in VARIANTS]
SLOW = [
    size == "whole" or name == "digits_text" or (name in SEVERAL and (name, variant) not in QUICK)
    for name, variant, size in ALL
]


@pytest.mark.parametrize(
    ("name", "variant", "size"),
    [
        pytest.param(*which, marks=pytest.mark.slow if slow else ())
        for which, slow in zip(ALL, SLOW, strict=True)
    ],
)
def test_every_recipe_traces_and_shape_checks(name, variant, size):
    """The training step, without allocating a parameter; fails if any part does not fit.

    Building the experiment has traced the network as it is; "small" takes another for the step.
    """
    get_config = recipe(name).get_config
    config = get_config() if variant is None else get_config(variant)
    experiment = one_device(config)
    if size == "small" and config.network.name == "UNet" and not config.encoders:
        config.network = {"name": "UNet", "channels": (8,), "layers_per_block": 1}
        experiment = one_device(config)
    check_step(experiment)


def check_step(experiment):
    state = experiment.abstract_state()
    batch = experiment.task.example(experiment.config.batch_size)
    after, metrics = jax.eval_shape(
        make_step(experiment.recipe), state, batch, experiment.recipe.numbers(0)
    )
    shapes = lambda tree: jax.tree.map(lambda a: (a.shape, a.dtype), tree)
    assert shapes(after) == shapes(state)
    assert metrics["loss"].shape == ()


def size_of(tree):
    return sum(int(np.prod(p.shape)) for p in jax.tree.leaves(tree))


# The published sizes of the network, the autoencoder and the encoders of text, and the latents.
# DiT's 675,129,632 has the 256 x 1152 positions in it, which are no parameters; SiT's is the same,
# with outputs that it does not use; the transformer of clips is ours.
DIT, SD_VAE, CLIP_L, BIGG = 675_129_632 - 256 * 1152, 83_653_863, 123_060_480, 694_659_840
LATENT = {
    "stable_diffusion_15": (859_520_964, SD_VAE, CLIP_L, (64, 64, 4)),
    "sdxl": (2_567_463_684, SD_VAE, CLIP_L + BIGG, (128, 128, 4)),
    "imagenet256_dit_xl2": (DIT, SD_VAE, 0, (32, 32, 4)),
    "imagenet256_sit_xl2": (DIT - 1153 * 16, SD_VAE, 0, (32, 32, 4)),
    "sd3_medium": (
        2_028_328_000,
        83_819_683,
        CLIP_L + 768**2 + BIGG + 4_762_310_656,
        (128, 128, 16),
    ),
    "video_dit_xl": (673_895_296, 126_892_531, 0, (5, 32, 32, 16)),
}
SMALL_CLIP = {"name": "TextEncoder", "settings": "CLIPTextSettings(layers=1, projection=768)"}
SMALL_BIGG = "CLIPTextSettings(layers=1, width=1280, heads=20, projection=1280)"
TWO = {"clip_l": SMALL_CLIP, "bigg": {"name": "TextEncoder", "settings": SMALL_BIGG}}
SMALL_T5 = "T5Settings(vocabulary=9, layers=1, heads=1, head_channels=4, mlp_width=4, width=4096)"
SMALL_TEXT = {
    "stable_diffusion_15": SMALL_CLIP,
    "sdxl": {"name": "SDXL", **TWO},
    "sd3_medium": {"name": "SD3", **TWO, "t5": {"name": "TextEncoder", "settings": SMALL_T5}},
}
SMALL_UNET = {"channels": (8,), "layers_per_block": 1, "transformer_depth": (1,), "num_heads": 1}
SMALL_UNET["head_channels"] = None
SMALL_DIT = {"features": 8, "depth": 2, "num_heads": 1}


# What the quick ones leave out are parts of others.
PARTS = ("stable_diffusion_15", "imagenet256_sit_xl2")


@pytest.mark.parametrize(
    ("name", "size"),
    [
        *(pytest.param(name, "whole", marks=pytest.mark.slow) for name in LATENT),
        *(
            pytest.param(name, "small", marks=pytest.mark.slow if name in PARTS else ())
            for name in LATENT
        ),
    ],
)
def test_the_recipes_in_latents_are_of_the_published_sizes(name, size):
    """The step traced without a weight read; fails if text, sizes or latents do not fit."""
    config = recipe(name).get_config()
    if size == "small":
        config.network.update(
            SMALL_DIT if "dit" in name or name == "sd3_medium" or "sit" in name else SMALL_UNET
        )
        if name in SMALL_TEXT:
            config.encoders.text = SMALL_TEXT[name]
        if name == "video_dit_xl":
            config.codec.autoencoder.autoencoder = "VideoAutoencoderSettings(channels=[4, 4, 4, 4])"
        else:
            latent = LATENT[name][-1][-1]
            config.codec.autoencoder = (
                "AutoencoderSettings(channels=[4, 4, 4, 4], layers_per_block=1,"
                f" latent_channels={latent})"
            )
    experiment = one_device(config)
    *counts, latent = LATENT[name]
    assert experiment.task.latent_shape == latent
    check_step(experiment)
    if size == "whole":
        state = experiment.abstract_state()
        text = state.frozen.get("text", {}).get("network", {})
        parts = state.params, state.frozen["codec"], text
        assert [size_of(part) for part in parts] == counts


def test_the_parameter_count_is_the_paper_s():
    """35.7 M (Ho et al. 2020, appendix B): fails if a level, a block or an attention is missing."""
    params = one_device(recipe("cifar10_ddpm").get_config()).abstract_state().params
    count = sum(np.prod(p.shape) for p in jax.tree.leaves(params))
    assert count / 1e6 == pytest.approx(35.7, abs=0.1)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("sampling.solver", "Huen", "unknown solver 'Huen'; did you mean 'Heun'"),
        ("sampling.timesteps", "Karas", "unknown timestep 'Karas'; did you mean 'Karras'"),
        ("sampling.guidance", "Interval(low=0.9, high=0.1)", "low must be less than high"),
        ("sampling.guidance", "PiGDM()", "unknown guidance 'PiGDM'"),
        ("process", "Cosin", "unknown schedule 'Cosin'; did you mean 'Cosine'"),
        ("objective", "Denoise", "unknown objective 'Denoise'; did you mean 'Denoising'"),
        ("network.name", "Unett", "unknown network 'Unett'; did you mean 'UNet'"),
        (
            "network.channels",
            (8, 16, 16, 16, 16),
            r"image size 8x8: 5 levels need a multiple of 16",
        ),
        ("parallel", "pjit", "unknown layout 'pjit'; did you mean 'jit'"),
        ("parameterization", "noise", "'noise' says nothing about x0 and noise at t=1"),
        (
            "condition_dropout",
            1.5,
            r"condition_dropout is 1\.5; expected a number of at least 0 and",
        ),
        ("data.num_classes", 0, "the data have no labels"),
        ("sampling.steps", 0, "sampling.steps is 0; expected an integer from 1"),
        ("evaluation.evaluators", ("Scorse",), "unknown evaluator 'Scorse'"),
        ("optimizer.schedule", "cosin", "unknown learning rate 'cosin'"),
    ],
)
def test_what_cannot_work_is_named_before_anything_is_compiled(field, value, message):
    config = tiny_config()
    with config.unlocked():
        config.update_from_flattened_dict({field: value})
    with pytest.raises(ValueError, match=message):
        one_device(config)


def test_a_batch_that_does_not_divide_over_the_devices_is_refused_in_training(tmp_path):
    """Before the folder is touched; fails if such a run cannot be sampled from either."""
    config = tiny_config()
    config.batch_size = 12
    with pytest.raises(ValueError, match=r"batch_size=12 is not divisible by 8 devices"):
        Experiment(config).train(tmp_path / "run")
    config.update(batch_size=16, accumulate=3)
    with pytest.raises(ValueError, match=r"not divisible by 1 devices times accumulate=3"):
        one_device(config).train(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_unknown_field_names_the_closest_and_a_missing_one_itself():
    config = tiny_config().to_dict()
    with pytest.raises(ValueError, match=r"'train.step'; did you mean 'steps'"):
        Experiment({**config, "train": {**config["train"], "step": 3}})
    with pytest.raises(ValueError, match="no field 'ema'"):
        Experiment({k: v for k, v in config.items() if k != "ema"})


def test_data_of_another_shape_or_unknown_are_named():
    config = tiny_config()
    config.data.shape = (16, 16, 1)
    config.network.attention_at = (16,)
    with pytest.raises(ValueError, match=r"data.shape=\(16, 16, 1\).*\(8, 8, 1\)"):
        one_device(config).source()
    config = tiny_config()
    config.data.name = "digitz"
    with pytest.raises(ValueError, match="digits"):
        one_device(config).source()


@pytest.fixture(scope="module")
def run():
    experiment = one_device(tiny_config())
    return jaxdiff.Run.of(experiment, experiment.init())


@pytest.mark.parametrize(
    ("num", "cond", "options", "message"),
    [
        (4, {"label": 10}, {}, r"labels \[10\] are out of range: classes are 0 to 9"),
        (4, {"label": [1, -2, 3, 4]}, {}, r"labels \[-2\]"),
        (4, {"label": [1, 2]}, {}, "has 2 values for 4 samples"),
        (4, {"text": 1}, {}, "unknown condition 'text'; known: .*label"),
        (4, {}, {"guidance_scale": 2.0}, "needs a condition"),
        (0, {"label": 1}, {}, "num=0"),
        (4, {"label": 1}, {"step": 3}, r"unknown options \['step'\]"),
        (4, {"label": 1}, {"solver": "DDIMM"}, "unknown solver 'DDIMM'"),
        (4, {}, {"guidance": "Interval(low=0.5)"}, "needs a condition"),
    ],
)
def test_requests_that_cannot_be_met_are_named(run, num, cond, options, message):
    with pytest.raises(ValueError, match=message):
        run.sample(num, cond, **options)


def test_the_denoiser_and_the_trajectory_have_their_shapes(run):
    x, t = jnp.zeros((2, 8, 8, 1)), jnp.array([0.3, 0.6])
    prediction = run.denoiser(guidance_scale=2.0)(x, t, {"label": jnp.array([1, 2])})
    assert prediction.x0.shape == prediction.noise.shape == x.shape
    path = run.sample(3, {"label": 1}, trajectory=True, steps=2, batch_size=2)
    assert path.shape == (3, 3, 8, 8, 1)
    np.testing.assert_array_equal(path[-1], run.sample(3, {"label": 1}, steps=2, batch_size=2))


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no run"):
        jaxdiff.load(tmp_path)


def test_importing_reaches_for_no_device_and_no_other_framework():
    """Fails if an array is made at import: `jax.distributed.initialize` would come too late."""
    code = """if True:
        import sys, jax, jaxdiff
        jaxdiff.Experiment, jaxdiff.load
        jax.config.update("jax_num_cpu_devices", 3)  # refused once there are devices
        print({"tensorflow", "torch"} & set(sys.modules))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "set()", done.stderr


class Deaf(nn.Module):
    """A network that reads its label, but not whether the label is dropped."""

    @nn.compact
    def __call__(self, x, time, cond, dropout_keys=None):
        return x + nn.Embed(10, 1)(conditions(cond)["label"].value)[:, None, None]


def test_a_network_that_does_not_read_what_is_dropped_is_refused():
    """Guidance would do nothing; fails if it goes unnoticed."""
    config = tiny_config()
    config.network = {"name": f"{__name__}:Deaf"}
    with pytest.raises(ValueError, match=r"conditions has \['label'\], which may be dropped"):
        one_device(config)
    config.condition_dropout = 0.0
    one_device(config)
