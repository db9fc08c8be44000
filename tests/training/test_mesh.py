"""The step on meshes of eight devices is that of one; what is sent between them is counted."""

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from jaxdiff import Experiment
from jaxdiff.cost.collectives import messages
from jaxdiff.networks import algorithms, layout
from jaxdiff.networks.attention import attend
from jaxdiff.training.checkpoint import Checkpoints
from jaxdiff.weights import placement
from jaxdiff.weights.devices import Devices, make_mesh
from jaxdiff.weights.layouts import Mesh
from tests.support.frozen_parts import SIZES, latent_text_config
from tests.support.tiny import tiny_config

ALL = "Mesh(fsdp=2, tensor=2, sequence=2)"
WIDE = "Mesh(data=2, fsdp=2, tensor=2)"
ROWS = "Mesh(data=2, sequence=4)"
DIT = {"name": "DiT", "features": 16, "depth": 2, "num_heads": 4, "time_features": 8}
UNET = {"name": "UNet", "channels": (16, 16), "layers_per_block": 1, "attention_at": (4,)}


ALONE = {}
"""Steps of one device by network, for the tests that are slow."""


def config_of(network):
    """A recipe of each network, with an optimizer that compiles fast and keeps a state."""
    of_text = network == "MMDiT"
    config = latent_text_config() if of_text else tiny_config()
    config.optimizer = latent_text_config().optimizer
    config.objective, config.time_sampling = "Denoising", "Uniform"
    config.batch_size = 8
    config.network = {
        "DiT": DIT,
        "UNet": {**UNET, "num_heads": 2},
        "MMDiT": {**DIT, "name": "MMDiT", "inputs": {"text_features": 8}},
        "Autoencoder": DIT,
    }[network]
    if network == "Autoencoder":
        config.task = {
            "name": "Autoencoder",
            "autoencoder": {**SIZES, "channels": (8, 8), "middle_attention": True},
            "discriminator": None,
            "adversary_from": 0,
        }
    return config


def experiment_on(config, parallel, count=8):
    config = ConfigDict(config.to_dict() | {"parallel": parallel})
    return Experiment(config, Devices(make_mesh(jax.devices()[:count]), parallel))


def value_of(rng, shape):
    """A pixel, a label or a token, or that a token is there."""
    if shape.dtype == jnp.float32:
        return np.tanh(rng.standard_normal(shape.shape)).astype(np.float32)
    return rng.integers(0 if shape.dtype != bool else 1, 10, shape.shape).astype(shape.dtype)


def taken(experiment):
    """Two steps from weights of a seeded generator: losses, state, and what was sent."""
    rng = np.random.default_rng(0)
    draw = lambda s: (0.2 * rng.standard_normal(s.shape)).astype(np.float32)
    abstract = experiment.abstract_state()
    params = jax.tree.map(draw, abstract.params)
    drawn = lambda s: draw(s) if s.dtype == jnp.float32 else np.ones(s.shape, s.dtype)
    frozen = jax.tree.map(drawn, abstract.frozen)
    state = experiment._state(params).replace(frozen=frozen)
    # Copies, since arrays that are donated must not be two leaves of the state.
    state = jax.tree.map(lambda a, s: jax.device_put(np.array(a), s.sharding), state, abstract)
    losses = []
    for number in range(2):
        batch = jax.tree.map(functools.partial(value_of, rng), experiment.task.example(8))
        batch["position"] = np.arange(8, dtype=np.int32) + 8 * number
        state, metrics = experiment.runner.step(state, experiment.devices.put(batch), number)
        losses.append(float(metrics["loss"]))
    (program,) = experiment.runner._steps.values()
    return losses, state, messages(program.as_text())


def assert_same(found, expected):
    np.testing.assert_allclose(found[0], expected[0], atol=1e-5)
    for a, b in zip(jax.tree.leaves(found[1]), jax.tree.leaves(expected[1]), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=1e-5)


def size_of(tree):
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


@pytest.fixture(scope="module")
def alone():
    return taken(experiment_on(config_of("DiT"), "jit", 1))


def test_fsdp_sends_weights_and_never_all_of_them_at_once(alone):
    """Fails if the perceptron becomes tensor-parallel, or if a scan gathers its whole stack."""
    found = taken(experiment_on(config_of("DiT"), "fsdp"))
    assert_same(found, alone)
    params = found[1].params
    stacks = [leaf.nbytes for leaf in jax.tree.leaves(params["network"]["blocks"])]
    gathered = [each for each in found[2] if each.kind == "all-gather"]
    assert max(each.bytes for each in gathered) <= max(stacks) / 2  # of two layers
    # Forward and backward; what is reduced are gradients, and some sums.
    assert sum(each.bytes * each.times for each in gathered) < 2.1 * size_of(params)
    reduced = sum(each.bytes * each.times for each in found[2] if "reduce" in each.kind)
    assert reduced < 1.1 * size_of(params)
    assert {each.kind for each in found[2]} <= {"all-gather", "all-reduce", "reduce-scatter"}


def test_all_axes_at_once(alone):
    """Fails if heads, tokens or keys are mixed up, or if the state lies whole on a device."""
    found = taken(experiment_on(config_of("DiT"), ALL))
    assert_same(found, alone)
    kernel = found[1].params["network"]["blocks"]["mlp"]["hidden"]["kernel"]
    assert tuple(kernel.sharding.spec) == (None, "fsdp", "tensor")
    momentum = jax.tree.leaves(found[1].opt_state)
    like = [leaf for leaf in momentum if leaf.shape == kernel.shape]
    assert like and all(leaf.sharding == kernel.sharding for leaf in like)
    assert "all-to-all" in {each.kind for each in found[2]}


@pytest.mark.slow
@pytest.mark.parametrize("network", ["UNet", "MMDiT", "Autoencoder"])
@pytest.mark.parametrize("parallel", ["jit", "fsdp", "pmap", WIDE, ALL, ROWS])
def test_every_network_on_every_layout(network, parallel):
    """Fails if a network computes something else on a mesh, or data parallelism sends features."""
    config = config_of(network)
    if network not in ALONE:
        ALONE[network] = taken(experiment_on(config, "jit", 1))
    found = taken(experiment_on(config, parallel))
    assert_same(found, ALONE[network])
    if parallel in ("jit", "pmap"):
        assert {each.kind for each in found[2]} == {"all-reduce"}


@pytest.mark.slow
@pytest.mark.parametrize("parallel", [ALL, "Mesh(data=1, fsdp=2, sequence=4, attention='ring')"])
def test_samples_on_a_mesh_are_those_of_one_device(parallel):
    """Guided, in a batch that divides and in one that does not."""
    config = config_of("DiT")
    config.sampling.guidance_scale = 2.0
    found = []
    for way, count in (("jit", 1), (parallel, 8)):
        experiment = experiment_on(config, way, count)
        rng = np.random.default_rng(0)
        draw = lambda s, rng=rng: (0.2 * rng.standard_normal(s.shape)).astype(np.float32)
        put = lambda s, draw=draw: jax.device_put(draw(s), s.sharding)
        weights = jax.tree.map(put, experiment.abstract_state().ema)
        sample = lambda num, e=experiment, w=weights: e.sampler(
            w, num, {"label": np.arange(num) % 10}, solver="DDIM", steps=3
        )
        found.append([sample(8), sample(3)])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(other, one, atol=1e-4)


@pytest.mark.parametrize("attention", ["heads", "keys", "ring", "xla", "blocks"])
def test_attention_over_devices_and_by_name_is_attention(attention):
    """Value and gradient in float32; fails if the ring loses a turn or its softmax a factor."""
    mesh = Devices(make_mesh(jax.devices()[:8]), "Mesh(data=2, sequence=4)").mesh
    rng = np.random.default_rng(0)
    query, key, value = (rng.standard_normal((2, 8, 4, 4)).astype(np.float32) for _ in range(3))

    def square(query, key, value):
        return (attend(2 * query, key, value) ** 2).sum()

    both = lambda: jax.jit(jax.value_and_grad(square, (0, 1, 2)))(query, key, value)
    expected = both()
    if attention in ("xla", "blocks"):
        with algorithms.use(cpu_loops=False, kernel=attention):
            found = both()
    else:
        with layout.use(mesh, attention):
            found = both()
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("parallel", "message"),
    [
        ("Mesh(data=3)", r"data=3 · fsdp=1 · sequence=1 · tensor=1 needs 3 devices, but there are"),
        ("Mesh(fsdp=3)", r"needs a multiple of 3 devices, but there are 8"),
        ("Mesh(data=0, fsdp=0)", "data and fsdp are both 0"),
        ("Mesh(tensor=2, rules=[('out/kernel$', ('heads',))])", r"rules has \('out/kernel\$', "),
        (
            "Mesh(tensor=2, rules=[('proj/kernel$', ('tensor', None))])",
            r"'proj/kernel\$' .*fits no",
        ),
        (
            "Mesh(tensor=8)",
            r"query/bias has shape \(2, 12\), and its axis of 12 does not divide over",
        ),
        ("Mesh(kernel='cudnn')", "kernel='cudnn' on cpu; it needs a GPU"),
        ("Mesh(kernel='splash')", "kernel='splash' on cpu; it needs a TPU"),
        ("Mesh(kernel='blocks')", "kernel='blocks' on 8 devices: it goes example by example"),
        ("Mesh(sequence=2, mapped=True)", "mapped=True needs all axes but data to be 1"),
    ],
)
def test_layouts_that_do_not_fit_are_named(parallel, message):
    """Before anything is compiled."""
    shapes = {"query": {"bias": jax.ShapeDtypeStruct((2, 12), jnp.float32)}}
    with pytest.raises(ValueError, match=message):
        Devices(make_mesh(jax.devices()[:8]), parallel).shardings({"params": {"network": shapes}})


@dataclass(frozen=True)
class FarDevice:
    """A device of a slice, as `mesh_utils` reads it."""

    id: int
    slice_index: int
    process_index: int
    platform: str = "cpu"
    device_kind: str = "a chip"


def test_only_examples_are_divided_over_slices():
    """Fails if parameters would be gathered over the slow links between slices."""
    devices: Any = [FarDevice(i, i // 4, i // 4) for i in range(8)]
    for axes in (Mesh(data=4, fsdp=2), Mesh(data=2, fsdp=0)):
        rows = axes.over(devices).devices.reshape(axes.sizes(8)["data"], -1)
        assert all(len({device.slice_index for device in row}) == 1 for row in rows)
    with pytest.raises(ValueError, match="data=1 is not a multiple of the 2 slices"):
        Mesh(data=1, fsdp=0).over(devices)


def test_a_layer_axis_and_small_arrays_are_not_divided():
    """Fails if a scan over layers would fetch each layer from one device."""
    mesh = Devices(make_mesh(jax.devices()[:8]), "fsdp").mesh
    spec = lambda name, *shape: tuple(placement.over_fsdp(name, shape, mesh))
    assert spec("network/blocks/mlp/out/kernel", 64, 32, 16) == (None, "fsdp", None)
    assert spec("network/out/kernel", 64, 32) == ("fsdp", None)
    assert spec("network/out/bias", 64) == ()
    assert Mesh(data=1, fsdp=0).sizes(8)["fsdp"] == 8


@pytest.mark.parametrize(
    ("options", "share"),
    [({"name": "adamw", "mu_dtype": "bfloat16"}, 1.5), ({"name": "adafactor"}, 0.1)],
)
def test_a_small_optimizer_state_lies_on_any_mesh(options, share):
    """Fails if a factored moment is taken for its parameter, or a type of its own is lost."""
    config = config_of("DiT")
    config.network = {**DIT, "features": 256}
    rest = {"learning_rate": 1e-3, "schedule": "constant", "clip_norm": 0.0}
    config.optimizer = {**rest, **options}
    state = experiment_on(config, ALL).abstract_state()
    assert size_of(state.opt_state) < 1.02 * share * size_of(state.params)
    assert jax.tree.all(jax.tree.map(lambda leaf: leaf.sharding is not None, state.opt_state))


@pytest.mark.parametrize("parallel", ["jit", "fsdp", WIDE])
def test_a_checkpoint_of_one_mesh_is_restored_on_another(parallel, tmp_path):
    """To the bit, in the new places; fails if an array is restored as it lay before."""
    config = config_of("DiT")
    saved, other = experiment_on(config, ALL), experiment_on(config, parallel)
    rng = np.random.default_rng(0)

    def drawn(shape):
        values = np.asarray(10 * rng.standard_normal(shape.shape)).astype(shape.dtype)
        return jax.device_put(values, shape.sharding)

    state = jax.tree.map(drawn, saved.abstract_state()).replace(step=jnp.asarray(7))
    checkpoints, data = Checkpoints(tmp_path), saved.batches()
    first = next(data)["x"]
    checkpoints.save(state, data, {}, {})
    checkpoints.close()
    checkpoints, data = Checkpoints(tmp_path), other.batches()
    found, _ = checkpoints.restore(other.abstract_state(), data)
    checkpoints.close()
    wanted = other.abstract_state()
    for name in ("params", "ema", "opt_state"):
        arrays = zip(
            *(jax.tree.leaves(getattr(s, name)) for s in (found, state, wanted)), strict=True
        )
        for restored, kept, where in arrays:
            np.testing.assert_array_equal(np.asarray(restored), np.asarray(kept))
            assert restored.sharding == where.sharding
    assert np.abs(next(data)["x"] - first).max() > 0
