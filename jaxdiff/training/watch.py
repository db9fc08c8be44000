"""What steps cost while they run: the wait for data, memory, MFU; and a profile of some of them."""

import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import jax

from jaxdiff.files import AnyPath

logger = logging.getLogger(__name__)

FOLDER = "profile"
"""Of the profile, in a run's folder; TensorBoard and xprof read it."""


def window(text: str) -> range:
    """Returns the steps of a window as a config has it, "100:110"; none of an empty one.

    Raises:
        ValueError: it is no window.
    """
    if not text:
        return range(0)
    found = re.fullmatch(r"(\d+):(\d+)", text)
    steps = range(*map(int, found.groups())) if found else range(0)
    if not steps:
        raise ValueError(
            f"profile={text!r}: write the first step and the one after the last, 100:110"
        )
    return steps


@dataclass
class Watch:
    """The figures of one window of the log.

    Attributes:
        workdir: where a profile goes, of the steps `profiled`.
        seconds_at_peak: of a step, if the chips did nothing but its arithmetic at their published
            peak; None where that is not known.
    """

    workdir: AnyPath
    profiled: range = range(0)
    seconds_at_peak: float | None = None
    _waited: float = field(default=0.0, init=False)
    _running: bool = field(default=False, init=False)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Counts the time of the block as a wait for data."""
        start = time.perf_counter()
        yield
        self._waited += time.perf_counter() - start

    def figures(self, steps_per_second: float, steps: int) -> dict[str, float]:
        """Returns the figures of the last so many steps, and begins a new window.

        "input_wait" is the share of the time in which nothing but data was waited for, "memory_gib"
        the most that one device has held so far, "mfu" the share of the peak in arithmetic.
        """
        share = self._waited * steps_per_second / max(steps, 1)
        found = {"input_wait": round(min(share, 1.0), 4)}
        self._waited = 0.0
        memory: Any = jax.local_devices()[0].memory_stats() or {}
        if peak := memory.get("peak_bytes_in_use"):
            found["memory_gib"] = round(peak / 2**30, 3)
        if self.seconds_at_peak is not None:
            found["mfu"] = round(self.seconds_at_peak * steps_per_second, 4)
        return found

    def before(self, step: int, state: Any) -> None:
        """Begins or ends the profile; the state is waited for, so that it has whole steps."""
        if not self._running and step in self.profiled:
            jax.block_until_ready(state)
            jax.profiler.start_trace(str(self.workdir / FOLDER))
            self._running = True
        elif self._running and step not in self.profiled:
            self.close(state)

    def close(self, state: Any) -> None:
        """Ends a profile that is running."""
        if self._running:
            jax.block_until_ready(state)
            jax.profiler.stop_trace()
            self._running = False
            logger.info("a profile of some steps is in %s", self.workdir / FOLDER)
