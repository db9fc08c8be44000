"""Released models from folders: what opens, what is drawn, what compiles, what is refused."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.conditioning.conditions import filled
from jaxdiff.pipelines.opening import released
from tests.support.released import write_sd3, write_sdxl

pytest.importorskip("tokenizers")


PROMPT = {"steps": 3, "guidance_scale": 3.0}


def test_another_prompt_seed_scale_or_weights_compile_nothing(pipeline, monkeypatch):
    """Fails if one of them is a constant of the program, or the sampler is made anew."""
    sampler, traces = pipeline.parts.sampler(), []
    program = sampler._draw
    count = jax.jit(lambda **g: traces.append(1) or program(**g), static_argnames="loop")
    monkeypatch.setattr(sampler, "_program", count)
    first = pipeline.sample(2, "a red cat", **PROMPT)
    assert first.shape == (2, 16, 16, 3)
    others = [
        pipeline.sample(2, {"text": ["a red cat", "blue"]}, **PROMPT),
        pipeline.sample(2, "a red cat", seed=1, **PROMPT),
        pipeline.sample(2, "a red cat", **{**PROMPT, "guidance_scale": 7.0}),
        pipeline.with_weights(
            codec=jax.tree.map(lambda a: 2 * a, pipeline.weights["codec"])
        ).sample(2, "a red cat", **PROMPT),
    ]
    assert len(traces) == 1
    np.testing.assert_array_equal(others[0][0], first[0])
    for other in others:
        assert np.abs(other[1] - first[1]).max() > 1e-3


@pytest.mark.slow
def test_images_begin_and_come_back(pipeline):
    """Fails if the strength is not a share of the steps, or the end of the grid is another."""
    image = np.tanh(np.random.default_rng(0).normal(size=(16, 16, 3))).astype(np.float32)
    options = {"steps": 4, "guidance_scale": 1.0}
    drawn = pipeline.sample(1, "a", image=image, strength=0.5, **options)
    times = np.asarray(pipeline.parts.sampler().times({}, steps=4))
    ends = {"t_start": float(times[2]), "t_end": float(times[4])}
    np.testing.assert_array_equal(drawn, pipeline.sample(1, "a", image=image, **ends, **options))
    latents = pipeline.encode(image[None])
    assert latents.shape == (1, 8, 8, 4)
    assert pipeline.decode(latents).shape == (1, 16, 16, 3)
    with pytest.raises(ValueError, match=r"strength=0\.1 of 4 steps is none"):
        pipeline.sample(1, "a", image=image, strength=0.1, **options)
    with pytest.raises(ValueError, match=r"strength=0\.5: give the image"):
        pipeline.sample(1, "a", strength=0.5)


def test_a_denoiser_of_latents(pipeline):
    cond = pipeline.encode_prompts(2, "a red cat")
    assert cond["text"].value.shape == (2, 16, 12)
    x, t = jnp.ones((2, 8, 8, 4)), jnp.full(2, 0.5)
    found = pipeline.denoiser()(x, t, cond)
    alpha, sigma = pipeline.parts.model.process.at(t, x)
    np.testing.assert_allclose(alpha * found.x0 + sigma * found.noise, x, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("write", [write_sdxl, write_sd3])
def test_other_families_trace(write, one, tmp_path):
    """Compiles no picture; fails if a condition that the network reads is not made."""
    found = released(write(tmp_path), devices=one, dtype="bfloat16")
    leaves = jax.tree.leaves({k: v for k, v in found.weights.items() if k != "text"})
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype("bfloat16")}
    sampler = found.parts.sampler()
    conditions, model = sampler._conditions, found.parts.model
    inputs = {"text": conditions.inputs(2)["text"]}

    def predict(weights, inputs):
        cond = conditions.encode(weights, inputs)
        denoiser = filled(model.bind(weights), conditions.empty(weights))
        return cond, denoiser(jnp.ones((2, 8, 8, 4)), jnp.full(2, 0.5), cond)

    cond, prediction = jax.eval_shape(predict, found.weights, inputs)
    assert cond["text"].value.shape[-1] == 28
    assert prediction.x0.shape == (2, 8, 8, 4)


def test_sizes_are_checked(pipeline):
    with pytest.raises(ValueError, match=r"size=\(10, 16\): .* multiples of 4, such as \(8, 16\)"):
        pipeline.sample(1, "a", size=(10, 16))


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("model_index.json", {"_class_name": "FluxPipeline"}, "_class_name='FluxPipeline' is no"),
        ("model_index.json", {"_class_name": "PixArtAlphPipeline"}, "PixArtAlphaPipeline"),
        ("model_index.json", {"text_encoder": [None, None]}, "has no 'text_encoder'"),
        ("unet/config.json", {"class_embed_type": "timestep"}, "class_embed_type='timestep'"),
        ("vae/config.json", {"block_out_channels": [8, 24]}, r"codec: .*vae.* does not fit"),
        ("text_encoder/config.json", {"hidden_size": 16}, r"text: .*text_encoder.* does not fit"),
        ("scheduler/scheduler_config.json", {"thresholding": True}, "thresholding=True"),
    ],
)
def test_what_does_not_fit_is_named(folder, one, file, change, message, tmp_path):
    """Fails if a part is left out in silence, or the message does not say which part it is."""
    for path in folder.rglob("*"):
        target = tmp_path / path.relative_to(folder)
        if path.is_dir():
            target.mkdir()
        else:
            target.symlink_to(path)
    fields = json.loads((folder / file).read_text())
    (tmp_path / file).unlink()
    (tmp_path / file).write_text(json.dumps({**fields, **change}))
    with pytest.raises(ValueError, match=message):
        released(tmp_path, devices=one)


def test_what_is_no_released_model_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"has no model_index.json"):
        released(tmp_path)
    with pytest.raises(ValueError, match=r"there is no file or folder 'nowhere\.safetensors'"):
        released("nowhere.safetensors")
    with pytest.raises(ValueError, match="dtype is 'int8'"):
        released(tmp_path, dtype="int8")
