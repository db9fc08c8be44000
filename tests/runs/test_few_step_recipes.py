"""Every variant of the few-step recipes builds, with a teacher where it needs one, and traces."""

import functools
import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
import pytest

from jaxdiff import Experiment
from jaxdiff.tasks import diffusion
from jaxdiff.training.step import make_step
from jaxdiff.weights import sources
from jaxdiff.weights.devices import Devices, make_mesh

CONFIGS = Path(__file__).parents[2] / "configs"
QUICK = {("toy_few_step", name) for name in ("mean_flow", "tcd", "scd", "easy_consistency")}


def recipe(name):
    spec = importlib.util.spec_from_file_location(name, CONFIGS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def one_device(config):
    return Experiment(config, Devices(make_mesh(jax.devices()[:1]), config.parallel))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """Makes the folder of a recipe's teacher: its config, and an average of zeros."""

    @functools.cache
    def make(name):
        folder = tmp_path_factory.mktemp(name)
        config = recipe(name).get_config("denoising")
        (folder / "config.json").write_text(json.dumps(json.loads(config.to_json())))
        shapes = one_device(config).abstract_state().ema
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
        with ocp.PyTreeCheckpointer() as checkpointer:
            checkpointer.save((folder / "checkpoints" / "1" / "ema").absolute(), zeros)
        return str(folder)

    return make


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "variants"),
    [
        ("cifar10_ect", ["", "one_hour"]),
        ("cifar10_meanflow", [None]),
        ("cifar10_scm", ["", "denoising"]),
        ("cifar10_tcm", ["stage1", "stage2"]),
        ("imagenet64_dmd2", ["", "denoising"]),
        ("imagenet64_ecm", [None]),
        ("imagenet256_drifting", ["large", "ablation", "encoder_ablation"]),
        ("imagenet256_imf", ["base", "xlarge"]),
        ("imagenet256_meanflow", [None]),
        ("imagenet256_pmf", ["base", "large"]),
    ],
)
def test_a_paper_s_recipe_traces(name, variants, tmp_path, monkeypatch):
    """Without allocating a parameter; its grid of times and its solver fit."""
    get_config = recipe(name).get_config
    for variant in variants:
        config = get_config() if variant is None else get_config(variant)
        if config.weights.get("perceptual", ""):
            # Its file, of 60 MB, is the user's.
            features = SimpleNamespace(
                source=SimpleNamespace(shapes=dict),
                distance=lambda params, x, y: jnp.abs(x - y).mean((1, 2, 3)),
            )
            monkeypatch.setattr(diffusion, "perceptual_of", lambda path: features)
        if of := TEACHERS.get((name, variant)):
            config.weights.teacher = abstract(get_config(of), tmp_path / of, monkeypatch)
        check(one_device(config))


TEACHERS = {
    ("cifar10_tcm", "stage2"): "stage1",
    ("imagenet64_dmd2", ""): "denoising",
}


def abstract(config, folder, monkeypatch):
    """Makes the folder of a run without weights, of which the shapes alone are known."""
    folder.mkdir(exist_ok=True)
    (folder / "checkpoints").mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(json.loads(config.to_json())))
    shapes = one_device(config).abstract_state().ema
    of = lambda source: shapes[source.name] if source.name else shapes
    monkeypatch.setattr(sources.OfRun, "shapes", of)
    return str(folder)


def check(experiment):
    state = experiment.abstract_state()
    batch = experiment.task.example(experiment.config.batch_size)
    after, metrics = jax.eval_shape(
        make_step(experiment.recipe), state, batch, experiment.recipe.numbers(0)
    )
    shapes = lambda tree: jax.tree.map(lambda a: (a.shape, a.dtype), tree)
    assert shapes(after) == shapes(state)
    assert metrics["loss"].shape == ()


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        pytest.param(name, variant, marks=() if (name, variant) in QUICK else pytest.mark.slow)
        for name in ("toy_few_step", "digits_few_step", "fashion_mnist_few_step")
        for variant in recipe(name).VARIANTS
    ],
)
def test_a_variant_traces_and_its_solver_fits(name, variant, teacher):
    """Fails if an objective is asked for what it has not, or a solver for what was not learned."""
    module = recipe(name)
    config = module.get_config(variant)
    if variant in module.TAUGHT:
        config.weights.teacher = teacher(name)
    experiment = one_device(config)
    check(experiment)
    begins = experiment.table.entries["network"].source is not None
    assert begins == (variant in module.TAUGHT)
