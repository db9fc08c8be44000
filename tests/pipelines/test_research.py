"""Networks in files of research code, beside the same weights in a folder of diffusers."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("safetensors")

from jaxdiff.networks.inputs import Inputs
from jaxdiff.networks.released import dit_xl
from jaxdiff.networks.times import SinCos
from jaxdiff.networks.unet import UNet
from jaxdiff.pipelines import research
from jaxdiff.pipelines.opening import released
from jaxdiff.pretrained import open_tensors, to_theirs
from jaxdiff.pretrained.families import network_shapes
from jaxdiff.pretrained.tables import original
from jaxdiff.weights.devices import Devices, make_mesh
from tests.support import released_others as tiny
from tests.support.released import save_tensors, write_network, write_scheduler

LAYERS, LEVELS = 1, 2
UNET = {
    **tiny.UNET2D, "sample_size": 16, "block_out_channels": [64, 128], "layers_per_block": LAYERS,
    "norm_num_groups": 32, "attn_norm_num_groups": 32, "attention_head_dim": 64,
    "num_class_embeds": 6, "resnet_time_scale_shift": "scale_shift",
    "downsample_type": "resnet", "upsample_type": "resnet",
    "down_block_types": ["ResnetDownsampleBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "ResnetUpsampleBlock2D"],
}  # fmt: skip
RESIDUAL = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0", "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
ENDS = {
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "class_embedding": "label_emb", "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0",
    "conv_out": "out.2",
}  # fmt: skip


def open_one(*args, **options):
    return released(*args, devices=Devices(make_mesh(jax.devices()[:1])), **options)


def place(key):
    """Returns where OpenAI's networks have a block of diffusers', and the rest of its key."""
    if found := re.match(r"(down|up)_blocks\.(\d)\.(resnets|attentions|\w+samplers)\.(\d)\.", key):
        way, level, kind, i = found[1], int(found[2]), found[3], int(found[4])
        per_level = LAYERS + 1
        first = 1 if way == "down" else 0
        block = first + level * per_level + (LAYERS if "sampler" in kind else i)
        part = {"resnets": 0, "attentions": 1}.get(kind, 0)
        if kind == "upsamplers":
            part = 2 if level == 0 else 1
        return f"{'input' if way == 'down' else 'output'}_blocks.{block}.{part}.", key[
            found.end() :
        ]
    found = re.match(r"mid_block\.(resnets|attentions)\.(\d)\.", key)
    part = 1 if found[1] == "attentions" else 2 * int(found[2])
    return f"middle_block.{part}.", key[found.end() :]


def as_adm(tensors):
    """Returns the tensors of UNet2DModel under OpenAI's keys, queries before keys and values."""
    tensors = {key: np.array(value) for key, value in tensors.items()}
    out = {}
    for key, value in tensors.items():
        name, kind = key.rsplit(".", 1)
        if name in ENDS:
            out[f"{ENDS[name]}.{kind}"] = value
            continue
        block, rest = place(key)
        layer = rest.rsplit(".", 1)[0]
        if layer in RESIDUAL:
            out[f"{block}{RESIDUAL[layer]}.{kind}"] = value
        elif layer == "group_norm":
            out[f"{block}norm.{kind}"] = value
        else:
            more = (..., None) if kind == "weight" else ...
            if layer == "to_out.0":
                out[f"{block}proj_out.{kind}"] = value[more]
            if layer == "to_q":
                parts = [tensors[key.replace("to_q", f"to_{part}")] for part in "qkv"]
                out[f"{block}qkv.{kind}"] = np.concatenate(parts)[more]
    return out


def by_head(tensors, width=64):
    """Returns the tensors with queries, keys and values of each head together."""
    turn = lambda a: a.reshape(3, -1, width, *a.shape[1:]).swapaxes(0, 1).reshape(a.shape).copy()
    return {key: turn(a) if ".qkv." in key else a for key, a in tensors.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A consistency model's folder, whose network has widths that OpenAI's code allows."""
    folder = tmp_path_factory.mktemp("released") / "model"
    tiny.write_consistency(folder)
    network = folder.parent / "unet"
    write_network(network, UNET, seed=2)
    for file in network.iterdir():
        file.replace(folder / "unet" / file.name)
    write_scheduler(folder, tiny.CONSISTENCY)
    return folder


def test_consistency_models_in_a_file(folder, tmp_path):
    """Fails if a key has another place, or queries, keys and values another order."""
    tensors = open_tensors(folder / "unet")
    save_tensors(as_adm(tensors), tmp_path / "cd.safetensors")
    with pytest.raises(ValueError, match="whether it is of a consistency model or predicts noise"):
        open_one(tmp_path / "cd.safetensors")
    scheduler = {"_class_name": "CMStochasticIterativeScheduler"}
    found = open_one(tmp_path / "cd.safetensors", scheduler=scheduler)
    options = {"cond": {"label": [1, 4]}, "steps": 2}
    expected = open_one(folder).sample(2, **options)
    np.testing.assert_allclose(found.sample(2, **options), expected, atol=1e-5)


def test_guided_diffusion_in_a_file(folder, tmp_path):
    """Fails if the rows of the heads are divided in another way, or the variance is not read."""
    tensors = as_adm(open_tensors(folder / "unet"))
    twice = {key: np.concatenate([a, a]) for key, a in tensors.items() if key.startswith("out.2.")}
    save_tensors(by_head({**tensors, **twice}), tmp_path / "adm.safetensors")
    found = open_one(tmp_path / "adm.safetensors")
    assert found.parts.options.solver == "DDPM(variance='learned')"
    assert found.parts.size == (16, 16)
    other = open_one(folder)
    x = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype(np.float32)
    inputs = jnp.asarray(x), jnp.asarray([3.0, 700.0]), {"label": jnp.asarray([1, 4])}
    first, second = (
        jax.jit(each.parts.model.network.apply)({"params": each.weights["network"]}, *inputs)
        for each in (found, other)
    )
    np.testing.assert_allclose(first[..., :3], second, atol=1e-5)
    np.testing.assert_allclose(first[..., 3:], second, atol=1e-5)
    drawn = found.sample(2, {"label": [1, 4]}, steps=3)
    assert drawn.shape == (2, 16, 16, 3)
    six = {"input_blocks.0.0.weight": np.zeros((64, 6, 3, 3), np.float32)}
    save_tensors({**tensors, **six}, tmp_path / "up.safetensors")
    with pytest.raises(ValueError, match="reads 6 channels and gives 3: it enlarges pictures"):
        open_one(tmp_path / "up.safetensors")


@pytest.mark.parametrize("lost", ["out.2.weight", "output_blocks.1.2.in_layers.0.weight"])
def test_a_file_without_some_keys_is_named(lost, folder, tmp_path):
    """Fails if a key that says which network it is may be missing without a message."""
    tensors = as_adm(open_tensors(folder / "unet"))
    cut = {key: value for key, value in tensors.items() if key != lost}
    save_tensors(cut, tmp_path / "cut.safetensors")
    scheduler = {"_class_name": "CMStochasticIterativeScheduler"}
    with pytest.raises(ValueError, match=r"guided diffusion, but none|does not fit the network"):
        open_one(tmp_path / "cut.safetensors", scheduler=scheduler)


def as_dit(tensors, depth):
    """Returns the tensors of DiTTransformer2DModel under the keys of the authors."""
    tensors = {key: np.array(value) for key, value in tensors.items()}
    names = {
        "pos_embed.proj": "x_embedder.proj",
        "transformer_blocks.0.norm1.emb.timestep_embedder.linear_1": "t_embedder.mlp.0",
        "transformer_blocks.0.norm1.emb.timestep_embedder.linear_2": "t_embedder.mlp.2",
        "transformer_blocks.0.norm1.emb.class_embedder.embedding_table": (
            "y_embedder.embedding_table"
        ),
        "proj_out_1": "final_layer.adaLN_modulation.1",
        "proj_out_2": "final_layer.linear",
    }
    for i in range(depth):
        theirs, block = f"transformer_blocks.{i}.", f"blocks.{i}."
        names[f"{theirs}norm1.linear"] = f"{block}adaLN_modulation.1"
        names[f"{theirs}attn1.to_out.0"] = f"{block}attn.proj"
        names[f"{theirs}ff.net.0.proj"] = f"{block}mlp.fc1"
        names[f"{theirs}ff.net.2"] = f"{block}mlp.fc2"
    out = {}
    for key, value in tensors.items():
        name, kind = key.rsplit(".", 1)
        if name in names:
            out[f"{names[name]}.{kind}"] = value
        if name.endswith("to_q"):
            parts = [tensors[key.replace("to_q", f"to_{part}")] for part in "qkv"]
            out[f"blocks.{key.split('.')[1]}.attn.qkv.{kind}"] = np.concatenate(parts)
    return out


@pytest.fixture(scope="module")
def dit(tmp_path_factory):
    """A folder of DiT with heads of 64 channels, and its weights in the authors' file."""
    folder = tmp_path_factory.mktemp("dit")
    tiny.write_dit(folder / "model", attention_head_dim=64)
    whole = open_one(folder / "model")
    network = whole.parts.model.network
    places = network.positions.places((1, 2, 2))
    table = np.asarray(network.positions.added(places[None], network.features))
    tensors = as_dit(open_tensors(folder / "model" / "transformer"), network.depth)
    save_tensors({**tensors, "pos_embed": table}, folder / "dit.safetensors")
    save_tensors({**tensors, "pos_embed": -table}, folder / "turned.safetensors")
    return folder, whole


def test_diffusion_transformers_in_a_file(dit):
    """Fails if a key has another place, or the autoencoder or a default is another."""
    folder, whole = dit
    scheduler = {"_class_name": "DDIMScheduler"}
    found = open_one(folder / "dit.safetensors", config=folder / "model", scheduler=scheduler)
    # The authors' frequencies end one step earlier than those of diffusers.
    network = whole.parts.model.network.clone(time_sinusoids=SinCos())
    assert found.parts.model.network == network
    for first, second in zip(*map(jax.tree.leaves, (found.weights, whole.weights)), strict=True):
        np.testing.assert_array_equal(first, second)
    assert found.parts.options.guidance_scale == 4.0
    again = open_one(folder / "dit.safetensors", config=folder / "model/vae", scheduler=scheduler)
    options = {"cond": {"label": [5]}, "steps": 2}
    np.testing.assert_array_equal(found.sample(1, **options), again.sample(1, **options))


def test_interpolants_in_a_file(dit):
    """Fails if the time is not counted from noise to data, or the velocity has another sign."""
    folder, _ = dit
    scheduler = {"_class_name": "FlowMatchEulerDiscreteScheduler"}
    found = open_one(folder / "dit.safetensors", config=folder / "model", scheduler=scheduler)
    network, params, steps = found.parts.model.network, found.weights["network"], 3
    noise = np.random.default_rng(0).normal(size=(1, 4, 4, 4)).astype(np.float32)
    z = jnp.asarray(noise)
    for i in range(steps):
        out = network.apply(
            {"params": params}, z, jnp.full(1, i / steps), {"label": jnp.asarray([5])}
        )
        z += out[..., :4] / steps
    options = {"noise": noise, "steps": steps, "guidance_scale": 1.0}
    drawn = found.sample(1, {"label": [5]}, **options)
    np.testing.assert_allclose(drawn, found.decode(z), atol=1e-4)


def test_files_that_do_not_say_what_they_are(dit):
    folder, _ = dit
    file = folder / "dit.safetensors"
    with pytest.raises(ValueError, match="of DiT or of SiT: give scheduler="):
        open_one(file, config=folder / "model")
    scheduler = {"_class_name": "DDIMScheduler"}
    with pytest.raises(ValueError, match="has no autoencoder: give config="):
        open_one(file, scheduler=scheduler)
    with pytest.raises(ValueError, match="other positions than sines and cosines of 2 by 2"):
        open_one(Path(folder / "turned.safetensors"), config=folder / "model", scheduler=scheduler)


REAL = {
    # Levels, residual blocks, width before the first level, classes, millions of parameters.
    64: ((192, 384, 576, 768), 3, 192, 1000, 296),
    128: ((256, 256, 512, 768, 1024), 2, 256, 1000, 422),
    256: ((256, 256, 512, 512, 1024, 1024), 2, 256, 1000, 554),
    512: ((128, 256, 256, 512, 512, 1024, 1024), 2, 256, 1000, 559),
}


@pytest.mark.slow
@pytest.mark.parametrize("side", REAL)
def test_the_released_sizes_of_guided_diffusion(side):
    """Of Dhariwal & Nichol (2021, table 5); fails if a network is taken for another."""
    widths, layers, width, classes, millions = REAL[side]
    attends = [8 <= side >> i <= 32 for i in range(len(widths))]
    heads = [4 if side == 128 else n // 64 for n in widths]
    network = UNet(
        widths, layers, tuple(side >> i for i, each in enumerate(attends) if each),
        num_heads=tuple(heads), scale_shift=True, resample_in_block=True,
        embedding_features=4 * width, inputs=Inputs(num_classes=classes, learned_null=False),
        out_channels=6,
    )  # fmt: skip
    shapes = network_shapes(network, (side, side, 3))
    assert round(sum(leaf.size for leaf in jax.tree.leaves(shapes)) / 1e6) == millions
    order = [1] * len(widths) if side == 64 else heads
    table = original.adm(len(widths), layers, attends, order)
    tensors = jax.eval_shape(lambda tree: to_theirs(table, tree), shapes)
    found = research._unet(tensors, "a file", None)
    assert found.network == network
    assert found.side == side
    assert found.table == table
    assert ("squaredcos" in str(found.scheduler)) == (side == 64)


@pytest.mark.slow
def test_the_released_sizes_of_diffusion_transformers():
    network = dit_xl(inputs=Inputs(num_classes=1000), out_channels=8, time_sinusoids=SinCos())
    shapes = network_shapes(network, (32, 32, 4))
    tensors = dict(jax.eval_shape(lambda tree: to_theirs(original.dit(2), tree), shapes))
    tensors["pos_embed"] = jax.ShapeDtypeStruct((1, 256, 1152), jnp.float32)
    found = research._transformer(tensors, "a file", "DDIMScheduler")
    assert found.network == network
    assert (found.side, found.channels) == (32, 4)
