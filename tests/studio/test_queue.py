"""The queue: turns, limits, requests that share a batch, and errors that stay alone."""

import contextlib
import threading
import time

import numpy as np
import pytest

pytest.importorskip("fastapi")


from jaxdiff.studio.requests import Request, alike, divided, joined
from jaxdiff.studio.service.jobs import CancelledError, FullError, Job, Worker
from jaxdiff.studio.service.studio import Studio
from tests.studio.test_service import Drawer, picture


@pytest.fixture
def studio(folders):
    """A studio whose model is the drawer: nothing compiles."""
    found = Studio(folders)
    found.drawer = found._sources["sd"] = Drawer()
    yield found
    found.close()


def test_a_queue_is_fair_and_limited():
    """Fails if one client's many jobs go before another's one, or a cancelled job runs."""
    order, gate = [], threading.Event()
    worker = Worker(most_waiting=4)
    first = worker.submit(Job(lambda job: gate.wait(10.0), "a"))
    while worker.running is None:
        time.sleep(0.001)
    make = lambda name, client: worker.submit(Job(lambda job: order.append(name), client))
    jobs = [make("a1", "a"), make("a2", "a"), make("a3", "a"), make("b1", "b")]
    with pytest.raises(FullError, match="4 jobs are waiting"):
        make("c1", "c")
    worker.cancel(jobs[2].key)
    gate.set()
    for job in (first, jobs[0], jobs[1], jobs[3]):
        job.wait(10.0)
    assert order == ["a1", "b1", "a2"]
    with pytest.raises(CancelledError):
        jobs[2].wait(1.0)
    late = worker.submit(Job(lambda job: [job.report(1, 9, None), time.sleep(0.02)][0], limit=-1.0))
    assert late.wait(10.0) is False
    assert late.state == "interrupted"
    worker.close()


def test_many_clients_lose_nothing(client, studio):
    """Fails if a picture goes to another request, or one is lost."""
    found = {}

    def ask(index):
        for i in range(5):
            seed = 10 * index + i
            answer = client.post("/sdapi/v1/txt2img", json={"seed": seed, "steps": 2}).json()
            found[seed] = np.asarray(picture(answer["images"][0]))[0, 0, 0]

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert found == {10 * a + b: 10 * a + b for a in range(8) for b in range(5)}


def test_a_model_is_warmed_by_one_step(studio):
    """Fails if the whole picture is drawn, or kept: it would be the first thing in the gallery."""
    job = studio.warm()
    job.wait(10.0)
    assert (job.state, job.step, job.steps) == ("interrupted", 1, 4)
    assert not any(each.file for each in job.result)


def test_requests_that_are_alike_share_a_batch(studio):
    """Fails if others join it, a client gets more than its turns, or an error is everybody's."""
    drawn = lambda job: job.wait(10.0)[0].text
    with held(studio.worker):
        jobs = [studio.submit(Request(seed=i, steps=2 + i % 2), client=str(i)) for i in range(4)]
    assert [drawn(job).count(f"Seed: {i},") for i, job in enumerate(jobs)] == [1] * 4
    assert studio.drawer.batches == [2, 2]
    # Not more than eight pictures; what is too large waits for the next batch.
    with held(studio.worker):
        jobs = [studio.submit(Request(seed=10 * n, num=n), client="a") for n in (5, 4, 2, 1)]
    assert [len(job.wait(10.0)) for job in jobs] == [5, 4, 2, 1]
    assert studio.drawer.batches[2:] == [3]
    with held(studio.worker):
        names = ["a", "fail", "b"]
        jobs = [studio.submit(Request(prompt=name), client=name) for name in names]
    assert "a\n" in drawn(jobs[0])
    assert "b\n" in drawn(jobs[2])
    with pytest.raises(ValueError, match="prompt='fail'"):
        jobs[1].wait(10.0)


def test_clients_that_shared_a_batch_have_had_their_turn():
    """Fails if a client whose jobs were taken along is before one who had nothing yet."""
    batches = []

    def together(jobs):
        batches.append([job.about for job in jobs])
        return jobs

    worker = Worker(most_together=2)
    with held(worker):
        for client, name, kind in (
            ("a", "a1", 0), ("a", "a2", 0), ("b", "b1", 0), ("b", "b2", 0), ("c", "c1", 1),
        ):  # fmt: skip
            work = lambda job: batches.append([job.about])
            last = worker.submit(Job(work, client, name, alike=kind, together=together))
    last.wait(10.0)
    while worker.waiting() or worker.running:
        time.sleep(0.001)
    assert batches == [["a1", "b1"], ["c1"], ["a2", "b2"]]
    worker.close()


@contextlib.contextmanager
def held(worker):
    """Holds a worker's thread while jobs are submitted."""
    gate = threading.Event()
    worker.submit(Job(lambda job: gate.wait(10.0), "gate"))
    while worker.running is None:
        time.sleep(0.001)
    yield
    gate.set()


def test_turns_are_those_of_users(client, studio):
    """Fails if all clients of the route are one: a queue's turns would be its order."""
    seen = []
    studio.listeners.append(lambda job: seen.append(job.client) if job.ended else None)
    for user in ("ann", "bob"):
        assert client.post("/sdapi/v1/txt2img", json={"seed": 1}, auth=(user, "x")).is_success
    assert client.post("/sdapi/v1/txt2img", json={"seed": 1}).is_success
    assert [name.partition("@")[0] for name in seen] == ["a1111 ann", "a1111 bob", "a1111 "]


def test_pictures_of_several_requests_are_divided():
    """Fails if a request gets another's picture, or a batch has another size for each number."""
    requests = [Request("a", seed=5), Request("b", seed=7, num=2, first=3)]
    batch = joined(requests)
    assert batch == (["a", "b", "b", "b"], [5, 7, 7, 7], [0, 3, 4, 4])
    found = divided(np.arange(4.0).reshape(4, 1, 1, 1), requests)
    assert [each.ravel().tolist() for each in found] == [[0], [1, 2]]
    assert alike(Request("a", seed=1)) == alike(Request("b", seed=2, num=3))
    assert alike(Request("a")) != alike(Request("a", steps=3))
    assert alike(Request("a <lora:x:1>")) is None
