"""One thread that draws, and its queue: progress, interruption, cancellation, limits, fairness."""

import itertools
import logging
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

logger = logging.getLogger(__name__)

MOST_WAITING = 100


class FullError(RuntimeError):
    """The queue has no more room."""


class CancelledError(RuntimeError):
    """The job was taken from the queue, or took too long."""


@dataclass(eq=False)
class Job:
    """Work for the thread.

    Attributes:
        work: called with the job, whose `report` is told of every step; returns the result.
        client: by whom; clients take turns.
        about: what it is, for those who list the queue.
        limit: seconds after its start at which it is interrupted.
        alike: what a job must have in common with others to be done with them, by `together`,
            which returns a result for each; None for nothing.
        size: how much of `Worker.most_together` it takes, such as its pictures.
    """

    work: Callable[["Job"], Any]
    client: str = ""
    about: Any = None
    limit: float = 3600.0
    alike: Any = None
    together: Callable[[list["Job"]], list[Any]] | None = None
    size: int = 1
    key: str = field(default_factory=lambda: str(uuid.uuid4()))
    number: int = 0
    state: str = "waiting"
    """waiting, running, done, failed, interrupted or cancelled."""
    step: int = 0
    steps: int = 0
    preview: Any = None
    """The latest x0 [b, ...], as it is diffused."""
    result: Any = None
    error: Exception | None = None
    created: float = field(default_factory=time.time)
    started: float | None = None
    ended: float | None = None
    finished: threading.Event = field(default_factory=threading.Event)
    _stops: threading.Event = field(default_factory=threading.Event)

    def report(self, step: int, steps: int, x0: Any) -> bool:
        """Notes a step; returns False if no further one is to be done."""
        self.step, self.steps, self.preview = step, steps, x0
        late = self.started is not None and time.time() - self.started > self.limit
        if late:
            self.stop()
        return not self._stops.is_set()

    def stop(self) -> None:
        """Ends it after the step in progress."""
        self._stops.set()

    @property
    def stopped(self) -> bool:
        """Whether it was ended before its time."""
        return self._stops.is_set()

    @property
    def progress(self) -> float:
        """Returns the share that is done, from 0 to 1."""
        return 1.0 if self.ended else self.step / self.steps if self.steps else 0.0

    def wait(self, timeout: float | None = None) -> Any:
        """Returns the result when it is there.

        Raises:
            Exception: the error of the work.
            CancelledError: it was taken from the queue.
            TimeoutError: it is not there yet.
        """
        if not self.finished.wait(timeout):
            raise TimeoutError(f"job {self.key} is {self.state} after {timeout} s")
        if self.error is not None:
            raise self.error
        return self.result


class Worker:
    """The thread and its queue.

    Attributes:
        running: the job in progress, the first of those that are done together.
        most_together: the size of jobs that are done together, all in all.
        changed: called with a job whenever its state changed or a step was done.
    """

    def __init__(
        self,
        most_waiting: int = MOST_WAITING,
        changed: Callable[[Job], None] = lambda job: None,
        most_together: int = 8,
    ):
        self.most_waiting, self.changed, self.most_together = most_waiting, changed, most_together
        self.running: Job | None = None
        self._beside: list[Job] = []
        self._waiting: OrderedDict[str, list[Job]] = OrderedDict()
        self._condition = threading.Condition()
        self._numbers = itertools.count(1)
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="studio", daemon=True)
        self._thread.start()

    def submit(self, job: Job, *, first: bool = False) -> Job:
        """Puts a job into the queue; `first` before the others of its client.

        Raises:
            FullError: too many are waiting.
        """
        with self._condition:
            if self._closed:
                raise FullError("the studio is closing")
            if len(self.waiting()) >= self.most_waiting:
                raise FullError(f"{self.most_waiting} jobs are waiting; try again later")
            job.number = next(self._numbers)
            mine = self._waiting.setdefault(job.client, [])
            mine.insert(0 if first else len(mine), job)
            self._condition.notify()
        self.changed(job)
        return job

    def waiting(self) -> list[Job]:
        """Returns the jobs in the order in which they will run: one of each client, in turns."""
        with self._condition:
            turns = itertools.zip_longest(*self._waiting.values())
            return [job for turn in turns for job in turn if job is not None]

    def in_progress(self) -> list[Job]:
        """Returns the jobs that are being done, one or several alike."""
        with self._condition:
            return [*([self.running] if self.running else []), *self._beside]

    def interrupt(self, client: str | None = None, key: str | None = None) -> None:
        """Ends what is in progress after its step: of a client, or one job; by default all."""
        for job in self.in_progress():
            if client in (None, job.client) and key in (None, job.key):
                job.stop()

    def cancel(self, key: str | None = None) -> None:
        """Takes a job from the queue, or all of them; ends it if it runs."""
        for job in self.waiting():
            if key in (None, job.key):
                self._take(job)
        if key is not None:
            self.interrupt(key=key)

    def close(self, timeout: float = 10.0) -> None:
        """Ends the job in progress and the thread; cancels what waits."""
        with self._condition:
            self._closed = True
            self._condition.notify()
        self.cancel()
        self.interrupt()
        self._thread.join(timeout)

    def _take(self, job: Job) -> None:
        with self._condition:
            mine = self._waiting.get(job.client, [])
            if job not in mine:
                return
            mine.remove(job)
            if not mine:
                del self._waiting[job.client]
            job.error = CancelledError(f"job {job.key} was cancelled")
            self._over(job, "cancelled")
        self.changed(job)

    def _next(self) -> list[Job] | None:
        with self._condition:
            while not self._waiting:
                if self._closed:
                    return None
                self._condition.wait()
            job = self.waiting()[0]
            found, room = [job], self.most_together - job.size
            for other in self.waiting()[1:] if job.alike is not None else []:
                if other.alike == job.alike and other.size <= room:
                    found.append(other)
                    room -= other.size
            for each in found:
                self._leave(each)
            for each in found:
                each.state, each.started = "running", time.time()
            self.running, *self._beside = found
            return found

    def _leave(self, job: Job) -> None:
        """Takes a job out of the queue; its client's next one comes after one of each other."""
        mine = self._waiting.pop(job.client)
        mine.remove(job)
        if mine:
            self._waiting[job.client] = mine

    def _work(self) -> None:
        while (jobs := self._next()) is not None:
            for job in jobs:
                self._tell(job)
            _do(jobs)
            with self._condition:
                self.running, self._beside = None, []
                for job in jobs:
                    ended = "failed" if job.error is not None else "done"
                    self._over(job, "interrupted" if job.stopped else ended)
            for job in jobs:
                self._tell(job)

    def _tell(self, job: Job) -> None:
        try:
            self.changed(job)
        except Exception:  # a listener's error must not end the thread
            logger.exception("job %s: a listener failed", job.key)

    def _over(self, job: Job, state: str) -> None:
        job.state, job.ended, job.preview = state, time.time(), None
        job.finished.set()


def _do(jobs: list[Job]) -> None:
    """Does jobs as one, or one by one where that fails: an error is that of its job alone."""
    whole = jobs[0].together
    if whole is not None and len(jobs) > 1:
        try:
            for job, result in zip(jobs, whole(jobs), strict=True):
                job.result = result
        except Exception:
            logger.exception(
                "%s jobs that were done together failed; each is done alone", len(jobs)
            )
        else:
            return
    for job in jobs:
        try:
            job.result = job.work(job)
        except Exception as caught:  # the client is told, and the thread lives
            job.error = caught
