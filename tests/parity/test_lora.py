"""Adapters beside diffusers with PEFT, and beside LyCORIS."""

import functools

import jax
import numpy as np
import pytest

from jaxdiff.pipelines import released
from jaxdiff.pretrained import open_tensors, to_theirs
from jaxdiff.pretrained.families import load_network
from jaxdiff.pretrained.lora import adapted, changes_of, modules_of
from jaxdiff.pretrained.tables.unet import unet2d
from tests.parity.test_released import compare_pictures
from tests.support import released as tiny

pytestmark = pytest.mark.parity

RANK = 2


def random_lora(theirs, naming):
    """Returns factors for attention and text maps of a peer's pipeline, in a way of naming."""
    rng, tensors = np.random.default_rng(0), {}
    parts = {"unet": "lora_unet_", "transformer": "lora_unet_", "text_encoder": "lora_te_"}
    if hasattr(theirs, "text_encoder_2"):
        parts |= {"text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}
    for part, prefix in parts.items():
        module = getattr(theirs, part, None)
        for name, weight in module.named_parameters() if module is not None else ():
            kept = ("to_q", "to_v", "to_out.0", "add_k_proj", "q_proj", "out_proj", "proj_in")
            if not name.endswith(tuple(f"{each}.weight" for each in kept)):
                continue
            place = name.removesuffix(".weight")
            shape = weight.shape
            down = rng.standard_normal((RANK, *shape[1:])).astype(np.float32) / 4
            up = rng.standard_normal((shape[0], RANK, *(1,) * (len(shape) - 2))).astype(np.float32)
            if naming == "kohya":
                bare = "text" in part and "text_model" not in name
                text = f"text_model.{place}" if bare else place
                key = prefix + text.replace(".", "_")
                tensors[f"{key}.alpha"] = np.array(1.0 + len(tensors) % 3, np.float32)
                ends = ("lora_down", "lora_up")
            else:
                key, ends = f"{part}.{place}", ("lora_A", "lora_B")
            tensors |= {f"{key}.{ends[0]}.weight": down, f"{key}.{ends[1]}.weight": up / 4}
    return tensors


@pytest.mark.parametrize(
    ("write", "naming"),
    [
        (tiny.write_sd, "kohya"),
        (tiny.write_sd, "peft"),
        (tiny.write_sdxl, "peft"),
        (functools.partial(tiny.write_sd3, t5=False), "peft"),
    ],
)
def test_pictures_with_an_adapter(write, naming, tmp_path):
    """Fails if a module, an alpha or a text encoder is missed, or the weight counts twice."""
    torch, diffusers = pytest.importorskip("torch"), pytest.importorskip("diffusers")
    pytest.importorskip("peft")
    torch.set_num_threads(1)
    folder = write(tmp_path / "folder")
    absent = {}
    if (folder / "transformer").exists():
        absent = {"text_encoder_3": None, "tokenizer_3": None}
    theirs = diffusers.DiffusionPipeline.from_pretrained(folder, **absent)
    theirs.set_progress_bar_config(disable=True)
    file = tmp_path / "lora.safetensors"
    tiny.save_tensors(random_lora(theirs, naming), file)
    base = released(folder)
    ours = base.with_lora(file, 0.7)
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), base.weights, ours.weights)
    assert all(any(jax.tree.leaves(changed[name])) for name in ("network", "text"))
    theirs.load_lora_weights(tmp_path, weight_name=file.name, adapter_name="a")
    theirs.set_adapters(["a"], [0.7])
    compare_pictures(ours, theirs)


@pytest.mark.parametrize(
    ("algorithm", "options"),
    [
        ("lora", {}),
        ("lora", {"dora_wd": True}),
        ("lora", {"dora_wd": True, "wd_on_output": False}),
        ("lora", {"use_tucker": True}),
        ("loha", {}),
        ("loha", {"use_tucker": True, "dora_wd": True}),
        ("lokr", {}),
        ("lokr", {"factor": 2, "use_tucker": True}),
        ("lokr", {"full_matrix": True}),
        ("full", {}),
    ],
)
def test_matrices_of_lycoris(algorithm, options, tmp_path):
    """Fails if a factor is turned, or alpha, rank or a magnitude counts in another way."""
    torch, diffusers = pytest.importorskip("torch"), pytest.importorskip("diffusers")
    lycoris = pytest.importorskip("lycoris")
    torch.manual_seed(0)
    config = {k: v for k, v in tiny.UNET.items() if k != "_class_name"}
    unet = diffusers.UNet2DConditionModel(**config)
    # Its merge, unlike its training, has alpha/rank twice for LoHa and LoKr.
    alpha = float(RANK) if algorithm in ("loha", "lokr") else 1.0
    settings = {"multiplier": 1.0, "linear_dim": RANK, "linear_alpha": alpha, "algo": algorithm}
    settings |= {"conv_dim": RANK, "conv_alpha": alpha, **options}
    before = {key: value.detach().numpy().copy() for key, value in unet.state_dict().items()}
    network = lycoris.create_lycoris(unet, **settings)
    network.apply_to()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    tiny.save_tensors(
        {key: value.detach().numpy().copy() for key, value in network.state_dict().items()},
        tmp_path / "a.safetensors",
    )
    network.restore()
    # Tools differ in DoRA at other weights than 1.
    weight = 1.0 if "dora_wd" in options else 0.6
    network.merge_to(weight)
    after = {key: value.detach().numpy() for key, value in unet.state_dict().items()}
    tiny.write_network(tmp_path / "unet", tiny.UNET)
    tiny.save_tensors(before, tmp_path / "unet" / "diffusion_pytorch_model.safetensors")
    _, params = load_network(tmp_path / "unet")
    table = unet2d(2)
    modules = modules_of(open_tensors(tmp_path / "a.safetensors"), "the file")
    changes, unused = changes_of(modules, [table], params, {}, "the file")
    assert not unused
    assert len(changes) > 20
    found = to_theirs(unet2d(2, linear_projection=False), adapted(table, params, changes, weight))
    for key, value in found.items():
        np.testing.assert_allclose(value, after[key], atol=1e-5, err_msg=key)
    assert max(np.abs(after[key] - before[key]).max() for key in found) > 0.05
