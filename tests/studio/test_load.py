"""Many clients at once on the routes of a server, in a process of its own, and its end by force."""

import base64
import concurrent.futures
import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxdiff.studio import gallery
from jaxdiff.studio.folders import Folders
from tests.support.forked import ROOT, environment

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

pytestmark = pytest.mark.slow
STUDENT = ROOT / "pretrained" / "fashion_mnist_student"
CLIENTS, EACH = 20, 10
PATIENCE = 600.0
"""Seconds, for machines on which others compute too."""
ROOM = 24
"""MiB that the memory may grow by during 200 requests: a picture that stays is 200 of them."""


class Server:
    """The command as a person types it."""

    def __init__(self, folder, *flags):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        given = [f"--model={STUDENT}", f"--folder={folder}", f"--port={self.port}", "--page=no"]
        command = [sys.executable, "-m", "jaxdiff", "studio", *given, *flags]
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment())
        end = time.time() + PATIENCE
        while time.time() < end:
            try:
                self.get("/healthz")
                return
            except OSError:
                assert self.process.poll() is None
                time.sleep(0.5)
        raise TimeoutError("the studio does not answer")

    def get(self, path):
        url = f"http://127.0.0.1:{self.port}{path}"
        return urllib.request.urlopen(url, timeout=PATIENCE).read()

    def post(self, path, payload, user="one"):
        word = base64.b64encode(f"{user}:".encode()).decode()
        headers = {"Content-Type": "application/json", "Authorization": f"Basic {word}"}
        url = f"http://127.0.0.1:{self.port}{path}"
        asked = urllib.request.Request(url, json.dumps(payload).encode(), headers)
        return json.loads(urllib.request.urlopen(asked, timeout=PATIENCE).read())

    def draw(self, i, user="one"):
        """Returns the pixels of request i, and the file's text."""
        payload = {
            "prompt": str(i % 10), "seed": 1000 + i, "steps": 1 + i % 2, "save_images": True,
        }  # fmt: skip
        answer = self.post("/sdapi/v1/txt2img", payload, user)
        image = Image.open(io.BytesIO(base64.b64decode(answer["images"][0])))
        return np.asarray(image, np.int32), image.info["parameters"]

    def load(self):
        """Returns the answers of all clients, and the seconds that they took."""

        def client(name):
            return {i: self.draw(i, str(name)) for i in range(name * EACH, (name + 1) * EACH)}

        start, found = time.perf_counter(), {}
        with concurrent.futures.ThreadPoolExecutor(CLIENTS) as clients:
            for each in clients.map(client, range(CLIENTS)):
                found |= each
        return found, time.perf_counter() - start

    def memory(self):
        """Returns MiB of memory."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        (line,) = [each for each in lines if each.startswith("VmRSS")]
        return int(line.split()[1]) / 1024

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(60)


@pytest.fixture
def server(tmp_path):
    found = Server(tmp_path)
    yield found
    found.kill()


def test_two_hundred_requests_of_twenty_clients(server, tmp_path):
    """Fails if one is lost, gets another's picture, differs from what it is alone, or stays."""
    alone, one = {}, time.perf_counter()
    for i in range(CLIENTS * EACH):
        if i == 2:  # the programs of both numbers of steps are compiled
            one = time.perf_counter()
        alone[i] = server.draw(i)
    one = (time.perf_counter() - one) / (len(alone) - 2)
    server.load()  # compiles the programs of batches
    before = server.memory()
    found, seconds = server.load()
    grown = server.memory() - before
    print(
        f"\nalone {1000 * one:.0f} ms a request, by {CLIENTS} clients"
        f" {1000 * seconds / len(found):.0f} ms: {one * len(found) / seconds:.2f} times as fast;"
        f" memory {before:.0f} MiB, {grown:+.1f} MiB"
    )
    assert sorted(found) == sorted(alone)
    for i, (pixels, text) in found.items():
        expected, words = alone[i]
        assert text == words
        assert f"Seed: {1000 + i}," in text
        assert np.abs(pixels - expected).max() <= 1, i
    assert len({pixels.tobytes() for pixels, _ in alone.values()}) == len(alone)
    if Path("/proc/self/status").exists() and os.name == "posix":
        assert grown < ROOM
    texts = [each.text for each in gallery.search(Folders(tmp_path), most=10_000)]
    assert len(texts) == 3 * len(alone)


def test_what_was_done_before_a_kill_is_there_after_it(tmp_path):
    """Fails if a graph that waited is lost, or the gallery lacks what a client was sent."""
    server, answered = Server(tmp_path), []
    keys = [server.post("/prompt", {"prompt": graph(color)})["prompt_id"] for color in range(1, 31)]

    def client(name):
        try:
            for i in range(name * EACH, (name + 1) * EACH):
                answered.append(server.draw(i, str(name))[1])
        except (OSError, http.client.HTTPException, ValueError):
            return  # the server was killed

    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as clients:
        list(map(clients.submit, [client] * CLIENTS, range(CLIENTS)))
        while len(answered) < CLIENTS:
            time.sleep(0.01)
        more = [
            server.post("/prompt", {"prompt": graph(color)})["prompt_id"] for color in range(31, 61)
        ]
        server.kill()
    assert len(answered) < CLIENTS * EACH
    again = Server(tmp_path)
    try:
        end = time.time() + PATIENCE
        while json.loads(again.get("/queue"))["queue_pending"] and time.time() < end:
            time.sleep(0.1)
        time.sleep(0.5)
        history = json.loads(again.get("/history?max_items=1000"))
        for key in [*keys, *more]:
            assert history[key]["status"]["status_str"] == "success", key
            (file,) = history[key]["outputs"]["2"]["images"]
            assert (tmp_path / "output" / file["subfolder"] / file["filename"]).is_file()
        kept = {each.text for each in gallery.search(Folders(tmp_path), "Seed", most=10_000)}
        assert set(answered) <= kept
        np.testing.assert_array_equal(again.draw(0)[0], again.draw(0)[0])
    finally:
        again.kill()


def graph(color):
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "color": color}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "g"}},
    }
