"""A studio that runs: its models, its folders, its graphs, and the thread that draws."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxdiff.codecs.pixels import Pixels
from jaxdiff.config.kinds import suggest
from jaxdiff.files import atomic_write
from jaxdiff.studio import pixels
from jaxdiff.studio.folders import Folders
from jaxdiff.studio.graph.engine import Engine
from jaxdiff.studio.provenance import Finish
from jaxdiff.studio.requests import Watch
from jaxdiff.studio.service import previews
from jaxdiff.studio.service.jobs import Job, Worker
from jaxdiff.studio.sources import Released, Request, Source, alike, open_source
from jaxdiff.studio.texts import written


@dataclass(frozen=True)
class Limits:
    """What one request may ask for; how many wait; how many pictures are drawn as one batch."""

    pixels: int = 2048 * 2048
    pictures: int = 64
    frames: int = 512
    steps: int = 1000
    seconds: float = 3600.0
    waiting: int = 100
    together: int = 8

    def check(self, request: Request, size: tuple[int, int]) -> None:
        """Checks a request.

        Raises:
            ValueError: it asks for more; says of what, and how much there may be.
        """
        height, width = request.size or size
        if height * width > self.pixels:
            raise ValueError(f"size: {width}x{height}; at most {self.pixels} pixels are drawn")
        if request.num > self.pictures:
            raise ValueError(f"num={request.num}; at most {self.pictures} at a time")
        if request.steps is not None and request.steps > self.steps:
            raise ValueError(f"steps={request.steps}; at most {self.steps} are done")


@dataclass(frozen=True)
class Picture:
    """A picture that was drawn: its pixels, settings as a text, PNG file, and the file's name.

    The pixels are as they were drawn, `image` and the file as they may be shown: checked and
    marked. `file` is None where it was not saved.
    """

    pixels: Any
    text: str
    content: bytes
    file: str | None = None

    @property
    def image(self) -> Image.Image:
        """Returns the picture of the PNG file."""
        return pixels.opened(self.content, "picture")


@dataclass(eq=False)
class Studio:
    """Models by name, opened when they are asked for, and the thread that draws with them.

    Attributes:
        folders: the files that may be read and written.
        paths: of models beside those in the folder `checkpoints`, by name.
        limits: of one request.
        finish: makes files of pictures: checked, marked, signed.
        options: of `jaxdiff.released` and `jaxdiff.load`, such as devices.
    """

    folders: Folders
    paths: Mapping[str, Path] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    finish: Finish = field(default_factory=Finish)
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        self.worker = Worker(self.limits.waiting, self._changed, self.limits.together)
        self.engine = Engine(self.folders, self._pipeline, self.finish)
        self.listeners: list[Callable[[Job], None]] = []
        self.started = time.time()
        self._sources: dict[str, Source] = {}
        self._opening = threading.Lock()
        self._chosen = next(iter(self.names()), "")
        self._watched: list[Job] = []
        self._map: Any = None

    def names(self) -> list[str]:
        """Returns the names of all models."""
        listed = [n for n in self.folders.listed("checkpoints") if n not in self.paths]
        return [*self.paths, *listed]

    @property
    def chosen(self) -> str:
        """Returns the name of the model that draws where a request names none."""
        return self._chosen

    def choose(self, name: str) -> None:
        """Sets the model that draws where a request names none.

        Raises:
            ValueError: there is none of this name.
        """
        self._chosen = self._known(name)

    def _known(self, name: str) -> str:
        # Other tools write a hash behind the name.
        plain = name.split(" [", maxsplit=1)[0]
        alike = [each for each in self.names() if plain in (each, Path(each).stem)]
        if not alike:
            raise ValueError(f"there is no model {plain!r}{suggest(plain, self.names())}")
        return alike[0]

    def source(self, name: str | None = None) -> Source:
        """Returns a model, opened; the latest two are kept.

        Raises:
            ValueError: there is none of this name, or it cannot be opened.
        """
        name = self._known(name or self._chosen)
        with self._opening:
            if name not in self._sources:
                while len(self._sources) > 1:
                    self._sources.pop(next(iter(self._sources)))
                path = self.paths.get(name) or self.folders.path("checkpoints", name)
                source = open_source(path, self.folders, **self.options)
                self._sources[name] = source
            return self._sources[name]

    def submit(self, request: Request, *, model: str | None = None, **options: Any) -> Job:
        """Checks a request, and puts it into the queue; the job's result are pictures.

        `options` are `save`, whether files are written, and those of `Job`.

        Raises:
            ValueError: the request asks for what is not there, or for too much.
            FullError: too many are waiting.
        """
        name, save = self._known(model or self._chosen), options.pop("save", True)
        if name in self._sources:
            self.limits.check(request, self._sources[name].defaults["size"])
        alone = alike(request)
        options = {
            "limit": self.limits.seconds,
            "about": {"request": request},
            "alike": None if alone is None else (name, save, alone),
            "together": lambda jobs: self.drawn_together(jobs, name, save),
            "size": request.num,
            **options,
        }
        return self.worker.submit(Job(lambda job: self.draw(request, name, save, job), **options))

    def warm(self) -> Job:
        """Puts a picture that ends after one step into the queue, so that its program is there.

        Programs that tell of their steps are compiled anew in each process; this one is compiled
        while the first visitor writes a prompt. "0" is a text, and the number of a class as well.
        """
        return self.submit(Request(prompt="0"), save=False, limit=0.0)

    def draw(
        self, request: Request, name: str | None = None, save: bool = True, job: Job | None = None
    ) -> list[Picture]:
        """Draws at once, in this thread, and returns the pictures.

        Raises:
            ValueError: the request cannot be done.
        """
        source = self.source(name)
        self.limits.check(request, source.defaults["size"])
        self._watch(source, [job] if job is not None else [])
        images = source.draw(request, self._report if job is not None else None)
        return self._kept(source, request, images, save)

    def drawn_together(self, jobs: list[Job], name: str, save: bool) -> list[list[Picture]]:
        """Draws the requests of several jobs, which are alike, as one."""
        source, requests = self.source(name), [job.about["request"] for job in jobs]
        for each in requests:
            self.limits.check(each, source.defaults["size"])
        self._watch(source, jobs)
        found = source.together(requests, self._report)
        pairs = zip(requests, found, strict=True)
        return [self._kept(source, request, images, save) for request, images in pairs]

    def watched(self, source: Source, job: Job) -> Watch:
        """Returns what tells a job of each step of a model: one function for all jobs."""
        self._watch(source, [job])
        return self._report

    def _watch(self, source: Source, jobs: list[Job]) -> None:
        shows = bool(jobs) and not self.finish.checks
        self._watched, self._map = jobs, _map_of(source) if shows else None

    def _kept(self, source: Source, request: Request, images: Any, save: bool) -> list[Picture]:
        texts = [written(request, source, i, images.shape[1:3]) for i in range(len(images))]
        return [self.kept(image, text, save) for image, text in zip(images, texts, strict=True)]

    def kept(self, image: Any, text: str, save: bool = True) -> Picture:
        """Returns a picture, which is written into the output folder if it is to be saved."""
        content = self.finish.png(image, {"parameters": text})
        if not save:
            return Picture(image, text, content)
        name = self.folders.fresh("output", time.strftime("%Y-%m-%d/jaxdiff"), ".png", 1)[0]
        with atomic_write(self.folders.folder("output") / name) as draft:
            draft.write_bytes(content)
        return Picture(image, text, content, name)

    def preview_map(self, channels: int) -> Any:
        """Returns the map from latents to colours of the model that draws; None for pixels.

        It is fitted before the drawing, for the watcher must not compute by JAX.
        """
        return self._map if self._map is not None and len(self._map) == channels + 1 else None

    def close(self) -> None:
        """Ends the thread."""
        self.worker.close()

    def _report(self, step: int, steps: int, x0: Any) -> bool:
        # One function for all jobs: another would be another compiled program.
        # Nothing half-drawn is kept where pictures are checked.
        x0 = None if self.finish.checks else np.asarray(x0)
        going, begin = [], 0
        for job in self._watched:
            count = job.about["request"].num if len(self._watched) > 1 else None
            part = x0 if x0 is None or count is None else x0[begin : begin + count]
            begin += count or 0
            going.append(job.report(step, steps, part))
            self._changed(job)
        return any(going) or not going

    def _changed(self, job: Job) -> None:
        for listener in list(self.listeners):
            listener(job)

    def _pipeline(self, path: Path) -> Any:
        """Returns the pipeline of a path, that of a model which is open already."""
        for name in self.names():
            mine = self.paths.get(name) or self.folders.path("checkpoints", name)
            if Path(mine).resolve() == Path(path).resolve():
                source = self.source(name)
                if isinstance(source, Released):
                    self._map = _map_of(source)
                    return source.pipeline
        return _released(path, self.options)


def _released(path: Path, options: Mapping[str, Any]) -> Any:
    from jaxdiff import released  # noqa: PLC0415 - takes seconds

    return released(path, **options)


def _map_of(source: Source) -> Any:
    if not isinstance(source, Released):
        return None
    parts = source.pipeline.parts
    if isinstance(parts.codec, Pixels) or len(parts.size) != 2:
        return None  # pixels are seen as they are, and clips have no previews
    return previews.fitted(source.pipeline.decode, parts.latent_channels)
