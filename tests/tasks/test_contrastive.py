"""The contrastive encoder: its loss in closed form, on one device and on several."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff import Experiment
from jaxdiff import config as defaults
from jaxdiff.conditioning.words import Words
from jaxdiff.evaluation.retrieval import PromptRetrieval, Retrieval
from jaxdiff.objectives.contrastive import info_nce, sigmoid_pairs
from jaxdiff.tasks.alignment import PromptAlignment
from jaxdiff.tasks.contrastive_runs import embedder_of_run
from jaxdiff.weights.devices import Devices, make_mesh


def test_the_loss_of_orthogonal_and_of_equal_embeddings():
    """log(1 + (n - 1)·exp(-scale)), and log n: fails if lengths count or a direction is left."""
    scale, eye = jnp.array(3.0), jnp.eye(4)
    np.testing.assert_allclose(
        info_nce(2 * eye, 5 * eye, scale), np.log(1 + 3 * np.exp(-3)), rtol=1e-5
    )
    np.testing.assert_allclose(info_nce(eye * 0 + 1, eye * 0 + 1, scale), np.log(4), rtol=1e-5)


def test_the_sigmoid_loss_is_a_decision_for_each_pair():
    """By a sum over the pairs; at scale 0 and bias 0 each of n decisions costs log 2."""
    a, b = (jax.random.normal(jax.random.key(i), (4, 5)) for i in (0, 1))
    unit = lambda x: np.asarray(x / jnp.linalg.norm(x, axis=1, keepdims=True))
    logits = 3.0 * unit(a) @ unit(b).T - 2.0
    sign = 2 * np.eye(4) - 1
    want = np.log1p(np.exp(-sign * logits)).sum(1)
    found = sigmoid_pairs(a, b, jnp.array(3.0), jnp.array(-2.0))
    np.testing.assert_allclose(found, want, rtol=1e-5)
    none = sigmoid_pairs(a, b, jnp.array(0.0), jnp.array(0.0))
    np.testing.assert_allclose(none, 4 * np.log(2), rtol=1e-6)
    split = lambda x: x.reshape(2, 2, 5)
    of = lambda a, b: sigmoid_pairs(a, b, jnp.array(3.0), jnp.array(-2.0), "data")
    over = jax.pmap(of, axis_name="data")(split(a), split(b))
    np.testing.assert_allclose(over.reshape(-1), want, rtol=1e-5)


def test_words_are_vectors_of_their_own_and_of_their_places():
    """Fails if a hash differs between runs, capitals count, or an order makes no difference."""
    words = Words(features=64, window=5)
    found = words.prepare(["Red, heart", "heart red", "", "one two three four five six"])
    assert found["mask"].sum(1).tolist() == [3, 3, 1, 5]
    vectors = found["vectors"]
    np.testing.assert_allclose(vectors[0, 1, :2], [-0.53759706, 0.87144023], rtol=1e-6)
    again = words.prepare(["RED heart"])["vectors"]
    np.testing.assert_array_equal(vectors[0], again[0])
    assert 0.8 < vectors[found["mask"]].std() < 1.2
    same_word = (vectors[0, 1] * vectors[1, 2]).mean()
    other_word = (vectors[0, 1] * vectors[1, 1]).mean()
    assert same_word == pytest.approx(0.5, abs=0.3)
    assert other_word == pytest.approx(0.5, abs=0.3)  # of the same place
    encoded = words.encode(None, jax.tree.map(jnp.asarray, found))
    np.testing.assert_allclose(encoded.pooled[2], vectors[2, 0], rtol=1e-6)
    np.testing.assert_array_equal(words.empty(None).value[0], vectors[2])
    with pytest.raises(ValueError, match="3 is not a text"):
        words.prepare([3])


def test_retrieval_counts_own_texts_among_a_group():
    """Two of four pairs are exchanged: half are found; fails if other groups are searched too."""

    class Draw:
        def embed(self, weights, x):
            return x

        def embed_text(self, weights, texts):
            return np.eye(4)[[int(text) for text in texts]]

    pairs = {"x": np.eye(4)[[0, 1, 2, 3]], "text": np.array(["0", "1", "3", "2"])}
    evaluator = Retrieval(Draw(), lambda num: pairs, among=2)
    assert dict(evaluator.run({}, 0)) == {"text_of_image": 0.5, "image_of_text": 0.5}
    with pytest.raises(ValueError, match=r"Retrieval\.among=5: .*4 examples of x, text"):
        dict(Retrieval(Draw(), lambda num: pairs, among=5).run({}, 0))


def test_prompts_of_samples_stand_beside_those_of_real_images():
    """Samples that mix up two of four prompts: half are found, of the real images all."""
    texts = ["0", "1", "2", "3"]
    pairs = {"x": np.eye(4), "text": np.array(texts)}
    draw = lambda weights, num, cond: np.eye(4)[[[0, 1, 3, 2][int(t)] for t in cond["text"]]]
    of_text = lambda texts: np.eye(4)[[int(text) for text in texts]]
    embedder = lambda path: (lambda x: x, of_text)
    evaluator = PromptRetrieval(draw, lambda num: pairs, embedder, "runs/clip", among=4)
    found = dict(evaluator.run({}, 0))
    assert found == {"prompt_of_sample": 0.5, "prompt_of_real_image": 1.0}


def test_images_and_texts_are_trained_together(tmp_path):
    """Fails if the tower or the bias stays, or a text cannot be embedded."""
    config = defaults.default()
    config.data = {"name": "digits", "shape": (8, 8, 1), "num_classes": 10}
    config.transforms = ("Caption(template='digit {}')",)
    config.conditions = ("text",)
    config.encoders = {"text": {"name": "Words", "features": 8, "window": 3}}
    config.task = {"name": "Contrastive", "loss": "sigmoid", "embedding": 4, "text_width": 8}
    config.task.encoder = {"name": "ConvClassifier", "channels": (8,), "features": 8}
    config.task.text_layers = 1
    config.batch_size = 16
    config.train.update(steps=2, log_every=1, checkpoint_every=2)
    config.evaluation.evaluators = ("Retrieval(among=10)",)
    config.evaluation.num = 20
    # As `embedder_of_run` has it: programs of one batch size are equal to the bit.
    config.sampling.batch_size = 100
    one = Devices(make_mesh(jax.devices()[:1]))
    experiment = Experiment(config, one)
    state = experiment.train(tmp_path)
    assert set(state.params) == {"network", "text_tower", "scale"}
    assert float(state.params["scale"]["bias"]) != -10.0
    weights = experiment.average(state)
    reference = experiment.evaluator.by_features(str(tmp_path))
    assert reference.train.shape == reference.held_out.shape == (20, 8, 8, 1)
    assert reference.classifier is None
    assert reference.features(reference.train).shape == (20, 8)
    embed, embed_text = embedder_of_run(str(tmp_path))
    sampler = experiment.sampler
    np.testing.assert_array_equal(embed_text(["digit 3"]), sampler.embed_text(weights, ["digit 3"]))
    x = np.zeros((2, 8, 8, 1), np.float32)
    np.testing.assert_array_equal(embed(x), sampler.embed(weights, x))
    assert experiment.sampler.embed_text(weights, ["digit 3", "digit 4"]).shape == (2, 4)
    check_alignment(str(tmp_path), experiment, embed, embed_text)
    assert '"text_of_image"' in (tmp_path / "metrics.jsonl").read_text()
    config.conditions, config.encoders = ("label",), {}
    with pytest.raises(ValueError, match=r"conditions has \['label'\]: a contrastive encoder"):
        Experiment(config, one)


def check_alignment(folder, experiment, embed, embed_text):
    """The reward is the cosine of the run's embeddings; texts of another encoder are refused."""
    reward = PromptAlignment(folder)
    texts, x = ["digit 3", "digit 8"], jax.random.uniform(jax.random.key(0), (2, 8, 8, 1))
    encoder = experiment.task.conditions.encoders["text"]
    cond = encoder.encode(None, jax.tree.map(jnp.asarray, encoder.prepare(texts)))
    one, two = embed(np.asarray(x)), embed_text(texts)
    cosine = (one * two).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(two, axis=1)
    np.testing.assert_allclose(jax.jit(reward)(x, {"text": cond}), cosine, rtol=1e-4)
    other = experiment.config.copy_and_resolve_references()
    other.encoders.text.features += 8
    reward.check_config(experiment.config)
    with pytest.raises(ValueError, match=r"reads encoders\.text="):
        reward.check_config(other)
    with pytest.raises(ValueError, match="no text"):
        reward(x, {})
    with pytest.raises(ValueError, match=r"is of pictures \(8, 8, 1\)"):
        reward(x[:, :4], {"text": cond})
    with pytest.raises(ValueError, match=r"PromptAlignment\.run: "):
        PromptAlignment(f"{folder}/none")


def test_all_devices_compare_with_the_batch_as_a_whole():
    """Under pmap as without; fails if examples of other devices are no negatives."""
    a, b = (jax.random.normal(jax.random.key(i), (8, 5)) for i in (0, 1))
    split = lambda x: x.reshape(4, 2, 5)
    run = jax.pmap(lambda a, b: info_nce(a, b, jnp.array(2.0), "data"), axis_name="data")
    found = run(split(a), split(b)).reshape(-1)
    np.testing.assert_allclose(found, info_nce(a, b, jnp.array(2.0)), rtol=1e-5)


def test_a_step_trains_encoder_and_scale_and_refuses_micro_batches(tmp_path):
    """Fails if the scale is fixed, or a batch is divided that must stay whole."""
    config = defaults.default()
    config.data = {"name": "digits", "shape": (8, 8, 1), "num_classes": 10}
    encoder = {"name": "ConvClassifier", "channels": (8,), "features": 8}
    config.task = {"name": "Contrastive", "encoder": encoder, "embedding": 4}
    config.batch_size = 16
    config.train.update(steps=2, log_every=1, checkpoint_every=2)
    config.evaluation.evaluators = ()
    one = Devices(make_mesh(jax.devices()[:1]))
    experiment = Experiment(config, one)
    state = experiment.train(tmp_path)
    assert float(state.params["scale"]["log"]) != pytest.approx(np.log(10.0), abs=1e-6)
    x = np.zeros((5, 8, 8, 1), np.float32)
    assert experiment.sampler.embed(experiment.average(state), x).shape == (5, 4)
    config.accumulate = 2
    with pytest.raises(ValueError, match="accumulate=2"):
        Experiment(config, one)
