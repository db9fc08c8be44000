"""Released models as sources of pictures."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxdiff.pipelines.first_frames import continues
from jaxdiff.pipelines.pipeline import Pipeline
from jaxdiff.studio import control
from jaxdiff.studio.folders import Folders
from jaxdiff.studio.requests import (
    LORA,
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
        classes = self.pipeline.parts.model.network.inputs.num_classes
        own = defaults_of(self.pipeline.parts.options, self.pipeline.parts.size[-2:])
        return {**own, "classes": tuple(map(str, range(classes or 0)))}

    def cond(self, prompt: str) -> dict[str, Any]:
        """Returns the condition that a prompt names: a text, or the number of a class.

        Raises:
            ValueError: there is no such class; the model has no conditions.
        """
        if self.pipeline.parts.text is not None:
            return {"text": prompt}
        classes, prompt = self.pipeline.parts.model.network.inputs.num_classes, prompt.strip()
        if not prompt:
            return {}
        if not classes:
            raise ValueError(f"prompt={prompt!r}: this model draws without conditions")
        if not prompt.isdigit() or int(prompt) >= classes:
            raise ValueError(f"prompt={prompt!r}: this model draws classes, 0 to {classes - 1}")
        return {"label": int(prompt)}

    def draw(self, request: Request, watch: Watch | None = None) -> Images:
        """Returns pictures in [-1, 1]."""
        if len(self.pipeline.parts.size) != 2:
            raise ValueError(f"{self.name!r} draws clips: they are in the page's panel Video")
        nets = tuple(each.net for each in request.control)
        pipeline, prompt = self.adapted(request.prompt, nets)
        known = None if request.mask is None else np.asarray(request.mask) < 0.5
        networks = [network for _, network in pipeline.parts.model.controls]
        maps = control.fitted(request.control, networks) if request.control else None
        return pipeline.sample(
            request.num,
            self.cond(prompt),
            negative=request.negative or None,
            size=request.size,
            image=request.image,
            strength=request.strength,
            mask=known,
            control=maps,
            watch=watch,
            **sampling_of(request),
        )

    def clip_shape(self, frames: int | None = None) -> tuple[int, int, int, int]:
        """Returns the shape [f, h, w, c] of its clips, of a number of frames or of its own.

        Raises:
            ValueError: it draws no clips.
        """
        size = self.pipeline.parts.size
        if len(size) != 3:
            raise ValueError(f"{self.name!r} draws no clips; its pictures are {size}")
        return (frames or size[0], size[1], size[2], 3)

    def draw_clips(
        self, request: Request, frames: int | None = None, watch: Watch | None = None
    ) -> Float[np.ndarray, "n f h w c"]:
        """Returns clips in [-1, 1]; `request.image` is what they continue.

        Raises:
            ValueError: it draws no clips, or none of this number of frames.
        """
        size = self.clip_shape(frames)[:3]
        pipeline, prompt = self.adapted(request.prompt)
        if request.image is not None and not continues(pipeline.parts):
            raise ValueError(f"{self.name!r} continues no picture: leave it out")
        return pipeline.sample(
            request.num,
            prompt,
            negative=request.negative or None,
            size=size,
            image=request.image,
            watch=watch,
            **sampling_of(request),
        )

    def together(self, requests: Sequence[Request], watch: Watch | None = None) -> list[np.ndarray]:
        """Returns the pictures of each request, drawn as one."""
        one, batch = requests[0], joined(requests)
        pictures = self.pipeline.sample(
            len(batch.seeds),
            self._conds(batch.prompts),
            negative=one.negative or None,
            size=one.size,
            watch=watch,
            **{**sampling_of(one), "seed": batch.seeds, "first": batch.places},
        )
        return divided(pictures, requests)

    def _conds(self, prompts: Sequence[str]) -> dict[str, Any]:
        each = [self.cond(prompt) for prompt in prompts]
        return {name: [cond[name] for cond in each] for name in each[0]}

    def adapted(self, prompt: str, nets: tuple[Path | None, ...] = ()) -> tuple[Pipeline, str]:
        """Returns the pipeline with a prompt's adapters and ControlNets, and the prompt without.

        Raises:
            ValueError: a file is missing, or of another model.
        """
        wanted = tuple((name, float(weight or 1)) for name, weight in LORA.findall(prompt))
        prompt = LORA.sub("", prompt).strip()
        if not (wanted or nets):
            return self.pipeline, prompt
        if None in nets:
            raise ValueError("control: name the ControlNet that reads a map")
        if (wanted, nets) not in self._adapted:
            pipeline = self.pipeline
            for name, weight in wanted:
                pipeline = pipeline.with_lora(_lora_path(self.folders, name), weight)
            for net in nets:
                pipeline = pipeline.with_controlnet(net)
            self._adapted.clear()
            self._adapted[wanted, nets] = pipeline
        return self._adapted[wanted, nets], prompt

    def code(self, request: Request, frames: int | None = None) -> tuple[str, str]:
        """Returns the Python, and the command line, that draw the same; `frames`, of clips."""
        chosen = replace(request, prompt=LORA.sub("", request.prompt).strip())
        settings = chosen.settings()
        prompt, num = settings.pop("prompt"), settings.pop("num")
        settings = {n: v for n, v in settings.items() if v not in ("", 0)}
        adapters = [(n, float(w or 1)) for n, w in LORA.findall(request.prompt)]
        lines = ["import jaxdiff"]
        lines += ["from jaxdiff.tasks.controls import Map"] if request.control else []
        lines += ["", f"pipeline = jaxdiff.released({str(self.path)!r})"]
        cond: Any = self.cond(prompt)
        flags = [f"--model={self.path}"]
        if "text" in cond:
            flags.append(f"--prompt={json.dumps(prompt, ensure_ascii=False)}")
            cond = prompt
        flags += [f"--label={cond['label']}"] if "label" in cond else []
        for name, weight in adapters:
            path = _lora_path(self.folders, name)
            lines.append(f"pipeline = pipeline.with_lora({str(path)!r}, {weight:g})")
            flags.append(f"--lora={path}:{weight:g}")
        for i, (one, net, _) in enumerate(request.control):
            lines.append(f"pipeline = pipeline.with_controlnet({str(net)!r})")
            flags += [f"--controlnet={net}:{one.strength:g}", f"--control_image=map_{i}.png"]
            flags.append(f"--control_steps={one.start:g}:{one.end:g}")
        given = "".join(f", {name}={value!r}" for name, value in settings.items())
        given += pictures_given(request)
        clip = self.clip_shape(frames)[:3] if len(self.pipeline.parts.size) == 3 else ()
        given += f", size={clip}" if clip else ""
        lines.append(f"pictures = pipeline.sample({num}, {cond!r}{given})")
        written = {**settings, "num": num} if num > 1 else settings
        flags += [flag(name, value) for name, value in written.items()]
        flags += [] if request.image is None else ["--image=in.png"]
        flags += [] if request.mask is None else ["--mask=mask.png"]
        flags += [f"--frames={clip[0]}", "--out=clips.mp4"] if clip else []
        return "\n".join(lines), " ".join(["python -m jaxdiff generate", *flags])


def _lora_path(folders: Folders | None, name: str) -> Path:
    if folders is None:
        raise ValueError(f"<lora:{name}>: there is no folder of adapters")
    listed = {Path(each).stem: each for each in folders.listed("loras")}
    return folders.path("loras", listed.get(name, name))
