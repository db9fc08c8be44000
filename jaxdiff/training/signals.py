"""Ends a run cleanly on SIGTERM and Ctrl-C, all processes after the same step."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import jax

from jaxdiff.weights.devices import Devices

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


@dataclass
class Agreement:
    """Whether any process has been asked to stop: the same answer in all, for the same step.

    Call it once after each step. Among several processes the answer is one step late: it travels
    while the next step runs, so that no process waits for it.
    """

    devices: Devices
    stop: Stop
    _pending: jax.Array | None = field(default=None, init=False)

    def __call__(self) -> bool:
        """Returns the answer; every process must ask."""
        if jax.process_count() == 1:
            return self.stop.requested
        before, self._pending = self._pending, self.devices.begin_any(self.stop.requested)
        return before is not None and bool(before.addressable_data(0))
