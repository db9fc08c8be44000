"""A studio that runs: its models, its folders, its graphs, and the thread that draws."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jaxdiff.config.kinds import suggest
from jaxdiff.studio import pixels
from jaxdiff.studio.folders import Folders
from jaxdiff.studio.graph.engine import Engine
from jaxdiff.studio.service import previews
from jaxdiff.studio.service.jobs import Job, Worker
from jaxdiff.studio.sources import Released, Request, Source, open_source
from jaxdiff.studio.texts import written


@dataclass(frozen=True)
class Limits:
    """What one request may ask for."""

    pixels: int = 2048 * 2048
    pictures: int = 64
    steps: int = 1000
    seconds: float = 3600.0
    waiting: int = 100

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
    """A picture that was drawn, with the text of its settings, and its file if it was saved."""

    pixels: Any
    text: str
    file: str | None = None

    def png(self) -> bytes:
        """Returns a PNG file with the settings in it."""
        return pixels.png_bytes(pixels.picture_of(self.pixels), {"parameters": self.text})


Allows = Callable[[Any], bool]
"""Whether a picture [h, w, c] may be shown."""


@dataclass(eq=False)
class Studio:
    """Models by name, opened when they are asked for, and the thread that draws with them.

    Attributes:
        folders: the files that may be read and written.
        paths: of models beside those in the folder `checkpoints`, by name.
        limits: of one request.
        allows: asked before a picture is saved or shown; a black one is put in the place of others.
        options: of `jaxdiff.released` and `jaxdiff.load`, such as devices.
    """

    folders: Folders
    paths: Mapping[str, Path] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    allows: Allows = lambda picture: True
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        self.worker = Worker(self.limits.waiting, self._changed)
        self.engine = Engine(self.folders, self._pipeline)
        self.listeners: list[Callable[[Job], None]] = []
        self.started = time.time()
        self._sources: dict[str, Source] = {}
        self._opening = threading.Lock()
        self._chosen = next(iter(self.names()), "")
        self._watched: Job | None = None
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
        options = {"limit": self.limits.seconds, "about": {"request": request}, **options}
        return self.worker.submit(Job(lambda job: self.draw(request, name, save, job), **options))

    def draw(
        self, request: Request, name: str | None = None, save: bool = True, job: Job | None = None
    ) -> list[Picture]:
        """Draws at once, in this thread, and returns the pictures.

        Raises:
            ValueError: the request cannot be done.
        """
        source = self.source(name)
        self.limits.check(request, source.defaults["size"])
        self._watched, self._map = job, _map_of(source) if job is not None else None
        images = source.draw(request, self._report if job is not None else None)
        texts = [written(request, source, i, images.shape[1:3]) for i in range(len(images))]
        return [self.kept(image, text, save) for image, text in zip(images, texts, strict=True)]

    def kept(self, image: Any, text: str, save: bool = True) -> Picture:
        """Returns a picture, which is written into the output folder if it is to be saved."""
        if not self.allows(image):
            image = np.full_like(image, -1.0)
        if not save:
            return Picture(image, text)
        name = self.folders.fresh("output", time.strftime("%Y-%m-%d/jaxdiff"), ".png", 1)[0]
        path = self.folders.folder("output") / name
        pixels.save_png(path, pixels.picture_of(image), {"parameters": text})
        return Picture(image, text, name)

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
        job = self._watched
        if job is None:
            return True
        goes_on = job.report(step, steps, np.asarray(x0))
        self._changed(job)
        return goes_on

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
    pipeline = source.pipeline
    settings = pipeline.parts.codec.network.settings
    return previews.fitted(pipeline.decode, settings.latent_channels)
