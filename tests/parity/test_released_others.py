"""Pipelines of images, classes and PixArt beside diffusers: whole chains, on the same noise."""

import sys

import numpy as np
import pytest
from PIL import Image

from jaxdiff.pipelines import released
from tests.parity.test_released import exact_times
from tests.support import released_others as tiny

pytestmark = pytest.mark.parity


def opened(folder):
    """Both sides of a folder."""
    torch, diffusers = pytest.importorskip("torch"), pytest.importorskip("diffusers")
    torch.set_num_threads(1)
    theirs = diffusers.DiffusionPipeline.from_pretrained(folder)
    theirs.set_progress_bar_config(disable=True)
    return released(folder), theirs


@pytest.fixture
def noises(monkeypatch):
    """Makes the peer draw given noises [2, h, w, c] in turn; the list is filled by the test."""
    torch, diffusers = pytest.importorskip("torch"), pytest.importorskip("diffusers")
    given = []
    for name in ("DDIMPipeline", "ConsistencyModelPipeline", "DiTPipeline"):
        getattr(diffusers, name)  # imports its module

    def drawn(shape, *args, **kwargs):
        x = torch.tensor(given.pop(0))
        return x.permute(0, 3, 1, 2) if x.ndim == 4 else x

    for name, module in list(sys.modules.items()):
        if name.startswith("diffusers") and hasattr(module, "randn_tensor"):
            monkeypatch.setattr(module, "randn_tensor", drawn)
    return given


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def close(found, expected):
    assert expected.std() > 0.05
    np.testing.assert_allclose(np.clip(found / 2 + 0.5, 0, 1), expected, atol=1e-3)


def test_ddim_with_clipped_data(tmp_path, noises):
    """Fails if the noise is made to follow from the clipped data."""
    ours, theirs = opened(tiny.write_unconditional(tmp_path / "model", tiny.LINEAR_DDIM))
    noise = 2 * normal(2, 8, 8, 3)
    noises.append(noise)
    expected = theirs(2, num_inference_steps=5, output_type="np").images
    assert ((expected == 0) | (expected == 1)).any()
    close(ours.sample(2, noise=noise, steps=5), expected)


def test_ddpm_steps_as_its_scheduler(tmp_path):
    """A step of the peer's scheduler without its noise, beside the mean of ours."""
    torch = pytest.importorskip("torch")
    ours, theirs = opened(tiny.write_unconditional(tmp_path / "model"))
    scheduler = theirs.scheduler
    scheduler.set_timesteps(10)
    x, t = 2 * normal(1, 8, 8, 3), int(scheduler.timesteps[-1])
    assert t == 0  # the step that adds no noise
    with torch.no_grad():
        image = torch.tensor(x).permute(0, 3, 1, 2)
        y = theirs.unet(image, t).sample
        expected = scheduler.step(y, t, image).prev_sample.permute(0, 2, 3, 1).numpy()
    denoiser = ours.denoiser(guidance="StaticThreshold(limit=1.0)")
    found = np.asarray(denoiser(x, np.full(1, 1 / 1000, np.float32), {}).x0)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert ours.parts.options.guidance == "StaticThreshold(limit=1.0, keeps_noise=False)"
    assert ours.parts.options.solver == "DDPM(variance='large')"


@pytest.mark.parametrize(("steps", "indices"), [(1, ()), (4, ()), (2, (0, 22))])
def test_consistency_models(steps, indices, tmp_path, noises, monkeypatch):
    """Fails if a level, the bounds of the network's output, the clipping or the noise differ."""
    ours, theirs = opened(tiny.write_consistency(tmp_path / "model"))
    start, each = normal(2, 8, 8, 3), normal(2, 8, 8, 3, seed=1)
    noises += [start] + [each] * steps
    options = {"timesteps": list(indices[::-1])} if indices else {"num_inference_steps": steps}
    expected = theirs(2, class_labels=[1, 4], output_type="np", **options).images
    monkeypatch.setattr("jaxdiff.typing.Span.noise", lambda self, like, *streams: each)
    grid = {"timesteps": f"ConsistencyLevels(indices={indices})"} if indices else {}
    found = ours.sample(2, {"label": [1, 4]}, noise=80 * start, steps=steps, **grid)
    close(found, expected)


@pytest.mark.parametrize("scheduler", [tiny.DDIM, tiny.DPM], ids=["DDIM", "DPM++ 2M"])
def test_diffusion_transformers_of_classes(scheduler, tmp_path, noises):
    """Fails if the label of no class, the guidance or the learned variance differ."""
    ours, theirs = opened(tiny.write_dit(tmp_path / "model", scheduler))
    noise = normal(2, 4, 4, 4)
    noises.append(noise)
    expected = theirs([1, 4], num_inference_steps=5, guidance_scale=3.0, output_type="np").images
    found = ours.sample(2, {"label": [1, 4]}, noise=noise, steps=5, guidance_scale=3.0)
    close(found, expected)


@pytest.mark.parametrize(("kind", "sized"), [("Alpha", False), ("Sigma", False), ("Alpha", True)])
def test_pixart(kind, sized, tmp_path):
    """Fails if the window of tokens, their mask, the case of letters or the guidance differ.

    And, where they are read, the size and its ratio.
    """
    torch = pytest.importorskip("torch")
    ours, theirs = opened(tiny.write_pixart(tmp_path / "model", kind=kind, sized=sized))
    noise, prompts = normal(2, 4, 8, 4), ["a Red cat ", "the blue house of a dog"]
    with torch.no_grad():
        expected = theirs(
            prompts,
            num_inference_steps=5,
            guidance_scale=4.0,
            latents=torch.tensor(noise.transpose(0, 3, 1, 2)),
            height=8,
            width=16,
            use_resolution_binning=False,
            clean_caption=False,
            output_type="np",
        ).images
    options = {"noise": noise, "steps": 5, "guidance_scale": 4.0, "size": (8, 16)}
    found = ours.sample(2, {"text": prompts}, **options)
    close(found, expected)


def test_wan(tmp_path):
    """Fails if UMT5's distances, the zeros behind a prompt, the latents' place or a step differ."""
    torch = pytest.importorskip("torch")
    ours, theirs = opened(tiny.write_wan(tmp_path / "model"))
    exact_times(theirs.scheduler)
    noise, prompts = normal(2, 3, 8, 16, 4), ["a red  cat", "the blue house &amp; a dog"]
    with torch.no_grad():
        expected = theirs(
            prompts,
            num_inference_steps=5,
            guidance_scale=4.0,
            latents=torch.tensor(noise.transpose(0, 4, 1, 2, 3)),
            height=16,
            width=32,
            num_frames=5,
            output_type="np",
        ).frames
    found = ours.sample(
        2, {"text": prompts}, noise=noise, steps=5, guidance_scale=4.0, size=(5, 16, 32)
    )
    close(found, expected)


def test_wan_continues_an_image(tmp_path):
    """Fails if the states of the image, its frame, the mask of the frames or a norm differ."""
    torch = pytest.importorskip("torch")
    ours, theirs = opened(tiny.write_wan(tmp_path / "model", from_image=True))
    exact_times(theirs.scheduler)
    noise = normal(2, 3, 8, 8, 4)
    pixels = np.random.default_rng(3).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    with torch.no_grad():
        expected = theirs(
            Image.fromarray(pixels),
            ["a red cat", "a blue dog"],
            num_inference_steps=5,
            guidance_scale=4.0,
            latents=torch.tensor(noise.transpose(0, 4, 1, 2, 3)),
            height=16,
            width=16,
            num_frames=5,
            output_type="np",
        ).frames
    options = {"noise": noise, "steps": 5, "guidance_scale": 4.0, "size": (5, 16, 16)}
    image = pixels / np.float32(127.5) - 1
    close(ours.sample(2, {"text": ["a red cat", "a blue dog"]}, image=image, **options), expected)


def test_latent_consistency_models(tmp_path):
    """Fails if the guidance scale is read in another way, or guidance is applied beside it."""
    torch = pytest.importorskip("torch")
    ours, theirs = opened(tiny.write_lcm(tmp_path / "model"))
    noise, prompts = normal(2, 8, 8, 4), ["a red cat", "the blue house of a dog"]
    for scale in (1.0, 8.5):
        with torch.no_grad():
            expected = theirs(
                prompts,
                num_inference_steps=1,
                guidance_scale=scale,
                latents=torch.tensor(noise.transpose(0, 3, 1, 2)),
                height=16,
                width=16,
                output_type="np",
            ).images
        options = {"noise": noise, "steps": 1, "guidance_scale": scale}
        close(ours.sample(2, {"text": prompts}, **options), expected)
    assert ours.parts.options.guidance_scale == 8.5
