"""Weights changed here and written as folders and LoRA, drawn from by diffusers."""

import functools
import json

import jax
import numpy as np
import pytest

from jaxdiff.pipelines import released
from jaxdiff.pipelines.export_folder import save_folder
from jaxdiff.pipelines.export_lora import OfText, save_lora
from jaxdiff.weights.adapters import LoRA
from tests.parity.test_released import NULL, compare_pictures
from tests.support import released as tiny

pytestmark = pytest.mark.parity

WRITERS = {
    "SD 1": tiny.write_sd,
    "SDXL": tiny.write_sdxl,
    "SD 3": functools.partial(tiny.write_sd3, t5=True),
}


def peer(folder):
    """Diffusers' pipeline of a folder."""
    torch, diffusers = pytest.importorskip("torch"), pytest.importorskip("diffusers")
    torch.set_num_threads(1)
    index = json.loads((folder / "model_index.json").read_text())
    names = ("text_encoder_3", "tokenizer_3")
    absent = {name: None for name in names if index.get(name, 1) == NULL}
    theirs = diffusers.DiffusionPipeline.from_pretrained(folder, **absent)
    theirs.set_progress_bar_config(disable=True)
    return theirs


def moved(tree, seed):
    """Weights a step away from some."""
    rng = np.random.default_rng(seed)
    step = lambda a: a + (0.05 * rng.standard_normal(a.shape)).astype(a.dtype)
    return jax.tree.map(step, tree)


@pytest.mark.parametrize("name", WRITERS)
def test_a_folder_of_changed_weights(name, tmp_path):
    """Fails if an array is written under another key, turned, or left as it was."""
    folder = WRITERS[name](tmp_path / "folder")
    base = released(folder)
    text = base.weights["text"]
    changed = base.with_weights(
        network=moved(base.weights["network"], 1),
        codec=moved(base.weights["codec"], 2),
        text={**text, "network": moved(text["network"], 3)},
    )
    save_folder(changed, tmp_path / "new", like=folder)
    compare_pictures(changed, peer(tmp_path / "new"))
    with pytest.raises(ValueError, match="is there already"):
        save_folder(changed, tmp_path / "new", like=folder)


@pytest.mark.parametrize(
    ("name", "naming"),
    [
        ("SD 1", "peft"),
        ("SD 1", "kohya"),
        ("SDXL", "peft"),
        ("SDXL", "kohya"),
        ("SD 3", "peft"),
    ],
)
def test_lora_that_was_trained_here(name, naming, tmp_path):
    """Of network and texts; fails if a factor is turned, a module is missed, or alpha is another.

    Diffusers reads no LoRA of Stable Diffusion 3 in kohya's names, and of T5 none.
    """
    pytest.importorskip("peft")
    folder = WRITERS[name](tmp_path / "folder")
    base = released(folder)
    network, params = base.parts.model.network, base.weights["network"]
    adapter = LoRA(rank=2, alpha=3.0)
    factors = moved(adapter.init(jax.random.key(0), params), 4)
    clips = LoRA("text", modules=r"layer_\d+/attention/\w+/kernel$", rank=3, alpha=2.0)
    texts = base.weights["text"]
    if "t5" in texts["network"]:
        clips = LoRA("text", modules=r"(clip_l|bigg)/layer_\d+/attention/\w+/kernel$", rank=3)
    of_text = moved(clips.init(jax.random.key(1), texts), 5)
    ours = base.with_weights(
        network=adapter.apply(params, factors), text=clips.apply(texts, of_text)
    )
    file = tmp_path / "lora.safetensors"
    linear = name != "SD 1"
    options = {"alpha": 3.0, "naming": naming, "linear_projection": linear}
    save_lora(factors, network, params, file, text=OfText(of_text, texts, clips.alpha), **options)
    theirs = peer(folder)
    theirs.load_lora_weights(tmp_path, weight_name=file.name, adapter_name="a")
    compare_pictures(ours, theirs)
    # And back here.
    again = base.with_lora(file).weights
    close = functools.partial(np.testing.assert_allclose, atol=1e-5)
    for part in ("network", "text"):
        jax.tree.map(close, again[part], ours.weights[part])
