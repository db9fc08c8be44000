"""Runs in latents and by text: weights from files, captions to conditions, prompts to samples."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

import jaxdiff
from jaxdiff import Experiment, random
from jaxdiff.conditioning.conditions import Conditions, filled
from jaxdiff.conditioning.encoders import TextEncoder
from jaxdiff.evaluation.evaluators import SampleGrid
from jaxdiff.training.step import make_step
from jaxdiff.typing import Condition
from jaxdiff.weights.devices import Devices, make_mesh
from tests.support.frozen_parts import (
    SETTINGS,
    SIZES,
    TEXT,
    latent_text_config,
    write_autoencoder,
    write_text,
)

pytest.importorskip("tokenizers")
PROMPTS = ["digit 3", "a digit 7"]


def one():
    """One device, which compiles the fastest."""
    return Devices(make_mesh(jax.devices()[:1]))


def same(tree, other):
    assert jax.tree.structure(tree) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, tree, other)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    return folder, write_autoencoder(folder / "vae"), write_text(folder / "text")


@pytest.fixture(scope="module")
def whole(files, tmp_path_factory):
    """Four steps without an interruption: workdir, experiment, the last state."""
    workdir = tmp_path_factory.mktemp("whole")
    experiment = Experiment(latent_text_config(files[0]), one())
    return workdir, experiment, experiment.train(workdir)


@pytest.fixture(scope="module")
def run(whole):
    return jaxdiff.load(whole[0], devices=one(), trust=("tests",))


def test_frozen_weights_are_those_of_the_files_to_the_end(files, whole):
    """Fails if they are drawn anew, if optimizer or average get hold of them, or one is missing."""
    _, vae, text = files
    _, experiment, state = whole
    same(jax.device_get(state.frozen["codec"]), vae)
    same(jax.device_get(state.frozen["text"]["network"]), text)
    assert np.asarray(state.frozen["text"]["empty"].ids).tolist() == [[[1, 2, 0, 0, 0, 0]]]
    assert set(state.params) == set(state.ema) == {"network"}
    assert experiment.task.latent_shape == (4, 4, 2)


def test_a_run_resumes_bit_for_bit_and_its_checkpoints_hold_nothing_frozen(files, whole, tmp_path):
    """2 + 2 = 4; fails if the frozen weights are missing after a resume, or are in checkpoints."""
    config = latent_text_config(files[0])
    config.train.steps = 2
    Experiment(config, one()).train(tmp_path)
    # Where the weights are may change between launches.
    shutil.copytree(files[0] / "vae", tmp_path / "moved")
    config.weights.codec, config.train.steps = str(tmp_path / "moved"), 4
    same(jax.device_get(Experiment(config, one()).train(tmp_path)), jax.device_get(whole[2]))
    items = {path.name for path in (tmp_path / "checkpoints" / "4").iterdir() if path.is_dir()}
    json = {"data", "meter", "config", "checksums"}
    assert items == {"params", "ema", "opt_state", "progress", *json}
    stored = ocp.PyTreeCheckpointer().restore(tmp_path / "checkpoints" / "4" / "params")
    assert set(stored) == {"network"}
    assert jaxdiff.load(tmp_path, devices=one(), trust=("tests",)).config.weights.codec == str(
        tmp_path / "moved"
    )


def test_other_weights_are_refused(files, whole, tmp_path):
    """Fails if a run goes on, or samples, with weights that it was not trained with."""
    write_autoencoder(tmp_path / "vae", seed=1)
    with pytest.raises(ValueError, match=r"weights\.codec: the run in .* began with other weights"):
        jaxdiff.load(
            whole[0], {"weights.codec": str(tmp_path / "vae")}, devices=one(), trust=("tests",)
        )
    config = latent_text_config(files[0])
    config.weights.codec = str(tmp_path / "vae")
    with pytest.raises(ValueError, match=r"weights\.codec: the run in .* began with other weights"):
        Experiment(config, one()).train(whole[0])
    shutil.copytree(files[0] / "text", tmp_path / "text")
    words = tmp_path / "text" / "tokenizer.json"
    words.write_text(words.read_text().replace("digit", "x"))
    with pytest.raises(
        ValueError, match=r"weights\.text: the run in .* began with other .*tokenizer"
    ):
        jaxdiff.load(
            whole[0], {"weights.text": str(tmp_path / "text")}, devices=one(), trust=("tests",)
        )
    with pytest.raises(ValueError, match=r"not the run .*seed: 0 -> 1"):
        jaxdiff.load(whole[0], {"seed": 1}, devices=one(), trust=("tests",))


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["fsdp", "pmap"])
def test_the_steps_on_many_devices_are_those_of_one(files, whole, parallel):
    """Fails if tokens are not divided with their images, or frozen weights are only on one."""
    config = latent_text_config(files[0])
    config.parallel = parallel
    experiment = Experiment(config, Devices(parallel=config.parallel))
    state, data = experiment.init(), experiment.batches()
    for number in range(4):
        batch = next(data)
        batch = {name: batch[name] for name in ("x", "text", "position")}
        state, _ = experiment.runner.step(state, experiment.devices.put(batch), number)
    close = lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5)
    jax.tree.map(close, jax.device_get(state.params), jax.device_get(whole[2].params))


def test_fsdp_divides_frozen_weights(files):
    """Fails if each device holds a large encoder, or gathers a small one at each use."""
    config = latent_text_config(files[0])
    config.parallel = "Mesh(data=1, fsdp=0, whole_below=0)"
    config.codec = {"name": "Latents", "autoencoder": {**SIZES, "channels": (16, 16)}}
    frozen = Experiment(config, Devices(parallel=config.parallel)).abstract_state().frozen
    kernel = frozen["codec"]["decoder"]["up_0_0_residual"]["conv_in"]["kernel"]
    assert not kernel.sharding.is_fully_replicated
    config.parallel = "fsdp"
    frozen = Experiment(config, Devices(parallel="fsdp")).abstract_state().frozen
    assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(frozen["codec"]))


def test_strings_are_samples_by_their_encodings(whole, run):
    """Fails if prompts are mixed up, encoded otherwise than in training, or images not decoded."""
    _, experiment, state = whole
    found = run.sample(2, {"text": PROMPTS}, seed=1)
    assert found.shape == (2, 8, 8, 1)
    np.testing.assert_array_equal(
        found, experiment.sampler(experiment.average(state), 2, {"text": PROMPTS}, seed=1)
    )
    one = run.sample(2, {"text": PROMPTS[1]}, seed=1, first=1)
    np.testing.assert_allclose(one[0], found[1], atol=1e-4)
    other = run.sample(2, {"text": PROMPTS[1]}, seed=1)
    assert [bool(np.abs(a - b).max() > 1e-3) for a, b in zip(other, found, strict=True)] == [1, 0]
    batch = next(experiment.batches())
    assert batch["text"].ids.shape == (8, 1, 6)
    x, t = jnp.zeros((2, 4, 4, 2)), jnp.array([0.3, 0.6])
    cond = run.encode(2, {"text": PROMPTS})
    assert cond["text"].mask.shape == (2, 6)
    assert cond["text"].pooled.shape == (2, 8)
    guided, plain, null = (
        run.denoiser(guidance_scale=scale)(x, t, given).x0
        for scale, given in ((3.0, cond), (1.0, cond), (1.0, {}))
    )
    np.testing.assert_allclose(guided, null + 3 * (plain - null), atol=1e-4)


@pytest.mark.slow
def test_prompts_and_places_by_flags(files, whole, scripts, tmp_path):
    """Fails if a prompt, a negative one or a place is lost on its way from the command line."""
    shutil.copytree(files[0] / "vae", tmp_path / "vae")
    flags = [f"--text={PROMPTS[0]}", f"--text={PROMPTS[1]}", "--negative=digit 5"]
    flags += [f"--changes=weights.codec={tmp_path / 'vae'}", "--num=2", "--seed=1"]
    flags.append("--trust=tests")
    code, printed = scripts(
        "experiments/sample.py", f"--workdir={whole[0]}", f"--out={tmp_path}/out.npy", *flags
    )
    assert code == 0, printed
    given = {"cond": {"text": PROMPTS}, "negative": {"text": "digit 5"}, "seed": 1}
    expected = whole[1].sampler(whole[1].average(whole[2]), 2, **given)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, atol=1e-4)


@pytest.mark.slow
def test_worker_processes_make_the_same_tokens(whole):
    """Fails if an encoder cannot be sent to a worker."""
    one, other = (next(whole[1].batches(workers=n)) for n in (0, 1))
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_negative_prompts_take_the_place_of_no_condition(run):
    """Away from the prompt itself is no guidance; fails if they are ignored, or led towards."""
    guided = lambda **options: run.sample(2, {"text": PROMPTS}, **options)
    found = guided(negative={"text": PROMPTS[0]})
    np.testing.assert_allclose(found[0], guided(guidance_scale=1.0)[0], atol=1e-4)
    assert np.abs(found[1] - guided()[1]).max() > 1e-3
    with pytest.raises(ValueError, match=r"Negative: condition 'text' is a text.*negative="):
        guided(guidance="Negative(condition={'text': 'digit 3'})")


def test_a_grid_has_a_row_for_each_prompt(run, tmp_path):
    """Fails if prompts are not given on, or a guided run cannot be looked at without one."""
    seen = []
    draw = lambda weights, num, cond, **options: (
        seen.append((num, cond, options)) or np.zeros((num, 8, 8, 1), np.float32)
    )
    for cond in ({"text": PROMPTS}, None):
        next(SampleGrid(draw, 0, tmp_path, columns=2, cond=cond).run(run.weights, run.step))
    prompts = {"text": [PROMPTS[0]] * 2 + [PROMPTS[1]] * 2}
    assert seen == [(4, prompts, {}), (4, {}, {"guidance_scale": 1.0})]


def test_captions_belong_to_their_images(whole):
    """Fails if texts and images of a batch come apart, or only one template is used."""
    _, experiment, _ = whole
    batch = next(experiment.batches(batch_size=64))
    digits = batch["text"].mask.sum((1, 2))
    ids = batch["text"].ids[np.arange(64), 0, digits - 2]
    np.testing.assert_array_equal(ids - 6, batch["label"])
    assert set(digits.tolist()) == {4, 5}


def test_without_a_null_embedding_the_empty_prompt_is_what_is_dropped(files):
    """Fails if the text is dropped without its mask or its vector, or another prompt fills in."""
    text = TextEncoder(TEXT, str(files[0] / "text"))
    conditions = Conditions(("text",), {"text": text}, dropout=0.5, learned_null=False)
    keys = random.example_keys(jax.random.key(0), jnp.arange(16))
    spy = lambda x, t, cond: cond

    def see(frozen, inputs):
        cond = conditions.drop(conditions.encode(frozen, inputs), keys)
        seen = filled(spy, conditions.empty(frozen))(jnp.zeros((16, 2)), jnp.zeros(16), cond)
        nothing = text.encode(frozen["text"], text.prepare([""] * 16))
        return seen["text"], conditions.encode(frozen, inputs)["text"], nothing

    frozen = {"text": text.load(text.shapes())}
    seen, given, nothing = jax.jit(see)(frozen, {"text": text.prepare(PROMPTS * 8)})
    kept = np.asarray(random.uniform(random.stream(keys, "drop text")) >= 0.5)
    assert 0 < kept.sum() < 16
    assert seen.keep is None
    for name in ("value", "mask", "pooled"):
        value, one, other = (getattr(c, name) for c in (seen, given, nothing))
        along = kept.reshape(-1, *[1] * (value.ndim - 1))
        np.testing.assert_allclose(value, np.where(along, one, other), atol=1e-5)
    assert seen.mask.sum(1)[~kept].tolist() == [2] * int((~kept).sum())


def test_a_network_without_a_null_embedding_trains_and_is_guided(files):
    """Traced only; fails if a mark of what is kept reaches the network, or nothing fills in."""
    config = latent_text_config(files[0])
    config.network.inputs.learned_null = False
    experiment = Experiment(config, one())
    state = experiment.abstract_state()
    batch = experiment.task.example(8)
    after, _ = jax.eval_shape(
        make_step(experiment.recipe), state, batch, experiment.recipe.numbers(0)
    )
    assert jax.tree.structure(after) == jax.tree.structure(state)
    sampler = experiment.sampler
    x, t = jnp.zeros((2, 4, 4, 2)), jnp.zeros(2)
    text = Condition(jnp.zeros((2, 6, 8)), jnp.ones((2, 6), bool), jnp.zeros((2, 8)))
    cond = {"text": text}
    for given, scale in ((cond, 3.0), ({}, 1.0)):
        ask = lambda weights, given=given, scale=scale: sampler.denoiser(weights, scale)(
            x, t, given
        )
        assert jax.eval_shape(ask, state.average).x0.shape == x.shape


def test_weights_that_are_not_named_or_of_another_network_are_named_by_field(files, tmp_path):
    """Fails if training begins without them, or with sizes that are not the files'."""
    with pytest.raises(ValueError, match=r"weights\.codec, weights\.text: no weights"):
        Experiment(latent_text_config(), one()).train(tmp_path / "run")
    assert not (tmp_path / "run").exists()
    config = latent_text_config(files[0])
    config.codec.autoencoder.scale = 0.18
    with pytest.raises(ValueError, match=r"weights\.codec: scale=0\.18, but 0\.5 in .*config"):
        Experiment(config, one()).load_frozen()
    config = latent_text_config(files[0])
    config.encoders.text.settings = SETTINGS.replace("heads=2", "heads=4")
    with pytest.raises(ValueError, match=r"weights\.text: settings: heads=4, but 2 in"):
        Experiment(config, one()).load_frozen()
    config = latent_text_config(files[0])
    config.encoders, config.weights.text = {}, ""
    with pytest.raises(ValueError, match=r"conditions has \['text'\], which are texts"):
        next(Experiment(config, one()).batches())
    config.transforms = ()
    with pytest.raises(ValueError, match=r"conditions has \['text'\], but the data have label"):
        next(Experiment(config, one()).batches())


@pytest.mark.parametrize(
    ("num", "cond", "message"),
    [
        (3, {"text": PROMPTS}, r"cond\['text'\] has 2 values for 3 samples"),
        (2, {"text": 7}, r"cond\['text'\]: 7 is not a text"),
        (2, {"label": 7}, r"unknown condition 'label'; known: \['text'\]"),
    ],
)
def test_prompts_that_are_none_are_named(run, num, cond, message):
    with pytest.raises(ValueError, match=message):
        run.sample(num, cond)
