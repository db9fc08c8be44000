"""Files that are damaged at random: every one is an error that names the file, and a key of it."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxdiff.conditioning.loading import text_shapes
from jaxdiff.networks.text.clip import CLIPTextSettings
from jaxdiff.pretrained import load, open_tensors, to_theirs
from jaxdiff.pretrained.lora import changes_of, modules_of
from jaxdiff.pretrained.tables.text import clip_text

CLIP = CLIPTextSettings(vocabulary=9, width=8, layers=2, heads=2, mlp_width=12, positions=5)
TABLE, TARGET = clip_text(), text_shapes(CLIP)
WHOLE = (np.int8, np.uint8, np.int32, np.bool_)
SEEDS = range(40)


def tensors():
    """The tensors of a file that is whole, by key."""
    rng = np.random.default_rng(0)
    draw = lambda a: jnp.asarray(rng.standard_normal(a.shape), jnp.float32)
    found = to_theirs(TABLE, jax.tree.map(draw, TARGET))
    return {key: np.ascontiguousarray(value) for key, value in found.items()}


def removed(rng, found, key):
    del found[key]


def renamed(rng, found, key):
    place = rng.integers(len(key))
    found[key[:place] + "#" + key[place + 1 :]] = found.pop(key)


def reshaped(rng, found, key):
    shape, size = found[key].shape, found[key].size
    others = [(size,), (1, *shape), (*shape[:-1], shape[-1] + 1), shape[::-1], (0, *shape[1:])]
    others = [other for other in others if other != shape]
    other = others[rng.integers(len(others))]
    found[key] = np.resize(found[key], other).astype(np.float32)


def retyped(rng, found, key):
    found[key] = found[key].astype(WHOLE[rng.integers(len(WHOLE))])


DAMAGES = (removed, renamed, reshaped, retyped)


@pytest.mark.parametrize("damage", DAMAGES)
def test_random_keys_of_weights(damage, tmp_path):
    """Fails if one of many damages passes, or the message names neither file nor key."""
    whole, file = tensors(), tmp_path / "model.safetensors"
    for seed in SEEDS:
        rng, found = np.random.default_rng(seed), dict(whole)
        keys = rng.choice(sorted(found), rng.integers(1, 6), replace=False).tolist()
        for key in keys:
            damage(rng, found, key)
        save_file(found, file)
        with pytest.raises(ValueError, match=r"model\.safetensors does not fit") as error:
            load(TABLE, file, TARGET)
        assert any(key in str(error.value) for key in keys), (seed, keys, str(error.value))


def test_all_kinds_of_floating_point_numbers_are_read(tmp_path):
    """Fails if a type of public files is taken for one that is none of weights."""
    file = tmp_path / "model.safetensors"
    kinds = (np.float16, np.float64, jnp.bfloat16, jnp.float8_e4m3fn)
    for kind in kinds:
        save_file({key: value.astype(kind) for key, value in tensors().items()}, file)
        found = load(TABLE, file, TARGET)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))


def test_truncated_at_random(tmp_path):
    """Fails if a file that ends early is read, in its header or in its numbers."""
    file = tmp_path / "model.safetensors"
    save_file(tensors(), file)
    data, rng = file.read_bytes(), np.random.default_rng(1)
    ends = {0, 4, 8, len(data) - 1, *rng.integers(len(data), size=60).tolist()}
    for end in ends:
        file.write_bytes(data[:end])
        with pytest.raises(ValueError, match=r"model\.safetensors' is cut off"):
            open_tensors(file)


def test_a_header_that_lies(tmp_path):
    """Fails if ends that overlap, leave the file, or do not fit a shape are believed."""
    file = tmp_path / "model.safetensors"
    save_file(tensors(), file)
    data = file.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header, rng = json.loads(data[8 : 8 + size]), np.random.default_rng(2)
    keys = sorted(key for key in header if key != "__metadata__")
    for _ in SEEDS:
        changed = {key: dict(value) for key, value in header.items()}
        entry = changed[keys[rng.integers(len(keys))]]
        begin, end = entry["data_offsets"]
        lies = [[begin + 4, end], [begin, end + 4], [begin + 4, end + 4], [end, begin]]
        lies += [[begin + len(data), end + len(data)]]
        entry["data_offsets"] = lies[rng.integers(len(lies))]
        text = json.dumps(changed).encode()
        file.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])
        with pytest.raises(ValueError, match=r"model\.safetensors' is cut off"):
            open_tensors(file)


def adapter():
    """A LoRA of the encoder's attention, by key."""
    rng, found = np.random.default_rng(3), {}
    for layer in range(2):
        for name in ("q_proj", "v_proj", "out_proj"):
            key = f"lora_te_text_model_encoder_layers_{layer}_self_attn_{name}"
            draw = lambda *shape: rng.standard_normal(shape).astype(np.float32)
            found[f"{key}.lora_down.weight"], found[f"{key}.lora_up.weight"] = (
                draw(2, 8),
                draw(8, 2),
            )
            found[f"{key}.alpha"] = np.ones(1, np.float32)
    return found


@pytest.mark.parametrize("damage", DAMAGES)
def test_random_keys_of_adapters(damage, tmp_path):
    """Fails if a module of which a part is lost changes the weights, or is left out in silence."""
    whole, file = adapter(), tmp_path / "a.safetensors"
    params = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), TARGET)
    for seed in SEEDS:
        rng, found = np.random.default_rng(seed), dict(whole)
        factors = sorted(key for key in found if not key.endswith("alpha"))
        for key in rng.choice(factors, rng.integers(1, 4), replace=False).tolist():
            damage(rng, found, key)
        save_file(found, file)
        try:
            modules = modules_of(open_tensors(file), "a.safetensors")
            changes, unused = changes_of(modules, [TABLE], params, {}, "a.safetensors")
        except ValueError as error:
            assert "a.safetensors" in str(error)
            continue
        # Same numbers in another shape are the same factors.
        same = all(
            math.prod(value.shape) == whole[key].size
            for key, value in found.items()
            if key in whole
        )
        assert unused or (damage is reshaped and same and len(changes) == 6)
