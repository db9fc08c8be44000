"""Sampling in graphs: a denoiser of several conditions, and the one program that draws with it."""

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from jaxdiff import random
from jaxdiff.config.build import build
from jaxdiff.diffusion import guidance as guidances
from jaxdiff.diffusion import sampling, solvers
from jaxdiff.diffusion.guidance.branches import predict_batched, with_x0
from jaxdiff.diffusion.guidance.regions import fitted_mask, weighted_mean
from jaxdiff.diffusion.process import Process
from jaxdiff.diffusion.watching import Watched
from jaxdiff.pipelines.calls import SCORE, UNGUIDED_SCORE
from jaxdiff.studio.graph.steering import steered
from jaxdiff.studio.graph.values import Entry, OfGuider, OfLatent, OfModel, OfSampler
from jaxdiff.trees import as_argument, from_argument, replaced
from jaxdiff.typing import Condition, Prediction

RAMP = 8
"""Latents over which an area fades towards its edges."""


def predict(
    guider: OfGuider, x: Float[Array, "b h w c"], t: Float[Array, " b"], times: Array
) -> Prediction:
    """Returns the guided prediction: positive and negative conditions, each averaged by weight."""
    several = [*guider.positive, *(guider.negative or ())]
    count = len(guider.positive)
    each = _each(guider.model, several, x, t, count)
    weights = [_weight(entry, guider.model, x, t, times) for entry in several]
    conditional = weighted_mean(each[:count], weights[:count])
    if guider.negative is None:
        return conditional
    unconditional = weighted_mean(each[count:], weights[count:])
    name, options = guider.model.guide
    guide = build(
        guidances,
        {"name": name, **dict(options)},
        process=guider.model.network.process,
        parameterization=guider.model.network.parameterization,
        guidance_scale=guider.scale,
    )
    return guide.combine(conditional, unconditional, x, t)


def _each(
    model: OfModel, entries: Sequence[Entry], x: Any, t: Any, positive: int
) -> list[Prediction]:
    """Returns the prediction under each condition; those of one shape by one call.

    The first `positive` conditions are those that guidance leads to.
    """
    scores = [SCORE if i < positive else UNGUIDED_SCORE for i in range(len(entries))]
    conds = [_cond(entry, model, x, score) for entry, score in zip(entries, scores, strict=True)]
    areas = [_area(entry, model, x) for entry in entries]
    # A condition with a ControlNet is asked about alone: the maps of others may differ.
    alone = [i if entry.control else None for i, entry in enumerate(entries)]
    shapes = [
        (_shape(cond), area, place) for cond, area, place in zip(conds, areas, alone, strict=True)
    ]
    found: dict[int, Prediction] = {}
    for shape in dict.fromkeys(shapes):
        places = [i for i, other in enumerate(shapes) if other == shape]
        area = shape[1]
        part = x if area is None else _cut(x, area)
        denoiser = model.network.bind({"network": model.params})
        if controls := entries[places[0]].control:
            if area is not None:
                raise ValueError("an area has no ControlNet here: use a mask in its place")
            denoiser = replaced(denoiser, controls=controls)
        predictions = predict_batched(denoiser, part, t, [conds[i] for i in places])
        for i, prediction in zip(places, predictions, strict=True):
            found[i] = prediction if area is None else _pasted(prediction, x, area)
    return [found[i] for i in range(len(entries))]


def _cond(entry: Entry, model: OfModel, x: Any, score: float) -> dict[str, Condition]:
    repeated = lambda a: jnp.broadcast_to(a, (len(x), *a.shape[1:]))
    cond = {"text": jax.tree.map(repeated, entry.text)}
    numbers = model.network.network.inputs.joint_numbers
    height, width = (n * model.parts.factor for n in x.shape[1:3])
    known = {
        "size": ([[height, width, 0, 0, height, width]], entry.size),
        "aesthetic_score": ([[score]], entry.score),
    }
    for name, count in numbers.items():
        usual, given = known[name]
        values = jnp.asarray(usual if given is None else given, jnp.float32)[:, :count]
        cond[name] = Condition(repeated(values))
    return cond


def _shape(cond: Any) -> Any:
    """Returns the structure and the shapes of arrays, by which predictions share a call."""
    return jax.tree.structure(cond), tuple(leaf.shape for leaf in jax.tree.leaves(cond))


def _area(entry: Entry, model: OfModel, x: Any) -> tuple[int, int, int, int] | None:
    """Returns left, top, width and height in latents, within the picture."""
    if entry.area is None:
        return None
    factor = model.parts.factor
    inner = model.parts.multiple // factor
    found = []
    for total, begin, extent in zip(x.shape[2:0:-1], entry.area[:2], entry.area[2:], strict=True):
        scale = (lambda v: int(v * total)) if isinstance(extent, float) else (lambda v: v // factor)
        length = min(max(scale(extent) // inner, 1) * inner, total)
        found.append((min(scale(begin), total - length), length))
    (left, width), (top, height) = found
    return left, top, width, height


def _cut(x: Any, area: tuple[int, int, int, int]) -> Any:
    left, top, width, height = area
    return x[:, top : top + height, left : left + width]


def _pasted(prediction: Prediction, x: Any, area: tuple[int, int, int, int]) -> Prediction:
    left, top, width, height = area
    place = (slice(None), slice(top, top + height), slice(left, left + width))
    zeros = jnp.zeros_like(x)
    return Prediction(zeros.at[place].set(prediction.x0), zeros.at[place].set(prediction.noise))


def _weight(entry: Entry, model: OfModel, x: Any, t: Any, times: Any) -> Array:
    """Returns the weight [b, h, w, 1] of a condition: its mask, its area, its part of the times."""
    weight = jnp.ones((len(x), *x.shape[1:3], 1)) * entry.strength
    if entry.mask is not None:
        weight *= fitted_mask(entry.mask, x.shape)
    if (area := _area(entry, model, x)) is not None:
        weight *= _ramp(x.shape[1:3], area)[None, ..., None]
    if entry.span != (0.0, 1.0):
        begin, end = (times[0] * (1 - share) for share in entry.span)
        on = (t <= begin) & (t > end)
        weight *= on[:, None, None, None]
    return weight


def _ramp(size: tuple[int, ...], area: tuple[int, int, int, int]) -> np.ndarray:
    """Returns 1 in an area, falling towards those of its edges that lie within the picture."""
    left, top, width, height = area
    sides = []
    for total, first, length in ((size[0], top, height), (size[1], left, width)):
        places = np.arange(total)
        below, above = places - first + 1, first + length - places
        rise = np.minimum(below if first > 0 else RAMP, above if first + length < total else RAMP)
        sides.append(np.where((below >= 1) & (above >= 1), np.clip(rise / RAMP, 0, 1), 0))
    return np.outer(*sides)


@functools.partial(jax.jit, static_argnames=("loop", "process"))
def _sampled(loop, process, guider, solver, latents, mask, times, keys, noisy):
    times_of_steps, z = times, latents

    def denoiser(x, t, cond):
        prediction = predict(guider, x, t, times_of_steps)
        if mask is None:
            return prediction
        # What is not drawn anew is known.
        x0 = mask * prediction.x0 + (1 - mask) * z
        return with_x0(process, prediction, x0, t)

    alpha = process.schedule.alpha(times[0])
    noised = sampling.noised(process, keys, z, times[0])
    x = jnp.where(noisy, noised, alpha * z)
    x = loop(from_argument(solver), denoiser, x, times, {}, keys)
    last = process.schedule.alpha(times[-1])
    x = x / jnp.where(last == 0, 1, last)
    return x if mask is None else mask * x + (1 - mask) * z


def draw(
    guider: OfGuider,
    sampler: OfSampler,
    times: Float[Array, " times"],
    latent: OfLatent,
    key: Key[Array, ""] | None,
    watch: Any = None,
) -> OfLatent:
    """Returns latents drawn from noise, or from noised latents; x_t/alpha where times end above 0.

    Without a key, no noise is added: the latents are x_t/alpha of the first time.

    Args:
        guider: the model with its conditions.
        sampler: names the solver.
        times: at which the solver stops, from noise to data.
        latent: from which it begins; zeros for new pictures. Its mask says what is drawn anew.
        key: of the noise; example i has that of `Pipeline.sample` with the same seed.
        watch: called after each step, and may end it.
    """
    process: Process = guider.model.network.process
    samples = fitted_channels(latent, guider.model)
    if len(times) < 2:
        return replace(latent, samples=samples, empty=False)
    keys = random.example_keys(
        jax.random.key(0) if key is None else key,
        jnp.arange(len(samples)) + latent.first,
    )
    guider = steered(guider, samples.shape, times)
    mask = None if latent.mask is None else fitted_mask(latent.mask, samples.shape)
    drawn = _sampled(
        loop=Watched(watch) if watch else sampling.sample,
        process=process,
        guider=guider,
        solver=as_argument(solver_of(sampler, process)),
        latents=samples,
        mask=mask,
        times=jnp.asarray(times),
        keys=keys,
        noisy=key is not None,
    )
    return replace(latent, samples=drawn, empty=False)


def solver_of(sampler: OfSampler, process: Process) -> Any:
    """Returns the solver that a node names."""
    return build(solvers, {"name": sampler.name, **dict(sampler.options)}, process=process)


def fitted_channels(latent: OfLatent, model: OfModel) -> Array:
    """Returns the latents; empty ones get the number of channels, and the scale, of the model.

    Raises:
        ValueError: they are of another model, or their sides do not fit the network.
    """
    settings = model.parts.codec.network.settings
    samples, channels = jnp.asarray(latent.samples), settings.latent_channels
    if latent.empty:
        samples = jnp.zeros((*samples.shape[:-1], channels))
    if samples.shape[-1] != channels:
        raise ValueError(
            f"the latents have {samples.shape[-1]} channels, but the model's have {channels}:"
            " they come from the VAE of another model"
        )
    pixels = [n * settings.factor for n in samples.shape[1:3]]
    if any(n % model.parts.multiple for n in pixels):
        raise ValueError(
            f"{pixels[1]}x{pixels[0]} pixels: the network takes multiples of {model.parts.multiple}"
        )
    return samples
