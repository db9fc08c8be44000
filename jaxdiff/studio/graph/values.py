"""The values that go from node to node, and their types in workflows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import jax
import numpy as np
from jaxtyping import Array, Float

from jaxdiff import random
from jaxdiff.options import Between, Range
from jaxdiff.pipelines.pipeline import Parts, Pipeline
from jaxdiff.studio.folders import Folders
from jaxdiff.studio.graph.ports import ENDS, Beside, Given, Kind, Prepared
from jaxdiff.studio.provenance import Finish
from jaxdiff.tasks.model import Model as Network
from jaxdiff.trees import pytree
from jaxdiff.typing import Condition, Params

Watch = Callable[[int, int, Any], bool]
"""Called after a step with its number, that of all steps, and x0; False ends the sampling."""


@dataclass(frozen=True)
class Studio:
    """What the engine gives a node: folders, opened models, the watcher, and texts for pictures.

    Attributes:
        folders: the files that may be read and written.
        opened: a model by its path; it is kept.
        watch: called after every step.
        texts: chunks for the files that are saved, {"prompt": ..., "workflow": ...}.
        finish: makes files of pictures.
    """

    folders: Folders
    opened: Callable[[Any], Pipeline]
    watch: Watch | None = None
    texts: tuple[tuple[str, str], ...] = ()
    finish: Finish = field(default_factory=Finish)


@pytree(data=("params",))
@dataclass(frozen=True)
class OfModel:
    """A network in its process, with weights.

    Attributes:
        parts: those of the pipeline that it came from.
        network: with the process and the parameterization, which nodes may change.
        params: the network's weights.
        guide: how predictions are combined, a class of `diffusion.guidance` and its options.
        shift: of a flow's times; None for the model's own.
    """

    parts: Parts
    network: Network
    params: Params
    guide: tuple[str, tuple[tuple[str, Any], ...]] = ("ClassifierFree", ())
    shift: float | None = None


@pytree(data=("params",))
@dataclass(frozen=True)
class OfClip:
    """A text encoder with its weights."""

    encoder: Any
    params: Params


@pytree(data=("params",))
@dataclass(frozen=True)
class OfVae:
    """A codec with its weights."""

    codec: Any
    params: Params

    @property
    def factor(self) -> int:
        """Returns the number of pixels on a side of one latent."""
        return self.codec.network.settings.factor

    @property
    def channels(self) -> int:
        """Returns the number of channels of latents."""
        return self.codec.network.settings.latent_channels


@pytree(data=("text", "size", "score", "mask", "strength", "control"))
@dataclass(frozen=True)
class Entry:
    """One condition, and where and when it holds.

    Attributes:
        text: the encoded prompt, for one example.
        size: SDXL's six numbers [1, 6]; None for those of the picture.
        score: the aesthetic score [1, 1] that its refiner reads; None for that of its training.
        mask: [m, h, w] from 0 to 1, in pixels; None for everywhere.
        strength: its share beside others.
        area: left, top, width, height in pixels, or in shares of the picture (floats): the only
            part that the network sees.
        span: the share of the sampling, from the noise, between which it holds.
        control: pairs of a control network with its picture.
    """

    text: Condition
    size: Any = None
    score: Any = None
    mask: Any = None
    strength: Any = 1.0
    area: tuple[int, int, int, int] | tuple[float, float, float, float] | None = None
    span: tuple[float, float] = (0.0, 1.0)
    control: tuple[Any, ...] = ()


@pytree(data=("samples", "mask"))
@dataclass(frozen=True)
class OfLatent:
    """Latents [n, h, w, c], as the codec scales them, and a mask of what is drawn anew.

    `mask` [m, h, w] is in pixels: 1 where noise goes. `first` is the index of the first example.
    `empty` says that they stand for a size only, of latents with any number of channels.
    """

    samples: Array | np.ndarray
    mask: Any = None
    first: int = 0
    empty: bool = False


@pytree(data=("model", "positive", "negative", "scale"))
@dataclass(frozen=True)
class OfGuider:
    """A model with its conditions; without a negative one there is no guidance."""

    model: OfModel
    positive: tuple[Entry, ...]
    negative: tuple[Entry, ...] | None = None
    scale: Any = 1.0


@dataclass(frozen=True)
class OfSampler:
    """A solver by name, with options."""

    name: str
    options: tuple[tuple[str, Any], ...] = ()


@pytree(data=("key",))
@dataclass(frozen=True)
class OfNoise:
    """The key of a seed's noise, None for no noise at the start."""

    key: Any = None


@pytree(data=("frames",))
@dataclass(frozen=True)
class OfVideo:
    """Frames [f, h, w, c] in [-1, 1] and their number a second."""

    frames: Any
    fps: float


@dataclass(frozen=True)
class Saved:
    """Files that a node wrote: in the folder "output" or "temp", by their names there."""

    folder: str
    names: Sequence[str]
    kind: str = "images"


Pictures = Float[Array, "n h w c"] | Float[np.ndarray, "n h w c"]
Masks = Float[Array, "n h w"] | Float[np.ndarray, "n h w"]
Times = Float[Array, " times"] | Float[np.ndarray, " times"]

Model = Annotated[OfModel, Kind("MODEL")]
Clip = Annotated[OfClip, Kind("CLIP")]
Vae = Annotated[OfVae, Kind("VAE")]
Conditioning = Annotated[tuple[Entry, ...], Kind("CONDITIONING")]
Latent = Annotated[OfLatent, Kind("LATENT")]
Image = Annotated[Pictures, Kind("IMAGE")]
Mask = Annotated[Masks, Kind("MASK")]
Control = Annotated[Any, Kind("CONTROL_NET")]
Guider = Annotated[OfGuider, Kind("GUIDER")]
Sampler = Annotated[OfSampler, Kind("SAMPLER")]
Sigmas = Annotated[Times, Kind("SIGMAS")]
"""Times of the model's process, where other tools have noise levels."""
Noise = Annotated[OfNoise, Kind("NOISE")]
Video = Annotated[OfVideo, Kind("VIDEO")]
Anything = Annotated[Any, Kind("*")]
Output = Annotated[Saved, Kind(ENDS)]
Here = Annotated[Studio | None, Given()]

Seed = Annotated[Any, Between(0, 2**64 - 1), Prepared("INT", lambda _, v: noise_key(v)), Beside()]
Side = Annotated[int, Between(16, 16384)]
Batch = Annotated[int, Between(1, 4096)]
Scale = Annotated[Any, Between(0.0, 100.0), Prepared("FLOAT", lambda _, value: _scale(value))]
Prompt = Annotated[Any, Prepared("STRING", lambda inputs, text: tokens_of(inputs["clip"], text))]
Strength = Annotated[float, Between(-100.0, 100.0)]
Real = Annotated[float, Range()]


def noise_key(seed: Any) -> Any:
    """Returns the key of a seed of up to 64 bits, that of `Pipeline.sample` below 2^31."""
    if not isinstance(seed, int):
        return seed  # a key already
    key = jax.random.key(seed % 2**31)
    if seed >= 2**31:
        key = jax.random.fold_in(jax.random.fold_in(key, (seed >> 31) % 2**31), seed >> 62)
    return random.stream(key, "sample")


def _scale(value: Any) -> Any:
    """Returns a guidance scale as an array; 1 stays a number, for it needs no second prediction."""
    return value if value == 1 else np.float32(value)


def tokens_of(clip: OfClip, text: Any, names: Sequence[str] = ()) -> Any:
    """Returns the tokens of a prompt, of the encoders of these names, by default of all."""
    if not isinstance(text, str):
        return text  # tokens already
    if not names or not hasattr(clip.encoder, "each"):
        return clip.encoder.prepare([text])
    parts = clip.encoder.each()
    return {name: parts[name].tokens([text]) for name in names}


def of_pipeline(pipeline: Pipeline) -> tuple[OfModel, OfClip, OfVae]:
    """Returns the three parts of a released model, which reads weights in prompts, (word:1.3)."""
    parts, weights = pipeline.parts, pipeline.weights
    reader = pipeline.with_prompts(emphasis=True)
    return (
        OfModel(parts, parts.model, weights["network"]),
        OfClip(reader.parts.text, reader.weights["text"]),
        OfVae(parts.codec, weights["codec"]),
    )


def pipeline_of(model: OfModel, clip: OfClip | None = None) -> Pipeline:
    """Returns a pipeline of a model and a text encoder, without a codec: adapters change it."""
    # Without one, an encoder without weights stands there, in which an adapter finds nothing.
    text = clip.params if clip else {"network": {"words": {}}}
    parts = replace(model.parts, text=clip.encoder) if clip else model.parts
    return Pipeline(parts, {"network": model.params, "text": text})
