"""Maps that steer requests: as the library's own, on the page and in the text of a picture."""

# ruff: noqa: E402 - what follows needs the extra
import numpy as np
import pytest
from PIL import Image

gradio = pytest.importorskip("gradio")

from jaxdiff.data.maps import ControlMaps
from jaxdiff.pipelines import infotext
from jaxdiff.studio import control
from jaxdiff.studio.page import steering
from jaxdiff.studio.page.steering import Row
from jaxdiff.studio.requests import alike
from jaxdiff.studio.service.studio import Studio
from jaxdiff.studio.sources import open_source
from jaxdiff.tasks.controls import Map

VALUES = {"model": "sd", "prompt": "a red cat", "seed": 5, "steps": 2, "guidance_scale": 3.0}


def half():
    """A picture, black at the left and white at the right."""
    image = Image.new("RGB", (32, 32))
    image.paste((255, 255, 255), (16, 0, 32, 32))
    return {"composite": image}


def row(**changes):
    return Row(**{
        "used": True, "drawing": half(), "kind": "none", "net": "net", "strength": 0.8,
        "start": 0.0, "end": 0.5, **changes,
    })  # fmt: skip


@pytest.fixture(scope="module")
def studio(folders, opener, net):
    found = Studio(folders, options=opener.keywords)
    found._sources["sd"] = open_source(folders.path("checkpoints", "sd"), folders, **found.options)
    yield found
    found.close()


def test_a_map_of_the_page_steers_as_in_the_library(studio, folders):
    """Fails if the map, its strength or its steps are others, or the picture's text lacks them."""
    *_, last = steering.steered(studio, [row()], VALUES)
    images, _, python, command, maps = last
    pipeline = studio.source("sd").pipeline
    net = folders.path("controlnet", "net")
    values = control.map_of(half()["composite"], "none", (16, 16))
    assert values[:, :6].max() < 0.01
    assert values[:, 10:].min() > 0.99
    given = {"steps": 2, "guidance_scale": 3.0, "seed": 5}
    expected = pipeline.with_controlnet(net).sample(
        1, "a red cat", control=Map(values, 0.8, end=0.5), **given
    )[0]
    found = np.asarray(images[0][0].resize((16, 16), Image.Resampling.NEAREST))
    assert np.abs(found - np.round((np.clip(expected, -1, 1) + 1) * 127.5)).max() <= 1
    fields = infotext.parsed(images[0][1]).fields
    expected_text = "Model: net, Weight: 0.8, Guidance Start: 0, Guidance End: 0.5"
    assert fields["ControlNet 0"] == expected_text
    assert f"--controlnet={net}:0.8 --control_image=map_0.png --control_steps=0:0.5" in command
    assert "map_0 = map_of(Image.open(\"picture_0.png\"), 'none', (16, 16))" in python
    assert f"pipeline = pipeline.with_controlnet({str(net)!r})" in python
    assert "control=[Map(map_0, 0.8, 0.0, 0.5)]" in python
    assert maps[0][0].getpixel((0, 0)) == (0, 0, 0)
    plain = pipeline.sample(1, "a red cat", **given)[0]
    assert np.abs(plain - expected).max() > 1e-3
    request = steering.request_of(studio, VALUES, control=(control.Steered(Map(values), net),))
    assert alike(request) is None


def test_preprocessors_make_maps_of_pictures():
    """Fails if a map has another size, or values outside [0, 1]."""
    image = half()["composite"]
    for kind in control.PREPROCESSORS:
        found = control.map_of(image, kind, (16, 24))
        assert found.shape[:2] == (16, 24), kind
        assert found.dtype == np.float32
        assert 0 <= found.min() < found.max() <= 1, kind
    edges = control.map_of(image, "edges", (32, 32))[..., 0]
    np.testing.assert_array_equal(np.flatnonzero(edges.sum(0)), edges.sum(0).argmax())
    with pytest.raises(ValueError, match="no preprocessor 'edge'"):
        control.map_of(image, "edge", (16, 16))


def test_maps_get_the_channels_that_a_network_reads():
    networks = [type("Net", (), {"map_channels": n})() for n in (1, 3)]
    grey, colours = np.zeros((2, 2, 1)), np.array([[[0.0, 0.3, 0.9]]])
    given = [control.Steered(Map(colours, 0.5)), control.Steered(Map(grey))]
    first, second = control.fitted(given, networks)
    np.testing.assert_allclose(first.values, [[[0.4]]])
    assert (first.strength, second.values.shape) == (0.5, (2, 2, 3))
    with pytest.raises(ValueError, match="1 maps for 2"):
        control.fitted(given[:1], networks)


def test_what_cannot_steer_is_said(studio):
    draw = lambda *rows: list(steering.steered(studio, rows, VALUES))
    with pytest.raises(gradio.Error, match="use one map"):
        draw()
    with pytest.raises(gradio.Error, match="name the ControlNet"):
        draw(row(net=steering.OWN_NET))
    with pytest.raises(gradio.Error, match="has no picture"):
        draw(row(drawing=None))
    with pytest.raises(gradio.Error, match=r"start=0\.6 is not before end=0\.5"):
        draw(row(start=0.6))


def test_maps_of_several_kinds_are_one_map():
    """Fails if a kind has other channels than its network reads, or two strengths become one."""
    maps = ControlMaps(("edges", "segments"))
    picture = np.full((8, 8, 3), 0.5, np.float32)
    steered = lambda kind, strength=0.8: control.Steered(Map(picture, strength), kind=kind)
    one = control.joined([steered("segments"), steered("edges")], maps)
    assert {kind: values.shape[-1] for kind, values in one.values.items()} == {
        "segments": 3,
        "edges": 1,
    }
    assert one.strength == 0.8
    code = control.code([steered("segments"), steered("edges")])
    assert code == ", control=Map({'segments': map_0, 'edges': map_1}, 0.8, 0.0, 1.0)"
    for given, message in (
        ([steered("none")], "read as 'none'; each of edges, segments is given once"),
        ([steered("edges"), steered("edges")], "read as 'edges'; each of"),
        ([steered("edges"), steered("segments", 0.5)], "with one strength and span"),
    ):
        with pytest.raises(ValueError, match=message):
            control.joined(given, maps)
