"""What training says about itself: means over a window of steps, in files and on the terminal."""

import json
import logging
import math
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from jaxdiff.files import AnyPath, atomic_write, in_bucket
from jaxdiff.training import notebook, writers
from jaxdiff.training.step import LOGSNR_EDGES

logger = logging.getLogger(__name__)


class Meter:
    """Sums of each step's metrics since they were last written.

    It travels in the checkpoint, so that a run that was interrupted writes the very same means.
    """

    def __init__(self, state: Mapping[str, Any] | None = None):
        """Continues from what `state()` returned."""
        state = state or {"steps": 0, "sums": {}}
        self._steps = state["steps"]
        self._sums = {name: np.asarray(value, float) for name, value in state["sums"].items()}

    def state(self) -> dict[str, Any]:
        """Returns the sums as plain numbers and lists, which JSON keeps exactly."""
        return {"steps": self._steps, "sums": {k: v.tolist() for k, v in self._sums.items()}}

    def add(self, metrics: Mapping[str, Any]) -> None:
        """Adds one step's metrics."""
        self._steps += 1
        for name, value in metrics.items():
            self._sums[name] = self._sums.get(name, 0.0) + np.asarray(value, float)

    def take(self) -> dict[str, Any]:
        """Returns the means and starts afresh.

        "loss_by_logsnr" has the mean loss of each noise level, by the middle of its log-SNR bin;
        levels that no example had are left out.
        """
        means = {name: total / self._steps for name, total in self._sums.items()}
        loss, share = means.pop("level_loss", None), means.pop("level_share", None)
        self.__init__()
        numbers = {name: float(mean) for name, mean in means.items()}
        if loss is None:
            return numbers
        middles = (LOGSNR_EDGES[1:] + LOGSNR_EDGES[:-1]) / 2
        by_level = {
            f"{m:g}": float(total / s)
            for m, total, s in zip(middles, loss, share, strict=True)
            if s > 0
        }
        return {**numbers, "loss_by_logsnr": by_level}


SECONDS = 30
"""Time between two copies of a run's metrics in a bucket."""


class MetricsLog:
    """Appends to metrics.jsonl in a run's folder, and hands on to writers.

    In a bucket, whose files cannot grow, the whole file is sent, once in `SECONDS` and at the end.
    """

    def __init__(
        self,
        workdir: AnyPath,
        step: int,
        others: Sequence[writers.Writer] = (),
        config: Mapping[str, Any] | None = None,
    ):
        """Continues after `step`: what an interrupted run wrote beyond it is taken back."""
        self._path = workdir / "metrics.jsonl"
        self._lines, self._sent = [], time.monotonic()
        if self._path.exists():
            lines = [line for line in self._path.read_text().splitlines(True) if _upto(line, step)]
            with atomic_write(self._path) as draft:
                draft.write_text("".join(lines))
            self._lines = lines if in_bucket(workdir) else []
        self._opened = writers.opened(others, workdir, config or {}, step)

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Writes one line; writers get nested numbers by names with slashes."""
        self._append(json.dumps({"step": step, **values}) + "\n")
        numbers = dict(scalar for name, value in values.items() for scalar in _scalars(name, value))
        self._each("write", step, numbers)

    def picture(self, step: int, name: str, image: np.ndarray) -> None:
        """Hands a uint8 picture [h, w, c] on to the writers."""
        self._each("picture", step, name, image)

    def close(self) -> None:
        """Closes the writers."""
        if in_bucket(self._path):
            self._send()
        self._each("close")

    def _append(self, line: str) -> None:
        if not in_bucket(self._path):
            with self._path.open("a") as file:
                file.write(line)
            return
        self._lines.append(line)
        if time.monotonic() - self._sent > SECONDS:
            self._send()

    def _send(self) -> None:
        self._path.write_text("".join(self._lines))
        self._sent = time.monotonic()

    def _each(self, method: str, *arguments: Any) -> None:
        """Calls all writers; one that fails gets nothing more, and the training goes on."""
        for name, writer in list(self._opened.items()):
            try:
                getattr(writer, method)(*arguments)
            except Exception as error:  # a server that is gone must not end a training
                del self._opened[name]
                message = "%s failed (%s: %s); nothing more goes there, metrics.jsonl has all"
                logger.warning(message, name, type(error).__name__, error)


class NoMetricsLog:
    """Writes nothing, for all processes but the first."""

    def __init__(self, *arguments: Any):
        """Opens nothing."""

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Writes nothing."""

    def picture(self, step: int, name: str, image: np.ndarray) -> None:
        """Writes nothing."""

    def close(self) -> None:
        """Closes nothing."""


class Progress:
    """A bar with rate and remaining time on a terminal, a curve in a notebook, else lines."""

    def __init__(self, step: int, total: int, *, shown: bool = True):
        """Starts at `step` of `total`; not shown, it prints nothing."""
        self._step, self._total, self._from = step, total, step
        self._start = time.perf_counter()
        self._shown = shown
        terminal = shown and sys.stderr.isatty()
        self._bar = tqdm(initial=step, total=total, unit="step") if terminal else None
        self._live = notebook.live(total) if shown else None

    def advance(self) -> None:
        """Counts one step."""
        self._step += 1
        if self._bar is not None:
            self._bar.update()

    def report(self, values: Mapping[str, Any]) -> None:
        """Shows the numbers of the window that has just ended."""
        if not self._shown:
            return
        shown = {k: v for k, v in values.items() if isinstance(v, float) and k in _SHOWN}
        if self._bar is not None:
            self._bar.set_postfix({k: f"{v:.4g}" for k, v in shown.items()})
            return
        if self._live is not None:
            self._live.report(self._step, shown)
            return
        rate = (self._step - self._from) / (time.perf_counter() - self._start)
        remaining = (self._total - self._step) / rate if rate else math.inf
        numbers = "  ".join(f"{k} {v:.4g}" for k, v in shown.items())
        logger.info(
            "step %d/%d  %s  %.1f steps/s  %.0f s left",
            self._step,
            self._total,
            numbers,
            rate,
            remaining,
        )

    def close(self) -> None:
        """Leaves the terminal's line."""
        if self._bar is not None:
            self._bar.close()


_SHOWN = ("loss", "loss_generator", "loss_critic", "gradient_norm", "images_per_second")


def _upto(line, step):
    try:
        return json.loads(line)["step"] <= step
    except (ValueError, KeyError, TypeError):
        return False  # the line that a crash cut short


def _scalars(name, value):
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _scalars(f"{name}/{key}", inner)
    elif isinstance(value, int | float):
        yield name, value
