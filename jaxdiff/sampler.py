"""Samples from a model: the options chosen, checked, compiled once, and run in batches."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Key

from jaxdiff import random
from jaxdiff.build import build
from jaxdiff.diffusion import guidance as guidances
from jaxdiff.diffusion import sampling, solvers, timesteps
from jaxdiff.networks.model import Model
from jaxdiff.training.partition import AXIS
from jaxdiff.training.state import TrainState
from jaxdiff.typing import Codec, Cond, Denoiser

Program = Callable[[TrainState, Key[Array, " b"], Cond], Array]


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
    """Draws samples with the EMA of a state: `sampler(state, num, cond, seed=0, steps=20)`."""

    def __init__(
        self,
        model: Model,
        codec: Codec,
        latent_shape: tuple[int, ...],
        *,
        conditions: tuple[str, ...],
        num_classes: int,
        options: Options,
        mesh: Mesh,
    ):
        """Checks the options, so that a wrong solver is not found after the training."""
        self._model, self._codec, self._latent_shape = model, codec, latent_shape
        self._conditions, self._num_classes = conditions, num_classes
        self._options, self._mesh = options, mesh
        self.program()

    def __call__(
        self,
        state: TrainState,
        num: int,
        cond: Mapping[str, Any] | None = None,
        *,
        seed: int = 0,
        first: int = 0,
        batch_size: int | None = None,
        trajectory: bool = False,
        **options: Any,
    ) -> Float[np.ndarray, "..."]:
        """Draws samples [num, ...] in [-1, 1], the same for a seed and an index in any batches.

        `cond` holds a value for each sample, or one for all; without it the samples are
        unconditional. `first` is the index of the first one. `options` are those of `program`.
        With `trajectory`, x at every time comes out, the noise first: [steps + 1, num, ...].

        Raises:
            ValueError: num, a label or an option is out of range.
        """
        if num < 1:
            raise ValueError(f"num={num}: at least one sample")
        cond = self._checked(num, cond or {})
        program = self.program(trajectory=trajectory, **options)
        size = min(num, batch_size or self._options.batch_size)
        parts = []
        for start in range(0, num, size):
            # The last batch is filled up, so that one program serves all.
            index = np.minimum(np.arange(start, start + size), num - 1)
            parts.append(np.asarray(program(state, *self._inputs(index, first, seed, cond))))
        axis = 1 if trajectory else 0
        return np.concatenate(parts, axis=axis).take(np.arange(num), axis=axis)

    def program(self, *, trajectory: bool = False, **options: Any) -> Program:
        """Returns the compiled `(state, keys [b], cond) -> samples [b, ...]`.

        `options` are solver, timesteps, steps, guidance and guidance_scale; None stands for the
        default.

        Raises:
            ValueError: a name is unknown, or the model says nothing at one of the times.
        """
        given = {name: value for name, value in options.items() if value is not None}
        chosen = [given.pop(name, getattr(self._options, name)) for name in _OPTIONS]
        if given:
            raise ValueError(f"unknown options {sorted(given)}; known: {', '.join(_OPTIONS)}")
        return self._program(*chosen, trajectory)

    def times(self, grid: Any = None, steps: int | None = None) -> Float[Array, " times"]:
        """Returns the times [steps + 1] at which the solver stops."""
        grid, steps = grid or self._options.timesteps, steps or self._options.steps
        return build(timesteps, grid)(self._model.process, steps)

    def denoiser(
        self, state: TrainState, guidance_scale: float = 1.0, guidance: Any = "ClassifierFree"
    ) -> Denoiser:
        """Returns the EMA's denoiser with guidance, by default none; compiled when it is called.

        It raises ValueError where there is nothing to be guided by.
        """
        return functools.partial(self._denoise(guidance, guidance_scale), state.ema)

    @functools.lru_cache(maxsize=16)  # noqa: B019 - the programs live as long as the sampler
    def _denoise(self, guidance, guidance_scale):
        guide = build(
            guidances,
            guidance,
            process=self._model.process,
            parameterization=self._model.parameterization,
            guidance_scale=guidance_scale,
        )
        return jax.jit(lambda ema, x, t, cond: guide(self._model.bind(ema))(x, t, cond))

    @functools.lru_cache(maxsize=16)  # noqa: B019 - the programs live as long as the sampler
    def _program(self, solver, grid, steps, guidance, guidance_scale, trajectory):
        process = self._model.process
        solve = build(solvers, solver, process=process)
        times = build(timesteps, grid)(process, steps)
        process.check(self._model.parameterization, times[:-1])
        denoise = self._denoise(guidance, guidance_scale)
        run = sampling.trajectory if trajectory else sampling.sample

        def draw(state, keys, cond):
            decode = functools.partial(self._codec.decode, state.frozen.get("codec"))
            like = jnp.zeros((len(keys), *self._latent_shape))
            x = sampling.prior(process, keys, like, times[0])
            denoiser = functools.partial(denoise, state.ema)
            x = run(solve, denoiser, x, times, cond, keys)
            return jax.vmap(decode)(x) if trajectory else decode(x)

        return jax.jit(draw)

    def _inputs(self, index, first, seed, cond):
        key = random.stream(jax.random.key(seed), "sample")
        keys = random.example_keys(key, jnp.asarray(index + first))
        inputs = keys, {name: jnp.asarray(value[index]) for name, value in cond.items()}
        divisible = len(index) % self._mesh.size == 0
        divided = PartitionSpec(AXIS) if divisible else PartitionSpec()
        return jax.device_put(inputs, NamedSharding(self._mesh, divided))

    def _checked(self, num, cond):
        arrays = {}
        for name, value in cond.items():
            if name not in self._conditions:
                raise ValueError(f"unknown condition {name!r}; known: {list(self._conditions)}")
            array = np.asarray(value)
            arrays[name] = np.broadcast_to(array, (num,)) if array.ndim == 0 else array
            if len(arrays[name]) != num:
                raise ValueError(f"cond[{name!r}] has {len(array)} values for {num} samples")
        labels, classes = arrays.get("label", np.zeros(0, int)), self._num_classes
        wrong = [n for n in np.unique(labels).tolist() if n not in range(classes)]
        if wrong:
            raise ValueError(f"labels {wrong} are out of range: classes are 0 to {classes - 1}")
        return arrays


_OPTIONS = ("solver", "timesteps", "steps", "guidance", "guidance_scale")
