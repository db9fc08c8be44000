"""The HTTP services on a tiny model: A1111's and ComfyUI's routes, the queue, and the guard."""

import base64
import io
import json
import threading
import time

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi")

from fastapi.testclient import TestClient

from jaxdiff.config.build import build
from jaxdiff.diffusion import timesteps
from jaxdiff.pipelines import infotext
from jaxdiff.studio.graph.graph import read
from jaxdiff.studio.provenance import Finish
from jaxdiff.studio.requests import Request
from jaxdiff.studio.service.app import application, check_host
from jaxdiff.studio.service.guard import Guard
from jaxdiff.studio.service.jobs import Job
from jaxdiff.studio.service.payloads import SCHEDULES
from jaxdiff.studio.service.studio import Limits, Studio

HERE = "http://127.0.0.1:7860"


class Drawer:
    """A source that draws its seed's grey, a step at a time."""

    name = "grey"
    pause = 0.0

    def __init__(self):
        self.batches = []
        self.defaults = {
            "solver": "DDIM", "timesteps": "Uniform", "steps": 4, "guidance_scale": 1.0,
            "size": (16, 16),
        }  # fmt: skip

    def draw(self, request, watch=None):
        if request.prompt == "fail":
            raise ValueError("prompt='fail': no")
        steps = request.steps or 4
        for step in range(1, steps + 1):
            time.sleep(self.pause)
            if watch and not watch(step, steps, np.zeros((request.num, 16, 16, 3), np.float32)):
                break
        levels = (request.seed + request.first + np.arange(request.num)) % 256
        levels = levels[:, None, None, None] / 127.5 - 1
        size = request.size or (16, 16)
        pictures = np.broadcast_to(levels, (request.num, *size, 3)).astype(np.float32)
        if request.mask is None:
            return pictures
        anew = request.mask[None, ..., None] > 0.5
        return np.where(anew, pictures, request.image).astype(np.float32)

    def together(self, requests, watch=None):
        self.batches.append(len(requests))
        pictures = [self.draw(each) for each in requests]
        watch(1, 1, np.concatenate(pictures))
        return pictures

    def code(self, request):
        return "", ""


@pytest.fixture
def studio(folders):
    """A studio whose model is the drawer: nothing compiles."""
    found = Studio(folders, limits=Limits(pixels=64 * 64, steps=100, waiting=50))
    drawer = Drawer()
    found.drawer = drawer
    found._sources["sd"] = drawer
    yield found
    found.close()


def picture(text):
    return Image.open(io.BytesIO(base64.b64decode(text)))


def encoded(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def test_text_to_image_as_clients_ask_for_it(client, folders):
    """Fails if seeds of a batch, the text of settings, or the names of fields are others."""
    payload = {
        "prompt": "a red cat", "negative_prompt": "blue", "seed": 7, "steps": 3, "cfg_scale": 5,
        "batch_size": 2, "n_iter": 2, "width": 16, "height": 24, "sampler_name": "DPM++ 2M Karras",
    }  # fmt: skip
    answer = client.post("/sdapi/v1/txt2img", json=payload).json()
    images = [picture(each) for each in answer["images"]]
    assert [image.size for image in images] == [(16, 24)] * 4
    assert [np.asarray(image)[0, 0, 0] for image in images] == [7, 8, 9, 10]
    assert json.loads(answer["info"])["all_seeds"] == [7, 8, 9, 10]
    found = infotext.parsed(images[1].info["parameters"])
    assert (found.prompt, found.negative) == ("a red cat", "blue")
    assert found.fields["Sampler"] == "DPM++ 2M"
    # As with other tools, a picture of a batch is drawn again by its own seed alone.
    assert (found.fields["Seed"], found.fields.get("Image index")) == ("8", None)
    info = client.post("/sdapi/v1/png-info", json={"image": answer["images"][0]}).json()
    assert info["parameters"]["Steps"] == "3"
    assert info["info"] == images[0].info["parameters"]
    names = {each["name"] for each in client.get("/sdapi/v1/samplers").json()}
    assert {"Euler a", "DPM++ 2M", "UniPC"} <= names
    assert [each["title"] for each in client.get("/sdapi/v1/sd-models").json()] == ["sd"]
    large = {"image": answer["images"][0], "upscaling_resize": 2, "upscaler_1": "Lanczos"}
    larger = client.post("/sdapi/v1/extra-single-image", json=large).json()["image"]
    assert picture(larger).size == (32, 48)


def test_what_is_wrong_or_too_much_is_named(client):
    post = lambda **fields: client.post("/sdapi/v1/txt2img", json={"seed": 1, **fields})
    for fields, words in (
        ({"width": 1000, "height": 1000}, "at most 4096 pixels"),
        ({"steps": 1000}, "at most 100"),
        ({"steps": "many"}, "steps is 'many'"),
        ({"prompt": "fail"}, "prompt='fail': no"),
        ({"scheduler": "wild"}, "scheduler='wild' is not here"),
        ({"override_settings": {"sd_model_checkpoint": "other"}}, "there is no model 'other'"),
    ):
        answer = post(**fields)
        assert answer.status_code == 422, fields
        assert words in answer.text
    broken = {"init_images": ["!!"], "prompt": "a"}
    assert "no picture" in client.post("/sdapi/v1/img2img", json=broken).text


def test_an_image_is_kept_where_its_mask_is_black(client):
    start = Image.new("RGB", (16, 16), (200, 200, 200))
    mask = Image.new("L", (16, 16), 0)
    mask.paste(255, (8, 0, 16, 16))
    payload = {"init_images": [encoded(start)], "mask": encoded(mask), "seed": 3, "mask_blur": 0}
    answer = client.post("/sdapi/v1/img2img", json=payload).json()
    found = np.asarray(picture(answer["images"][0]))
    assert (found[:, :8] == 200).all()
    assert (found[:, 8:] == 3).all()


def test_progress_and_interruption(client, studio):
    """Fails if an interruption waits for more than the step in progress, or goes on to the next."""
    studio.drawer.pause = 0.2
    answers = []
    ask = lambda: answers.append(client.post("/sdapi/v1/txt2img", json={"steps": 100, "seed": 1}))
    thread = threading.Thread(target=ask)
    thread.start()
    while (found := client.get("/sdapi/v1/progress").json())["state"]["sampling_step"] < 2:
        time.sleep(0.005)
    assert 0 < found["progress"] < 1
    assert picture(found["current_image"]).size[0] >= 16
    job = studio.worker.running
    # Neither another user's job nor a graph.
    client.post("/sdapi/v1/interrupt", auth=("ann", "x"))
    client.post("/interrupt")
    client.post("/interrupt", json={"prompt_id": job.key})
    assert not job.stopped
    before = job.step
    client.post("/sdapi/v1/interrupt")
    thread.join()
    assert job.state == "interrupted"
    assert job.step <= before + 3
    assert len(answers[0].json()["images"]) == 1
    studio.drawer.pause = 0.0
    assert client.post("/sdapi/v1/txt2img", json={"seed": 1}).status_code == 200
    text = client.get("/metrics").text
    assert 'jaxdiff_studio_jobs_total{state="interrupted"} 1.0' in text


def graph(seed=1):
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "color": seed}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "g"}},
    }


def finished(client, key):
    while not (found := client.get(f"/history/{key}").json()):
        time.sleep(0.005)
    return found[key]


def test_graphs_by_comfyui_routes(client, folders):
    """The calls of ComfyUI's own examples: submit, listen, read the history, view the picture."""
    with client.websocket_connect("ws://127.0.0.1:7860/ws?clientId=me") as socket:
        assert socket.receive_json()["type"] == "status"
        extra = {"extra_pnginfo": {"workflow": {"nodes": []}}}
        content = {"prompt": graph(0x10203), "client_id": "me", "extra_data": extra}
        key = client.post("/prompt", json=content).json()["prompt_id"]
        kinds = []
        while True:
            message = socket.receive_json()
            kinds.append(message["type"])
            if message["type"] == "executing" and message["data"]["node"] is None:
                break
        assert [kind for kind in kinds if kind != "status"] == [
            "execution_start", "executing", "executing", "executed", "execution_success",
            "executing",
        ]  # fmt: skip
    record = finished(client, key)
    assert record["status"]["status_str"] == "success"
    file = record["outputs"]["2"]["images"][0]
    answer = client.get("/view", params=file)
    assert answer.headers["content-type"] == "image/png"
    found = Image.open(io.BytesIO(answer.content))
    assert found.getpixel((0, 0)) == (1, 2, 3)
    assert json.loads(found.info["prompt"])["1"]["inputs"]["color"] == 0x10203
    assert found.info["workflow"] == '{"nodes": []}'
    wrong = graph()
    wrong["2"]["inputs"]["images"] = ["1", 5]
    refused = client.post("/prompt", json={"prompt": wrong})
    assert refused.status_code == 400
    assert "images" in json.dumps(refused.json()["node_errors"]["2"])
    described = client.get("/object_info/KSampler").json()["KSampler"]
    assert described["input"]["required"]["seed"][1]["max"] == 2**64 - 1
    assert "euler" in described["input"]["required"]["sampler_name"][0]
    assert client.get("/queue").json() == {"queue_running": [], "queue_pending": []}


def test_uploads_are_decoded_and_stay_inside(client, folders):
    """Fails if a name leads out, or a file that is no picture is kept."""
    content = base64.b64decode(encoded(Image.new("RGB", (4, 4), (9, 8, 7))))
    post = lambda name, content, **fields: client.post(
        "/upload/image", files={"image": (name, content)}, data=fields
    )
    assert post("a.png", content).json() == {"name": "a.png", "subfolder": "", "type": "input"}
    assert post("a.png", content).json()["name"] == "a (1).png"
    assert post("../../b.png", content).json()["name"] == "b.png"
    assert sorted(path.name for path in folders.folder("input").iterdir()) == [
        "a (1).png", "a.png", "b.png"
    ]  # fmt: skip
    for fields in ({"subfolder": "../x"}, {"subfolder": "/tmp"}, {"type": "output"}):
        assert post("c.png", content, **fields).status_code == 400
    for bad in (b"<svg onload=alert(1)>", b"\x89PNG\r\n\x1a\n", b"GIF89a<script>"):
        assert post("d.png", bad).status_code == 400
    (folders.root / "secret.png").write_bytes(content)
    (folders.folder("output") / "link.png").symlink_to(folders.root / "secret.png")
    for name in ("../secret.png", "/etc/passwd", "link.png", "..%2fsecret.png", "a\\..\\b.png"):
        assert client.get("/view", params={"filename": name}).status_code in (400, 404), name
    there = {"filename": "secret.png", "subfolder": "..", "type": "output"}
    assert client.get("/view", params=there).status_code == 400
    assert client.get("/view", params={"filename": "a.png", "type": "models"}).status_code == 400


def test_a_studio_that_was_killed_has_its_queue(studio, folders):
    """Fails if a graph that waited is lost, or one that ran is forgotten."""
    first = TestClient(application(studio, page=False), base_url=HERE)
    key = first.post("/prompt", json={"prompt": graph()}).json()["prompt_id"]
    finished(first, key)
    gate = threading.Event()
    studio.worker.submit(Job(lambda job: gate.wait(10.0)))
    waiting = first.post("/prompt", json={"prompt": graph(2)}).json()["prompt_id"]
    assert (folders.root / "queue" / f"{waiting}.json").is_file()
    # The process ends here, without a word; another begins with the same folders.
    other = Studio(folders)
    again = TestClient(application(other, page=False), base_url=HERE)
    assert finished(again, waiting)["status"]["completed"]
    assert finished(again, key)["outputs"]["2"]["images"]
    assert not (folders.root / "queue" / f"{waiting}.json").exists()
    studio.worker.cancel(waiting)
    gate.set()
    other.close()


def test_who_may_ask(studio):
    """Fails if another host's name, another site's page, or a wrong token is answered."""
    with TestClient(application(studio, page=False), base_url=HERE) as client:
        get = lambda **headers: client.get("/sdapi/v1/options", headers=headers)
        assert get().status_code == 200
        assert get(host="evil.example:7860").status_code == 403
        assert get(origin="http://evil.example").status_code == 403
        assert get(origin="null").status_code == 403
        assert get(origin=HERE).status_code == 200
        cross = {"sec-fetch-site": "cross-site"}
        assert client.post("/interrupt", headers=cross).status_code == 403
        assert "access-control-allow-origin" not in get(origin=HERE).headers
        assert get().headers["x-content-type-options"] == "nosniff"
    token = "a" * 20
    with TestClient(application(studio, token, page=False), base_url="http://host:7860") as client:
        get = lambda **headers: client.get("/queue", headers=headers).status_code
        assert get() == 401
        assert get(authorization="Bearer " + "b" * 20) == 401
        assert get(authorization=f"Bearer {token}") == 200
        basic = base64.b64encode(f"user:{token}".encode()).decode()
        assert get(authorization=f"Basic {basic}") == 200
        assert client.get("/healthz").text == "ok"
    with pytest.raises(ValueError, match=r"host='0\.0\.0\.0' is reached by others"):
        check_host("0.0.0.0", "short")
    check_host("::1", "")


def test_bodies_are_limited(studio):
    app = application(studio, page=False)
    with TestClient(Guard(app.app, most_bytes=1000), base_url=HERE) as client:
        assert client.post("/prompt", content=b"x" * 1001).status_code == 413
        parts = (b"x" * 400 for _ in range(5))
        assert client.post("/prompt", content=parts).status_code == 413


def test_a_hook_decides_what_is_shown(folders):
    """Fails if a picture that is refused is shown, by a graph or half-drawn either."""
    studio = Studio(folders, finish=Finish(lambda picture: picture.mean() < 0))
    studio._sources["sd"] = Drawer()
    drawn = [studio.draw(Request(seed=seed), save=False)[0].content for seed in (9, 200)]
    assert [Image.open(io.BytesIO(each)).getpixel((0, 0))[0] for each in drawn] == [9, 0]
    (saved,) = studio.engine.run(read(graph(0xFFFFFF))).values()
    path = studio.folders.folder("output") / saved.names[0]
    assert Image.open(path).getpixel((0, 0)) == (0, 0, 0)
    job = Job(lambda job: studio.draw(Request(seed=9), save=False, job=job))
    previews = []
    studio.listeners.append(lambda job: previews.append(job.preview))
    studio.worker.submit(job).wait(10.0)
    assert len(previews) > 3
    assert set(previews) == {None}
    studio.close()


def test_schedules_are_grids_of_times():
    """Fails if the text of one cannot be read: a drawer without a model would not notice."""
    for name, spec in SCHEDULES.items():
        assert spec is None or callable(build(timesteps, spec)), name


def test_requests_name_their_fields():
    with pytest.raises(ValueError, match=r"steps is 0; expected"):
        Request(steps=0)
    with pytest.raises(ValueError, match=r"strength is 2\.0"):
        Request(strength=2.0)
