"""Samples from a model: the options chosen, checked, compiled once, and run in batches."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Shaped

from jaxdiff import random
from jaxdiff.conditioning.conditions import Conditions, filled, flat
from jaxdiff.config.build import build
from jaxdiff.diffusion import guidance as guidances
from jaxdiff.diffusion import sampling, solvers, timesteps
from jaxdiff.tasks.model import Model
from jaxdiff.training.state import TrainState
from jaxdiff.typing import Codec, Cond, Denoiser
from jaxdiff.weights import learned
from jaxdiff.weights.partition import AXIS

Times = Float[Array, " times"]
Samples = Float[np.ndarray, "..."]
Program = Callable[..., Array]
_RUNS = {
    "sample": sampling.sample,
    "trajectory": sampling.trajectory,
    "invert": sampling.invert,
}


@dataclass(frozen=True)
class Options:
    """How samples are drawn, where a call does not say otherwise."""

    solver: Any = "DDIM"
    timesteps: Any = "Uniform"
    steps: int = 50
    guidance: Any = "ClassifierFree"
    guidance_scale: float = 1.0
    batch_size: int = 64


class Sampler:
    """Draws samples with the EMA of a state: `sampler(state, num, cond, seed=0, steps=20)`.

    Options of a call are those of `Options`, and `t_start` and `t_end`, between which the grid of
    times is used (1 and 0 by default).
    """

    def __init__(
        self,
        model: Model,
        codec: Codec,
        shape: tuple[int, ...],
        latent_shape: tuple[int, ...],
        *,
        conditions: Conditions,
        options: Options,
        mesh: Mesh,
    ):
        """Checks the options, so that a wrong solver is not found after the training."""
        self._model, self._codec = model, codec
        self._shape, self._latent_shape = shape, latent_shape
        self._conditions, self._options, self._mesh = conditions, options, mesh
        self._encode = jax.jit(lambda *given: flat(conditions.encode(*given)))
        self._empty = jax.jit(conditions.empty)
        self._program("sample", *self._chosen({}, _PROGRAM))
        self._times(model.process, *self._chosen({}, _GRID))

    def __call__(
        self,
        state: TrainState,
        num: int,
        cond: Mapping[str, Any] | None = None,
        *,
        image: Shaped[np.ndarray, "n *shape"] | None = None,
        noise: Shaped[np.ndarray, "n *latent"] | None = None,
        seed: int = 0,
        first: int = 0,
        batch_size: int | None = None,
        negative: Mapping[str, Any] | None = None,
        trajectory: bool = False,
        **options: Any,
    ) -> Samples:
        """Draws samples [num, ...] in [-1, 1], the same for a seed and an index in any batches.

        `cond` holds a value for each sample, or one for all, {"text": "a seven"}; without it the
        samples are unconditional. `negative` holds one value for all, which guidance leads away
        from in place of no condition. Sampling starts from noise drawn by the seed; with `image`
        [num, ...] from these images, noised to `t_start` (Meng et al. 2022); with `noise` from this
        x_t itself, as `invert` returns it. `first` is the index of the first sample. With
        `trajectory`, x at every time comes out, the noise first: [steps + 1, num, ...].

        Raises:
            ValueError: num, a label, a shape or an option is out of range.
        """
        given = {"start": self._start(num, image, noise, options)}
        given["cond"] = self._conditions.check(num, cond or {})
        negative = self._conditions.check(1, negative or {})
        run = "trajectory" if trajectory else "sample"
        return self._run(run, state, num, given, negative, seed, first, batch_size, options)

    def invert(
        self,
        state: TrainState,
        image: Shaped[np.ndarray, "n *shape"],
        cond: Mapping[str, Any] | None = None,
        *,
        seed: int = 0,
        first: int = 0,
        batch_size: int | None = None,
        **options: Any,
    ) -> Samples:
        """Encodes images as the noise from which a deterministic solver draws them.

        Give the result as `noise` to a call with the same options, and the images come back.

        Raises:
            ValueError: the solver is stochastic, or an option is out of range.
        """
        num = len(image)
        given = {"start": self._start(num, image, None, options)}
        given["cond"] = self._conditions.check(num, cond or {})
        return self._run("invert", state, num, given, {}, seed, first, batch_size, options)

    def times(self, state: TrainState, **options: Any) -> Times:
        """Returns the times [steps + 1] at which the solver stops.

        Raises:
            ValueError: a name is unknown, or the model says nothing at one of the times.
        """
        process = learned.bind(self._model.process, state.ema)
        fixed = process is self._model.process
        times = self._cached_times if fixed else functools.partial(self._times, process)
        return times(*self._chosen(options, _GRID))

    def denoiser(
        self, state: TrainState, guidance_scale: float = 1.0, guidance: Any = "ClassifierFree"
    ) -> Denoiser:
        """Returns the EMA's denoiser with guidance, by default none; compiled when it is called.

        Its conditions are encoded ones, as from `encode`. It raises ValueError where there is
        nothing to be guided by.
        """
        empty = self._empty(state.frozen)
        return functools.partial(self._denoise(guidance, guidance_scale), state.ema, empty)

    def encode(self, state: TrainState, num: int, cond: Mapping[str, Any]) -> Cond:
        """Returns conditions for a denoiser: values for each of `num`, or one for all, encoded.

        Raises:
            ValueError: a name is unknown, or values are of another number, kind or range.
        """
        return self._encode(state.frozen, self._conditions.check(num, cond))

    @functools.lru_cache(maxsize=16)  # noqa: B019 - the programs live as long as the sampler
    def _denoise(self, guidance, guidance_scale):
        guide = build(
            guidances,
            guidance,
            process=self._model.process,
            parameterization=self._model.parameterization,
            guidance_scale=guidance_scale,
        )

        def denoise(ema, empty, x, t, cond):
            return learned.bind(guide, ema)(filled(self._model.bind(ema), empty))(x, t, cond)

        return jax.jit(denoise)

    @functools.lru_cache(maxsize=16)  # noqa: B019 - the programs live as long as the sampler
    def _program(self, run, solver, guidance, guidance_scale) -> Program:
        """Returns the compiled `(state, times, keys [b], given, negative) -> x [b, ...]`."""
        solver = build(solvers, solver, process=self._model.process)
        denoise = self._denoise(guidance, guidance_scale)

        def draw(state, times, keys, given, negative):
            codec, start = state.frozen.get("codec"), given["start"]
            # Here, so that the solver's loop does not encode them at every step.
            cond = flat(self._conditions.encode(state.frozen, given["cond"]))
            negative = self._conditions.encode(state.frozen, negative)
            empty = self._conditions.empty(state.frozen, negative)
            if "image" in start:
                z = self._codec.encode(codec, start["image"], random.stream(keys, "codec"))
            else:
                z = jnp.zeros((len(keys), *self._latent_shape))
            process = learned.bind(self._model.process, state.ema)
            if run != "invert":
                z = start.get("noise", sampling.noised(process, keys, z, times[0]))
            solve = learned.bind(solver, state.ema)
            denoiser = functools.partial(denoise, state.ema, empty)
            x = _RUNS[run](solve, denoiser, z, times, cond, keys)
            decode = functools.partial(self._codec.decode, codec)
            return {"sample": decode, "trajectory": jax.vmap(decode), "invert": lambda z: z}[run](x)

        return jax.jit(draw)

    @functools.lru_cache(maxsize=16)  # noqa: B019 - as above
    def _cached_times(self, *options):
        return self._times(self._model.process, *options)

    def _times(self, process, grid, steps, t_start, t_end) -> Times:
        times = build(timesteps, grid)(process, steps)
        if (t_start, t_end) != (1.0, 0.0):
            times = sampling.within(times, t_start, t_end)
        process.check(self._model.parameterization, times[:-1])
        return times

    def _run(self, run, state, num, given, negative, seed, first, batch_size, options):
        grid = {name: options[name] for name in _GRID if name in options}
        chosen = {name: value for name, value in options.items() if name not in grid}
        program = self._program(run, *self._chosen(chosen, _PROGRAM))
        times = self.times(state, **grid)
        size = min(num, batch_size or self._options.batch_size)
        parts = []
        for begin in range(0, num, size):
            # The last batch is filled up, so that one program serves all.
            index = np.minimum(np.arange(begin, begin + size), num - 1)
            keys, inputs = self._inputs(index, first, seed, given)
            parts.append(np.asarray(program(state, times, keys, inputs, negative)))
        axis = 1 if run == "trajectory" else 0
        return np.concatenate(parts, axis=axis).take(np.arange(num), axis=axis)

    def _inputs(self, index, first, seed, given):
        key = random.stream(jax.random.key(seed), "sample")
        keys = random.example_keys(key, jnp.asarray(index + first))
        given = jax.tree.map(lambda value: jnp.asarray(value[index]), given)
        divisible = len(index) % self._mesh.size == 0
        divided = PartitionSpec(AXIS) if divisible else PartitionSpec()
        return jax.device_put((keys, given), NamedSharding(self._mesh, divided))

    def _chosen(self, options, names):
        given = {name: value for name, value in options.items() if value is not None}
        chosen = [given.pop(n, _DEFAULTS.get(n, getattr(self._options, n, None))) for n in names]
        if given:
            raise ValueError(f"unknown options {sorted(given)}; known: {', '.join(_OPTIONS)}")
        return chosen

    def _start(self, num, image, noise, options):
        if num < 1:
            raise ValueError(f"num={num}: at least one sample")
        if image is not None and noise is not None:
            raise ValueError("image and noise are both given: sampling starts from one of them")
        if image is None and noise is None:
            t_start = options.get("t_start")
            if t_start not in (None, 1.0):
                raise ValueError(
                    f"t_start={t_start}: give an image to begin from there, or noise, an x_t"
                )
            return {}
        name, given, one = (
            ("noise", noise, self._latent_shape) if image is None else ("image", image, self._shape)
        )
        if np.shape(given) != (num, *one):
            raise ValueError(f"{name} has shape {np.shape(given)}; expected {(num, *one)}")
        return {name: np.asarray(given, np.float32)}


_PROGRAM = ("solver", "guidance", "guidance_scale")
_GRID = ("timesteps", "steps", "t_start", "t_end")
_OPTIONS = (*_PROGRAM, *_GRID)
_DEFAULTS = {"t_start": 1.0, "t_end": 0.0}
