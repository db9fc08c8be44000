"""Samples from a diffusion model: options checked, one program, batches over the devices."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Float, Shaped

from jaxdiff import random
from jaxdiff.codecs import Pixels
from jaxdiff.conditioning.conditions import Conditions, filled
from jaxdiff.diffusion import sampling
from jaxdiff.diffusion.watching import Watched
from jaxdiff.progress import announced, full_batches
from jaxdiff.tasks import attention, controls, students
from jaxdiff.tasks import regions as parts
from jaxdiff.tasks.attention import Excite, PromptEdit
from jaxdiff.tasks.known import known_of, start_of
from jaxdiff.tasks.model import Model
from jaxdiff.tasks.phases import kept, phased, since
from jaxdiff.tasks.regions import Region
from jaxdiff.tasks.sampling_options import (
    Grid,
    Options,
    check_finite,
    guidance_of,
    solver_of,
    times_of,
)
from jaxdiff.trees import as_argument, from_argument
from jaxdiff.typing import Codec, Cond, Denoiser, Params, Solver
from jaxdiff.weights import learned
from jaxdiff.weights.devices import Devices

Samples = Float[np.ndarray, "..."]
Weights = Mapping[str, Params]


class Sampler:
    """Draws samples with some weights: `sampler(weights, num, cond, seed=0, steps=20)`.

    Solver, guidance, masks and conditions are arguments of one compiled program: it is compiled
    again for another kind of solver or guidance, never for another number or array in them.
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
        devices: Devices,
        learns: str = students.DENOISER,
        guided: float = 1.0,
    ):
        """Checks the options, so that a misspelt solver fails before training.

        `learns` is what the model has learned to predict, `guided` the guidance within it.
        """
        self._learns, self._guided = learns, guided
        self._model, self._codec = model, codec
        self._shape, self._latent_shape = shape, latent_shape
        self._conditions, self._options, self._devices = conditions, options, devices
        self._encode = jax.jit(conditions.encode)
        self._empty = jax.jit(conditions.empty)
        self._program = jax.jit(self._draw, static_argnames="loop")
        solver_of(options, model, learns)
        guidance_of(options, model, shape, guided)
        self.times({}, options=options)

    @property
    def size(self) -> tuple[int, int]:
        """Returns the height and the width of samples that are images."""
        return self._shape[0], self._shape[1]

    def __call__(
        self,
        weights: Weights,
        num: int,
        cond: Mapping[str, Any] | None = None,
        *,
        image: Shaped[np.ndarray, "n *shape"] | None = None,
        noise: Shaped[np.ndarray, "n *latent"] | None = None,
        mask: Any = None,
        measurement: Any = None,
        operator: Any = None,
        inverse: Any = None,
        seed: int | Sequence[int] = 0,
        first: int | Sequence[int] = 0,
        negative: Mapping[str, Any] | None = None,
        later: Sequence[tuple[float, Mapping[str, Any]]] = (),
        regions: Sequence[Region] = (),
        edit: PromptEdit | None = None,
        excite: Excite | None = None,
        always: Mapping[str, Any] = MappingProxyType({}),
        control: Any = None,
        trajectory: bool = False,
        watch: Callable[[int, int, Any], bool] | None = None,
        **options: Any,
    ) -> Samples:
        """Draws samples [num, ...], the same for a seed and an index in any batches.

        Data are in [-1, 1]; samples may go beyond it a little, and pictures are clipped.

        Args:
            weights: by name; the model's, and those of the codec and of encoders.
            num: the number of samples.
            cond: a value for each sample, or one for all, {"text": "a seven"}; without it the
                samples are unconditional.
            image: images [num, ...] to start from, noised to `t_start` (Meng et al. 2022); with
                `mask`, the images whose known pixels are kept.
            noise: x_t to start from, as `invert` returns it.
            mask: True where `image` is known; [h, w], or with axes for examples and channels.
            measurement: of the samples, `operator(x0)`, one for each sample or one for all.
            operator: a name of `jaxdiff.diffusion.inverse.operators`, "AveragePooling(factor=4)",
                or a function of a batch.
            inverse: a name of `jaxdiff.diffusion.inverse`; by default "KnownPixels" with a mask and
                "DPS" with a measurement.
            seed: of the noise; or one for each sample, below 2^32.
            first: the index of the first sample; with several seeds, each sample's own index.
            negative: one value for all, which guidance leads away from in place of no condition.
            later: conditions that stand in place of those in `cond` from a share of the steps on,
                as [(0.5, {"text": "a dog"})], in their order.
            regions: parts of the samples with conditions of their own, `Region("a dog", mask)`.
            edit: makes of every second sample an edit of the one before, by its prompt.
            excite: words of the prompts whose attention is raised.
            always: conditions that guidance does not drop, arrays [num, ...] by name.
            control: a map in [0, 1] for the model's control network, or a `controls.Map` with its
                strength and the steps at which it acts; a list of them for several networks.
            trajectory: whether to return x at every time, the noise first: [steps + 1, num, ...].
            watch: called after each step with its number, that of all, and x0 [b, ...] as it is
                diffused; False ends the batch with this x0. One function is one compiled program.
            **options: fields of `Options`.

        Raises:
            ValueError: num, a label, a shape or an option is out of range.
            NonFiniteError: samples are not finite.
        """
        chosen = self._options.changed(**options)
        known = known_of(num, self._shape, image, mask, measurement, operator, inverse)
        starts_at_noise = known is not None and chosen.t_start == 1
        shapes = self._shape, self._latent_shape
        start = start_of(num, None if starts_at_noise else image, noise, shapes, chosen.t_start)
        given = {"start": start, "cond": self._conditions.check(num, cond or {})}
        # Away from the empty prompt is away from no condition.
        leading = {n: v for n, v in (negative or {}).items() if not isinstance(v, str) or v.strip()}
        negative = self._conditions.check(1, leading)
        times = self.times(weights, options=chosen)
        maps = self._model.controls, control, self._latent_shape
        given["control"] = controls.check(num, *maps, times)
        given["always"] = {n: np.asarray(value, np.float32) for n, value in always.items()}
        checked = lambda share, new: (since(num, share, times), self._conditions.check(num, new))
        given["later"] = [checked(*each) for each in later]
        given["regions"] = parts.check(num, regions, self._latent_shape, self._conditions.check)
        words = cond, self._conditions.encoders, times, chosen.batch_size
        given["attention"] = attention.check(num, edit, excite, *words)
        loop = Watched(watch) if watch else sampling.sample
        loop = sampling.trajectory if trajectory else loop
        x = self._run(loop, weights, num, given, negative, seed, first, chosen, known)
        if known is not None and known.mask is not None and not trajectory:
            # Solvers return known pixels up to rounding, codecs with a loss.
            x = np.where(known.mask, known.image, x)
        return x

    def invert(
        self,
        weights: Weights,
        image: Shaped[np.ndarray, "n *shape"],
        cond: Mapping[str, Any] | None = None,
        *,
        seed: int = 0,
        first: int = 0,
        **options: Any,
    ) -> Samples:
        """Encodes images as the noise from which a deterministic solver draws them.

        Give the result as `noise` to a call with the same options, and the images come back.

        Raises:
            ValueError: the solver is stochastic, or an option is out of range.
        """
        chosen, num = self._options.changed(**options), len(image)
        given = {
            "start": start_of(num, image, None, (self._shape, ()), chosen.t_start),
            "cond": self._conditions.check(num, cond or {}),
            **{"control": {}, "always": {}, "later": [], "regions": [], "attention": {}},
        }
        return self._run(sampling.invert, weights, num, given, {}, seed, first, chosen, None)

    def times(self, weights: Weights, *, options: Options | None = None, **changes: Any) -> Grid:
        """Returns the times [steps + 1] at which the solver stops.

        Raises:
            ValueError: a name is unknown, or the model predicts nothing at one of the times.
        """
        chosen = (options or self._options).changed(**changes)
        process = learned.bind(self._model.process, weights, learned.PROCESS)
        return times_of(chosen, process, self._model.parameterization)

    def denoiser(
        self, weights: Weights, guidance_scale: float = 1.0, guidance: Any = "ClassifierFree"
    ) -> Denoiser:
        """Returns the denoiser with guidance, by default none; compiled when it is called.

        Its conditions are encoded ones, as from `encode`. It raises ValueError where there is
        nothing to be guided by.
        """
        chosen = replace(self._options, guidance=guidance, guidance_scale=guidance_scale)
        guide = guidance_of(chosen, self._model, self._shape, self._guided)
        guide = learned.bind(guide, weights, "guidance")
        empty = self._empty(weights)
        return Partial(_ask, self._model.bind(weights), as_argument(guide), empty)

    def encode(self, weights: Weights, num: int, cond: Mapping[str, Any]) -> Cond:
        """Returns conditions for a denoiser: values for each of `num`, or one for all, encoded.

        Raises:
            ValueError: a name is unknown, or values are of another number, kind or range.
        """
        return self._encode(weights, self._conditions.check(num, cond))

    def _draw(self, loop, weights, solver, guide, problem, times, keys, given, negative):
        """Draws one batch; traced. All arguments but the loop are pytrees."""
        solver, guide, start = from_argument(solver), from_argument(guide), given["start"]
        encode = lambda x: self._codec.encode(weights.get("codec"), x, random.stream(keys, "codec"))
        decode = functools.partial(self._codec.decode, weights.get("codec"))
        # Here, so that the solver's loop does not encode them at every step.
        cond = self._conditions.encode(weights, given["cond"])
        negative = self._conditions.encode(weights, negative)
        bound = self._model.bind(weights, control=given["control"])
        empty = self._conditions.empty(weights, negative)
        denoiser = attention.edited(bound, empty, given["attention"])
        denoiser = kept(denoiser, given["always"])
        denoiser = learned.bind(guide, weights, "guidance")(denoiser)
        prompted = lambda pairs: [(at, self._conditions.encode(weights, new)) for at, new in pairs]
        denoiser = parts.regional(denoiser, prompted(given["regions"]))
        denoiser = phased(denoiser, prompted(given["later"]))
        solver = learned.bind(solver, weights, "solver")
        solver = attention.excited(solver, bound, empty, given["attention"])
        if problem is not None:
            if not isinstance(self._codec, Pixels):
                problem = problem.in_latents(encode, decode)
            problem = learned.bind(problem, weights, "inverse")
            if isinstance(problem, Solver):
                solver = problem
            else:
                denoiser = problem(denoiser)
        z = jnp.zeros((len(keys), *self._latent_shape))
        z = encode(start["image"]) if "image" in start else z
        if loop is not sampling.invert:
            process = learned.bind(self._model.process, weights, learned.PROCESS)
            z = start["noise"] if "noise" in start else sampling.noised(process, keys, z, times[0])
        x = loop(solver, denoiser, z, times, cond, keys)
        if loop is sampling.invert:
            return x
        return jax.vmap(decode)(x) if loop is sampling.trajectory else decode(x)

    def _run(self, loop, weights, num, given, negative, seed, first, chosen, known):
        solver = solver_of(chosen, self._model, self._learns)
        guide = guidance_of(chosen, self._model, self._shape, self._guided)
        times = self.times(weights, options=chosen)
        size = min(num, chosen.batch_size)
        drawn = []
        for index, _ in full_batches(num, size):
            keys = random.sample_keys(seed, first, index)
            inputs = jax.tree.map(lambda value: np.asarray(value)[index], given)
            problem = known and known.problem(index, self._model.process, solver)
            problem, inputs = self._devices.spread((problem, inputs))
            what = "compiling, and drawing the first samples" if not drawn else "drawing samples"
            with self._devices.algorithms(), announced(what):
                x = self._program(
                    loop=loop,
                    weights=weights,
                    solver=as_argument(solver),
                    guide=as_argument(guide),
                    problem=problem,
                    times=times,
                    keys=self._devices.spread(keys),
                    given=inputs,
                    negative=negative,
                )
            drawn.append(self._devices.gather(x))
        axis = 1 if loop is sampling.trajectory else 0
        joined = np.concatenate(drawn, axis=axis).take(np.arange(num), axis=axis)
        check_finite(np.moveaxis(joined, axis, 0), chosen)
        return joined


@jax.jit
def _ask(denoiser, guide, empty, x, t, cond):
    return from_argument(guide)(filled(denoiser, empty))(x, t, cond)
