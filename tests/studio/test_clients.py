"""Public clients and the examples of public documentation, as they are, against a real server."""

# ruff: noqa: E402 - what follows needs the extras
import json
import socket
import threading
import time
import urllib.parse
import urllib.request
import uuid

import numpy as np
import pytest
from PIL import Image

uvicorn = pytest.importorskip("uvicorn")
pytest.importorskip("fastapi")

from jaxdiff.studio.service.app import application
from jaxdiff.studio.service.studio import Studio
from tests.studio.test_service import Drawer, graph


@pytest.fixture(scope="module")
def port(folders):
    studio = Studio(folders)
    studio._sources["sd"] = Drawer()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
    config = uvicorn.Config(application(studio, page=False), port=number, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield number
    server.should_exit = True
    thread.join(10)


def test_a_client_of_automatic1111(port):
    """Fails if webuiapi cannot read an answer."""
    webuiapi = pytest.importorskip("webuiapi")
    api = webuiapi.WebUIApi(host="127.0.0.1", port=port, sampler="Euler a", steps=3)
    result = api.txt2img(prompt="a red cat", seed=5, width=16, height=16, batch_size=2)
    assert [np.asarray(image)[0, 0, 0] for image in result.images] == [5, 6]
    assert result.info["all_seeds"] == [5, 6]
    assert "Sampler: Euler a" in result.info["infotexts"][0]
    start = Image.new("RGB", (16, 16))
    again = api.img2img(images=[start], prompt="a", seed=9, width=16, height=16)
    assert np.asarray(again.image)[0, 0, 0] == 9
    assert "a red cat" in api.png_info(result.image).info
    assert "sd" in [each["model_name"] for each in api.get_sd_models()]
    assert api.get_progress()["progress"] == 0
    larger = api.extra_single_image(
        image=result.image, upscaler_1=webuiapi.Upscaler.Lanczos, upscaling_resize=2
    )
    assert larger.image.size == (32, 32)


def test_the_example_of_comfyui(port):
    """Its script that submits a graph, listens until it is done, and gets the pictures."""
    client = pytest.importorskip("websockets.sync.client")
    server, client_id = f"127.0.0.1:{port}", str(uuid.uuid4())

    def queue_prompt(prompt, prompt_id):
        content = {"prompt": prompt, "client_id": client_id, "prompt_id": prompt_id}
        data = json.dumps(content).encode("utf-8")
        urllib.request.urlopen(urllib.request.Request(f"http://{server}/prompt", data=data)).read()

    def get_history(prompt_id):
        with urllib.request.urlopen(f"http://{server}/history/{prompt_id}") as response:
            return json.loads(response.read())

    def get_image(filename, subfolder, kind):
        query = {"filename": filename, "subfolder": subfolder, "type": kind}
        url = f"http://{server}/view?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url) as response:
            return response.read()

    prompt_id = str(uuid.uuid4())
    with client.connect(f"ws://{server}/ws?clientId={client_id}") as ws:
        queue_prompt(graph(0xABCDEF), prompt_id)
        while True:
            out = ws.recv()
            if isinstance(out, str):
                message = json.loads(out)
                if message["type"] == "executing":
                    data = message["data"]
                    if data["node"] is None and data["prompt_id"] == prompt_id:
                        break
    while prompt_id not in get_history(prompt_id):
        time.sleep(0.01)
    outputs = get_history(prompt_id)[prompt_id]["outputs"]
    images = [each for node in outputs.values() for each in node["images"]]
    content = get_image(images[0]["filename"], images[0]["subfolder"], images[0]["type"])
    assert content.startswith(b"\x89PNG")
