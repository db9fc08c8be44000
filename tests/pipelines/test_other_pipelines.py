"""Released pipelines of images, of classes, and PixArt: opened, drawn, and refused by name."""

import functools
import json
import shutil
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

PIXART_1024 = functools.partial(tiny.write_pixart, sized=True)
WAN_IMAGE = functools.partial(tiny.write_wan, from_image=True)
KINDS = [
    tiny.write_unconditional,
    tiny.write_consistency,
    tiny.write_dit,
    tiny.write_pixart,
    tiny.write_wan,
    tiny.write_lcm,
    PIXART_1024,
    WAN_IMAGE,
]


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


def test_pixart_of_1024_pixels_reads_its_size(opened):
    """Fails if the size that is drawn, or one that is given, does not reach the network."""
    pipeline = opened(PIXART_1024)
    noise = np.random.default_rng(0).normal(size=(1, 4, 8, 4)).astype(np.float32)
    options = {"noise": noise, "size": (8, 16), "steps": 1}
    draw = lambda **numbers: pipeline.sample(1, {"text": "a cat", **numbers}, **options)
    found = draw()
    np.testing.assert_array_equal(draw(resolution=[[8, 16]], aspect_ratio=[[0.5]]), found)
    assert np.abs(draw(resolution=[[80, 160]]) - found).max() > 1e-4
    assert np.abs(draw(aspect_ratio=[[2.0]]) - found).max() > 1e-4


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


def test_wan_continues_a_picture(opened):
    """Fails if the picture does not reach the network, its latents or its states."""
    pipeline = opened(WAN_IMAGE)
    noise = np.random.default_rng(0).normal(size=(2, 3, 4, 8, 4)).astype(np.float32)
    pictures = np.random.default_rng(1).uniform(-1, 1, (2, 8, 16, 3)).astype(np.float32)
    options = {"steps": 1, "size": (5, 8, 16), "noise": noise}
    draw = lambda image, **more: pipeline.sample(2, "a red cat", image=image, **options, **more)
    found = draw(pictures)
    assert found.shape == (2, 5, 8, 16, 3)
    both = draw(pictures[0])
    np.testing.assert_allclose(both[0], found[0], atol=1e-5)
    assert np.abs(both[1] - found[1]).max() > 1e-3
    for image, message in [
        (None, "continues a picture: give image"),
        (pictures[0, :4], r"image has shape \[4, 16, 3\]; expected \[8, 16, 3\]"),
        (pictures[0] + 1, r"not \[-1, 1\]"),
    ]:
        with pytest.raises(ValueError, match=message):
            draw(image)
    with pytest.raises(ValueError, match="strength and mask"):
        draw(pictures, strength=0.5)


@pytest.mark.parametrize(
    "change",
    [{"boundary_ratio": 0.875}, {"transformer_2": ["diffusers", "x"]}, {"expand_timesteps": True}],
)
def test_models_of_several_networks_are_refused(change, opened, tmp_path):
    """Fails if the second network of Wan 2.2 is ignored."""
    source = Path(opened(tiny.write_wan).parts.sources["network"].path).parent
    shutil.copytree(source, tmp_path / "model")
    index = tmp_path / "model" / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), **change}))
    with pytest.raises(ValueError, match=f"{next(iter(change))}.*cannot be expressed"):
        released(tmp_path / "model")


def test_latent_consistency_models_read_their_guidance(opened):
    pipeline = opened(tiny.write_lcm)
    draw = lambda scale: pipeline.sample(1, "a red cat", steps=1, guidance_scale=scale)
    assert draw(1.0).shape == (1, 16, 16, 3)
    assert np.abs(draw(8.5) - draw(1.0)).max() > 1e-4
    with pytest.raises(ValueError, match="consistency model; take Consistency"):
        pipeline.sample(1, "a red cat", solver="DDIM")


@pytest.mark.parametrize("write", KINDS, ids=lambda write: getattr(write, "__name__", "variant"))
def test_what_was_opened_is_written_back(write, opened, tmp_path):
    """Fails if a tensor is lost, turned, or written under another name."""
    pipeline = opened(write)
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
