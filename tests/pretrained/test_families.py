"""Networks from config.json and random tensors in small folders."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff import Experiment
from jaxdiff.config.build import describe_difference
from jaxdiff.networks.unet import UNet
from jaxdiff.pretrained import families, save
from jaxdiff.pretrained.families import load_network, read_network
from jaxdiff.weights.devices import Devices, make_mesh
from tests.parity.cases import dit, unet, unet_text
from tests.support.tiny import tiny_config

IMAGES = {"in_channels": 3, "out_channels": 3}
LATENTS = {"in_channels": 4, "out_channels": 4}
HEADS = {"num_attention_heads": 2, "in_channels": 4}
UNETS = {
    name: (network, {"_class_name": "UNet2DModel", **IMAGES, **options})
    for name, (network, options) in {"DDPM": unet.DDPM, "ADM": unet.ADM}.items()
}
UNETS_WITH_TEXT = {
    name: (
        network,
        {"_class_name": "UNet2DConditionModel", **LATENTS, **unet_text.PEER_SMALL, **options},
    )
    for name, network in unet_text.NETWORKS.items()
    for options in [unet_text.PEER_OPTIONS[name]]
}
TRANSFORMERS = {
    "DiT": {
        "_class_name": "DiTTransformer2DModel", **HEADS, "attention_head_dim": 12, "num_layers": 3,
        "out_channels": 8, "sample_size": 8, "num_embeds_ada_norm": dit.CLASSES, "norm_eps": 1e-6,
    },
    "PixArt": {
        "_class_name": "PixArtTransformer2DModel", **HEADS, "attention_head_dim": 12,
        "num_layers": 2, "out_channels": 8, "sample_size": 4, "cross_attention_dim": 24,
        "caption_channels": dit.TEXT, "interpolation_scale": 1,
    },
    "Stable Diffusion 3": {
        "_class_name": "SD3Transformer2DModel", **HEADS, "attention_head_dim": 16, "num_layers": 3,
        "out_channels": 4, "sample_size": 8, "pos_embed_max_size": 12, "qk_norm": None,
        "joint_attention_dim": dit.TEXT, "caption_projection_dim": 32,
        "pooled_projection_dim": dit.POOLED,
    },
    "Wan": {
        "_class_name": "WanTransformer3DModel", **HEADS, "attention_head_dim": 24,
        "out_channels": 4, "text_dim": dit.TEXT, "freq_dim": 16, "ffn_dim": 40, "num_layers": 2,
    },
}  # fmt: skip
TRANSFORMERS["Stable Diffusion 3.5"] = {**TRANSFORMERS["Stable Diffusion 3"], "qk_norm": "rms_norm"}
TRANSFORMERS["Stable Diffusion 3.5 medium"] = {
    **TRANSFORMERS["Stable Diffusion 3.5"], "num_layers": 4, "dual_attention_layers": [0, 1],
}  # fmt: skip
CASES = {
    **UNETS,
    **UNETS_WITH_TEXT,
    **{name: (dit.NETWORKS[name], config) for name, config in TRANSFORMERS.items()},
}
SMALL = "Stable Diffusion 1"


def folder(path, config, linear=True):
    """Writes config.json and random tensors; returns the network and its parameters."""
    (path / "config.json").write_text(json.dumps(config))
    network, shape = families.describe(path / "config.json")
    shapes = families.network_shapes(network, shape)
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape, np.float32), shapes)
    blank = {} if linear else {"x.proj_in.weight": np.zeros((1, 1, 1, 1))}
    save(families.table_of(network, blank), params, path / "diffusion_pytorch_model.safetensors")
    return network, params


@pytest.mark.parametrize("name", CASES)
def test_a_config_describes_the_network_that_parity_compares(name, tmp_path):
    """Fails if an option of a peer is read as another, or its default is wrong."""
    expected, config = CASES[name]
    (tmp_path / "config.json").write_text(json.dumps(config))
    found, _ = families.describe(tmp_path / "config.json")
    comparable = families._comparable
    assert not describe_difference(comparable(found), comparable(expected))
    if isinstance(found, UNet) and found.transformer_depth is None:
        assert found.attention_at == expected.attention_at
    assert (found.out_channels or 4) == (expected.out_channels or config["out_channels"])
    for field in ("num_classes", "text_features", "pooled_features", "joint_numbers"):
        assert getattr(found.inputs, field) == getattr(expected.inputs, field)


@pytest.mark.parametrize(
    "name",
    [SMALL, "SDXL", "ADM", "DiT", "Stable Diffusion 3", "Stable Diffusion 3.5 medium", "Wan"],
)
def test_a_folder_is_read(name, tmp_path):
    """Fails if the table does not fit the network, or tensors come to another place."""
    _, params = folder(tmp_path, CASES[name][1], linear=name != SMALL)
    network, found = load_network(tmp_path, param_dtype=jnp.bfloat16)
    expected = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.bfloat16), params)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    other = network.clone(dropout=0.1, dtype=jnp.bfloat16)
    jax.tree.map(np.testing.assert_array_equal, read_network(tmp_path, other, found), found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_class_name": "UNet3D"}, r"config.json'.*_class_name='UNet3D'"),
        ({"dual_cross_attention": True}, "dual_cross_attention=True"),
        ({"encoder_hid_dim": 7}, "encoder_hid_dim=7"),
        ({"cross_attention_dim": [24, 24]}, "cross_attention_dim=.*must be of type int"),
        ({"transformer_layers_per_block": [[1, 1], 1]}, "transformer_layers_per_block"),
        ({"layers_per_block": [1, 2]}, "layers_per_block=.*must be of type int"),
        ({"addition_embed_type": "image"}, "addition_embed_type='image'"),
        ({"new_field": 3}, "new_field=3: this field is not known"),
        ({"up_block_types": ["UpBlock2D", "UpBlock2D"]}, "up_block_types.*mirror"),
        ({"down_block_types": ["KDownBlock2D", "DownBlock2D"]}, "KDownBlock2D"),
        ({"norm_num_groups": None}, "norm_num_groups=None: must be of type int"),
        ({"center_input_sample": True}, "center_input_sample=True: only False"),
    ],
)
def test_options_that_cannot_be_expressed_are_named(change, message, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({**CASES[SMALL][1], **change}))
    with pytest.raises(ValueError, match=message):
        load_network(tmp_path)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("DiT", {"norm_eps": 1e-3}),
        ("Stable Diffusion 3", {"dual_attention_layers": [1]}),
        ("Stable Diffusion 3", {"dual_attention_layers": [0, 1, 2]}),
        ("Wan", {"pos_embed_seq_len": 514}),
        ("Wan", {"added_kv_proj_dim": 48}),
        ("Wan", {"in_channels": 8}),
        ("ADM", {"time_embedding_type": "fourier"}),
        ("ADM", {"downsample_type": "conv"}),
    ],
)
def test_options_of_other_families_that_cannot_be_expressed(name, change, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({**CASES[name][1], **change}))
    field = next(iter(change))
    with pytest.raises(ValueError, match=field.replace("downsample_type", "down_block_types")):
        load_network(tmp_path)


def test_another_network_is_named(tmp_path):
    """Fails if options that no shape shows, such as heads, are those of our network."""
    network, params = folder(tmp_path, CASES[SMALL][1], linear=False)
    shifted = network.time_sinusoids.clone(frequency_shift=1.0)
    for change, message in (
        ({"num_heads": 8}, "num_heads=.*8, 8.* but .*4, 4"),
        (
            {"time_sinusoids": shifted},
            "frequency_shift=1.0, but 0.0",
        ),
        ({"eps": 1e-6}, "eps=1e-06, but 1e-05"),
    ):
        with pytest.raises(ValueError, match=message):
            read_network(tmp_path, network.clone(**change), params)
    wide = network.clone(channels=(32, 128))
    with pytest.raises(ValueError, match=r"channels=.*128"):
        read_network(tmp_path, wide, params)


def test_a_norm_with_one_channel_a_group_is_refused(tmp_path):
    """Fails if a released network runs with fewer groups than its config says."""
    config = {**CASES[SMALL][1], "norm_num_groups": 32}
    with pytest.raises(ValueError, match=r"has 32 channels; num_groups=32 .* become 16"):
        folder(tmp_path, config, linear=False)
        load_network(tmp_path)


def test_files_that_are_missing_or_damaged(tmp_path):
    with pytest.raises(ValueError, match=r"there is no file .*config.json"):
        load_network(tmp_path)
    for text, message in (("{", "is not JSON"), ("[]", "must be a JSON object, not list")):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(ValueError, match=message):
            load_network(tmp_path)


def test_a_run_begins_with_a_released_network(tmp_path):
    """Fails if config.weights.network does not read the folder, or another network is trained."""
    config = tiny_config()
    config.conditions, config.objective = (), "Denoising()"
    config.network = {
        "name": "UNet", "channels": (8,), "layers_per_block": 1, "num_heads": 1, "num_groups": 4
    }  # fmt: skip
    config.weights.network = str(tmp_path)
    peer = {
        "_class_name": "UNet2DModel", "in_channels": 1, "out_channels": 1, "layers_per_block": 1,
        "block_out_channels": [8], "norm_num_groups": 4, "attention_head_dim": 8,
        "down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"],
    }  # fmt: skip
    _, params = folder(tmp_path, peer)
    experiment = Experiment(config, Devices(make_mesh(jax.devices()[:1])))
    jax.tree.map(np.testing.assert_array_equal, experiment.init().params["network"], params)
    config.network.num_groups = 2
    experiment = Experiment(config, Devices(make_mesh(jax.devices()[:1])))
    with pytest.raises(ValueError, match=r"weights\.network: num_groups=2, but 4 in .*config.json"):
        experiment.init()
