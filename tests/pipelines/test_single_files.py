"""Released models in one file, in their authors' layouts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.networks import released as networks
from jaxdiff.pipelines import inferred, layouts
from jaxdiff.pipelines.opening import released
from jaxdiff.pretrained import open_tensors, to_theirs
from jaxdiff.pretrained.families import network_shapes
from jaxdiff.trees import size_of
from tests.support.released import (
    DUAL,
    save_tensors,
    write_refiner,
    write_sd,
    write_sd3,
    write_sdxl,
    write_single,
)

pytest.importorskip("tokenizers")

SD2 = {"use_linear_projection": True, "attention_head_dim": [2, 4]}
FAMILIES = {
    "2": functools.partial(write_sd, **SD2),
    "XL": write_sdxl,
    "3": write_sd3,
    "3 without T5": functools.partial(write_sd3, t5=False),
    "3.5 medium": functools.partial(write_sd3, t5=False, **DUAL),
    "refiner": write_refiner,
}


@pytest.fixture(scope="module")
def opened(tmp_path_factory, folder, pipeline, one):
    """A folder, the pipeline in it, and the same in one file."""

    @functools.cache
    def write(name):
        there, found = tmp_path_factory.mktemp("released"), pipeline
        source = folder
        if name != "1":
            source = FAMILIES[name](there / "folder")
            found = released(source, devices=one)
        write_single(found, there / "model.safetensors")
        return source, found, there / "model.safetensors"

    return write


@pytest.mark.parametrize(
    "name", ["1", *(pytest.param(n, marks=pytest.mark.slow) for n in FAMILIES)]
)
def test_a_file_holds_what_a_folder_does(opened, one, name):
    """Fails if two arrays are exchanged, turned, or left out."""
    folder, pipeline, file = opened(name)
    found = released(file, config=folder, devices=one)
    assert found.parts.family == pipeline.parts.family
    expected = dict(pipeline.weights)
    if name.startswith("3"):
        # Files have no projection of the first CLIP's vector.
        expected["text"] = jax.tree.map(lambda leaf: leaf, expected["text"])
        del expected["text"]["network"]["clip_l"]["projection"]
    jax.tree.map(np.testing.assert_array_equal, found.weights, expected)


REAL = {
    "Stable Diffusion 1": (networks.stable_diffusion_15, 859_520_964, 686),
    "Stable Diffusion 2": (networks.stable_diffusion_2, 865_910_724, 686),
    "SDXL": (networks.sdxl, 2_567_463_684, 1680),
    "SDXL's refiner": (networks.sdxl_refiner, 2_259_526_660, 1220),
    "Stable Diffusion 3 medium": (networks.sd3_medium, 2_028_328_000, 491),
    "Stable Diffusion 3.5 medium": (networks.sd35_medium, 2_243_171_520, 665),
}


@pytest.mark.parametrize("name", REAL)
@pytest.mark.slow
def test_the_sizes_of_the_released_networks(name):
    """Fails if the table leaves out a key, or names one that the released file does not have."""
    make, parameters, keys = REAL[name]
    network = make()
    channels = 16 if "3" in name else 4
    shapes = network_shapes(network, (8, 8, channels))
    linear = name != "Stable Diffusion 1"
    blank = {"x.proj_in.weight": np.zeros((1, 1) if linear else (1, 1, 1, 1))}
    theirs = jax.eval_shape(
        lambda tree: to_theirs(layouts.network_table(network, blank), tree), shapes
    )
    assert size_of(shapes) == parameters
    # Stable Diffusion 3's file also has its positions.
    assert len(theirs) == keys - ("3" in name)
    abstract = {layouts.NETWORK + key: value for key, value in theirs.items()}
    most = network.positions.places.most if "3" in name else 1
    place = jax.ShapeDtypeStruct((1, most**2, 1), jnp.float32)
    abstract |= {f"{layouts.NETWORK}pos_embed": place} if "3" in name else {}
    clip = layouts.CLIP_HF if name == "Stable Diffusion 1" else layouts.CLIP_OPEN
    encoders = (clip,) if name < "Stable Diffusion 3" and "XL" not in name else ()
    encoders = layouts.REFINER_ENCODERS if "refiner" in name else encoders
    layout = layouts.layout_of(abstract, "a file")._replace(encoders=encoders)
    assert inferred.network_of(layout, abstract, "a file") == network


def change(tensors, **changes):
    return {key: value for key, value in {**tensors, **changes}.items() if value is not None}


def test_damaged_and_other_files_are_named(opened, one, tmp_path):
    """Keys removed, renamed or reshaped: fails if one passes, or the message hides which."""
    folder, _, file = opened("1")
    tensors = {key: np.asarray(value) for key, value in open_tensors(file).items()}
    key = f"{layouts.NETWORK}input_blocks.1.1.proj_in.weight"
    text = "cond_stage_model.transformer.text_model.final_layer_norm.weight"
    cases = {
        "missing": (
            {key: None},
            r"(?s)network: .*1 missing from it: input_blocks.1.1.proj_in.weight",
        ),
        "renamed": (
            {text: None, text.replace("norm", "nrom"): tensors[text]},
            r"(?s)text: .*unknown to the network: text_model.final_layer_nrom.weight",
        ),
        "reshaped": (
            {key: tensors[key][:4]},
            r"(?s)network: .*input_blocks.1.1.proj_in.weight is \[4, 8, 1, 1\], not \[8, 8, 1, 1\]",
        ),
        "strange": ({"lora.weight": np.zeros(1)}, "1 keys belong to no part of.*: lora.weight"),
        "other": (
            dict.fromkeys(tensors) | {"a": np.zeros(1)},
            r"is no model that can be read.*but a",
        ),
    }
    for name, (changes, message) in cases.items():
        save_tensors(change(tensors, **changes), tmp_path / f"{name}.safetensors")
        with pytest.raises(ValueError, match=message):
            released(tmp_path / f"{name}.safetensors", config=folder, devices=one)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"cut.safetensors' is cut off"):
        released(cut, config=folder)


def test_what_a_file_alone_does_not_say(opened, tmp_path):
    folder, _, file = opened("1")
    with pytest.raises(ValueError, match=r"has no tokenizer.*openai/clip-vit-large-patch14"):
        released(file)
    with pytest.raises(ValueError, match="config and tokenizer are of a single file"):
        released(folder, tokenizer=folder / "tokenizer")
    tensors = {key: np.asarray(value) for key, value in open_tensors(file).items()}
    old = "cond_stage_model.transformer."
    opened_ = {key.replace(old, layouts.CLIP_OPEN): value for key, value in tensors.items()}
    save_tensors(opened_, tmp_path / "two.safetensors")
    with pytest.raises(ValueError, match="does not say whether the network predicts v"):
        released(tmp_path / "two.safetensors", tokenizer=folder / "tokenizer")
    eight = f"{layouts.NETWORK}input_blocks.0.0.weight"
    save_tensors(
        {**tensors, eight: np.zeros((8, 8, 3, 3), np.float32)}, tmp_path / "eight.safetensors"
    )
    with pytest.raises(ValueError, match="reads 8 channels: a model for editing"):
        released(tmp_path / "eight.safetensors", tokenizer=folder / "tokenizer")
