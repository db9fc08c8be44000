"""A wish for pictures, and several that are drawn as one."""

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxdiff.options import Between, Range, Share, Steps, checked
from jaxdiff.studio import control

Watch = Callable[[int, int, Any], bool]
Images = Float[np.ndarray, "n h w c"]

LORA = re.compile(r"<lora:([^:<>]+)(?::(-?[\d.]+))?>")
"""An adapter and its strength within a prompt, as in other tools."""


@checked
@dataclass(frozen=True)
class Request:
    """A wish for pictures; None is the model's own.

    Attributes:
        prompt: a text; of a run of classes, the name or the number of one.
        negative: a prompt that guidance leads away from.
        seed: picture i of a seed is the same in any batch; `first` is the index of the first.
        num: the number of pictures.
        size: height and width in pixels.
        image: [h, w, c] in [-1, 1], to begin from, or whose pixels are kept where `mask` is 0.
        mask: [h, w]; 1 where the picture is drawn anew.
        strength: the share of the steps that is done from `image`.
        control: maps for ControlNets, `control.Steered`.
    """

    prompt: str = ""
    negative: str = ""
    seed: Annotated[int, Between(0, 2**63 - 1)] = 0
    first: Annotated[int, Between(0, 2**31 - 1)] = 0
    num: Annotated[int, Between(1, 4096)] = 1
    steps: Steps | None = None
    guidance_scale: Annotated[float, Range(ge=0, le=1000)] | None = None
    solver: str | None = None
    timesteps: str | None = None
    size: tuple[int, int] | None = None
    image: Any = None
    mask: Any = None
    strength: Share | None = None
    control: Any = ()

    def settings(self) -> dict[str, Any]:
        """Returns what is not None, without pictures and maps."""
        found = {name: getattr(self, name) for name in self.__dataclass_fields__}
        pictures = ("image", "mask", "control")
        return {n: v for n, v in found.items() if v is not None and n not in pictures}


def alike(request: Request) -> Any:
    """Returns what requests have in common that are drawn together; None for one that is not."""
    given = request.image is not None or request.control
    if given or LORA.search(request.prompt) or request.seed >= 2**32:
        return None
    kept = ("negative", "steps", "guidance_scale", "solver", "timesteps", "size")
    return (bool(request.prompt.strip()), *(getattr(request, name) for name in kept))


class Joined(NamedTuple):
    """The pictures of several requests as one batch, filled up to a power of two."""

    prompts: list[str]
    seeds: list[int]
    places: list[int]


def joined(requests: Sequence[Request]) -> Joined:
    """Returns the prompt, the seed and the index of each picture of several requests.

    The last picture is repeated up to a power of two, so that few programs are compiled.
    """
    examples = [
        (each.prompt, each.seed, each.first + i) for each in requests for i in range(each.num)
    ]
    examples += examples[-1:] * (2 ** math.ceil(math.log2(len(examples))) - len(examples))
    return Joined(*map(list, zip(*examples, strict=True)))


def divided(pictures: Images, requests: Sequence[Request]) -> list[np.ndarray]:
    """Returns the pictures of each request, without those that fill up."""
    ends = np.cumsum([each.num for each in requests])
    return np.split(pictures, ends)[:-1]


def defaults_of(sampling: Any, size: Any) -> dict[str, Any]:
    """Returns the solver, times, steps, guidance scale and size that a model has of its own."""
    names = ("solver", "timesteps", "steps", "guidance_scale")
    found = {name: getattr(sampling, name, None) for name in names}
    return {**found, "size": tuple(size)}


def sampling_of(request: Request) -> dict[str, Any]:
    """Returns the options of sampling, those that are None too: they are the model's own."""
    names = ("steps", "guidance_scale", "solver", "timesteps", "seed", "first")
    return {name: getattr(request, name) for name in names}


def pictures_given(request: Request) -> str:
    """Returns the arguments, in Python, for the pictures of a request."""
    image = "" if request.image is None else ", image=image"
    mask = "" if request.mask is None else ", mask=mask < 0.5"
    return image + mask + control.code(request.control)


def flag(name: str, value: Any) -> str:
    """Returns a flag of the command line."""
    if name == "size":
        return f"--size={value[1]}x{value[0]}"
    return f"--{name}={json.dumps(value, ensure_ascii=False)}"
