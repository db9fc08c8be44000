"""Pictures that begin from an image beside diffusers: Stable Diffusion 1, SDXL's refiner, 3.5."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.pipelines import released
from jaxdiff.pipelines.calls import part_of_grid
from tests.parity.test_export import peer
from tests.parity.test_released import NEGATIVE, PROMPTS, SCALE, STEPS
from tests.support import released as tiny

pytestmark = pytest.mark.parity

STRENGTH = 0.6
EULER = {**tiny.EULER, "timestep_spacing": "leading"}
CASES = {
    "SD 1": ("StableDiffusionImg2ImgPipeline", tiny.write_sd),
    "SDXL's refiner": ("StableDiffusionXLImg2ImgPipeline", tiny.write_refiner),
    "SDXL's refiner, zeros": (
        "StableDiffusionXLImg2ImgPipeline", functools.partial(tiny.write_refiner, zeros=True),
    ),
    "SD 3.5 medium": (
        "StableDiffusion3Img2ImgPipeline", functools.partial(tiny.write_sd3, t5=False, **tiny.DUAL),
    ),
}  # fmt: skip


def compare_from_an_image(ours, theirs, negative):
    """Draws the same pictures on both sides from two images."""
    torch = pytest.importorskip("torch")
    images = np.random.default_rng(3).uniform(-1, 1, (2, 16, 16, 3)).astype(np.float32)
    draw = lambda generator: torch.randn((2, 4, 8, 8), generator=generator)
    generator = torch.Generator().manual_seed(0)
    draw(generator)  # of the posterior, which has no spread
    noise = draw(generator).numpy().transpose(0, 2, 3, 1)
    with torch.no_grad():
        expected = theirs(
            PROMPTS,
            negative_prompt=negative and [negative] * 2,
            image=torch.tensor(images.transpose(0, 3, 1, 2)),
            num_inference_steps=STEPS,
            guidance_scale=SCALE,
            strength=STRENGTH,
            generator=torch.Generator().manual_seed(0),
            output_type="np",
        ).images
    sampler = ours.parts.sampler()
    ends = part_of_grid(sampler, ours.weights, images, STRENGTH, {"steps": STEPS})
    alpha, sigma = ours.parts.model.process.at(jnp.full(2, ends["t_start"]), jnp.asarray(noise))
    found = ours.sample(
        2,
        {"text": PROMPTS},
        negative=negative,
        noise=np.asarray(alpha * ours.encode(images) + sigma * noise),
        steps=STEPS,
        guidance_scale=SCALE,
        **ends,
    )
    assert expected.std() > 0.1
    np.testing.assert_allclose(np.clip(found / 2 + 0.5, 0, 1), expected, atol=1e-3)


@pytest.mark.parametrize("name", CASES)
def test_pictures_from_images(name, tmp_path):
    """Fails if the strength is another share of the steps, or an aesthetic score is another."""
    diffusers = pytest.importorskip("diffusers")
    kind, write = CASES[name]
    folder = write(tmp_path)
    tiny.without_spread(folder)
    theirs = getattr(diffusers, kind).from_pipe(peer(folder))
    theirs.set_progress_bar_config(disable=True)
    compare_from_an_image(released(folder), theirs, None if "zeros" in name else NEGATIVE)


def test_the_refiner_in_a_single_file(tmp_path):
    """Both sides read one file; fails if its encoder's keys mean something else to them."""
    diffusers = pytest.importorskip("diffusers")
    folder, file = tiny.write_refiner(tmp_path / "folder"), tmp_path / "model.safetensors"
    tiny.without_spread(folder)
    tiny.write_single(released(folder), file)
    for weights in folder.rglob("*.safetensors"):
        weights.unlink()
    theirs = diffusers.StableDiffusionXLImg2ImgPipeline.from_single_file(file, config=str(folder))
    theirs.set_progress_bar_config(disable=True)
    compare_from_an_image(released(file, config=folder), theirs, NEGATIVE)
