"""The recipes of emoji: they trace where no autoencoder was trained yet, and fit each other."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff import Experiment
from jaxdiff.config.build import build
from jaxdiff.data import transforms
from jaxdiff.data.scenes.still import EmojiScenes
from jaxdiff.training.step import make_step
from jaxdiff.weights.devices import Devices, make_mesh

CONFIGS = Path(__file__).parents[2] / "configs"


def recipe(name):
    spec = importlib.util.spec_from_file_location(name, CONFIGS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_sizes_of_autoencoders_are_those_that_are_trained():
    """Fails if a recipe of latents names another autoencoder than the one before it."""
    trained = recipe("openmoji_autoencoder")
    assert recipe("scenes_text").AUTOENCODER == trained.AUTOENCODER
    clips, images = recipe("moving_scenes"), recipe("scenes_text")
    assert clips.AUTOENCODER == trained.CLIPS
    assert images.AUTOENCODER == clips.OF_IMAGES
    assert {**images.UNET, "temporal": True} == clips.UNET
    base, steered = (
        recipe("scenes_text").get_config("few"),
        recipe("scenes_controlnet").get_config(),
    )
    for field in ("network", "encoders", "process", "parameterization", "conditions"):
        assert base[field] == steered[field]


WHICH = [("openmoji_autoencoder", v) for v in ("", "vq", "adversarial", "clips", "scenes")]
WHICH += [("openmoji_clip", v) for v in ("", "siglip", "scenes", "minilm")]
WHICH += [("scenes_text", v) for v in ("dit", "unet", "few", "pixel", "minilm")]
WHICH += [("scenes_controlnet", v) for v in ("edges", "key_points", "low_resolution", "all")]
WHICH += [("moving_scenes", v) for v in ("", "factored", "unet", "mixed")]
WHICH += [("scenes_personal", v) for v in ("lora", "locon", "dora", "custom", "dreambooth", "word")]
WHICH += [("scenes_preferences", v) for v in ("nft", "grpo")]
WHICH += [("released_personal", v) for v in ("word", "custom", "sdxl_word", "sdxl_custom")]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "variant"), WHICH)
def test_a_recipe_traces(name, variant):
    """The training step, without allocating a parameter; fails if any part does not fit."""
    config = recipe(name).get_config(variant)
    experiment = Experiment(config, Devices(make_mesh(jax.devices()[:1]), config.parallel))
    state, batch = experiment.abstract_state(), experiment.task.example(config.batch_size)
    numbers = experiment.recipe.numbers(0)
    new, metrics = jax.eval_shape(make_step(experiment.recipe), state, batch, numbers)
    assert jax.tree.map(jnp.shape, new) == jax.tree.map(jnp.shape, state)
    assert metrics["loss"].shape == ()


def test_data_of_the_recipes_have_the_shapes_that_they_say():
    """Fails if a shape, the number of classes or the captions are others."""
    for name, variant in [("scenes_text", ""), ("moving_scenes", ""), ("scenes_personal", "lora")]:
        config = recipe(name).get_config(variant)
        data = config.data.to_dict()
        from jaxdiff.data.pipeline import open_data  # noqa: PLC0415

        source = open_data(data, "train", config.transforms)
        assert source[0]["x"].shape == tuple(config.data.shape)
        assert isinstance(source[0]["text"], str)


@pytest.mark.parametrize("kind", recipe("scenes_controlnet").ALL)
def test_maps_of_scenes_are_those_that_control_networks_read(kind):
    """Fails if a map has other channels than its recipe says, leaves [0, 1], or is empty."""
    config = recipe("scenes_controlnet").get_config(kind)
    (transform,) = config.transforms
    made = build(transforms, transform)
    source = EmojiScenes("test", fields=config.data.fields)
    values = made.map(source[3])["control"]
    assert values.shape == (64, 64, config.control.channels)
    assert values.dtype == np.float32
    assert 0 <= values.min() < values.max() <= 1
