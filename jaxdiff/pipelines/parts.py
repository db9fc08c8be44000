"""The parts of a released model, without its weights."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax

from jaxdiff.codecs.latents import Latents
from jaxdiff.codecs.pixels import Pixels
from jaxdiff.conditioning.conditions import Conditions
from jaxdiff.conditioning.encoders import Numbers
from jaxdiff.conditioning.images import ImageStates
from jaxdiff.networks.video_autoencoder.settings import check_frames
from jaxdiff.pipelines.calls import UNGUIDED_SCORE
from jaxdiff.tasks import students
from jaxdiff.tasks.model import Model
from jaxdiff.tasks.sampler import Sampler
from jaxdiff.tasks.sampling_options import Options
from jaxdiff.typing import Encoder, Params
from jaxdiff.weights.devices import Devices
from jaxdiff.weights.table import Table, Weights

Size = Sequence[int]
"""Height and width in pixels; of clips, the number of frames before them."""


@dataclass(frozen=True, eq=False)
class Parts:
    """A released model as its files describe it, before its weights are read.

    Attributes:
        family: "StableDiffusionPipeline", ...: the name of the pipeline in diffusers.
        model: the network in its process; `codec`, the autoencoder, or `Pixels`.
        text: the encoder of prompts; None for a model that reads none.
        sources: where the weights "network", "codec" and "text" are read from, but for parts that
            are not there.
        options: how samples are drawn where a call does not say.
        size: height and width of pictures where a call does not say; of clips, the frames before.
        multiple: heights and widths are multiples of it.
        fixed: whether only pictures of `size` can be drawn.
        devices: where weights and samples lie.
        channels: of pictures.
        image_prompt: the encoder of image prompts, if the network reads such.
        image: the encoder of pictures that the network continues; None for a network without.
        learns: the prediction that the network has learned, as in `tasks.students`.
    """

    family: str
    model: Model
    codec: Latents | Pixels
    text: Any
    sources: Mapping[str, Any]
    options: Options
    size: tuple[int, ...]
    multiple: int
    devices: Devices
    fixed: bool = False
    channels: int = 3
    image_prompt: Any = None
    image: ImageStates | None = None
    learns: str = students.DENOISER
    _samplers: dict[tuple[int, ...], Sampler] = field(default_factory=dict, init=False)

    @property
    def factor(self) -> int:
        """Returns the number of pixels on a side of one latent."""
        return 1 if isinstance(self.codec, Pixels) else self.codec.network.settings.factor

    @property
    def frame_factor(self) -> int:
        """Returns the number of frames of one latent of clips, the first apart."""
        return 1 if isinstance(self.codec, Pixels) else frame_factor(self.codec)

    @property
    def latent_channels(self) -> int:
        """Returns the number of channels of what is diffused."""
        if isinstance(self.codec, Pixels):
            return self.channels
        return self.codec.network.settings.latent_channels

    def table(self, network_shapes: Params) -> Table:
        """Returns the table of weights."""
        parts = {"codec": self.codec, "text": self.text, "image": self.image}
        shapes = {name: parts[name].shapes for name in self.sources if name in parts}
        shapes["network"] = lambda: network_shapes
        return Table(
            {
                name: Weights(shapes=shapes[name], source=source, trained=False, config_field=name)
                for name, source in self.sources.items()
            }
        )

    def latent_shape(self, size: Size) -> tuple[int, ...]:
        """Returns the shape of what is diffused, for pictures or clips of a size."""
        *clip, height, width = size
        if clip:
            clip = [(clip[0] - 1) // self.frame_factor + 1]
        return (*clip, height // self.factor, width // self.factor, self.latent_channels)

    def sampler(self, size: Size | None = None) -> Sampler:
        """Returns the sampler of pictures or clips of a size; it keeps its compiled programs.

        Raises:
            ValueError: the size is not made of the network's multiples.
        """
        found = self._checked(size or self.size)
        if found not in self._samplers:
            self._samplers[found] = Sampler(
                self.model,
                self.codec,
                (*found, self.channels),
                self.latent_shape(found),
                conditions=self._conditions(*found[-2:]),
                options=self.options,
                devices=self.devices,
                learns=self.learns,
            )
        return self._samplers[found]

    def _conditions(self, height: int, width: int) -> Conditions:
        encoders: dict[str, Encoder] = {} if self.text is None else {"text": self.text}
        numbers = {
            "size": (height, width, 0, 0, height, width),
            "aesthetic_score": (UNGUIDED_SCORE,),
            "resolution": (height, width),
            "aspect_ratio": (height / width,),
        }
        inputs = self.model.network.inputs
        for name, count in {**inputs.joint_numbers, **inputs.sliced_numbers}.items():
            encoders[name] = Numbers(numbers[name][:count])
        if self.image_prompt is not None:
            encoders["image_prompt"] = self.image_prompt
        labels = ("label",) if inputs.num_classes else ()
        return Conditions(
            (*encoders, *labels),
            encoders,
            num_classes=inputs.num_classes or 0,
            learned_null=inputs.learned_null,
        )

    def _checked(self, size: Size) -> tuple[int, ...]:
        each = self.multiple
        if self.fixed and tuple(size) != self.size:
            raise ValueError(f"size={tuple(size)}: this model draws {self.size} only")
        if len(size) != len(self.size):
            named = "height and width" if len(self.size) == 2 else "frames, height and width"
            raise ValueError(f"size={tuple(size)} must be {named}, such as {self.size}")
        *clip, height, width = size
        if any(n < each or n % each for n in (height, width)):
            near = tuple(max(round(n / each), 1) * each for n in (height, width))
            raise ValueError(
                f"size={tuple(size)}: height and width must be multiples of {each}, such as {near}"
            )
        for frames in clip:
            check_frames(frames, self.frame_factor)
        return tuple(map(int, size))

    @functools.cached_property
    def encode(self) -> Any:
        """Returns the compiled encoder of images."""
        return jax.jit(self.codec.encode)

    @functools.cached_property
    def encode_mode(self) -> Any:
        """Returns the compiled encoder of images to the likeliest latents."""
        return jax.jit(replace(self.codec, sample=False).encode)

    @functools.cached_property
    def image_states(self) -> Any:
        """Returns the compiled encoder of the pictures that a network continues."""
        return jax.jit(self.image.__call__)

    @functools.cached_property
    def decode(self) -> Any:
        """Returns the compiled decoder of latents."""
        return jax.jit(self.codec.decode)


def frame_factor(codec: Latents) -> int:
    """Returns the number of frames of one latent of an autoencoder, the first apart."""
    return getattr(codec.network.settings, "frame_factor", 1)
