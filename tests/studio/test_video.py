"""Clips of the page: as the library's own, played by files that the studio serves."""

# ruff: noqa: E402 - what follows needs the extra
import re
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

gradio = pytest.importorskip("gradio")
av = pytest.importorskip("av")

from fastapi.testclient import TestClient

from jaxdiff.evaluation.pictures import clip_strips
from jaxdiff.pipelines import released
from jaxdiff.runs.clips import begun
from jaxdiff.studio.page import video
from jaxdiff.studio.service.app import application
from jaxdiff.studio.service.jobs import Job
from jaxdiff.studio.service.studio import Limits, Studio
from jaxdiff.studio.sources import OfRun, Released, Request
from jaxdiff.weights.devices import Devices, make_mesh
from tests.studio.test_service import HERE, Drawer
from tests.support.clips import clips_run
from tests.support.released_others import write_dit, write_unconditional, write_wan

VALUES = {"model": "clips", "prompt": "3", "seed": 5, "num": 2, "steps": 2}


@pytest.fixture(scope="module")
def run():
    return replace(clips_run(), folder=Path("runs/clips"))


@pytest.fixture(scope="module")
def studio(folders, run, tmp_path_factory):
    limits = Limits(frames=100)
    models = {name: wan(tmp_path_factory, name) for name in ("wan", "wan_image")}
    paths = {name: model.path for name, model in models.items()}
    found = Studio(folders, {"clips": tmp_path_factory.mktemp("clips"), **paths}, limits)
    found._sources |= {"clips": OfRun("clips", run), "sd": Drawer()}
    found._sources |= models
    yield found
    found.close()


def wan(factory, name):
    """Wan's model, of text alone or of an image, whose own clips are short and small."""
    folder = write_wan(factory.mktemp(name) / name, from_image=name == "wan_image")
    opened = released(folder, devices=Devices(make_mesh(jax.devices()[:1])))
    return Released(name, folder, replace(opened, parts=replace(opened.parts, size=(3, 16, 24))))


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
    with pytest.raises(gradio.Error, match="'sd' draws no clips"):
        last(studio, VALUES | {"model": "sd"}, None, None)
    with pytest.raises(ValueError, match="draws clips"):
        studio.source("clips").draw(video.request_of(studio, VALUES))


def test_clips_of_released_models(studio):
    """Fails if the picture, its size or the number of frames is another than the library's."""
    values = VALUES | {"model": "wan", "prompt": "a red cat", "num": 1, "steps": 1}
    players, strip, _, python, command = last(studio, values, None, None)
    assert players.count("<video ") == 1
    assert strip.width > 3 * strip.height / 2
    assert python.endswith("sample(1, 'a red cat', seed=5, steps=1, size=(3, 16, 24))")
    assert command.endswith("--frames=3 --out=clips.mp4")
    image = Image.new("RGB", (48, 32), (200, 30, 30))
    with pytest.raises(gradio.Error, match="continues no picture"):
        last(studio, values, image, None)
    values |= {"model": "wan_image"}
    with pytest.raises(gradio.Error, match="give image"):
        last(studio, values, None, None)
    _, strip, _, python, command = last(studio, values, image, 5)
    assert "image=image, size=(5, 16, 24)" in python
    assert "--image=in.png --frames=5" in command
    picture = np.full((16, 24, 3), [200, 30, 30], np.float32) / np.float32(127.5) - 1
    pipeline = studio.source("wan_image").pipeline
    expected = pipeline.sample(1, "a red cat", image=picture, size=(5, 16, 24), steps=1, seed=5)
    difference = np.asarray(strip, np.float32) - clip_strips(expected)
    assert np.abs(difference).max() <= 1
    with pytest.raises(gradio.Error, match="a clip of 4 frames"):
        last(studio, values, image, 4)
    with pytest.raises(ValueError, match="draws clips"):
        studio.source("wan").draw(video.request_of(studio, values))


@pytest.mark.parametrize(("write", "prompt"), [(write_unconditional, ""), (write_dit, "7")])
def test_released_models_without_texts_are_drawn(write, prompt, studio, tmp_path):
    """Fails if a model asks for previews that it has not, or a class is not the prompt's."""
    folder = write(tmp_path / "model")
    opened = released(folder, devices=Devices(make_mesh(jax.devices()[:1])))
    source = Released("model", folder, opened)
    request = Request(prompt=prompt, seed=3, steps=2)
    job = Job(lambda job: source.draw(request, studio.watched(source, job)))
    found = studio.worker.submit(job).wait(60.0)
    cond = {"label": 7} if prompt else {}
    np.testing.assert_array_equal(found, opened.sample(1, cond, seed=3, steps=2))
    python, command = source.code(request)
    assert f"sample(1, {cond!r}, seed=3" in python
    assert ("--label=7" in command) == bool(prompt)
    assert "--prompt" not in command
    with pytest.raises(ValueError, match=r"this model draws (classes, 0 to 999|without)"):
        source.draw(replace(request, prompt="a cat"))
