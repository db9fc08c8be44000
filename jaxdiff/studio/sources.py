"""One interface to everything that draws: released models, and our own runs.

source = open_source("pretrained/fashion_mnist_teacher")
pictures = source.draw(Request(prompt="3", steps=20))
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

import jaxdiff
from jaxdiff.options import Between, Range, Share, Steps, checked
from jaxdiff.pipelines.pipeline import Pipeline
from jaxdiff.runs.run import Run
from jaxdiff.studio import pixels
from jaxdiff.studio.folders import INDEX, Folders

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

    def settings(self) -> dict[str, Any]:
        """Returns what is not None, without pictures."""
        found = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {n: v for n, v in found.items() if v is not None and n not in ("image", "mask")}


@runtime_checkable
class Source(Protocol):
    """Something that draws pictures, with a name."""

    name: str

    @property
    def defaults(self) -> Mapping[str, Any]:
        """Returns its solver, steps, guidance_scale, size, and classes, if it has them."""

    def draw(self, request: Request, watch: Watch | None = None) -> Images:
        """Returns pictures in [-1, 1].

        Raises:
            ValueError: it cannot do what is asked.
        """

    def code(self, request: Request) -> tuple[str, str]:
        """Returns the Python, and the command line, that draw the same."""


@dataclass(frozen=True)
class Released:
    """A released model; prompts may hold adapters, <lora:name:0.8>."""

    name: str
    path: Path
    pipeline: Pipeline
    folders: Folders | None = None
    _adapted: dict[Any, Pipeline] = field(default_factory=dict, repr=False)

    @property
    def defaults(self) -> Mapping[str, Any]:
        """Returns those of the pipeline."""
        return _defaults(self.pipeline.parts.options, self.pipeline.parts.size)

    def draw(self, request: Request, watch: Watch | None = None) -> Images:
        """Returns pictures in [-1, 1]."""
        pipeline, prompt = self.adapted(request.prompt)
        known = None if request.mask is None else np.asarray(request.mask) < 0.5
        return pipeline.sample(
            request.num,
            prompt,
            negative=request.negative or None,
            size=request.size,
            image=request.image,
            strength=request.strength,
            mask=known,
            watch=watch,
            **_sampling(request),
        )

    def adapted(self, prompt: str) -> tuple[Pipeline, str]:
        """Returns the pipeline with the adapters of a prompt, and the prompt without them."""
        wanted = tuple((name, float(weight or 1)) for name, weight in LORA.findall(prompt))
        prompt = LORA.sub("", prompt).strip()
        if not wanted:
            return self.pipeline, prompt
        if wanted not in self._adapted:
            pipeline = self.pipeline
            for name, weight in wanted:
                pipeline = pipeline.with_lora(_lora_path(self.folders, name), weight)
            self._adapted.clear()
            self._adapted[wanted] = pipeline
        return self._adapted[wanted], prompt

    def code(self, request: Request) -> tuple[str, str]:
        """Returns the Python, and the command line, that draw the same."""
        chosen = replace(request, prompt=LORA.sub("", request.prompt).strip())
        settings = chosen.settings()
        prompt, num = settings.pop("prompt"), settings.pop("num")
        settings = {n: v for n, v in settings.items() if v not in ("", 0)}
        adapters = [(n, float(w or 1)) for n, w in LORA.findall(request.prompt)]
        lines = ["import jaxdiff", "", f"pipeline = jaxdiff.released({str(self.path)!r})"]
        flags = [f"--model={self.path}", f"--prompt={json.dumps(prompt, ensure_ascii=False)}"]
        for name, weight in adapters:
            path = _lora_path(self.folders, name)
            lines.append(f"pipeline = pipeline.with_lora({str(path)!r}, {weight:g})")
            flags.append(f"--lora={path}:{weight:g}")
        given = "".join(f", {name}={value!r}" for name, value in settings.items())
        given += _pictures_given(request)
        lines.append(f"pictures = pipeline.sample({num}, {prompt!r}{given})")
        written = {**settings, "num": num} if num > 1 else settings
        flags += [_flag(name, value) for name, value in written.items()]
        flags += [] if request.image is None else ["--image=in.png"]
        flags += [] if request.mask is None else ["--mask=mask.png"]
        return "\n".join(lines), " ".join(["python -m jaxdiff generate", *flags])


@dataclass(frozen=True)
class OfRun:
    """A run of our own: of classes, with their names, of texts, or without conditions."""

    name: str
    run: Run
    names: tuple[str, ...] = ()

    @property
    def defaults(self) -> Mapping[str, Any]:
        """Returns those of the run's config."""
        sampling = self.run.config.sampling
        classes = self.names or tuple(map(str, range(self.run.num_classes)))
        size = self.run.shape[:2]
        return {**_defaults(sampling, size), "classes": classes if self.condition else ()}

    @property
    def condition(self) -> str:
        """Returns what the prompt is: "label", "text", or "" for nothing."""
        named = self.run.config.conditions
        return next((name for name in ("text", "label") if name in named), "")

    def draw(self, request: Request, watch: Watch | None = None) -> Images:
        """Returns pictures in [-1, 1]."""
        size = tuple(self.run.shape[:2])
        if request.size not in (None, size):
            raise ValueError(f"size={request.size}: this run draws {size} only")
        extra: dict[str, Any] = {}
        if request.image is not None:
            image = pixels.with_channels(np.asarray(request.image), self.run.shape[-1])
            extra["image"] = np.broadcast_to(image, (request.num, *self.run.shape))
            if request.strength is not None and request.strength < 1:
                extra["t_start"] = float(request.strength)
        if request.mask is not None:
            extra["mask"] = np.asarray(request.mask) < 0.5
        negative = self.cond(request.negative)
        return self.run.sample(
            request.num,
            self.cond(request.prompt),
            negative=negative or None,
            watch=watch,
            **extra,
            **_sampling(request),
        )

    def cond(self, prompt: str) -> dict[str, Any]:
        """Returns the condition that a prompt names.

        Raises:
            ValueError: there is no such class; the run has no conditions.
        """
        prompt = prompt.strip()
        if not prompt:
            return {}
        if self.condition == "text":
            return {"text": prompt}
        if self.condition == "label":
            names = {name.lower(): i for i, name in enumerate(self.names)}
            if prompt.lower() in names:
                return {"label": names[prompt.lower()]}
            if prompt.isdigit() and int(prompt) < self.run.num_classes:
                return {"label": int(prompt)}
            known = ", ".join(self.names) or f"0 to {self.run.num_classes - 1}"
            raise ValueError(f"prompt={prompt!r}: this run draws classes: {known}")
        raise ValueError(f"prompt={prompt!r}: this run draws without conditions; leave it empty")

    def code(self, request: Request) -> tuple[str, str]:
        """Returns the Python, and the command line, that draw the same."""
        settings = request.settings()
        for name in ("prompt", "negative", "size", "first", "strength"):
            settings.pop(name, None)
        num, cond = settings.pop("num"), self.cond(request.prompt)
        given = "".join(f", {name}={value!r}" for name, value in settings.items())
        if request.strength is not None and request.strength < 1:
            given += f", t_start={request.strength}"
        given += _pictures_given(request)
        lines = ["import jaxdiff", "", f"run = jaxdiff.load({str(self.run.folder)!r})"]
        lines.append(f"pictures = run.sample({num}, {cond!r}{given})")
        flags = [f"--workdir={self.run.folder}", f"--num={num}"]
        flags += [f"--{name}={json.dumps(value)}" for name, value in cond.items()]
        flags += [_flag(name, value) for name, value in settings.items()]
        return "\n".join(lines), " ".join(["python -m jaxdiff sample", *flags])


def open_source(path: str | Path, folders: Folders | None = None, **options: Any) -> Source:
    """Returns a source of a path: a run's folder, a diffusers folder, or a single file.

    Raises:
        ValueError: it is none of these.
        FileNotFoundError: there is nothing.
    """
    path = Path(path)
    name = path.stem if path.suffix else path.name
    if path.is_dir() and not (path / INDEX).is_file() and (path / "config.json").is_file():
        run = jaxdiff.load(path, **options)
        return OfRun(name, run, class_names(run))
    return Released(name, path, jaxdiff.released(path, **options), folders)


def class_names(run: Run) -> tuple[str, ...]:
    """Returns the names of a run's classes, where its data are known by name."""
    return CLASSES.get(str(run.config.data.name).split("(")[0].lower(), ())


FASHION = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag")
CLASSES = {name: (*FASHION, "boot") for name in ("fashion_mnist", "fashion_mnist_idx")}


def _defaults(sampling: Any, size: Any) -> dict[str, Any]:
    names = ("solver", "timesteps", "steps", "guidance_scale")
    found = {name: getattr(sampling, name, None) for name in names}
    return {**found, "size": tuple(size)}


def _sampling(request: Request) -> dict[str, Any]:
    """Returns the options of sampling, those that are None too: they are the model's own."""
    names = ("steps", "guidance_scale", "solver", "timesteps", "seed", "first")
    return {name: getattr(request, name) for name in names}


def _pictures_given(request: Request) -> str:
    image = "" if request.image is None else ", image=image"
    return image + ("" if request.mask is None else ", mask=mask < 0.5")


def _flag(name: str, value: Any) -> str:
    if name == "size":
        return f"--size={value[1]}x{value[0]}"
    return f"--{name}={json.dumps(value, ensure_ascii=False)}"


def _lora_path(folders: Folders | None, name: str) -> Path:
    if folders is None:
        raise ValueError(f"<lora:{name}>: there is no folder of adapters")
    listed = {Path(each).stem: each for each in folders.listed("loras")}
    return folders.path("loras", listed.get(name, name))
