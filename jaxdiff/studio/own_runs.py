"""Runs of our own as sources of pictures."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jaxdiff.runs.run import Run
from jaxdiff.runs.sizes import resized
from jaxdiff.studio import control, pixels
from jaxdiff.studio.requests import (
    Images,
    Request,
    Watch,
    defaults_of,
    divided,
    flag,
    joined,
    pictures_given,
    sampling_of,
)


@dataclass(frozen=True)
class OfRun:
    """A run of our own: of classes, with their names, of texts, or without conditions."""

    name: str
    run: Run
    names: tuple[str, ...] = ()
    _resized: dict[int, Run] = field(default_factory=dict, repr=False)

    @property
    def defaults(self) -> Mapping[str, Any]:
        """Returns those of the run's config."""
        sampling = self.run.config.sampling
        classes = self.names or tuple(map(str, range(self.run.num_classes)))
        size = self.run.shape[-3:-1]
        maps = self.run.maps.of if self.run.maps else ()
        classes = classes if self.condition else ()
        return {**defaults_of(sampling, size), "classes": classes, "maps": maps}

    @property
    def condition(self) -> str:
        """Returns what the prompt is: "label", "text", or "" for nothing."""
        named = self.run.config.conditions
        return next((name for name in ("text", "label") if name in named), "")

    def draw(self, request: Request, watch: Watch | None = None) -> Images:
        """Returns pictures in [-1, 1]."""
        if len(self.run.shape) == 4:
            raise ValueError(f"{self.name!r} draws clips: they are in the page's panel Video")
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
        if request.control:
            extra["control"] = self._control(request.control)
        negative = self.cond(request.negative)
        return self.run.sample(
            request.num,
            self.cond(request.prompt),
            negative=negative or None,
            watch=watch,
            **extra,
            **sampling_of(request),
        )

    def _control(self, steered: Sequence[control.Steered]) -> Any:
        if maps := self.run.maps:
            return control.joined(steered, maps)
        networks = [network for _, network in self.run.experiment.task.model.controls]
        return control.fitted(steered, networks)

    def together(self, requests: Sequence[Request], watch: Watch | None = None) -> list[np.ndarray]:
        """Returns the pictures of each request, drawn as one."""
        one, batch = requests[0], joined(requests)
        conds = [self.cond(prompt) for prompt in batch.prompts]
        cond = {name: [each[name] for each in conds] for name in conds[0]}
        pictures = self.run.sample(
            len(batch.seeds),
            cond,
            negative=self.cond(one.negative) or None,
            watch=watch,
            **{**sampling_of(one), "seed": batch.seeds, "first": batch.places},
        )
        return divided(pictures, requests)

    def clip_shape(self, frames: int | None = None) -> tuple[int, ...]:
        """Returns the shape [f, h, w, c] of its clips, of a number of frames or of its own.

        Raises:
            ValueError: as `of_frames`.
        """
        return tuple(self.of_frames(frames).shape)

    def of_frames(self, frames: int | None) -> Run:
        """Returns the run for clips of a number of frames, None for its own; the latest is kept.

        Raises:
            ValueError: samples are no clips, or it has other weights for that number.
        """
        if len(self.run.shape) != 4:
            raise ValueError(f"{self.name!r} draws no clips; its samples are {self.run.shape}")
        if frames in (None, self.run.shape[0]):
            return self.run
        if frames not in self._resized:
            run = resized(self.run, frames=frames)
            self._resized.clear()
            self._resized[frames] = run
        return self._resized[frames]

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
        num, cond, negative = (
            settings.pop("num"),
            *map(self.cond, (request.prompt, request.negative)),
        )
        given = "".join(f", {name}={value!r}" for name, value in settings.items())
        given += f", negative={negative!r}" if negative else ""
        if request.strength is not None and request.strength < 1:
            given += f", t_start={request.strength}"
        given += pictures_given(request)
        lines = ["import jaxdiff"]
        lines += ["from jaxdiff.tasks.controls import Map"] if request.control else []
        lines += ["", f"run = jaxdiff.load({str(self.run.folder)!r})"]
        lines.append(f"pictures = run.sample({num}, {cond!r}{given})")
        flags = [f"--workdir={self.run.folder}", f"--num={num}", *self.condition_flags(request)]
        flags += [flag(name, value) for name, value in settings.items()]
        for i, (one, _, kind) in enumerate(request.control):
            flags += [f"--control_image={kind and f'{kind}='}map_{i}.png:{one.strength:g}"]
            flags += [f"--control_steps={one.start:g}:{one.end:g}"]
        return "\n".join(lines), " ".join(["python -m jaxdiff sample", *flags])

    def condition_flags(self, request: Request) -> list[str]:
        """Returns the flags of `sample` for what a request asks for, and leads away from."""
        cond, negative = self.cond(request.prompt), self.cond(request.negative)
        named = {"labels": cond.get("label"), "text": cond.get("text")}
        named["negative"] = negative.get("text")
        return [
            f"--{n}={json.dumps(v, ensure_ascii=False)}" for n, v in named.items() if v is not None
        ]


def class_names(run: Run) -> tuple[str, ...]:
    """Returns the names of a run's classes, where its data are known by name."""
    return CLASSES.get(str(run.config.data.name).split("(")[0].lower(), ())


FASHION = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag")
CLASSES = {name: (*FASHION, "boot") for name in ("fashion_mnist", "fashion_mnist_idx")}
