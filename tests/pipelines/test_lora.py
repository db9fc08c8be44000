"""Adapters from files: their arithmetic, whose weights they change, what is left over."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.pretrained.lora.changes import difference, merged
from tests.support.released import save_tensors

pytest.importorskip("tokenizers")

RNG = np.random.default_rng(0)
ATTENTION = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
OURS = ("network", "down_0_0_transformer", "block_0", "self", "query", "kernel")
CONV = "down_blocks.0.resnets.0.conv1"
CLIP = "text_model.encoder.layers.1.self_attn.q_proj"


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def leaf(weights, path):
    for name in path:
        weights = weights[name]
    return np.asarray(weights)


@pytest.mark.parametrize(
    ("prefix", "name", "ends", "alpha"),
    [
        ("lora_unet_", ATTENTION.replace(".", "_"), ("lora_down", "lora_up"), 2.0),
        ("lora_unet_", ATTENTION.replace(".", "_"), ("lora_down", "lora_up"), 0.0),
        ("unet.", ATTENTION, ("lora_A", "lora_B"), None),
        ("unet.", ATTENTION, ("lora_linear_layer.down", "lora_linear_layer.up"), None),
        ("unet.", ATTENTION.replace("to_q", "processor"), ("to_q_lora.down", "to_q_lora.up"), None),
        (
            "diffusion_model.",
            "input_blocks.1.1.transformer_blocks.0.attn1.to_q",
            ("lora_down", "lora_up"),
            1.0,
        ),
    ],
)
def test_a_matrix_by_each_way_of_naming(pipeline, prefix, name, ends, alpha, tmp_path):
    """W + weight·alpha/rank·up·down, here transposed; fails if another module is changed."""
    down, up = normal(3, 8), normal(8, 3)
    tensors = {f"{prefix}{name}.{end}.weight": a for end, a in zip(ends, (down, up), strict=True)}
    if alpha is not None:
        tensors[f"{prefix}{name}.alpha"] = np.float32(alpha)[None]
    save_tensors(tensors, tmp_path / "a.safetensors")
    changed = pipeline.with_lora(tmp_path / "a.safetensors", 0.5).weights
    scale = 0.5 * (alpha / 3 if alpha else 1.0)
    before, after = leaf(pipeline.weights, OURS), leaf(changed, OURS)
    np.testing.assert_allclose(after, before + scale * (up @ down).T, atol=1e-5)
    same = jax.tree.map(lambda a, b: bool((a == b).all()), pipeline.weights, changed)
    assert sum(not equal for equal in jax.tree.leaves(same)) == 1


def test_convolutions_biases_and_text(pipeline, tmp_path):
    """Fails if a kernel is turned, a bias is lost, or the text encoder is not changed."""
    down, up, bias = normal(2, 8, 3, 3), normal(8, 2, 1, 1), normal(8)
    left, right = normal(2, 12), normal(12, 2)
    tensors = {
        f"lora_unet_{CONV.replace('.', '_')}.lora_down.weight": down,
        f"lora_unet_{CONV.replace('.', '_')}.lora_up.weight": up,
        f"lora_unet_{CONV.replace('.', '_')}.diff_b": bias,
        f"lora_te_{CLIP.replace('.', '_')}.lora_down.weight": left,
        f"lora_te_{CLIP.replace('.', '_')}.lora_up.weight": right,
    }
    save_tensors(tensors, tmp_path / "a.safetensors")
    changed = pipeline.with_lora(tmp_path / "a.safetensors").weights
    place = ("network", "down_0_0_residual", "conv_in")
    found = leaf(changed, (*place, "kernel")) - leaf(pipeline.weights, (*place, "kernel"))
    expected = np.einsum("or,rihw->hwio", up[..., 0, 0], down)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    found = leaf(changed, (*place, "bias")) - leaf(pipeline.weights, (*place, "bias"))
    np.testing.assert_allclose(found, bias, atol=1e-5)
    place = ("text", "network", "layer_1", "attention", "query", "kernel")
    found = leaf(changed, place) - leaf(pipeline.weights, place)
    np.testing.assert_allclose(found, (right @ left).T, atol=1e-5)


def test_alphas_of_the_header(pipeline, tmp_path):
    """PEFT's settings: fails if they are not read, or one module's own is not found."""
    import safetensors.numpy  # noqa: PLC0415 - of the extra `pretrained`

    key = ATTENTION.replace("to_q", "to_k")
    tensors = {f"unet.{name}.lora_A.weight": normal(2, 8) for name in (ATTENTION, key)}
    tensors |= {f"unet.{name}.lora_B.weight": normal(8, 2) for name in (ATTENTION, key)}
    settings = {"unet.lora_alpha": 4, "unet.r": 2, "unet.alpha_pattern": {key: 1}}
    header = {"format": "pt", "lora_adapter_metadata": json.dumps(settings)}
    safetensors.numpy.save_file(tensors, tmp_path / "a.safetensors", metadata=header)
    changed = pipeline.with_lora(tmp_path / "a.safetensors").weights
    for name, place, scale in ((ATTENTION, OURS, 2.0), (key, (*OURS[:4], "key", "kernel"), 0.5)):
        change = tensors[f"unet.{name}.lora_B.weight"] @ tensors[f"unet.{name}.lora_A.weight"]
        found = leaf(changed, place) - leaf(pipeline.weights, place)
        np.testing.assert_allclose(found, scale * change.T, atol=1e-5)


def whole_of(factors, shape):
    return difference(jax.tree.map(jnp.asarray, factors), shape)


def test_factors_in_closed_form():
    """Each kind as its paper writes it, on a matrix and on a kernel of 3×3."""
    a, b, c, d = normal(6, 2), normal(2, 4), normal(6, 2), normal(2, 4)
    names = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
    hada = dict(zip(names, (a, b, c, d), strict=True)) | {"alpha": np.float32(1.0)}
    np.testing.assert_allclose(whole_of(hada, (6, 4)), 0.5 * (a @ b) * (c @ d), atol=1e-5)
    small, large = normal(2, 2), normal(3, 2)
    whole = {"lokr_w1": small, "lokr_w2": large, "alpha": np.float32(8.0)}
    np.testing.assert_allclose(whole_of(whole, (6, 4)), np.kron(small, large), atol=1e-5)
    parts = {"lokr_w1": small, "lokr_w2_a": normal(3, 1), "lokr_w2_b": normal(1, 18)}
    expected = np.kron(small, parts["lokr_w2_a"] @ parts["lokr_w2_b"]).reshape(6, 2, 2, 3, 3)
    found = whole_of(parts | {"alpha": np.float32(1.0)}, (6, 4, 3, 3))
    np.testing.assert_allclose(found, expected.reshape(6, 4, 3, 3), atol=1e-5)
    up, mid, down = normal(6, 2, 1, 1), normal(2, 2, 3, 3), normal(2, 4, 1, 1)
    core = {"up": up, "mid": mid, "down": down}
    expected = np.einsum("or,rshw,si->oihw", up[..., 0, 0], mid, down[..., 0, 0])
    np.testing.assert_allclose(whole_of(core, (6, 4, 3, 3)), expected, atol=1e-5)
    # Queries to values with factors of their own, fused.
    fused = {"up": normal(6, 2), "down": normal(6, 4)}
    expected = [fused["up"][2 * i : 2 * i + 2] @ fused["down"][2 * i : 2 * i + 2] for i in range(3)]
    np.testing.assert_allclose(whole_of(fused, (6, 4)), np.concatenate(expected), atol=1e-5)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_magnitude(axis):
    """DoRA: with its whole weight the norms are the magnitudes; with 0 nothing changes."""
    base, down, up = normal(6, 4), normal(2, 4), normal(6, 2)
    magnitude = np.abs(normal(6, 1) if axis == 0 else normal(1, 4)) + 1
    factors = {"down": down, "up": up, "magnitude": magnitude}
    factors = jax.tree.map(jnp.asarray, factors)
    found = merged(jnp.asarray(base), factors, 1.0)
    np.testing.assert_allclose(
        jnp.linalg.norm(found, axis=1 - axis, keepdims=True), magnitude, rtol=1e-5
    )
    np.testing.assert_allclose(merged(jnp.asarray(base), factors, 0.0), base, atol=1e-6)


def test_what_has_no_place_is_an_error(pipeline, tmp_path):
    """Fails if an adapter of another model loads in silence, as it does in other tools."""
    good = {f"unet.{ATTENTION}.lora_A.weight": normal(2, 8)}
    good |= {f"unet.{ATTENTION}.lora_B.weight": normal(8, 2)}
    other = ATTENTION.replace("blocks.0", "blocks.7")
    bad = {f"unet.{other}.lora_A.weight": normal(2, 8), f"unet.{other}.lora_B.weight": normal(8, 2)}
    file = tmp_path / "a.safetensors"
    save_tensors(good | bad, file)
    with pytest.raises(ValueError, match=r"1 of 2 changes have no place.*down_blocks\.7"):
        pipeline.with_lora(file)
    assert pipeline.with_lora(file, strict=False) is not pipeline
    save_tensors(bad, file)
    with pytest.raises(ValueError, match="1 of 1 changes have no place"):
        pipeline.with_lora(file, strict=False)
    save_tensors({**good, "unet.x.oft_blocks": normal(2)}, file)
    with pytest.raises(ValueError, match=r"1 keys of an unknown kind: unet\.x\.oft_blocks"):
        pipeline.with_lora(file)
    save_tensors({**good, f"unet.{ATTENTION}.lora_B.weight": normal(6, 2)}, file)
    with pytest.raises(ValueError, match=r"to_q has factors .*do not make a change of .*\[8, 8\]"):
        pipeline.with_lora(file)
