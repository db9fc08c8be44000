"""The routes of the graph editor, without its page; graphs in the saved form."""

import json
import time

import pytest

pytest.importorskip("fastapi")

from fastapi import FastAPI
from fastapi.testclient import TestClient

from jaxdiff.studio.folders import Folders
from jaxdiff.studio.graph.graph import Graph, Link, Node, read
from jaxdiff.studio.graph.saving import saved_form
from jaxdiff.studio.graph.starters import STARTERS
from jaxdiff.studio.service import editor, running
from jaxdiff.studio.service.prompts import Prompts
from jaxdiff.studio.service.studio import Studio


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    found = Studio(Folders(tmp_path_factory.mktemp("editor")).made())
    yield found
    found.close()


@pytest.fixture(scope="module")
def client(studio):
    """A client of the editor's own routes."""
    app = FastAPI()
    prompts = Prompts(studio, running.run)
    app.include_router(editor.user_router(studio.folders.root / "editor"))
    app.include_router(editor.job_router(studio, prompts))
    app.include_router(editor.starter_router(studio.folders), prefix="/templates")
    with TestClient(app) as found:
        found.prompts = prompts
        yield found


@pytest.mark.parametrize("name", STARTERS)
def test_the_saved_form_is_read_as_the_same_graph(name, tmp_path):
    graph = STARTERS[name](Folders(tmp_path).made())
    saved = json.loads(json.dumps(saved_form(graph)))
    found = read(saved)
    number = {key: str(place) for place, key in enumerate(graph.nodes, 1)}
    moved = lambda v: Link(number[v.node], v.slot) if isinstance(v, Link) else v
    for key, node in graph.nodes.items():
        other = found.nodes[number[key]]
        assert other.kind == node.kind
        assert other.title == node.title
        given = {n: moved(v) for n, v in node.inputs.items()}
        assert {n: other.inputs[n] for n in given} == given
    places = [tuple(node["pos"]) for node in saved["nodes"]]
    assert len(set(places)) == len(places)


def test_a_widget_that_a_link_stands_for_is_an_input():
    nodes = {
        "1": Node("PrimitiveInt", {"value": 5}),
        "2": Node("EmptyImage", {"width": Link("1", 0), "height": 8, "batch_size": 1, "color": 3}),
    }
    found = read(saved_form(Graph(nodes))).nodes["2"].inputs
    assert found["width"] == Link("1", 0)
    assert (found["height"], found["color"]) == (8, 3)


def test_settings_and_workflows_are_files(client, studio):
    """Fails if a name leads out of the folder, or something other than JSON is written."""
    assert client.get("/settings").json() == {}
    assert client.post("/settings/Comfy.Theme", content='"dark"').status_code == 200
    client.post("/settings", content='{"a": 1}')
    assert client.get("/settings").json() == {"Comfy.Theme": "dark", "a": 1}
    assert client.get("/settings/none").json() is None
    assert client.post("/settings", content="[1]").status_code == 400
    assert client.post("/settings/a", content="{").status_code == 400

    write = lambda name, **query: client.post(f"/userdata/{name}", content="{}", params=query)
    assert write("workflows%2Fmine.json").json()["path"] == "workflows/mine.json"
    assert write("workflows%2Fmine.json", overwrite=False).status_code == 409
    assert client.get("/userdata/workflows%2Fmine.json").json() == {}
    for bad in ("..%2Fout.json", "%2Fetc%2Fx.json", "workflows%2F..%2F..%2Fx.json"):
        assert write(bad).status_code == 400, bad
        assert client.get(f"/userdata/{bad}").status_code == 400, bad
    assert write("page.html").status_code == 404
    move = client.post("/userdata/workflows%2Fmine.json/move/workflows%2Fother.json")
    assert move.json()["path"] == "workflows/other.json"
    listed = client.get("/userdata", params={"dir": "workflows"}).json()
    assert [each["path"] for each in listed] == ["other.json"]
    assert client.get("/userdata", params={"dir": "../"}).status_code == 400
    assert client.delete("/userdata/workflows%2Fother.json").status_code == 204
    assert client.get("/userdata", params={"dir": "workflows"}).json() == []
    assert {each.name for each in (studio.folders.root / "editor").iterdir()} == {
        "files", "settings.json"
    }  # fmt: skip


def test_jobs_as_the_editor_lists_them(client, studio):
    content = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "color": 1}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "g"}},
    }
    before = time.time() * 1000 - 1000
    key = client.prompts.submit({"prompt": content}).key
    done = {"status": "completed,failed,cancelled"}
    while not (found := client.get("/jobs", params=done).json()["jobs"]):
        time.sleep(0.01)
    job = found[0]
    assert (job["id"], job["status"], job["outputs_count"]) == (key, "completed", 1)
    assert before < job["create_time"] < time.time() * 1000
    assert job["preview_output"]["nodeId"] == "2"
    assert job["preview_output"]["filename"].startswith("g_")
    detail = client.get(f"/jobs/{key}").json()
    assert detail["workflow"]["prompt"]["1"]["inputs"]["width"] == 8
    assert detail["outputs"]["2"]["images"]
    assert client.get("/jobs", params={"status": "pending"}).json()["jobs"] == []
    assert client.get("/jobs/none").status_code == 404
    page = client.get("/jobs", params={"limit": 0}).json()["pagination"]
    assert page == {"offset": 0, "limit": 0, "total": 1, "has_more": True}


def test_templates_are_graphs_with_pictures(client):
    (module,) = client.get("/templates/index.json").json()
    assert [each["name"] for each in module["templates"]] == list(STARTERS)
    assert all(each["title"] and each["description"] for each in module["templates"])
    assert len(client.get("/templates/text_to_image.json").json()["nodes"]) == 7
    assert "<svg" in client.get("/templates/text_to_image-1.svg").text
    assert client.get("/templates/none.json").status_code == 404
