"""Batches of one shape each, of data of several shapes."""

import itertools
from collections import Counter

import jax
import numpy as np
import pytest
from PIL import Image

from jaxdiff import Experiment
from jaxdiff import config as defaults
from jaxdiff.data.buckets import Buckets, Turns
from jaxdiff.data.pipeline import loader
from jaxdiff.weights.devices import Devices, make_mesh

CLIPS = [{"name": "moving_scenes", "frames": n, "size": 8, "clips": 12} for n in (3, 1)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six wide images, four square ones, two tall ones, each of a grey of its own."""
    folder = tmp_path_factory.mktemp("images")
    for i, (width, height) in enumerate([(30, 15)] * 6 + [(20, 21)] * 4 + [(9, 20)] * 2):
        Image.new("RGB", (width, height), (20 * i,) * 3).save(folder / f"{i:02d}.png")
    return folder


def first(source, num, **options):
    options = {"batch_size": 2, "seed": 0, **options}
    return list(itertools.islice(loader(source, **options), num))


def test_images_go_to_the_nearest_aspect_ratio(folder):
    """Fails if height and width are exchanged, or a batch mixes shapes."""
    of = [{"name": "image_folder", "folder": str(folder)}]
    source = Buckets("all", of, sizes=[(8, 8), (8, 16), (16, 8)])
    assert [len(bucket.indices) for bucket in source.buckets] == [4, 6, 2]
    assert [bucket.share for bucket in source.buckets] == [21, 32, 11]
    assert source.shape == (8, 8, 3)
    batches = first(source, 64, transforms=["RandomFlip"])
    assert Counter(batch["x"].shape[1:] for batch in batches) == {
        (8, 8, 3): 21, (8, 16, 3): 32, (16, 8, 3): 11,
    }  # fmt: skip
    wide = [batch for batch in batches if batch["x"].shape[2] == 16]
    for epoch in (wide[:3], wide[3:6]):
        records = sorted(np.concatenate([batch["record"] for batch in epoch]).tolist())
        assert records == source.buckets[1].indices
    once = first(source, 9, epochs=1, shuffle=False)
    assert [batch["x"].shape for batch in once] == [(2, 8, 8, 3)] * 2
    with pytest.raises(ValueError, match="no image is nearest to the first"):
        Buckets("all", of, sizes=[(8, 800), (8, 8)])
    with pytest.raises(ValueError, match=r"shares=\(1,\) of 2 buckets"):
        Buckets("train", CLIPS, shares=[1])


def test_clips_and_pictures_take_turns():
    """Fails if shares are others, or two processes read batches of different buckets."""
    source = Buckets("train", CLIPS, shares=[3, 1])
    whole = first(source, 8)
    assert Counter(batch["x"].shape[1] for batch in whole) == {3: 6, 1: 2}
    parts = [first(source, 8, process_index=i, process_count=2) for i in range(2)]
    for batch, *both in zip(whole, *parts, strict=True):
        np.testing.assert_array_equal(batch["x"], np.concatenate([each["x"] for each in both]))
    later = loader(source, batch_size=2, seed=0)
    later.set_state({"batches": 5})
    np.testing.assert_array_equal(next(later)["x"], whole[5]["x"])
    turns = Turns((3, 1), 0)
    numbers = [turns(batch) for batch in range(40)]
    assert sorted(n for k, n in numbers if k == 1) == list(range(10))


@pytest.mark.slow
def test_a_training_has_a_program_for_each_shape(tmp_path):
    """Fails if a shape is compiled twice, or one that does not fit is found at its first step."""
    config = defaults.default()
    config.data = {"name": "buckets", "shape": (3, 8, 8, 3), "num_classes": 0}
    with config.unlocked():
        config.data.of, config.data.shares = CLIPS, (1, 1)
    config.network = {"name": "DiT", "features": 8, "depth": 1, "num_heads": 2}
    config.batch_size = 2
    config.train.update(steps=6, log_every=3, checkpoint_every=6)
    config.evaluation.evaluators = ("HeldOutLoss",)
    config.evaluation.num = 2
    experiment = Experiment(config, Devices(make_mesh(jax.devices()[:1])))
    assert int(experiment.train(tmp_path).step) == 6
    assert len(experiment.runner._steps) == 2
    with config.unlocked():
        config.data.of = (CLIPS[0], {**CLIPS[1], "size": 9})
    with pytest.raises(ValueError, match=r"the bucket of shape \(1, 9, 9, 3\): size"):
        Experiment(config, experiment.devices).train(tmp_path / "other")
