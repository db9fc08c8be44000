"""Graphs in the queue and in the history, in files too: a studio that was killed has them again."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxdiff.files import read_json, write_json
from jaxdiff.studio.folders import inside
from jaxdiff.studio.graph.graph import read
from jaxdiff.studio.service.jobs import Job

Hear = Callable[[Any], None]
KEPT = 500
"""The number of graphs in the history."""


@dataclass(eq=False)
class Prompt:
    """A graph that was submitted: its id, its place, its content, and what became of it."""

    key: str
    number: int
    content: Mapping[str, Any]
    extra: Mapping[str, Any] = field(default_factory=dict)
    client: str = ""
    outputs: Mapping[str, Any] = field(default_factory=dict)
    state: str = "waiting"
    error: str = ""
    created: int = 0
    """Milliseconds since 1970."""

    def listed(self) -> list[Any]:
        """Returns it as the queue lists it."""
        ends = [key for key, node in self.content.items() if _ends(node)]
        return [self.number, self.key, self.content, self.extra, ends]

    def record(self) -> dict[str, Any]:
        """Returns it as the history has it."""
        done = self.state == "done"
        messages = [["execution_error", {"exception_message": self.error}]] if self.error else []
        status = {
            "status_str": "success" if done else "error",
            "completed": done,
            "messages": messages,
        }
        return {"prompt": self.listed(), "outputs": self.outputs, "status": status, "meta": {}}


class Prompts:
    """Graphs that wait, run and ran; in `root/queue` and `root/history`."""

    def __init__(self, studio: Any, run: Callable[..., Any]):
        self._studio, self._run = studio, run
        self._root = Path(studio.folders.root)
        for name in ("queue", "history"):
            (self._root / name).mkdir(parents=True, exist_ok=True)
        self._open: dict[str, tuple[Prompt, Job]] = {}
        self._over: dict[str, Prompt] = {}
        self._hearers: dict[str, list[Hear]] = {}
        self._lock = threading.RLock()
        studio.listeners.append(self._changed)
        for file in self._files("history"):
            self._over[file.stem] = Prompt(**read_json(file, dict))
        for file in self._files("queue"):
            # Interrupted by the end of the process before: it begins again.
            prompt = Prompt(**read_json(file, dict))
            self._enqueue(prompt, front=False)

    def submit(self, payload: Mapping[str, Any], *, front: bool = False) -> Prompt:
        """Puts a graph that was checked into the queue.

        Raises:
            FullError: too many are waiting.
            ValueError: its id is no name.
        """
        extra = payload.get("extra_data") or {}
        job_key = Job(lambda job: None).key
        key = str(payload.get("prompt_id") or job_key)
        inside(self._root / "queue", key)
        # What came in is what goes into files: the graph as it was read.
        content = json.loads(json.dumps(read({"prompt": payload["prompt"]}).to_api()))
        client = str(payload.get("client_id") or "")
        now = int(time.time() * 1000)
        prompt = Prompt(key, 0, content, dict(extra), client, created=now)
        return self._enqueue(prompt, front=front)

    def queued(self) -> tuple[list[Prompt], list[Prompt]]:
        """Returns the graphs that run, and those that wait, in their order."""
        worker = self._studio.worker
        running = worker.running
        with self._lock:
            opened = dict(self._open)
        now = [opened[running.key][0]] if running and running.key in opened else []
        return now, [opened[job.key][0] for job in worker.waiting() if job.key in opened]

    def remaining(self) -> int:
        """Returns the number of jobs that run or wait."""
        worker = self._studio.worker
        return len(worker.waiting()) + (worker.running is not None)

    def over(self) -> list[Prompt]:
        """Returns the graphs that ran, the oldest first."""
        with self._lock:
            return list(self._over.values())

    def forget(self, key: str | None = None) -> None:
        """Takes a graph out of the history, or all."""
        with self._lock:
            for each in [key] if key is not None else list(self._over):
                if self._over.pop(each, None) is not None:
                    self._file("history", each).unlink(missing_ok=True)

    def listen(self, client: str, hear: Hear) -> None:
        """Adds one who hears the news of a client."""
        with self._lock:
            self._hearers.setdefault(client, []).append(hear)

    def leave(self, client: str, hear: Hear) -> None:
        """Takes it away."""
        with self._lock:
            hearers = self._hearers.get(client, [])
            hearers[:] = [each for each in hearers if each is not hear]
            if not hearers:
                self._hearers.pop(client, None)

    def tell(self, client: str | None, message: Any) -> None:
        """Sends news to a client, or to all."""
        with self._lock:
            every = list(self._hearers) if client is None else [client]
            hearers = [hear for name in every for hear in self._hearers.get(name, [])]
        for hear in hearers:
            hear(message)

    def _enqueue(self, prompt: Prompt, *, front: bool) -> Prompt:
        def tell(kind, data):
            self.tell(prompt.client, data if kind is None else {"type": kind, "data": data})

        limit = self._studio.limits.seconds
        work = lambda job: self._run(self._studio, prompt, job, tell)
        job = Job(work, client=prompt.client, about=prompt.content, limit=limit, key=prompt.key)
        with self._lock:
            self._open[prompt.key] = (prompt, job)
        try:
            self._studio.worker.submit(job, first=front)
        except Exception:
            with self._lock:
                del self._open[prompt.key]
            raise
        prompt.number = job.number
        self._write("queue", prompt)
        if job.finished.is_set():  # it was quicker than the file
            self._file("queue", prompt.key).unlink(missing_ok=True)
        return prompt

    def _changed(self, job: Job) -> None:
        with self._lock:
            found = self._open.get(job.key)
        if found is None:
            return
        prompt, _ = found
        if job.state != prompt.state:
            prompt.state = job.state
            self.tell(None, self._status())
        if not job.finished.is_set():
            return
        prompt.outputs = job.result or {}
        prompt.error = str(job.error or "")
        with self._lock:
            self._open.pop(job.key, None)
            if job.state != "cancelled":
                self._over[job.key] = prompt
                self._write("history", prompt)
            while len(self._over) > KEPT:
                self.forget(next(iter(self._over)))
        self._file("queue", prompt.key).unlink(missing_ok=True)

    def _status(self) -> dict[str, Any]:
        remaining = {"exec_info": {"queue_remaining": self.remaining()}}
        return {"type": "status", "data": {"status": remaining}}

    def _write(self, folder: str, prompt: Prompt) -> None:
        write_json(self._file(folder, prompt.key), dict(vars(prompt)))

    def _file(self, folder: str, key: str) -> Path:
        return inside(self._root / folder, f"{key}.json")

    def _files(self, folder: str) -> list[Path]:
        files = (self._root / folder).glob("*.json")
        return sorted(files, key=lambda file: file.stat().st_mtime)


def _ends(node: Mapping[str, Any]) -> bool:
    from jaxdiff.studio.graph import ports  # noqa: PLC0415 - the nodes are many

    try:
        return ports.find(node["class_type"]).ends
    except ValueError:
        return False
