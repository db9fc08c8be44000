"""The contrastive encoder: its loss in closed form, on one device and on several."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff import Experiment
from jaxdiff import config as defaults
from jaxdiff.objectives.contrastive import info_nce
from jaxdiff.weights.devices import Devices, make_mesh


def test_the_loss_of_orthogonal_and_of_equal_embeddings():
    """log(1 + (n - 1)·exp(-scale)), and log n: fails if lengths count or a direction is left."""
    scale, eye = jnp.array(3.0), jnp.eye(4)
    np.testing.assert_allclose(
        info_nce(2 * eye, 5 * eye, scale), np.log(1 + 3 * np.exp(-3)), rtol=1e-5
    )
    np.testing.assert_allclose(info_nce(eye * 0 + 1, eye * 0 + 1, scale), np.log(4), rtol=1e-5)


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
