"""Released pipelines of images, of classes, and PixArt: opened, drawn, and refused by name."""

from pathlib import Path

import jax
import numpy as np
import pytest

pytest.importorskip("safetensors")
pytest.importorskip("tokenizers")

from jaxdiff.pipelines.export_folder import save_folder
from jaxdiff.pipelines.opening import released
from jaxdiff.pipelines.saving import save_file
from jaxdiff.pretrained import open_tensors
from jaxdiff.weights.devices import Devices, make_mesh
from tests.support import released_others as tiny


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """Opens a folder that one of the writers made, once."""
    found = {}

    def open_one(write):
        if write not in found:
            folder = write(tmp_path_factory.mktemp("released") / "model")
            found[write] = released(folder, devices=Devices(make_mesh(jax.devices()[:1])))
        return found[write]

    return open_one


def test_images_without_conditions(opened):
    pipeline = opened(tiny.write_unconditional)
    assert set(pipeline.weights) == {"network"}
    assert pipeline.sample(2, steps=2).shape == (2, 8, 8, 3)
    with pytest.raises(ValueError, match=r"size=\(16, 16\): this model draws \(8, 8\) only"):
        pipeline.sample(1, size=(16, 16), steps=2)
    with pytest.raises(ValueError, match="unknown condition 'text'"):
        pipeline.sample(1, "a cat", steps=2)


def test_consistency_models_draw_classes_in_a_step(opened):
    pipeline = opened(tiny.write_consistency)
    found = pipeline.sample(2, {"label": [1, 4]})
    assert found.shape == (2, 8, 8, 3)
    assert np.abs(found).max() <= 1
    assert np.abs(found[0] - found[1]).max() > 1e-3
    with pytest.raises(ValueError, match=r"labels \[6\] are out of range"):
        pipeline.sample(1, {"label": [6]})
    with pytest.raises(ValueError, match="Consistency"):
        pipeline.sample(1, {"label": [1]}, solver="DDIM")


def test_transformers_of_classes_are_guided(opened):
    """Fails if guidance does nothing, or a sample of no class is drawn as class 0."""
    pipeline = opened(tiny.write_dit)
    draw = lambda *cond, **options: pipeline.sample(1, *cond, steps=2, **options)
    plain = draw({"label": [0]}, guidance_scale=1.0)
    assert plain.shape == (1, 8, 8, 3)
    assert np.abs(draw({"label": [0]}, guidance_scale=4.0) - plain).max() > 1e-3
    assert np.abs(draw(guidance_scale=1.0) - plain).max() > 1e-3


def test_pixart_reads_small_letters(opened):
    pipeline = opened(tiny.write_pixart)
    draw = lambda prompt: pipeline.sample(1, prompt, steps=2)
    found = draw("a red cat")
    assert found.shape == (1, 8, 8, 3)
    np.testing.assert_array_equal(draw(" A Red cat"), found)
    assert np.abs(draw("a blue cat") - found).max() > 1e-4
    assert pipeline.sample(1, "a red cat", steps=1, size=(8, 16)).shape == (1, 8, 16, 3)


def test_clips_of_wan(opened):
    pipeline = opened(tiny.write_wan)
    assert repr(pipeline) == "Pipeline(Wan, 41x120x208)"
    found = pipeline.sample(1, "a red cat", steps=1, size=(5, 8, 12))
    assert found.shape == (1, 5, 8, 12, 3)
    with pytest.raises(ValueError, match=r"must be frames, height and width"):
        pipeline.sample(1, "a red cat", size=(8, 12))
    with pytest.raises(ValueError, match=r"a clip of 4 frames.*nearest: 3 and 5"):
        pipeline.sample(1, "a red cat", size=(4, 8, 12))
    with pytest.raises(ValueError, match=r"multiples of 4, such as \(8, 12\)"):
        pipeline.sample(1, "a red cat", size=(5, 8, 13))


def test_latent_consistency_models_read_their_guidance(opened):
    pipeline = opened(tiny.write_lcm)
    draw = lambda scale: pipeline.sample(1, "a red cat", steps=1, guidance_scale=scale)
    assert draw(1.0).shape == (1, 16, 16, 3)
    assert np.abs(draw(8.5) - draw(1.0)).max() > 1e-4
    with pytest.raises(ValueError, match="consistency model; take Consistency"):
        pipeline.sample(1, "a red cat", solver="DDIM")


@pytest.mark.parametrize("kind", ["unconditional", "consistency", "dit", "pixart", "wan", "lcm"])
def test_what_was_opened_is_written_back(kind, opened, tmp_path):
    """Fails if a tensor is lost, turned, or written under another name."""
    pipeline = opened(getattr(tiny, f"write_{kind}"))
    source = Path(pipeline.parts.sources["network"].path).parent
    save_folder(pipeline, tmp_path / "saved", like=source)
    files = sorted(path.relative_to(source) for path in source.rglob("*.safetensors"))
    assert files
    for file in files:
        before, after = open_tensors(source / file), open_tensors(tmp_path / "saved" / file)
        assert set(after) == set(before)
        for key, value in before.items():
            np.testing.assert_array_equal(after[key], value, err_msg=key)
    with pytest.raises(ValueError, match="no layout of a single file"):
        save_file(pipeline, tmp_path / "one.safetensors")
