"""Clips of the page: as the library's own, played by files that the studio serves."""

# ruff: noqa: E402 - what follows needs the extra
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

gradio = pytest.importorskip("gradio")
av = pytest.importorskip("av")

from fastapi.testclient import TestClient

from jaxdiff.runs.clips import begun
from jaxdiff.studio.page import video
from jaxdiff.studio.service.app import application
from jaxdiff.studio.service.studio import Limits, Studio
from jaxdiff.studio.sources import OfRun
from tests.studio.test_service import HERE, Drawer
from tests.support.clips import clips_run

VALUES = {"model": "clips", "prompt": "3", "seed": 5, "num": 2, "steps": 2}


@pytest.fixture(scope="module")
def run():
    return replace(clips_run(), folder=Path("runs/clips"))


@pytest.fixture(scope="module")
def studio(folders, run, tmp_path_factory):
    limits = Limits(frames=100)
    found = Studio(folders, {"clips": tmp_path_factory.mktemp("clips")}, limits)
    found._sources |= {"clips": OfRun("clips", run), "sd": Drawer()}
    yield found
    found.close()


def last(*arguments):
    *_, found = video.drawn(*arguments)
    return found


def grey(clips):
    return np.round((np.clip(clips, -1, 1) + 1) * 127.5)


def test_clips_are_those_of_the_library_and_play(studio, run):
    """Fails if a clip is another one, or its player asks for what is not served."""
    players, strip, line, python, command = last(studio, VALUES, None, None)
    expected = grey(run.sample(2, {"label": 3}, seed=5, steps=2))
    names = line.split(", ")
    assert players.count("<video ") == len(names) == 2
    client = TestClient(application(studio, page=False), base_url=HERE)
    for url in re.findall(r'src="([^"]+)"', players):
        assert client.get("/" + url).headers["content-type"] == "video/mp4"
    for name, clip in zip(names, expected, strict=True):
        with av.open(str(studio.folders.folder("output") / name)) as file:
            frames = [each.to_ndarray(format="rgb24") for each in file.decode(video=0)]
        assert len(frames) == 8
        small = np.stack(frames)[:, 8::16, 8::16].astype(float)
        # H.264 is lossy; another clip of noise would differ by more than 60 levels.
        assert np.abs(small - clip).mean() < 12
    assert (strip.width, strip.height) == (8 * 66 + 2, 2 * 66 + 2)
    assert "clips = run.sample(2, {'label': 3}, steps=2, seed=5)" in python
    assert command == (
        "python -m jaxdiff sample --workdir=runs/clips --num=2 --labels=3 --steps=2 --seed=5"
        " --out=clips.mp4"
    )


def test_a_clip_begins_with_a_picture(studio, run):
    """Fails if the first frame is drawn over, or the others are those without it."""
    image = Image.new("RGB", (32, 32), (0, 0, 0))
    image.paste((255, 255, 255), (16, 0, 32, 32))
    _, strip, _, python, command = last(studio, VALUES | {"num": 1}, image, None)
    picture = np.asarray(image.convert("L").resize((16, 16), Image.Resampling.LANCZOS), np.float32)
    picture = picture[..., None] / 127.5 - 1
    given = begun(picture, 1, run.shape)
    expected = run.sample(1, {"label": 3}, seed=5, steps=2, **given)
    np.testing.assert_array_equal(expected[0, 0], picture)
    plain = run.sample(1, {"label": 3}, seed=5, steps=2)
    assert np.abs(expected[0, 1:] - plain[0, 1:]).max() > 1e-3
    shown = np.asarray(strip.convert("L"))[::4, :64:4].astype(float)
    assert shown[:, 2:6].mean() < 60
    assert shown[:, 10:14].mean() > 200
    assert "**begun(picture, 1, run.shape)" in python
    assert "--first_frame=picture.png" in command
    with pytest.raises(ValueError, match=r"first frame has shape \(8, 8, 1\)"):
        begun(np.zeros((8, 8, 1), np.float32), 1, run.shape)


def test_clips_of_another_length_and_what_is_no_clip(studio):
    *_, python, command = last(studio, VALUES | {"num": 1}, None, 4)
    assert "run = resized(run, frames=4)" in python
    assert "--frames=4" in command
    with pytest.raises(gradio.Error, match="at most 100 frames"):
        last(studio, VALUES | {"num": 16}, None, None)
    with pytest.raises(gradio.Error, match="released model"):
        last(studio, VALUES | {"model": "sd"}, None, None)
    with pytest.raises(ValueError, match="draws clips"):
        studio.source("clips").draw(video.request_of(studio, VALUES))
