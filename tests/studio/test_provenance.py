"""What pictures of the routes and of the page hold about themselves: credentials, and a mark."""

# ruff: noqa: E402 - what follows needs the extras
import base64
import io
import stat

import numpy as np
import pytest
from PIL import Image

gradio = pytest.importorskip("gradio")

from fastapi.testclient import TestClient

from jaxdiff.studio import credentials, watermark
from jaxdiff.studio.graph.graph import read
from jaxdiff.studio.page import parts, pictures
from jaxdiff.studio.provenance import finish_in, found_in
from jaxdiff.studio.requests import Request
from jaxdiff.studio.service.app import application
from jaxdiff.studio.service.studio import Studio
from tests.studio.test_service import HERE, Drawer, graph

SIDE = 192


def studio_of(folders, finish):
    found = Studio(folders, finish=finish)
    found._sources["sd"] = Drawer()
    return found


@pytest.fixture
def signing(folders, tmp_path):
    pytest.importorskip("c2pa")
    found = studio_of(folders, finish_in(tmp_path / "keys", mark=True, sign=True))
    yield found
    found.close()


def asked(studio, **fields):
    """Returns the PNG file that the route answers with."""
    client = TestClient(application(studio, page=False), base_url=HERE)
    payload = {"prompt": "a cat", "seed": 9, "width": SIDE, "height": SIDE, **fields}
    answer = client.post("/sdapi/v1/txt2img", json=payload).json()
    return base64.b64decode(answer["images"][0])


def test_pictures_of_the_route_and_of_the_page_are_signed(signing):
    """Fails if one is not, if a changed file counts as intact, or the key can be read by others."""
    route = asked(signing)
    *_, (_, line, _, _) = parts.drawn(signing, Request(seed=9, size=(SIDE, SIDE)), "sd")
    page = (signing.folders.folder("output") / line.partition(": ")[2]).read_bytes()
    (saved,) = signing.engine.run(read(graph())).values()
    graphs = (signing.folders.folder("output") / saved.names[0]).read_bytes()
    for content, words in ((route, "Seed: 9"), (page, "Seed: 9"), (graphs, "EmptyImage")):
        found = credentials.read(content)
        assert found is not None
        assert found.intact
        assert found.problems in ((), (credentials.UNTRUSTED,))
        assert words in str(found.settings)
    # One level of one pixel: the file is another, and its text is the same.
    image = Image.open(io.BytesIO(route))
    place = route.index(b"IDAT") + 30
    broken = route[:place] + bytes([route[place] ^ 1]) + route[place + 1 :]
    assert not credentials.read(broken).intact
    file = io.BytesIO()
    image.save(file, "PNG")
    assert credentials.read(file.getvalue()) is None
    assert "as it was signed" in " ".join(found_in(route, signing.finish))


def test_the_key_is_its_owners(tmp_path):
    pytest.importorskip("cryptography")
    keys = credentials.keys_in(tmp_path / "keys")
    assert stat.S_IMODE((tmp_path / "keys" / credentials.KEY).stat().st_mode) == 0o600
    assert credentials.keys_in(tmp_path / "keys") == keys


def test_marks_are_where_pictures_are_shown_and_sent(folders, tmp_path):
    """Fails if the page shows what has no mark, or the mark is there without its switch."""
    studio = studio_of(folders, finish_in(tmp_path / "keys", mark=True))
    key = studio.finish.mark
    route = Image.open(io.BytesIO(asked(studio, seed=120)))
    request = Request(seed=120, size=(SIDE, SIDE))
    *_, (images, *_) = parts.drawn(studio, request, "sd")
    assert watermark.is_marked(route, key)
    shown = images[0][0].resize((SIDE, SIDE), Image.Resampling.NEAREST)
    np.testing.assert_array_equal(np.asarray(shown), np.asarray(route))
    _, rows = pictures.read(asked(studio))
    assert ["Seed", "9"] in rows
    studio.close()
    plain = studio_of(folders, finish_in(tmp_path / "keys"))
    assert not watermark.is_marked(Image.open(io.BytesIO(asked(plain, seed=120))), key)
    plain.close()


def test_what_is_refused_is_black_on_the_page(folders):
    """Fails if the page shows a picture that its file does not hold."""
    studio = studio_of(folders, finish_in(folders.root, allows=lambda picture: False))
    *_, (images, *_) = parts.drawn(studio, Request(seed=200), "sd")
    assert images[0][0].getextrema() == ((0, 0),) * 3
    studio.close()
