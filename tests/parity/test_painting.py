"""Inpainting networks of nine channels beside diffusers: whole pictures."""

import json

import numpy as np
import pytest

from jaxdiff.pipelines import released
from tests.parity.test_controls import pictures
from tests.parity.test_export import peer
from tests.parity.test_released import NEGATIVE, PROMPTS, SCALE, STEPS
from tests.support import released as tiny

pytestmark = pytest.mark.parity


def test_pictures_of_an_inpainting_network(tmp_path):
    """Fails if mask, masked picture or their order differ; known pixels are kept besides."""
    torch = pytest.importorskip("torch")
    folder = tiny.write_sd(tmp_path / "model", in_channels=9)
    index = json.loads((folder / "model_index.json").read_text())
    index["_class_name"] = "StableDiffusionInpaintPipeline"
    (folder / "model_index.json").write_text(json.dumps(index))
    tiny.without_spread(folder)
    theirs = peer(folder)
    rng = np.random.default_rng(5)
    image = rng.uniform(-1, 1, (16, 16, 3)).astype(np.float32)
    known = np.zeros((16, 16), bool)
    known[:, :10] = True
    as_theirs = lambda a: torch.tensor(np.ascontiguousarray(a.transpose(2, 0, 1))[None])
    given = {"image": as_theirs(image), "mask_image": as_theirs(np.float32(~known)[..., None])}
    expected, noise = pictures(theirs, {**given, "strength": 1.0})
    options = {"steps": STEPS, "guidance_scale": SCALE, "negative": NEGATIVE}
    ours = released(folder)
    found = ours.sample(2, {"text": PROMPTS}, image=image, mask=known, noise=noise, **options)
    np.testing.assert_array_equal(found[:, :, :10], np.broadcast_to(image, found.shape)[:, :, :10])
    painted = np.clip(found / 2 + 0.5, 0, 1)[:, :, 10:]
    np.testing.assert_allclose(painted, expected[:, :, 10:], atol=1e-3)
