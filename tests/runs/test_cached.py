"""What frozen encoders make of the data, kept: the same losses, resumed, and made anew if stale."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff import Experiment
from jaxdiff.codecs.posterior import Posterior
from jaxdiff.config.build import build
from jaxdiff.data import caches, pipeline
from jaxdiff.random import example_keys
from jaxdiff.runs import cached
from jaxdiff.typing import Condition, Draw
from jaxdiff.weights.devices import Devices, make_mesh
from tests.support.frozen_parts import latent_text_config, write_autoencoder, write_text
from tests.support.tiny import points_config


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    write_autoencoder(folder / "vae")
    write_text(folder / "text")
    return folder


@pytest.fixture(scope="module")
def experiment(folder):
    config = latent_text_config(folder)
    config.train.cache = f"Cache(folder={str(folder / 'caches')!r}, examples=20, shard=8)"
    return Experiment(config, Devices(make_mesh(jax.devices()[:1])))


@pytest.fixture(scope="module")
def source(experiment):
    return cached.filled(experiment, _cache(experiment))


def _cache(experiment):
    return build(caches, experiment.config.train.cache)


def _batch(experiment, source):
    prepare = cached.Restored(experiment.task.conditions, ("text",))
    return next(pipeline.loader(source, batch_size=8, seed=0, prepare=prepare, shuffle=False))


def test_the_loss_is_that_without_a_cache(experiment, source):
    """Fails if a mean stands for a sample, if another key draws it, or a text is another's."""
    assert len(source) == 20
    weights = {**experiment.load_frozen(), **experiment.init().params}

    @jax.jit
    def loss(batch, seed):
        draw = Draw(example_keys(jax.random.key(seed), jnp.arange(8)), jnp.linspace(0.1, 0.9, 8))
        found = experiment.task.losses(weights, weights, {}, batch, draw, jnp.array(0))
        return found.by_player["model"]

    fields = ("x", "text", "position")
    raw = {name: value for name, value in next(experiment.batches()).items() if name in fields}
    kept = {name: v for name, v in _batch(experiment, source).items() if name in fields}
    assert isinstance(kept["x"], Posterior) and isinstance(kept["text"], Condition)
    np.testing.assert_allclose(loss(kept, 0), loss(raw, 0), rtol=1e-4)
    assert np.abs(loss(kept, 1) - loss(raw, 0)).max() > 1e-2


def test_an_interrupted_cache_goes_on(experiment, source):
    """Fails if whole shards are made again, or a missing and a damaged one stay as they are."""
    paths = [caches.shard_path(source.folder, i) for i in range(3)]
    before, times = [p.read_bytes() for p in paths], [p.stat().st_mtime_ns for p in paths]
    paths[1].unlink()
    paths[2].write_bytes(before[2][: len(before[2]) // 2])
    with pytest.raises(ValueError, match=r"00001\.array_record is missing or damaged"):
        caches.CachedExamples(source.folder, source._layout, 20, 8)
    again = cached.filled(experiment, _cache(experiment))
    assert [p.stat().st_mtime_ns == t for p, t in zip(paths, times, strict=True)] == [True, 0, 0]
    assert again.folder == source.folder
    for i in (3, 12, 19):
        np.testing.assert_array_equal(again[i]["x.mean"], source[i]["x.mean"])
    with pytest.raises(IndexError):
        again[20]


def test_other_weights_or_transforms_are_another_cache(experiment, source, folder):
    """Fails if a stale cache is read, or is not found."""
    key = cached.key_of(experiment, _cache(experiment), 8)
    place = folder / "caches"
    assert cached.stale(place, key) == []
    assert cached.stale(place, {**key, "transforms": ["RandomFlip"]}) == [source.folder]
    write_autoencoder(folder / "other", seed=1)
    config = experiment.config.copy_and_resolve_references()
    config.weights.codec = str(folder / "other")
    other = Experiment(config, experiment.devices)
    changed = cached.key_of(other, _cache(other), 8)
    assert [name for name in key if key[name] != changed[name]] == ["weights"]


@pytest.mark.slow
def test_a_training_reads_the_cache(experiment, source, tmp_path):
    """From the flag to the last step; fails if the step or the held-out loss takes no posterior."""
    config = experiment.config.copy_and_resolve_references()
    config.evaluation.evaluators = ("HeldOutLoss",)
    config.evaluation.num = 8
    state = Experiment(config, experiment.devices).train(tmp_path / "run")
    assert int(state.step) == 4
    assert (tmp_path / "run" / "config.json").exists()
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert any("held_out_loss" in json.dumps(json.loads(line)) for line in lines)


def test_records():
    """Fails if a type, a shape or a text is lost."""
    example = {
        "x": np.arange(6, dtype=np.float32).reshape(2, 3) / 4,
        "label": np.int32(7),
        "text.mask": np.array([True, False]),
        "note": "zwölf Äpfel",
    }
    for dtype in ("float32", "bfloat16", "float16"):
        layout = caches.Layout.of(example, dtype)
        layout = caches.Layout.read(json.loads(json.dumps(vars(layout))))
        found = layout.unpack(layout.pack(example))
        assert found["note"] == example["note"] and found["x"].dtype == np.float32
        for name in ("x", "label", "text.mask"):
            np.testing.assert_array_equal(found[name], example[name])
    assert layout.size == 6 * 2 + 4 + 2


def test_a_task_without_latents_says_so():
    """Fails if points are cached."""
    config = points_config()
    config.train.cache = "Cache"
    with pytest.raises(ValueError, match="only the task Diffusion in latents"):
        cached.training_batches(Experiment(config))


def test_the_maps_of_a_control_network_are_kept(folder):
    """Fails if a map is lost, or is another example's."""
    config = latent_text_config(folder)
    config.conditions, config.encoders = (), {}
    config.network = {"name": "UNet", "channels": (4, 8), "layers_per_block": 1, "num_groups": 2}
    config.transforms = ("ControlMap(of='grey')",)
    config.weights = {"network": "tests.support.drawn:Drawn()", "codec": str(folder / "vae")}
    config.train.cache = f"Cache(folder={str(folder / 'maps')!r}, examples=8, shard=8)"
    with config.unlocked():
        config.control = {"channels": 1}
    made = Experiment(config, Devices(make_mesh(jax.devices()[:1])))
    kept, raw = cached.filled(made, _cache(made)), next(made.batches())
    maps = np.stack([kept[i]["control"] for i in range(8)])
    np.testing.assert_allclose(maps, raw["control"], atol=1e-3)
    batch = next(cached.training_batches(made))
    assert batch["control"].shape == raw["control"].shape
