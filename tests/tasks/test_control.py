"""Control networks in training: they begin as nothing, and are all that is trained."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdiff
from jaxdiff import Experiment, Run
from jaxdiff.networks.control import begun
from jaxdiff.networks.residuals import Residuals
from jaxdiff.tasks.controls import Map, by_depth
from jaxdiff.training.step import make_step
from jaxdiff.weights.devices import Devices, make_mesh
from tests.support.tiny import tiny_config

SOURCE = "tests.support.drawn"
MAP = np.random.default_rng(0).random((8, 8, 1)).astype(np.float32)
DIT = {
    "name": "DiT", "features": 8, "depth": 3, "num_heads": 2, "time_features": 4, "registers": 1,
}  # fmt: skip
UNET = {"name": "UNet", "channels": (4, 8), "layers_per_block": 1, "num_groups": 2}


def experiment(**fields):
    config = tiny_config()
    config.objective, config.time_sampling = "Denoising", "Uniform"
    config.network = DIT
    config.transforms = ("ControlMap(of='lines')",)
    config.batch_size = 8
    config.train.update(steps=3, log_every=1, checkpoint_every=3)
    config.sampling.update(steps=2, guidance_scale=1.0)
    config.evaluation.update(num=8, evaluators=({"name": "ControlGrid", "shown": 2},))
    with config.unlocked():
        config.control = {"channels": 1, "depth": 2}
        config.weights.network = f"{SOURCE}:Drawn()"
        config.update_from_flattened_dict(fields)
    return Experiment(config, Devices(make_mesh(jax.devices()[:1])))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short run beside a random base: the experiment, its first and last state, its folder."""
    made, folder = experiment(), tmp_path_factory.mktemp("run")
    return made, jax.device_get(made.init()), jax.device_get(made.train(folder)), folder


def test_it_begins_as_the_base_to_the_bit(run):
    """Fails if a map after a copied block is not zero, or a copy is of another block."""
    made, first, _, _ = run
    weights = made.average(first)
    base = made.sampler(weights, 2, {"label": 3})
    np.testing.assert_array_equal(made.sampler(weights, 2, {"label": 3}, control=MAP), base)
    copied = weights["control"]["blocks"]["mlp"]["hidden"]["kernel"]
    whole = weights["network"]["blocks"]["mlp"]["hidden"]["kernel"]
    np.testing.assert_array_equal(copied, whole[:2])
    assert len(whole) == 3


def test_the_control_network_alone_is_trained(run):
    """Fails if a gradient or an average reaches the base, or the map reaches no prediction."""
    made, first, last, folder = run
    assert set(last.params) == set(last.ema) == {"control"}
    jax.tree.map(np.testing.assert_array_equal, first.frozen["network"], last.frozen["network"])
    weights = made.average(last)
    base = made.sampler(weights, 2, {"label": 3})
    steered = made.sampler(weights, 2, {"label": 3}, control=MAP)
    assert np.abs(steered - base).max() > 1e-5
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    gains = [line["control_gain"] for line in lines if "control_gain" in line]
    assert gains[0] == 0 < gains[-1]


def test_a_run_with_its_maps_is_loaded_and_shown(run, tmp_path):
    """Fails if the weights are not found again, or the sheet lacks a row."""
    _, _, last, folder = run
    one = Devices(make_mesh(jax.devices()[:1]))
    again = jaxdiff.load(folder, devices=one, trust=(SOURCE,))
    jax.tree.map(np.testing.assert_array_equal, again.weights["control"], last.ema["control"])
    sheet = again.evaluate("ControlGrid(shown=2)", tmp_path)["controlled"]
    assert sheet.shape[0] > 1.9 * sheet.shape[1]
    assert list(tmp_path.glob("control_*.png"))


def test_copies_are_of_the_first_layers():
    """Fails if a part without a counterpart is lost, or the last layers are taken."""
    fresh = {"blocks": {"a": np.zeros((2, 3)), "zero": np.zeros(2)}, "map": np.ones(4)}
    base = {"blocks": {"a": np.arange(12.0).reshape(4, 3)}, "out": np.zeros(9)}
    found = begun(fresh, base)
    np.testing.assert_array_equal(found["blocks"]["a"], base["blocks"]["a"][:2])
    assert found["blocks"]["zero"] is fresh["blocks"]["zero"]
    assert found["map"] is fresh["map"]
    assert set(found) == {"blocks", "map"}


def test_an_mmdit_is_steered():
    """Fails if the network cannot take the outputs of its copied blocks, or is trained itself."""
    network = {**DIT, "name": "MMDiT", "inputs": {"text_features": 8}}
    made = experiment(
        network={name: value for name, value in network.items() if name != "registers"},
        transforms=("Caption(template='digit {}')", "ControlMap(of='lines')"),
        conditions=("text",),
        encoders={"text": {"name": "Words", "features": 8, "window": 3}},
    )
    state, batch = made.abstract_state(), made.task.example(8)
    step = make_step(made.recipe)
    after, metrics = jax.eval_shape(step, state, batch, made.recipe.numbers(0))
    assert set(after.params) == {"control"}
    assert "control_gain" in metrics
    blocks = state.params["control"]["blocks"]
    assert blocks["zero"]["kernel"].shape == (2, 8, 8)


def test_what_cannot_be_steered_is_named():
    """Fails if a field of `config.control` is taken as it is, whatever it says."""
    with pytest.raises(ValueError, match=r"control has \['layers'\]; known: channels, depth"):
        experiment(control={"channels": 1, "layers": 2})
    with pytest.raises(ValueError, match=r"control\.channels is"):
        experiment(control={"depth": 2})
    with pytest.raises(ValueError, match=r"control\.depth=4: 3 blocks of the network"):
        experiment(control={"channels": 1, "depth": 4})
    with pytest.raises(ValueError, match=r"control\.depth=1: a U-Net's whole encoder"):
        experiment(network=UNET, control={"channels": 1, "depth": 1})
    with pytest.raises(ValueError, match="MLP cannot be steered"):
        experiment(network={"name": "MLP", "features": 8, "num_blocks": 1})
    with pytest.raises(ValueError, match=r"weights\.network: name the run"):
        experiment(**{"weights.network": ""})
    made = experiment(transforms=())
    with pytest.raises(ValueError, match=r"maps of the data have shape \(\), not \(8, 8, 1\)"):
        made.task.prepare({"x": np.zeros((2, 8, 8, 1)), "label": np.zeros(2, int)})


@pytest.mark.slow
def test_a_u_net_is_steered_too():
    """Fails if the encoder's copy begins as a change, or is not trained."""
    made = experiment(network=UNET, control={"channels": 1})
    weights = made.average(made.init())
    base = made.sampler(weights, 2, {"label": 3})
    np.testing.assert_array_equal(made.sampler(weights, 2, {"label": 3}, control=MAP), base)


def test_the_script_draws_by_a_map(run, scripts, tmp_path):
    """Fails if the flags' map, its strength or its steps are others than `run.sample` has."""
    _, _, _, folder = run
    np.save(tmp_path / "map.npy", MAP)
    given = [f"--control_image={tmp_path / 'map.npy'}:0.7", "--control_steps=0:0.5"]
    out = tmp_path / "out.npy"
    shared = [f"--workdir={folder}", f"--trust={SOURCE}", "--num=2", "--labels=3", f"--out={out}"]
    code, printed = scripts("experiments/sample.py", *shared, *given)
    assert code == 0, printed
    one = Devices(make_mesh(jax.devices()[:1]))
    again = jaxdiff.load(folder, devices=one, trust=(SOURCE,))
    expected = again.sample(2, {"label": 3}, control=Map(MAP, 0.7, end=0.5))
    np.testing.assert_allclose(np.load(out), expected, atol=1e-4)
    assert np.abs(np.load(out) - again.sample(2, {"label": 3})).max() > 1e-5
    code, printed = scripts("experiments/sample.py", *shared, *given, given[0])
    assert code == 1
    assert "control_steps: 1 for 2 of --control_image" in printed


def test_a_network_of_several_maps_is_given_them_by_kind(scripts, tmp_path):
    """Fails if a map reaches the channels of another kind, in the library or in the script."""
    both = {"transforms": ("ControlMaps(of=('lines', 'grey'))",), "control.channels": 2}
    made = experiment(**both, **{"train.steps": 1, "evaluation.evaluators": ()})
    folder = tmp_path / "run"
    made.train(folder)
    one = Devices(make_mesh(jax.devices()[:1]))
    run = jaxdiff.load(folder, devices=one, trust=(SOURCE,))
    assert run.maps.of == ("lines", "grey")
    aside = np.concatenate([np.zeros_like(MAP), MAP], axis=-1)
    expected = run.sample(2, {"label": 3}, control=Map(aside, 0.7))
    found = run.sample(2, {"label": 3}, control=Map({"grey": MAP}, 0.7))
    np.testing.assert_array_equal(found, expected)
    assert np.abs(expected - run.sample(2, {"label": 3}, control=Map(aside[..., ::-1]))).max() > 0
    with pytest.raises(ValueError, match="no map 'edges'; known: lines, grey"):
        run.sample(2, {"label": 3}, control={"edges": MAP})

    np.save(tmp_path / "map.npy", MAP)
    out = tmp_path / "out.npy"
    shared = [f"--workdir={folder}", f"--trust={SOURCE}", "--num=2", "--labels=3", f"--out={out}"]
    image = f"--control_image=grey={tmp_path / 'map.npy'}:0.7"
    code, printed = scripts("experiments/sample.py", *shared, image)
    assert code == 0, printed
    np.testing.assert_allclose(np.load(out), expected, atol=1e-4)
    code, printed = scripts("experiments/sample.py", *shared, image.replace("grey=", ""))
    assert code == 1
    assert "write a kind and a file, edges=map.png; kinds: lines, grey" in printed


def test_maps_by_kind_need_a_network_that_reads_several(run):
    """Fails if a mapping is taken for a map of a network of one kind."""
    made, _, last, _ = run
    with pytest.raises(ValueError, match=r"names the maps \['edges'\], but the model has no"):
        Run.of(made, last).sample(2, {"label": 3}, control={"edges": MAP})


def test_the_strength_fades_towards_the_finest_layers():
    """Fails if the order of the layers is turned round, or the middle of a U-Net fades."""
    one = lambda *shape: jnp.ones((2, *shape))
    factor, decay = jnp.array([1.0, 0.5]), jnp.array([0.5, 1.0])
    found = by_depth(Residuals(one(1, 1, 3), (one(4, 4, 3), one(2, 2, 3))), factor, decay)
    strength = lambda a: [float(each.mean()) for each in a]
    assert strength(found.middle) == [1, 0.5]
    assert [strength(each) for each in found.skips] == [[0.25, 0.5], [0.5, 0.5]]
    adapter = by_depth(Residuals(None, (), (one(4, 4, 3), one(2, 2, 3))), factor, decay)
    assert [strength(each) for each in adapter.levels] == [[0.5, 0.5], [1, 0.5]]
    blocks = by_depth(one(3, 5, 4), factor, decay)
    np.testing.assert_allclose(blocks.mean((2, 3)), [[0.25, 0.5, 1], [0.5, 0.5, 0.5]])


def test_a_map_that_does_not_fade_is_as_before(run):
    """Fails if a decay of 1 or a strength of 0 changes a bit, or a decay below 1 nothing."""
    made, _, last, _ = run
    weights = made.average(last)
    draw = lambda one: made.sampler(weights, 2, {"label": 3}, control=one)
    np.testing.assert_array_equal(draw(Map(MAP, decay=1.0)), draw(MAP))
    np.testing.assert_array_equal(draw(Map(MAP, 0.0)), draw(None))
    assert np.abs(draw(Map(MAP, decay=0.5)) - draw(MAP)).max() > 1e-6
    with pytest.raises(ValueError, match=r"Map\.decay is 1\.5"):
        Map(MAP, decay=1.5)
