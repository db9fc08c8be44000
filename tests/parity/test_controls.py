"""ControlNets beside diffusers: whole pictures, on the same noise and maps."""

import numpy as np
import pytest

from jaxdiff.pipelines import released
from jaxdiff.tasks.controls import Map
from tests.parity.test_released import NEGATIVE, PROMPTS, SCALE, STEPS, start
from tests.support import released as tiny
from tests.support.control import CONTROL, write_control

pytestmark = pytest.mark.parity

XL = {
    **CONTROL, "cross_attention_dim": 28, "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 58,
    "use_linear_projection": True, "transformer_layers_per_block": [1, 2],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
}  # fmt: skip

CASES = {
    "SD 1": (tiny.write_sd, [CONTROL], [Map(0, 0.8)]),
    "SD 1, in part of the steps": (tiny.write_sd, [CONTROL], [Map(0, 1.5, 0.2, 0.8)]),
    "SD 1, two": (tiny.write_sd, [CONTROL] * 2, [Map(0, 0.5), Map(0, 1.0, 0.0, 0.6)]),
    "SDXL": (tiny.write_sdxl, [XL], [Map(0)]),
}


def pictures(theirs, control):
    """Draws with a peer's pipeline; returns pictures in [0, 1], and our noise."""
    torch = pytest.importorskip("torch")
    noise = np.random.default_rng(0).standard_normal((2, 8, 8, 4)).astype(np.float32)
    with torch.no_grad():
        expected = theirs(
            PROMPTS,
            negative_prompt=[NEGATIVE] * 2,
            num_inference_steps=STEPS,
            guidance_scale=SCALE,
            latents=torch.tensor(noise.transpose(0, 3, 1, 2)),
            height=16,
            width=16,
            output_type="np",
            **control,
        ).images
    return expected, start(theirs, noise)


@pytest.mark.parametrize("name", CASES)
def test_pictures_with_controlnets(name, tmp_path):
    """Fails if a layer, the map's range, a strength, a span or the sum of two differs."""
    torch, diffusers = pytest.importorskip("torch"), pytest.importorskip("diffusers")
    torch.set_num_threads(1)
    write, configs, spans = CASES[name]
    folder = write(tmp_path / "model")
    nets = [
        write_control(tmp_path / f"control_{i}", config, seed=7 + i)
        for i, config in enumerate(configs)
    ]
    kind = "XL" if write is tiny.write_sdxl else ""
    controls = [diffusers.ControlNetModel.from_pretrained(net) for net in nets]
    theirs = getattr(diffusers, f"StableDiffusion{kind}ControlNetPipeline").from_pretrained(
        folder, controlnet=controls if len(controls) > 1 else controls[0]
    )
    theirs.set_progress_bar_config(disable=True)
    maps = np.random.default_rng(1).random((len(nets), 16, 16, 3)).astype(np.float32)
    each = [torch.tensor(one.transpose(2, 0, 1)[None]).repeat(2, 1, 1, 1) for one in maps]
    alone = len(nets) == 1
    unpack = lambda values: values[0] if alone else values
    expected, noise = pictures(
        theirs,
        {
            "image": unpack(each),
            "controlnet_conditioning_scale": unpack([span.strength for span in spans]),
            "control_guidance_start": unpack([span.start for span in spans]),
            "control_guidance_end": unpack([span.end for span in spans]),
        },
    )
    ours = released(folder, controlnet=nets)
    given = [
        Map(one, span.strength, span.start, span.end) for one, span in zip(maps, spans, strict=True)
    ]
    options = {"noise": noise, "steps": STEPS, "guidance_scale": SCALE, "negative": NEGATIVE}
    found = ours.sample(2, {"text": PROMPTS}, control=given, **options)
    without = ours.sample(2, {"text": PROMPTS}, **options)
    assert np.abs(found - without).max() > 0.05
    np.testing.assert_allclose(np.clip(found / 2 + 0.5, 0, 1), expected, atol=1e-3)


T2I = {
    "_class_name": "T2IAdapter", "in_channels": 3, "channels": [8, 16], "num_res_blocks": 2,
    "downscale_factor": 2, "adapter_type": "full_adapter",
}  # fmt: skip


@pytest.mark.parametrize("kind", ["", "XL"])
def test_pictures_with_t2i_adapters(kind, tmp_path):
    """Fails if a level's features are added at another place, or the map's squares are turned."""
    torch, diffusers = pytest.importorskip("torch"), pytest.importorskip("diffusers")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder = (tiny.write_sdxl if kind else tiny.write_sd)(tmp_path / "model")
    changes = {"downscale_factor": 4, "adapter_type": "full_adapter_xl"} if kind else {}
    config = {k: v for k, v in {**T2I, **changes}.items() if k != "_class_name"}
    diffusers.T2IAdapter(**config).save_pretrained(tmp_path / "adapter")
    theirs = getattr(diffusers, f"StableDiffusion{kind}AdapterPipeline").from_pretrained(
        folder, adapter=diffusers.T2IAdapter.from_pretrained(tmp_path / "adapter")
    )
    theirs.set_progress_bar_config(disable=True)
    values = np.random.default_rng(1).random((16, 16, 3)).astype(np.float32)
    image = torch.tensor(values.transpose(2, 0, 1)[None]).repeat(2, 1, 1, 1)
    scale = {"image": image, "adapter_conditioning_scale": 0.7}
    expected, noise = pictures(theirs, scale)
    ours = released(folder, controlnet=tmp_path / "adapter")
    options = {"noise": noise, "steps": STEPS, "guidance_scale": SCALE, "negative": NEGATIVE}
    found = ours.sample(2, {"text": PROMPTS}, control=Map(values, 0.7), **options)
    without = ours.sample(2, {"text": PROMPTS}, **options)
    assert np.abs(found - without).max() > 0.02
    np.testing.assert_allclose(np.clip(found / 2 + 0.5, 0, 1), expected, atol=1e-3)
