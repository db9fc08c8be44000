"""The models in `pretrained/`: small, whole, and what the demo draws with."""

import jax
import numpy as np
import pytest
from PIL import Image

import jaxdiff
from tests.support.forked import ROOT

PUBLISHED = sorted(path.name for path in (ROOT / "pretrained").iterdir())


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_model_is_small_whole_and_of_no_machine(name, monkeypatch, tmp_path):
    """Fails if a file is missing or damaged, or a config names a folder of the one who made it.

    It is opened by its name, from another folder.
    """
    folder = ROOT / "pretrained" / name
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 25e6
    places = (b"/tmp/", b"/home/", b"/root/", b"/work/")
    assert not [file for file in files if any(place in file.read_bytes() for place in places)]
    assert name in (folder / "README.md").read_text()
    monkeypatch.chdir(tmp_path)
    weights = jaxdiff.load(f"pretrained/{name}").weights
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(weights))


def test_all_published_models_are_small_together():
    """Fails if the repository grows by more than it should."""
    files = [file for file in (ROOT / "pretrained").rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 40e6


@pytest.mark.slow
def test_the_demo_of_few_steps_draws(scripts, tmp_path):
    """In one and two steps, and in fifty; a row a class, no picture empty."""
    code, printed = scripts("experiments/demo_fast.py", f"--out={tmp_path / 'demo.png'}")
    assert code == 0, printed
    assert printed.count("ms an image") == 3
    with Image.open(tmp_path / "demo.png") as image:
        assert np.asarray(image.convert("L")).std() > 50


@pytest.mark.slow
@pytest.mark.skipif("scenes_text" not in PUBLISHED, reason="no model of words is published")
def test_the_demo_of_words_draws(scripts, tmp_path):
    """A row for each prompt; fails if the codec is not found, or the picture is empty."""
    out = tmp_path / "demo.png"
    flags = ["--prompt=a red heart", "--prompt=two blue cats", "--num=2", "--steps=3"]
    code, printed = scripts("experiments/demo_text.py", f"--out={out}", *flags)
    assert code == 0, printed
    with Image.open(out) as image:
        assert np.asarray(image.convert("L")).std() > 10


@pytest.mark.slow
def test_the_demo_of_control_draws(scripts, tmp_path):
    """By a drawing of one's own, which samples follow; fails if a row is empty."""
    drawing = np.full((64, 64, 3), 255, np.uint8)
    drawing[20:44, 20:22] = drawing[20:44, 42:44] = drawing[20:22, 20:44] = drawing[
        42:44, 20:44
    ] = 0
    Image.fromarray(drawing).save(tmp_path / "square.png")
    out = tmp_path / "demo.png"
    flags = [f"--drawing={tmp_path / 'square.png'}", "--prompt=a red heart, on a white ground"]
    code, printed = scripts(
        "experiments/demo_control.py", f"--out={out}", "--num=2", "--steps=4", *flags
    )
    assert code == 0, printed
    with Image.open(out) as image:
        assert np.asarray(image.convert("L")).std() > 10
    Image.fromarray(np.full_like(drawing, 255)).save(tmp_path / "square.png")
    code, printed = scripts("experiments/demo_control.py", f"--out={out}", *flags)
    assert code == 1
    assert "it has no dark lines" in printed
