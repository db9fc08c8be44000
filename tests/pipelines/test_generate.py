"""generate.py as a user runs it, and the text that it writes into pictures."""

import numpy as np
import pytest
from PIL import Image

from jaxdiff.pipelines import infotext
from tests.support.released import write_sd
from tests.support.released_others import write_consistency, write_wan

pytest.importorskip("tokenizers")


def test_the_text_of_a_picture_comes_back():
    """Fails if a comma, a colon or a line of a prompt is taken for the end of a field."""
    fields = {"Steps": 30, "Sampler": "DPM++ 2M", "CFG scale": "7", "Model": "a, b: c", "VAE": None}
    text = infotext.written("a red cat,\nSteps: many", "blurry, ugly", fields)
    assert text.splitlines()[-1] == 'Steps: 30, Sampler: DPM++ 2M, CFG scale: 7, Model: "a, b: c"'
    found = infotext.parsed(text)
    assert found.prompt == "a red cat,\nSteps: many"
    assert found.negative == "blurry, ugly"
    assert found.fields == {k: str(v) for k, v in fields.items() if v is not None}
    assert infotext.solver_of("DPM++ 2M") == "DPMpp2M"
    # A last line with fewer fields belongs to the prompt.
    assert infotext.parsed("a cat\nSteps: 3").prompt == "a cat\nSteps: 3"


def test_text_of_another_tool():
    """As version 1.10 of the web interface writes it."""
    text = (
        "a castle\nNegative prompt: fog\nSteps: 20, Sampler: Euler a, Schedule type: Karras, CFG "
        'scale: 7, Seed: 1, Size: 512x768, Model hash: abc, Lora hashes: "x: 1, y: 2", Version: v1'
    )
    prompt, negative, fields = infotext.parsed(text)
    assert (prompt, negative) == ("a castle", "fog")
    assert fields["Size"] == "512x768"
    assert fields["Lora hashes"] == "x: 1, y: 2"
    assert infotext.solver_of(fields["Sampler"]) == "EulerAncestral"


@pytest.mark.slow
def test_pictures_their_settings_and_the_same_again(scripts, tmp_path):
    """Fails if a flag is not written, is read as another, or pixels under a mask change."""
    folder = write_sd(tmp_path / "sd")
    out, image = tmp_path / "out.png", tmp_path / "in.png"

    def generate(*flags, code=0):
        found, printed = scripts("experiments/generate.py", *flags)
        assert found == code, printed
        return printed

    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(pixels).save(image)
    mask = np.zeros((16, 16), np.uint8)
    mask[:, 8:] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    short = (f"--model={folder}", "--prompt=a red cat, b: c", "--negative=blue", "--steps=3")
    generate(*short, "--num=2", "--size=16x16", "--seed=5", "--solver=DPMpp2M", f"--out={out}")
    first, second = (tmp_path / f"out-{i}.png" for i in range(2))
    info = Image.open(second).info
    assert "Sampler: DPM++ 2M, CFG scale: 7.5, Seed: 5, Image index: 1" in info["parameters"]
    generate(f"--again={second}", f"--out={tmp_path / 'again.png'}")
    assert (np.asarray(Image.open(tmp_path / "again.png")) == np.asarray(Image.open(second))).all()
    assert (np.asarray(Image.open(first)) != np.asarray(Image.open(second))).any()
    painting = (f"--image={image}", f"--mask={tmp_path / 'mask.png'}", f"--out={out}")
    generate(*short, *painting)
    painted = np.asarray(Image.open(out))
    assert (painted[:, :8] == pixels[:, :8]).all()
    assert (painted[:, 8:] != pixels[:, 8:]).any()
    assert "has no tokenizer" not in generate(*short, "--size=10x16", f"--out={out}", code=1)
    assert "depth='no.png': there is no" in generate(*short, "--depth=no.png", code=1)
    assert "--again" in generate("--help")
    assert "error: model: name" in generate("--prompt=a", code=1)


@pytest.mark.slow
def test_pictures_of_classes(scripts, tmp_path):
    """Fails if the class of a picture is not kept with it."""
    folder, out = write_consistency(tmp_path / "model"), tmp_path / "out.png"

    def generate(*flags, code=0):
        found, printed = scripts("experiments/generate.py", *flags)
        assert found == code, printed
        return printed

    generate(f"--model={folder}", "--label=1,4", "--num=2", f"--out={out}")
    second = tmp_path / "out-1.png"
    again = tmp_path / "again.png"
    generate(f"--again={second}", f"--out={again}")
    np.testing.assert_array_equal(np.asarray(Image.open(again)), np.asarray(Image.open(second)))
    assert "has 3 classes for num=2" in generate(
        f"--model={folder}", "--label=1,2,3", "--num=2", f"--out={out}", code=1
    )
    assert "reads no text" in generate(f"--model={folder}", "--prompt=a cat", code=1)


@pytest.mark.slow
def test_clips(scripts, tmp_path):
    """Fails if the number of frames is lost."""
    folder, out = write_wan(tmp_path / "model"), tmp_path / "out.gif"
    flags = [f"--model={folder}", "--prompt=a red cat", "--steps=1", "--size=12x8", "--frames=5"]
    code, printed = scripts("experiments/generate.py", *flags, f"--out={out}")
    assert code == 0, printed
    assert Image.open(out).n_frames == 5
    code, printed = scripts("experiments/generate.py", *flags, f"--out={tmp_path / 'out.png'}")
    assert code == 1
    assert "the model draws clips, .gif or .mp4" in printed
