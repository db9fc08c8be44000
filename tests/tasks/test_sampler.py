"""The sampler: where it starts and stops, what it encodes, and processes that were learned."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff import random
from jaxdiff.codecs import Pixels
from jaxdiff.conditioning.conditions import Conditions
from jaxdiff.diffusion import oracles, schedules
from jaxdiff.diffusion.guidance import StaticThreshold
from jaxdiff.diffusion.parameterizations import noise, v
from jaxdiff.diffusion.process import Process
from jaxdiff.diffusion.sampling import invert, noised, prior, sample, within
from jaxdiff.diffusion.solvers import DDIM, Heun
from jaxdiff.diffusion.timesteps import Karras, Uniform
from jaxdiff.tasks.known import checked_array, known_of
from jaxdiff.tasks.model import Model
from jaxdiff.tasks.sampler import Sampler
from jaxdiff.tasks.sampling_options import Options
from jaxdiff.weights import learned
from jaxdiff.weights.devices import Devices, make_mesh

COSINE = Process(schedules.Cosine())
LEARNED = Process(schedules.Learned(highest=9.0, lowest=-8.0, features=4))
KEYS = random.example_keys(random.stream(jax.random.key(0), "sample"), jnp.arange(5))
IMAGE = np.random.default_rng(0).normal(0.5, 0.4, (5, 2)).astype(np.float32)


def scaled(process, x, t):
    """An input that tells its process: (1 + sigma)·x."""
    return x * (1 + process.at(t, x)[1])


class Network:
    """Reads v off the normal distribution whose process has the log-SNR that it is told."""

    def apply(self, variables, x, logsnr, cond, dropout_keys):
        alpha = jnp.sqrt(jax.nn.sigmoid(logsnr))[:, None]
        sigma = jnp.sqrt(jax.nn.sigmoid(-logsnr))[:, None]
        x = x / (1 + sigma)
        innovation = (x - 0.5 * alpha) / ((0.4 * alpha) ** 2 + sigma**2)
        return alpha * sigma * innovation - sigma * (0.5 + alpha * 0.16 * innovation)


def sampler_of(process, parameterization=v):
    return Sampler(
        Model(Network(), process, parameterization, scaled, lambda p, t: p.logsnr(t)),
        Pixels(),
        (2,),
        (2,),
        conditions=Conditions(),
        options=Options(steps=8),
        devices=Devices(make_mesh(jax.devices()[:1])),
    )


def weights_of(**learned):
    return {"network": {}, **learned}


@pytest.fixture(scope="module")
def sampler():
    return sampler_of(COSINE)


def oracle(process):
    return oracles.Gaussian(process, mean=jnp.full(2, 0.5), std=0.4)


def test_sampling_starts_at_an_image_and_stops_anywhere(sampler):
    """Fails if the image is not noised, is noised to another time, or the grid is not cut."""
    times = within(Uniform()(COSINE, 8), 0.7, 0.2)
    x = noised(COSINE, KEYS, jnp.asarray(IMAGE), times[0])
    expected = sample(DDIM(COSINE), oracle(COSINE), x, times, {}, KEYS)
    weights, ends = weights_of(), {"t_start": 0.7, "t_end": 0.2}
    np.testing.assert_allclose(sampler(weights, 5, image=IMAGE, **ends), expected, atol=1e-6)
    np.testing.assert_allclose(sampler.times(weights, **ends), times)
    whole = sampler(weights, 5, noise=np.asarray(x), **ends)
    np.testing.assert_allclose(whole, expected, atol=1e-6)
    # An image is the same in any batch, and in any call that counts from its index.
    parts = sampler(weights, 5, image=IMAGE, batch_size=2, **ends)
    np.testing.assert_allclose(parts, expected, atol=1e-6)
    later = sampler(weights, 2, image=IMAGE[3:], first=3, **ends)
    np.testing.assert_allclose(later, expected[3:], atol=1e-6)
    path = sampler(weights, 5, image=IMAGE, trajectory=True, **ends)
    np.testing.assert_allclose(path[0], x, atol=1e-6)


def test_what_is_encoded_comes_back(sampler):
    """DDIM inversion; fails if encoding and decoding take other grids, or noise is added."""
    weights, options = weights_of(), {"solver": "Heun", "steps": 40}
    encoded = sampler.invert(weights, IMAGE, **options)
    times = Uniform()(COSINE, 40)
    expected = invert(Heun(COSINE), oracle(COSINE), jnp.asarray(IMAGE), times, {}, KEYS)
    np.testing.assert_allclose(encoded, expected, atol=1e-5)
    np.testing.assert_allclose(sampler(weights, 5, noise=encoded, **options), IMAGE, atol=0.02)


def test_samples_follow_the_schedule_that_was_learned():
    """Fails if solver, model, guidance, grid or prior keep the schedule of the start."""
    sampler = sampler_of(LEARNED)
    params = {"ends": jnp.array([5.0, -3.0]), "shape": jnp.array([2.0, -1.0, 0.0, 1.0])}
    process = learned.bind(LEARNED, {"process.schedule": params}, "process")
    for weights, true in (
        (weights_of(), LEARNED),
        (weights_of(**{"process.schedule": params}), process),
    ):
        times = sampler.times(weights, timesteps="Karras")
        x = prior(true, KEYS, jnp.zeros((5, 2)), times[0])
        expected = sample(DDIM(true), oracle(true), x, times, {}, KEYS)
        found = sampler(weights, 5, timesteps="Karras")
        np.testing.assert_allclose(found, expected, atol=1e-5)
        np.testing.assert_allclose(times, Karras()(true, 8), rtol=1e-5)
        x, t = jnp.asarray(IMAGE), jnp.full(5, 0.4)
        found = sampler.denoiser(weights)(x, t, {})
        np.testing.assert_allclose(found.x0, oracle(true)(x, t, {}).x0, atol=1e-5)
        found = sampler.denoiser(weights, guidance="StaticThreshold(limit=0.3)")(x, t, {})
        expected = StaticThreshold(true, limit=0.3)(oracle(true))(x, t, {})
        np.testing.assert_allclose(found.noise, expected.noise, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"t_start": 0.5}, r"t_start=0\.5: give an image"),
        ({"image": IMAGE, "t_start": 0.2, "t_end": 0.4}, r"t_start=0\.2 and t_end=0\.4"),
        ({"image": IMAGE, "t_start": 1.5}, r"t_start is 1\.5; expected"),
        ({"image": IMAGE[:, :1]}, r"image has shape \(5, 1\); expected \(5, 2\)"),
        ({"noise": IMAGE[:3]}, r"noise has shape \(3, 2\); expected \(5, 2\)"),
        ({"image": IMAGE, "noise": IMAGE}, "both given"),
        ({"steps": 0}, "steps is 0"),
    ],
)
def test_where_sampling_cannot_start_is_named(sampler, options, message):
    with pytest.raises(ValueError, match=message):
        sampler(weights_of(), 5, **options)


def test_a_model_without_information_at_the_start_is_named():
    """Before anything is trained; fails if the grid's times are not looked at."""
    with pytest.raises(ValueError, match="'noise' says nothing about x0 and noise at t=1"):
        sampler_of(COSINE, noise)


def test_a_new_number_array_or_mask_compiles_nothing(sampler, monkeypatch):
    """Fails if a scale, a mask, an image or a measurement is a constant of the program."""
    weights, mask = weights_of(), np.array([True, False])
    traces = []
    program = sampler._draw
    monkeypatch.setattr(
        sampler,
        "_program",
        jax.jit(lambda **g: traces.append(1) or program(**g), static_argnames="loop"),
    )
    for scale, steps in ((1.5, 0), (3.0, 1), (7.5, 2)):
        image, known = IMAGE + steps, np.roll(mask, steps)
        sampler(weights, 5, image=image, mask=known[None], inverse="KnownPixels")
        sampler(
            weights,
            5,
            measurement=image[:, :1],
            operator=FIRST,
            inverse=f"DPS(scale={scale})",
            solver="DDIM(eta=0.5)",
        )
    assert len(traces) == 2


def first(x):
    return x[:, :1]


FIRST = first


def test_known_pixels_come_back_exactly_and_the_others_follow_them(sampler):
    """Fails if masks are not divided with the batch, are turned round, or images are noised."""
    weights, mask = weights_of(), np.array([[True, False]])
    for inverse in ("KnownPixels", "RePaint(resamples=2)"):
        found = sampler(
            weights, 5, image=IMAGE, mask=mask, inverse=inverse, solver="DDPM", batch_size=2
        )
        np.testing.assert_array_equal(found[:, 0], IMAGE[:, 0])
        assert np.abs(found[:, 1] - IMAGE[:, 1]).min() > 1e-4
        alone = sampler(
            weights, 1, image=IMAGE[3:4], mask=mask, inverse=inverse, solver="DDPM", first=3
        )
        np.testing.assert_allclose(alone[0], found[3], atol=1e-5)


def test_a_measurement_is_met(sampler):
    """Of Gaussian data, whose posterior ΠGDM draws; fails if the operator does not arrive."""
    found = sampler(
        weights_of(),
        5,
        measurement=IMAGE[:, :1],
        operator=first,
        inverse="PiGDM(data_std=0.4)",
        solver="Heun",
        steps=30,
        t_end=1e-3,
    )
    np.testing.assert_allclose(found[:, :1], IMAGE[:, :1], atol=0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask": np.ones((1, 2), bool)}, "mask: give the image"),
        ({"image": IMAGE, "mask": np.ones((5, 3), bool)}, "mask has shape"),
        ({"measurement": IMAGE}, "measurement: name its operator"),
        ({"inverse": "DPS"}, "inverse='DPS' needs image and mask, or measurement"),
        (
            {"measurement": IMAGE[:3], "operator": first},
            r"measurement has shape \(3, 2\); expected 5 examples",
        ),
        (
            {"measurement": IMAGE[:, :1], "operator": first, "inverse": "DSP"},
            "unknown inverse 'DSP'; did you mean 'DPS'",
        ),
    ],
)
def test_problems_that_do_not_fit_are_named(sampler, options, message):
    with pytest.raises(ValueError, match=message):
        sampler(weights_of(), 5, **options)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.full((2, 3), np.nan), "image is not finite"),
        (np.zeros((2, 3), np.uint8), "image has type uint8; expected floats"),
        (np.zeros((0, 3)), "image is empty"),
        (np.zeros(()), r"image has shape \(\); expected \(2, 3\)"),
        ([[1, 2, 3], [4]], "image has shape|inhomogeneous"),
        ("abc", "image has type <U3"),
    ],
)
def test_arrays_that_are_no_images_are_named(value, message):
    with pytest.raises(ValueError, match=message):
        checked_array("image", value, (2, 3))


@pytest.mark.parametrize(
    ("measurement", "operator", "message"),
    [
        (np.zeros((2, 4, 4, 1)), "AveragePooling(factor=4)", r"but .* makes \(2, 2, 2, 1\) of"),
        (np.zeros((2, 3)), "Blur(kernel=[1.0])", "takes no samples"),
        (np.zeros((2, 4, 4, 1)), lambda x: x + jnp.zeros(3), "makes"),
        (np.zeros((2, 4, 4, 1)), lambda x: x @ 3, "takes no samples"),
        (np.zeros(()), "AveragePooling(factor=2)", "expected 2 examples"),
    ],
)
def test_measurements_that_do_not_fit_are_named_before_sampling(measurement, operator, message):
    with pytest.raises(ValueError, match=message):
        known_of(2, (8, 8, 1), None, None, measurement, operator, None)
