"""LoRA written in public names and read again: every kernel of a network, and of text encoders."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.conditioning.loading import text_shapes
from jaxdiff.networks.text.clip import CLIPTextSettings
from jaxdiff.pipelines.export_lora import OfText, save_lora
from jaxdiff.pipelines.lora import read_lora, with_changes
from jaxdiff.pretrained import open_tensors
from jaxdiff.pretrained.families import network_shapes
from jaxdiff.weights.adapters import LoRA
from tests.parity.cases.dit import NETWORKS as TRANSFORMERS
from tests.parity.cases.unet_text import NETWORKS as UNETS

pytest.importorskip("safetensors")

MEDIUM = "Stable Diffusion 3.5 medium"
CLIP = CLIPTextSettings(vocabulary=20, width=8, layers=2, heads=2, mlp_width=12, positions=7)
CASES = [
    ("Stable Diffusion 1", "kohya", "lora_unet_mid_block_attentions_0_proj_in"),
    ("Stable Diffusion 1", "peft", "unet.mid_block.attentions.0.proj_in"),
    ("SDXL", "kohya", "lora_unet_middle_block_1_proj_in"),
    ("SDXL's refiner", "kohya", "lora_unet_middle_block_1_proj_in"),
    (MEDIUM, "peft", "transformer.transformer_blocks.0.attn2.to_q"),
    (MEDIUM, "kohya", "lora_unet_joint_blocks_0_x_block_attn2_qkv"),
]


def drawn(shapes, seed):
    """Numbers of these shapes."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: jnp.asarray(rng.standard_normal(a.shape), jnp.float32), shapes)


@pytest.mark.parametrize(("name", "naming", "module"), CASES)
def test_every_kernel_comes_back(name, naming, module, tmp_path):
    """Fails if a factor is turned, outputs are not in their order, or alpha counts otherwise.

    Among them are patches, fused queries, keys and values, and scales that stand before shifts.
    """
    network = {**UNETS, **TRANSFORMERS}[name]
    params = drawn(network_shapes(network, (8, 8, 4)), 0)
    encoders = drawn({"clip_l": text_shapes(CLIP), "bigg": text_shapes(CLIP)}, 1)
    encoders = encoders["clip_l"] if name in UNETS and "SDXL" not in name else encoders
    weights = {"network": params, "text": {"network": encoders}}
    adapter, of_text = LoRA(modules="kernel$", rank=2, alpha=3.0), LoRA("text", "kernel$", 3, 1.5)
    factors = drawn(jax.eval_shape(adapter.init, jax.random.key(0), params), 2)
    texts = drawn(jax.eval_shape(of_text.init, jax.random.key(0), weights["text"]), 3)
    file, text = tmp_path / "a.safetensors", OfText(texts, weights["text"], alpha=1.5)
    options = {"alpha": 3.0, "naming": naming, "linear_projection": name != "Stable Diffusion 1"}
    save_lora(factors, network, params, file, text=text, **options)
    assert any(key.startswith(f"{module}.lora_") for key in open_tensors(file))
    lora = read_lora(file, network, weights)
    assert not lora.unused
    found = with_changes(weights, network, lora, 1.0)
    expected = {
        "network": adapter.apply(params, factors), "text": of_text.apply(weights["text"], texts),
    }  # fmt: skip
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), found, expected)


def test_factors_of_other_weights_are_named(tmp_path):
    """Fails if factors are left out in silence."""
    network, file = UNETS["SDXL"], tmp_path / "a.safetensors"
    shapes = network_shapes(network, (8, 8, 4))
    pair = {"down": np.zeros((4, 1), np.float32), "up": np.zeros((1, 4), np.float32)}
    save = lambda factors, **more: save_lora(factors, network, shapes, file, **more)
    with pytest.raises(ValueError, match="no kernel at down_9/kernel"):
        save({"down_9": {"kernel": pair}})
    with pytest.raises(ValueError, match="factors are delta; LoRA's are down and up"):
        save({"conv_in": {"kernel": {"delta": pair["up"]}}})
    with pytest.raises(ValueError, match="there are no factors"):
        save({})
    params = {"network": {"clip_l": {}, "bigg": {}}}
    with pytest.raises(ValueError, match="those of an adapter have network"):
        save({}, text=OfText({"clip_l": {}}, params))
    with pytest.raises(ValueError, match=r"no text encoder \['t5'\]; known: clip_l, bigg"):
        save({}, text=OfText({"network": {"t5": {}}}, params))
