"""Progress of long work: a bar on a terminal, lines in a log elsewhere; and batches of one size."""

import logging
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
    timer = threading.Timer(after, logger.info, ["%s ...", what])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    if (seconds := time.perf_counter() - start) > after:
        logger.info("%s took %.0f s", what, seconds)


def full_batches(num: int, size: int) -> Iterator[tuple[Int[np.ndarray, " size"], int]]:
    """Yields indices [size] and how many of them count: the last batch is filled up.

    So one compiled program serves all batches.
    """
    for begin in range(0, num, size):
        yield np.minimum(np.arange(begin, begin + size), num - 1), min(size, num - begin)
