"""IP-Adapters beside diffusers: whole pictures from a text and a picture."""

import numpy as np
import pytest

from jaxdiff.pipelines import released
from tests.parity.test_controls import pictures
from tests.parity.test_released import NEGATIVE, PROMPTS, SCALE, STEPS
from tests.support import released as tiny

pytestmark = pytest.mark.parity


def write_adapter(file, unet, vector):
    """Writes a random adapter for a peer's U-Net, in the numbers of the authors' files."""
    rng, width, tensors = np.random.default_rng(3), unet.config.cross_attention_dim, {}
    draw = lambda *shape: (rng.standard_normal(shape) / shape[-1] ** 0.5).astype(np.float32)
    modules = dict(unet.named_modules())
    number = 1
    for name in unet.attn_processors:
        if name.endswith("attn2.processor"):
            inner = modules[name.removesuffix(".processor")].to_k.out_features
            for kind in ("to_k_ip", "to_v_ip"):
                tensors[f"ip_adapter.{number}.{kind}.weight"] = draw(inner, width)
            number += 2
    tensors |= {
        "image_proj.proj.weight": draw(4 * width, vector), "image_proj.proj.bias": draw(4 * width),
        "image_proj.norm.weight": 1 + draw(width), "image_proj.norm.bias": draw(width),
    }  # fmt: skip
    tiny.save_tensors(tensors, file)


@pytest.mark.parametrize("write", [tiny.write_sd, tiny.write_sdxl])
def test_pictures_with_an_image_prompt(write, tmp_path):
    """Fails if an attention has another's keys, or the strength counts elsewhere."""
    torch, diffusers = pytest.importorskip("torch"), pytest.importorskip("diffusers")
    transformers = pytest.importorskip("transformers")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder = write(tmp_path / "model")
    config = transformers.CLIPVisionConfig(
        hidden_size=12, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        image_size=8, patch_size=4, projection_dim=10, hidden_act="gelu",
    )  # fmt: skip
    encoder = transformers.CLIPVisionModelWithProjection(config).eval()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    encoder.save_pretrained(tmp_path / "image_encoder")
    theirs = diffusers.DiffusionPipeline.from_pretrained(
        folder,
        image_encoder=encoder,
        feature_extractor=transformers.CLIPImageProcessor(
            size={"shortest_edge": 8}, crop_size={"height": 8, "width": 8}
        ),
    )
    theirs.set_progress_bar_config(disable=True)
    file = tmp_path / "adapter" / "ip.safetensors"
    file.parent.mkdir()
    write_adapter(file, theirs.unet, 10)
    theirs.load_ip_adapter(file.parent, subfolder="", weight_name=file.name)
    theirs.set_ip_adapter_scale(0.6)
    pixels = np.random.default_rng(5).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    from PIL import Image  # noqa: PLC0415 - of this test alone

    expected, noise = pictures(theirs, {"ip_adapter_image": Image.fromarray(pixels)})
    base = released(folder)
    ours = base.with_ip_adapter(file, tmp_path / "image_encoder", 0.6)
    options = {"noise": noise, "steps": STEPS, "guidance_scale": SCALE, "negative": NEGATIVE}
    picture = pixels.astype(np.float32) / 127.5 - 1
    found = ours.sample(2, {"text": PROMPTS, "image_prompt": picture}, **options)
    assert np.abs(found - base.sample(2, {"text": PROMPTS}, **options)).max() > 0.02
    np.testing.assert_allclose(np.clip(found / 2 + 0.5, 0, 1), expected, atol=1e-3)
