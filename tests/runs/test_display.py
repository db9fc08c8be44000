"""Experiments, runs and samples as a notebook shows them."""

import io

import numpy as np
import pytest
from PIL import Image

from jaxdiff.runs import display
from jaxdiff.training import notebook


@pytest.mark.parametrize(
    ("shape", "kind", "frames"),
    [((5, 8, 8, 1), "png", 1), ((4, 6, 8, 8, 3), "gif", 6), ((30, 2), "png", 1)],
)
def test_arrays_are_shown_as_pictures_and_clips_play(shape, kind, frames, tmp_path):
    """Fails if a clip is a still, or the bytes are no file of that kind."""
    rng = np.random.default_rng(0)
    shown = display.show(rng.uniform(-1, 1, shape).astype(np.float32))
    with Image.open(io.BytesIO(shown.data)) as image:
        assert (image.format.lower(), getattr(image, "n_frames", 1)) == (kind, frames)
    assert f"data:image/{kind};base64," in shown._repr_html_()
    shown.save(tmp_path / f"x.{kind}")
    assert (tmp_path / f"x.{kind}").read_bytes() == shown.data


def test_the_curve_of_a_notebook_spans_the_run_and_the_losses():
    """The highest loss is at the top, the lowest at the bottom, half of the run in the middle."""
    drawn = notebook.curve([10, 20, 50], [4.0, 2.0, 1.0], total=100)
    points = drawn.split("points='")[1].split("'")[0].split()
    width, height = notebook.WIDTH, notebook.HEIGHT
    assert points[:2] == [f"{0.1 * width:.1f},0.0", f"{0.2 * width:.1f},{height / 2:.1f}"]
    assert points[2:] == [f"{0.5 * width:.1f},{height:.1f}"]
    assert notebook.curve([1], [2.0], total=4) == ""
    assert notebook.live(10) is None  # outside of a notebook
