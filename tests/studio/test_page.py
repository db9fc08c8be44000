"""The page: it is built, each panel's functions do what their buttons say."""

# ruff: noqa: E402 - what follows needs the extra
import numpy as np
import pytest
from PIL import Image

gradio = pytest.importorskip("gradio")

from fastapi.testclient import TestClient

from jaxdiff.studio.graph.graph import Graph, Link, Node
from jaxdiff.studio.page import drawing, graphs, models, parts, pictures, plots, realtime
from jaxdiff.studio.pixels import png_bytes
from jaxdiff.studio.requests import Request
from jaxdiff.studio.service.app import application
from jaxdiff.studio.service.studio import Studio
from tests.studio.test_service import Drawer

HERE = "http://127.0.0.1:7860"


@pytest.fixture
def studio(folders):
    found = Studio(folders)
    found._sources["sd"] = Drawer()
    yield found
    found.close()


def test_the_page_is_served_from_this_machine_alone(studio):
    """Fails if the page asks for a file of another site, or hides the routes."""
    with TestClient(application(studio), base_url=HERE) as client:
        answer = client.get("/")
        assert answer.status_code == 200
        assert "jaxdiff studio" in answer.text
        for element in ("<script src=", '<link rel="stylesheet" href='):
            for part in answer.text.split(element)[1:]:
                assert not part[1:].startswith(("http:", "https:", "//")), part[:100]
        assert client.get("/sdapi/v1/samplers").status_code == 200
        assert client.get("/", headers={"host": "evil.example"}).status_code == 403
        secret = studio.folders.root / "secret.txt"
        secret.write_text("secret")
        assert client.get(f"/gradio_api/file={secret}").status_code in (403, 404)


def test_drawing_shows_progress_and_the_same_in_python(studio):
    *_, last = parts.drawn(studio, Request(prompt="a", seed=3, num=2), "sd")
    images, line, _, _ = last
    assert len(images) == 2
    assert "drawn in" in line
    with pytest.raises(gradio.Error, match="prompt='fail'"):
        list(parts.drawn(studio, Request(prompt="fail"), "sd"))


def test_an_empty_field_is_the_models_own(studio):
    """Fails if the page's 0 of an empty field becomes a guidance scale of 0."""
    values = {"seed": 3, "steps": 0, "guidance_scale": 0, "width": 0, "height": 0}
    assert parts.request_of(studio, values) == Request(seed=3)


def test_what_is_brushed_or_beyond_the_edges_is_drawn_anew():
    background = Image.new("RGB", (8, 8), (10, 20, 30))
    layer = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    layer.paste((255, 255, 255, 255), (0, 0, 2, 8))
    whole, mask = drawing.brushed({"background": background, "layers": [layer]}, [0, 0, 4, 0])
    assert whole.size == (12, 8)
    assert (mask[:, :2] == 255).all()
    assert (mask[:, 2:8] == 0).all()
    assert (mask[:, 8:] == 255).all()


def test_graphs_are_shown_changed_and_run(studio):
    graph = Graph(
        {
            "1": Node("EmptyImage", {"width": 8, "height": 8, "color": 255}),
            "2": Node("SaveImage", {"images": Link("1"), "filename_prefix": "page"}),
        }
    )
    rows = graphs.table(graph)
    assert ["1", "color", "255"] in rows
    rows[2][2] = "65280"
    assert graphs.changes_of(graph, rows) == {"1.color": 65280}
    *_, (images, line, command) = graphs.ran(studio, graph, rows)
    assert images[0].getpixel((0, 0)) == (0, 255, 0)
    assert command == 'python -m jaxdiff graph workflow.json --set "1.color=65280"'
    assert "page_0000" in line
    assert "complete" in graphs.lacks(studio, graph)


def test_settings_of_a_dropped_picture(studio):
    text = "a cat\nSteps: 3, Seed: 1, CFG scale: 7"
    content = png_bytes(Image.new("RGB", (2, 2)), {"parameters": text})
    found, rows = pictures.read(content)
    assert found == text
    assert ["Seed", "1"] in rows
    with pytest.raises(gradio.Error, match="no picture"):
        pictures.read(b"<script>")


def test_a_plot_is_one_job(studio):
    values = {"model": "sd", "prompt": "a", "seed": 0, "steps": 2}
    *_, (sheets, line, code) = plots.plotted(studio, values, [("seed", "1, 2, 3")])
    assert len(sheets) == 1
    assert line == "3 pictures"
    assert "for seed in [1, 2, 3]" in code


def test_adapters_have_cards(studio):
    """Fails if a header that is no table of words ends the panel."""
    numpy = pytest.importorskip("safetensors.numpy")
    header = {"ss_network_dim": "4", "ss_tag_frequency": '{"a": {"cat ": 3, "dog": 5}}'}
    tensors = {"lora_unet_x.alpha": np.ones(1, np.float32)}
    numpy.save_file(tensors, studio.folders.folder("loras") / "ink.safetensors", header)
    (studio.folders.folder("loras") / "broken.safetensors").write_bytes(b"x")
    broken, ink = models.cards(studio.folders, "loras")
    assert ink[:5] == ["ink.safetensors", "<lora:ink:1>", "", "4", "dog, cat"]
    assert "is no whole safetensors file" in broken[2]
    assert models.frequent('{"a": [1]}') == models.frequent("{") == []


def test_noise_between_two_keeps_its_variance():
    ends = [realtime.mixed((32, 32, 1), 0, 1, share) for share in (0.0, 0.5, 1.0)]
    np.testing.assert_array_equal(ends[0], realtime.mixed((32, 32, 1), 0, 5, 0.0))
    assert abs(ends[1].std() - 1) < 0.1
    assert ends[1].shape == (1, 32, 32, 1)
