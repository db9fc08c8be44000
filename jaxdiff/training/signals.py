"""Ends a run cleanly on SIGTERM and Ctrl-C."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

logger = logging.getLogger(__name__)


@dataclass
class Stop:
    """Whether a signal has asked the run to end."""

    requested: bool = False


@contextmanager
def stop_signal() -> Iterator[Stop]:
    """Turns the first SIGTERM or Ctrl-C into a request; a second one interrupts at once."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may handle signals
        return

    def request(number, frame):
        if stop.requested:
            raise KeyboardInterrupt
        stop.requested = True
        logger.info("%s: finishing the step, then stopping", signal.Signals(number).name)

    before = {s: signal.signal(s, request) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
