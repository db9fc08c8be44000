"""The same run on one device and on eight, by jit, FSDP and pmap."""

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from jaxdiff import Experiment
from jaxdiff.training.checkpoint import Checkpoints
from jaxdiff.weights.devices import Devices, make_mesh
from tests.support.tiny import tiny_config

WAYS = {"jit_1": ("jit", 1), "jit_8": ("jit", 8), "pmap_8": ("pmap", 8), "fsdp_8": ("fsdp", 8)}


def experiment_on(config, way):
    parallel, devices = WAYS[way]
    config = ConfigDict(config.to_dict() | {"parallel": parallel})
    return Experiment(config, Devices(make_mesh(jax.devices()[:devices]), parallel))


def batches_of(experiment, count):
    data = experiment.batches()
    fields = ("x", "label", "position")
    return [{k: v for k, v in next(data).items() if k in fields} for _ in range(count)]


def steps(experiment, state, batches):
    losses = []
    for number, batch in enumerate(batches, int(state.step)):
        state, metrics = experiment.runner.step(state, experiment.devices.put(batch), number)
        losses.append(float(metrics["loss"]))
    return state, losses


@pytest.fixture(scope="module")
def runs():
    """Four steps each way: the experiment, the state, the losses, 16 samples."""
    config = tiny_config()
    # Compiles in half of Adam's time, and a gradient's scale is not divided out.
    config.optimizer = {
        "name": "sgd",
        "momentum": 0.9,
        "learning_rate": 0.1,
        "schedule": "constant",
        "clip_norm": 0.0,
    }
    found = {}
    for way in WAYS:
        experiment = experiment_on(config, way)
        state, losses = steps(experiment, experiment.init(), batches_of(experiment, 4))
        samples = experiment.sampler(
            experiment.average(state), 16, {"label": np.arange(16) % 10}, solver="DDPM"
        )
        found[way] = experiment, state, losses, samples
    return found


def assert_close(tree, other, atol):
    for a, b in zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=atol)


@pytest.mark.parametrize("way", ["jit_8", "pmap_8", "fsdp_8"])
def test_losses_parameters_and_samples_are_those_of_one_device(runs, way):
    """Fails if keys, dropout or time strata depend on the device, or if gradients are summed."""
    _, state, losses, samples = runs["jit_1"]
    _, other, other_losses, other_samples = runs[way]
    np.testing.assert_allclose(other_losses, losses, atol=1e-5)
    assert_close(other.params, state.params, atol=1e-5)
    assert_close(other.ema, state.ema, atol=1e-5)
    np.testing.assert_allclose(other_samples, samples, atol=1e-4)


def test_fsdp_divides_the_large_arrays(runs):
    """Fails if every device holds everything."""
    state = runs["fsdp_8"][1]
    kernel = state.params["network"]["up_0_0_residual"]["conv_in"]["kernel"]
    assert not kernel.sharding.is_fully_replicated
    assert state.ema["network"]["up_0_0_residual"]["conv_in"]["kernel"].sharding == kernel.sharding


@pytest.mark.parametrize("way", ["jit_1", pytest.param("fsdp_8", marks=pytest.mark.slow)])
def test_a_run_goes_on_on_other_devices(runs, way, tmp_path):
    """Saved by jit on 8, restored elsewhere: the next steps are those of the run that went on."""
    experiment, state, *_ = runs["jit_8"]
    checkpoints, data = Checkpoints(tmp_path), experiment.batches()
    for _ in range(4):
        next(data)
    checkpoints.save(state, data, {}, {})
    checkpoints.close()
    more = batches_of(experiment, 6)[4:]
    copy = jax.tree.map(lambda a: jax.device_put(np.array(a), a.sharding), state)
    expected, expected_losses = steps(experiment, copy, more)

    other = runs[way][0]
    data = other.batches()
    checkpoints = Checkpoints(tmp_path)
    restored, _ = checkpoints.restore(other.abstract_state(), data)
    checkpoints.close()
    batches = [
        {k: v for k, v in next(data).items() if k in ("x", "label", "position")} for _ in range(2)
    ]
    got, losses = steps(other, restored, batches)
    np.testing.assert_allclose(losses, expected_losses, atol=1e-5)
    assert_close(got.params, expected.params, atol=1e-5)


def test_sample_i_of_64_is_the_sample_made_alone(runs):
    """Fails if noise, guidance or a norm looks across the batch."""
    experiment, state, *_ = runs["jit_1"]
    labels = np.arange(64) % 10
    weights = experiment.average(state)
    many = experiment.sampler(weights, 64, {"label": labels}, solver="DDPM", seed=5)
    alone = experiment.sampler(weights, 1, {"label": labels[37]}, solver="DDPM", seed=5, first=37)
    np.testing.assert_allclose(alone[0], many[37], atol=1e-4)
    batched = experiment.sampler(
        weights, 10, {"label": labels[:10]}, solver="DDPM", seed=5, batch_size=4
    )
    np.testing.assert_allclose(batched, many[:10], atol=1e-4)
