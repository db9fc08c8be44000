"""Progress of long work: a bar on a terminal, lines in a log elsewhere; and batches of one size."""

import logging
import math
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
from jaxtyping import Int
from tqdm import tqdm

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
LINE_EVERY = 10.0
"""Seconds between lines in a log."""


def progress(
    items: Iterable[Item], what: str, cost: Callable[[Item], float] = lambda item: 1.0
) -> Iterator[Item]:
    """Yields the items, with a bar or with lines such as "3 of 8 grids compared, 20 s left".

    `cost` weighs an item's share of the time.
    """
    items, start = list(items), time.perf_counter()
    terminal, total = sys.stderr.isatty(), sum(map(cost, items))
    last, done = start, 0.0
    for count, item in enumerate(tqdm(items, desc=what, disable=not terminal), 1):
        yield item
        done, now = done + cost(item), time.perf_counter()
        if not terminal and (now - last > LINE_EVERY or count == len(items)):
            left = (total / done - 1) * (now - start)
            logger.info("%d of %d %s, %.0f s left", count, len(items), what, left)
            last = now


@contextmanager
def announced(what: str, after: float = 5.0) -> Iterator[None]:
    """Logs what is being done when it takes longer than `after` seconds, and how long it took."""
    start = time.perf_counter()
    _reminders.add(start + after, what)
    try:
        yield
    finally:
        _reminders.remove(start + after, what)
    if (seconds := time.perf_counter() - start) > after:
        logger.info("%s took %.0f s", what, seconds)


class _Reminders:
    """Lines to be logged at times to come, by one thread: to start one takes a millisecond."""

    def __init__(self):
        self._due: list[tuple[float, str]] = []
        self._wakes = math.inf
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, when: float, what: str) -> None:
        """Logs a line at a time of `time.perf_counter`, unless it is removed before."""
        with self._changed:
            self._due.append((when, what))
            if self._thread is None or not self._thread.is_alive():  # as after a fork
                self._thread = threading.Thread(target=self._watch, daemon=True)
                self._thread.start()
            elif when < self._wakes:
                self._changed.notify()

    def remove(self, when: float, what: str) -> None:
        """Drops a line, if it was not logged."""
        with self._changed:
            if (when, what) in self._due:
                self._due.remove((when, what))

    def _watch(self) -> None:
        while True:
            with self._changed:
                now = time.perf_counter()
                late = [each for each in self._due if each[0] <= now]
                self._due = [each for each in self._due if each[0] > now]
                if not late:
                    self._wakes = min(self._due, default=(math.inf, ""))[0]
                    self._changed.wait(None if self._wakes == math.inf else self._wakes - now)
            for _, what in late:
                logger.info("%s ...", what)


_reminders = _Reminders()


def full_batches(num: int, size: int) -> Iterator[tuple[Int[np.ndarray, " size"], int]]:
    """Yields indices [size] and how many of them count: the last batch is filled up.

    So one compiled program serves all batches.
    """
    for begin in range(0, num, size):
        yield np.minimum(np.arange(begin, begin + size), num - 1), min(size, num - begin)
