"""Progress of long work."""

import logging
import threading
import time

from jaxdiff.progress import announced


def test_long_work_is_announced_once_and_its_time_is_logged(caplog):
    with caplog.at_level(logging.INFO, "jaxdiff"):
        with announced("quick work", after=60.0):  # its thread waits for longer than the next
            pass
        with announced("slow work", after=0.05):
            while "slow work ..." not in caplog.messages:
                time.sleep(0.01)
    assert caplog.messages == ["slow work ...", "slow work took 0 s"]


def test_announcing_many_short_works_takes_one_thread():
    seen = before = set(threading.enumerate())
    for _ in range(100):
        with announced("short work"):
            seen = seen | set(threading.enumerate())
    assert len(seen - before) <= 1
