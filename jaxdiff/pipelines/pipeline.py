"""A released model with its weights: pictures from prompts.

pipeline = jaxdiff.released("path/to/stable-diffusion")
pictures = pipeline.sample(4, "an astronaut riding a horse", steps=30)
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdiff import random
from jaxdiff.pipelines.calls import conditions_of, part_of_grid
from jaxdiff.pipelines.controls import read_control
from jaxdiff.pipelines.embeddings import with_word
from jaxdiff.pipelines.first_frames import continues, first_frame
from jaxdiff.pipelines.image_prompts import read_ip_adapter
from jaxdiff.pipelines.lora import check_used, read_lora, with_changes
from jaxdiff.pipelines.painting import MASK, known_of, maps_of
from jaxdiff.pipelines.parts import Parts, Size
from jaxdiff.pipelines.prompts import later_of, read_regions, reading
from jaxdiff.tasks.regions import Region
from jaxdiff.typing import Cond, Denoiser, Params

Images = Float[np.ndarray, "n *frames h w c"]
"""Pictures or clips."""


@dataclass(frozen=True, repr=False, eq=False)
class Pipeline:
    """A released model with its weights, by name: "network", "codec", "text".

    Pictures are [n, h, w, c] in [-1, 1]. Another prompt, seed, guidance scale, mask or image, and
    other weights by `with_weights`, use the same compiled programs.
    """

    parts: Parts
    weights: Mapping[str, Params]

    def __repr__(self) -> str:
        return f"Pipeline({self.parts.family}, {'x'.join(map(str, self.parts.size))})"

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
            ValueError: the file has vectors of another model; the word is there already; the model
                reads no text.
        """
        if self.parts.text is None:
            raise ValueError(f"{self} reads no text, in which a word could stand")
        text, params = with_word(self.parts.text, self.weights["text"], source, word)
        return Pipeline(replace(self.parts, text=text), {**self.weights, "text": params})

    def with_controlnet(self, source: str | os.PathLike) -> "Pipeline":
        """Returns the pipeline with a ControlNet, for `sample(control=map)`; this one stays.

        Args:
            source: a diffusers folder, of a T2I-Adapter too, or a ControlNet's .safetensors file in
                its layout or in the authors'. Several are added one after another.

        Raises:
            ValueError: the file is missing, damaged, of another kind, or of another model.
        """
        parts, model = self.parts, self.parts.model
        place = lambda shapes: parts.devices.placed({"frozen": shapes})["frozen"]
        dtype = jax.tree.leaves(self.weights["network"])[0].dtype
        factor = parts.factor
        network, params = read_control(source, model.network, factor, place, dtype)
        name = f"control_{len(model.controls)}"
        model = replace(model, controls=(*model.controls, (name, network)))
        return Pipeline(replace(parts, model=model), {**self.weights, name: params})

    def with_prompts(
        self,
        *,
        emphasis: bool | None = None,
        windows: int | None = None,
        clip_skip: int | None = None,
    ) -> "Pipeline":
        """Returns the pipeline that reads prompts otherwise; this one stays as it is.

        Args:
            emphasis: whether "(word:1.3)", "[word]", "BREAK" and "[cat:dog:0.5]" have a meaning;
                see `conditioning.emphasis`.
            windows: number of CLIP's windows that a prompt may fill, of 75 tokens each.
            clip_skip: number of CLIP's last layers that are skipped, beyond those that the model
                skips in any case; 1 is the "clip skip 2" of other tools.

        Raises:
            ValueError: an option is out of range.
        """
        options = {"emphasis": emphasis, "windows": windows, "clip_skip": clip_skip}
        text = reading(self.parts.text, self.parts.family, **options)
        params = {**self.weights["text"], "empty": jax.device_put(text.prepare([""]))}
        return Pipeline(replace(self.parts, text=text), {**self.weights, "text": params})

    def with_ip_adapter(
        self, source: str | os.PathLike, image_encoder: str | os.PathLike, weight: float = 1.0
    ) -> "Pipeline":
        """Returns the pipeline with image prompts; this one stays as it is.

        Then `sample(1, {"text": "a castle", "image_prompt": picture})`, a picture [h, w, 3] in
        [-1, 1]. Without it, samples are those of no image.

        Args:
            source: a .safetensors file of an IP-Adapter.
            image_encoder: the folder of the CLIP image encoder that it was trained with.
            weight: how strong image prompts are.

        Raises:
            ValueError: a file is missing, damaged, of another kind, or of another model.
        """
        model, params = self.parts.model, self.weights["network"]
        found = read_ip_adapter(source, image_encoder, model.network, params, weight)
        network, params, prompt, of_prompt = found
        parts = replace(self.parts, model=replace(model, network=network), image_prompt=prompt)
        return Pipeline(parts, {**self.weights, "network": params, "image_prompt": of_prompt})

    def sample(
        self,
        num: int = 1,
        cond: str | Mapping[str, Any] | None = None,
        *,
        size: Size | None = None,
        image: Any = None,
        strength: float | None = None,
        negative: str | Mapping[str, Any] | None = None,
        mask: Any = None,
        depth: Any = None,
        regions: Sequence[Region] = (),
        **options: Any,
    ) -> Images:
        """Draws pictures [num, h, w, c], or clips, in [-1, 1]; values beyond are to be clipped.

        Args:
            num: the number of pictures.
            cond: a prompt, or conditions by name, {"text": [...]}: one for each picture or one for
                all. SDXL also reads "size", six numbers: height and width of the original, top and
                left of the crop, height and width of the target; its refiner the first four of
                them, and "aesthetic_score", one number.
            size: height and width, of clips the frames before them; by default those of the image,
                or of the model.
            image: [h, w, c] or [num, h, w, c] in [-1, 1], to begin from, to keep under a mask, or
                to continue as a clip.
            strength: the share of the steps that is done, from an image noised that far.
            negative: a prompt that guidance leads away from, or conditions.
            mask: True where `image` is known and kept, [h, w] or [num, h, w].
            depth: of a model that reads depth, a map [h, w], larger is nearer, of any range.
            regions: parts of the pictures with prompts of their own, `Region("a dog", mask)`.
            **options: those of `Sampler.__call__`: solver, steps, guidance_scale, control,
                seed, ...

        Raises:
            ValueError: an argument is out of range, or does not fit the others.
            NonFiniteError: samples are not finite.
        """
        cond, later = later_of(self.parts.text, self._conditions(cond))
        negative, first = conditions_of(negative), image
        if continues(self.parts) and (strength is not None or mask is not None):
            raise ValueError("strength and mask: this model continues the image as it is")
        if image is not None:
            image = np.asarray(image)
            image = np.broadcast_to(image, (num, *image.shape[-3:])) if image.ndim >= 3 else image
            size = size or (*self.parts.size[:-2], *image.shape[1:3])
        sampler = self.parts.sampler(size)
        if strength is not None:
            options |= part_of_grid(sampler, self.weights, image, strength, options)
        if "size" in cond and np.ndim(cond["size"]) == 1:
            # The unguided prediction is of a picture of the same size.
            negative = {"size": cond["size"], **negative}
        if regions:
            options["regions"] = read_regions(self.parts.text, regions)
        given = {"negative": negative, "later": later, "always": {}, **options}
        if continues(self.parts):
            given["always"] = first_frame(
                self.parts, self.weights, first, num, tuple(size or self.parts.size)
            )
            return sampler(self.weights, num, cond, **given)
        maps, side = self.parts.model.network.inputs.maps, sampler.size
        factor = self.parts.factor
        pictures = {"image": image, "mask": mask, "depth": depth}
        given["always"] = maps_of(maps, num, side, factor, self.encode, **pictures)
        if MASK not in maps:
            return sampler(self.weights, num, cond, image=image, mask=mask, **given)
        begin = None if strength is None else image
        painted = sampler(self.weights, num, cond, image=begin, **given)
        return np.where(known_of(mask, num, side)[..., None], image, painted)

    def invert(
        self, image: Any, cond: str | Mapping[str, Any] | None = None, **options: Any
    ) -> Float[np.ndarray, "n *frames h w c"]:
        """Returns the noise from which a deterministic solver draws images [n, h, w, c].

        Give it as `noise` to `sample` with the same options, and the images come back.

        Raises:
            ValueError: the solver is stochastic, or an option is out of range.
        """
        image = np.asarray(image)
        sampler = self.parts.sampler(image.shape[1:3])
        return sampler.invert(self.weights, image, self._conditions(cond), **options)

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
        return self.parts.sampler(size).encode(self.weights, num, self._conditions(cond))

    def _conditions(self, cond: str | Mapping[str, Any] | None) -> dict[str, Any]:
        return conditions_of(cond, self.parts.model.network.inputs.joint_numbers)

    def encode(self, images: Any, seed: int = 0) -> Float[Array, "n h w c"]:
        """Returns the latents of images [n, h, w, c] in [-1, 1], drawn from the posterior."""
        x = jnp.asarray(images, jnp.float32)
        keys = random.example_keys(jax.random.key(seed), jnp.arange(len(x)))
        return self.parts.encode(self.weights["codec"], x, keys)

    def decode(self, latents: Any) -> Float[Array, "n h w c"]:
        """Returns the images [n, h, w, c] of latents; values beyond [-1, 1] are to be clipped."""
        return self.parts.decode(self.weights["codec"], jnp.asarray(latents))
