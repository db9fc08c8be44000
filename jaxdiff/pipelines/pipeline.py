"""A released model with its weights: pictures from prompts.

pipeline = jaxdiff.released("path/to/stable-diffusion")
pictures = pipeline.sample(4, "an astronaut riding a horse", steps=30)
"""

import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdiff import random
from jaxdiff.codecs.latents import Latents
from jaxdiff.conditioning.conditions import Conditions
from jaxdiff.conditioning.encoders import Numbers
from jaxdiff.options import Share, check
from jaxdiff.pipelines.embeddings import with_word
from jaxdiff.pipelines.lora import check_used, read_lora, with_changes
from jaxdiff.tasks.model import Model
from jaxdiff.tasks.sampler import Sampler
from jaxdiff.tasks.sampling_options import Options
from jaxdiff.typing import Cond, Denoiser, Encoder, Params
from jaxdiff.weights.devices import Devices
from jaxdiff.weights.table import Table, Weights

Images = Float[np.ndarray, "n h w c"]
Size = Sequence[int]
"""Height and width in pixels."""


@dataclass(frozen=True, eq=False)
class Parts:
    """A released model as its files describe it, before its weights are read.

    Attributes:
        family: "StableDiffusionPipeline", ...: the name of the pipeline in diffusers.
        model: the network in its process; `codec`, the autoencoder; `text`, the encoder of prompts.
        sources: where the weights "network", "codec" and "text" are read from.
        options: how samples are drawn where a call does not say.
        size: height and width of pictures where a call does not say.
        multiple: heights and widths are multiples of it.
        devices: where weights and samples lie.
    """

    family: str
    model: Model
    codec: Latents
    text: Any
    sources: Mapping[str, Any]
    options: Options
    size: tuple[int, int]
    multiple: int
    devices: Devices
    _samplers: dict[tuple[int, int], Sampler] = field(default_factory=dict, init=False)

    def table(self, network_shapes: Params) -> Table:
        """Returns the table of weights."""
        shapes = {
            "network": lambda: network_shapes,
            "codec": self.codec.shapes,
            "text": self.text.shapes,
        }
        return Table(
            {
                name: Weights(shapes=shapes[name], source=source, trained=False, config_field=name)
                for name, source in self.sources.items()
            }
        )

    def sampler(self, size: Size | None = None) -> Sampler:
        """Returns the sampler of pictures of a size; it keeps its compiled programs.

        Raises:
            ValueError: the size is not made of the network's multiples.
        """
        height, width = self._checked(size or self.size)
        if (height, width) not in self._samplers:
            factor, channels = self.codec.network.settings.factor, self.codec.network.settings
            self._samplers[height, width] = Sampler(
                self.model,
                self.codec,
                (height, width, channels.image_channels),
                (height // factor, width // factor, channels.latent_channels),
                conditions=self._conditions(height, width),
                options=self.options,
                devices=self.devices,
            )
        return self._samplers[height, width]

    def _conditions(self, height: int, width: int) -> Conditions:
        encoders: dict[str, Encoder] = {"text": self.text}
        if self.model.network.inputs.joint_numbers:
            encoders["size"] = Numbers((height, width, 0, 0, height, width))
        return Conditions(tuple(encoders), encoders, learned_null=False)

    def _checked(self, size: Size) -> tuple[int, int]:
        each = self.multiple
        if len(size) != 2 or any(n < each or n % each for n in size):
            near = tuple(max(round(n / each), 1) * each for n in size)
            raise ValueError(
                f"size={tuple(size)}: height and width must be multiples of {each}, such as {near}"
            )
        height, width = size
        return int(height), int(width)

    @functools.cached_property
    def encode(self) -> Any:
        """Returns the compiled encoder of images."""
        return jax.jit(self.codec.encode)

    @functools.cached_property
    def decode(self) -> Any:
        """Returns the compiled decoder of latents."""
        return jax.jit(self.codec.decode)


@dataclass(frozen=True, repr=False, eq=False)
class Pipeline:
    """A released model with its weights, by name: "network", "codec", "text".

    Pictures are [n, h, w, c] in [-1, 1]. Another prompt, seed, guidance scale, mask or image, and
    other weights by `with_weights`, use the same compiled programs.
    """

    parts: Parts
    weights: Mapping[str, Params]

    def __repr__(self) -> str:
        height, width = self.parts.size
        return f"Pipeline({self.parts.family}, {height}x{width})"

    def with_weights(self, **weights: Params) -> "Pipeline":
        """Returns the pipeline with other weights of these names; this one stays as it is.

        Raises:
            ValueError: a name is unknown.
        """
        if unknown := sorted(set(weights) - set(self.weights)):
            raise ValueError(f"there are no weights {unknown}; known: {', '.join(self.weights)}")
        return replace(self, weights={**self.weights, **weights})

    def with_lora(
        self, source: str | os.PathLike, weight: float = 1.0, *, strict: bool = True
    ) -> "Pipeline":
        """Returns the pipeline with `weight` times an adapter; this one stays as it is.

        LoRA, LoCon, LoHa, LoKr and DoRA in the names of kohya, diffusers, PEFT or the model's
        authors, of the network and of the text encoders. Several are added one after another.

        Args:
            source: a .safetensors file.
            weight: how strong it is; 0 changes nothing.
            strict: whether a module that has no place in this model is an error.

        Raises:
            ValueError: the file is missing, damaged or of another model; says which modules.
        """
        network = self.parts.model.network
        lora = read_lora(source, network, self.weights)
        if strict or not lora.used:
            check_used(lora, source)
        return self.with_weights(**with_changes(self.weights, network, lora, weight))

    def with_embedding(self, source: str | os.PathLike, word: str | None = None) -> "Pipeline":
        """Returns the pipeline with a word of one's own for prompts (textual inversion).

        Args:
            source: a .safetensors file of vectors: one key, or "clip_l" and "clip_g" for SDXL.
            word: by default the file's key, or its name.

        Raises:
            ValueError: the file has vectors of another model; the word is there already.
        """
        text, params = with_word(self.parts.text, self.weights["text"], source, word)
        return Pipeline(replace(self.parts, text=text), {**self.weights, "text": params})

    def sample(
        self,
        num: int = 1,
        cond: str | Mapping[str, Any] | None = None,
        *,
        size: Size | None = None,
        image: Any = None,
        strength: float | None = None,
        negative: str | Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Images:
        """Draws pictures [num, h, w, c] in [-1, 1]; values beyond are to be clipped.

        Args:
            num: the number of pictures.
            cond: a prompt, or conditions by name, {"text": [...]}: one for each picture or one for
                all. SDXL also reads "size", six numbers: height and width of the original, top and
                left of the crop, height and width of the target.
            size: height and width; by default those of the image, or of the model.
            image: [h, w, c] or [num, h, w, c] in [-1, 1], to begin from or to keep under a mask.
            strength: the share of the steps that is done, from an image noised that far.
            negative: a prompt that guidance leads away from, or conditions.
            **options: those of `Sampler.__call__`: solver, steps, guidance_scale, mask, seed, ...

        Raises:
            ValueError: an argument is out of range, or does not fit the others.
            NonFiniteError: samples are not finite.
        """
        cond, negative = _conditions(cond), _conditions(negative)
        if image is not None:
            image = np.asarray(image)
            image = np.broadcast_to(image, (num, *image.shape[-3:])) if image.ndim >= 3 else image
            size = size or image.shape[1:3]
        sampler = self.parts.sampler(size)
        if strength is not None:
            options |= _part_of_grid(sampler, self.weights, image, strength, options)
        if "size" in cond and np.ndim(cond["size"]) == 1:
            # The unguided prediction is of a picture of the same size.
            negative = {"size": cond["size"], **negative}
        return sampler(self.weights, num, cond, image=image, negative=negative, **options)

    def invert(
        self, image: Any, cond: str | Mapping[str, Any] | None = None, **options: Any
    ) -> Float[np.ndarray, "n h w c"]:
        """Returns the noise from which a deterministic solver draws images [n, h, w, c].

        Give it as `noise` to `sample` with the same options, and the images come back.

        Raises:
            ValueError: the solver is stochastic, or an option is out of range.
        """
        image = np.asarray(image)
        sampler = self.parts.sampler(image.shape[1:3])
        return sampler.invert(self.weights, image, _conditions(cond), **options)

    def denoiser(
        self,
        guidance_scale: float = 1.0,
        guidance: Any = "ClassifierFree",
        size: Size | None = None,
    ) -> Denoiser:
        """Returns the denoiser `(x, t, cond) -> Prediction` of latents: a pytree, for `jax.jit`.

        Its conditions are those of `encode_prompts`.
        """
        return self.parts.sampler(size).denoiser(self.weights, guidance_scale, guidance)

    def encode_prompts(
        self, num: int, cond: str | Mapping[str, Any], size: Size | None = None
    ) -> Cond:
        """Returns the conditions of `num` pictures, encoded, for `denoiser`.

        Raises:
            ValueError: a name is unknown, or values are of another number or kind.
        """
        return self.parts.sampler(size).encode(self.weights, num, _conditions(cond))

    def encode(self, images: Any, seed: int = 0) -> Float[Array, "n h w c"]:
        """Returns the latents of images [n, h, w, c] in [-1, 1], drawn from the posterior."""
        x = jnp.asarray(images, jnp.float32)
        keys = random.example_keys(jax.random.key(seed), jnp.arange(len(x)))
        return self.parts.encode(self.weights["codec"], x, keys)

    def decode(self, latents: Any) -> Float[Array, "n h w c"]:
        """Returns the images [n, h, w, c] of latents; values beyond [-1, 1] are to be clipped."""
        return self.parts.decode(self.weights["codec"], jnp.asarray(latents))


def _conditions(cond: str | Mapping[str, Any] | None) -> dict[str, Any]:
    if isinstance(cond, str):
        return {"text": cond}
    return dict(cond or {})


def _part_of_grid(
    sampler: Sampler, weights: Any, image: Any, strength: float, options: Mapping[str, Any]
) -> dict[str, float]:
    """Returns the ends of the last steps of a grid: a share `strength` of them, rounded down."""
    check("strength", Share, strength)
    if image is None:
        raise ValueError(f"strength={strength}: give the image to begin from")
    if {"t_start", "t_end"} & set(options):
        raise ValueError("strength stands for t_start and t_end: give either")
    grid = {k: v for k, v in options.items() if k in ("timesteps", "steps", "solver")}
    times = np.asarray(sampler.times(weights, **grid))
    steps = len(times) - 1
    done = int(steps * strength)
    if done < 1:
        raise ValueError(f"strength={strength} of {steps} steps is none: take more steps")
    return {"t_start": float(times[steps - done]), "t_end": float(times[-1])}
