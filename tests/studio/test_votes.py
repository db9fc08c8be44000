"""The panel of votes: its pairs are those of the library, a click is a line of the data set."""

# ruff: noqa: E402 - what follows needs the extra
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

gradio = pytest.importorskip("gradio")

from jaxdiff.data.sources import open_source
from jaxdiff.runs import voting
from jaxdiff.runs.run import Run
from jaxdiff.studio.page import votes
from jaxdiff.studio.service.studio import Studio
from jaxdiff.studio.sources import OfRun


class Greys(Run):
    """A run of three classes whose sample i of a seed has the grey seed + i."""

    shape, num_classes, folder = (4, 4, 1), 3, Path("runs/greys")
    config = SimpleNamespace(conditions=("label",), sampling=SimpleNamespace())

    def __init__(self):
        """Has no experiment."""

    def sample(self, num, cond, *, seed=0, watch=None):
        greys = (np.arange(num) + seed)[:, None, None, None] / 127.5 - 1
        going = watch is None or watch(1, 1, np.zeros((num, *self.shape), np.float32))
        assert len(cond["label"]) == num
        samples = np.broadcast_to(greys, (num, *self.shape)).astype(np.float32)
        return samples if going else samples * 0


@pytest.fixture
def studio(folders, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = Studio(folders, {"greys": tmp_path})
    found._sources["greys"] = OfRun("greys", Greys())
    yield found
    found.close()


def test_a_click_is_a_line_that_the_data_set_reads(studio, tmp_path):
    """Fails if the pictures change places, a skipped pair gets a vote, or one is asked twice."""
    *_, last = votes.drawn(studio, "greys", "", 3, 5, "poll")
    poll, left, right, line, python, command = last
    assert line == "Which is better? 1 of 3. label: 0"
    assert (left.getpixel((0, 0)), right.getpixel((0, 0))) == (5, 6)
    assert min(left.size) >= 200
    poll, *_ = votes.chosen(poll, False)
    poll, *_ = votes.chosen(poll, None)
    poll, left, _, line = votes.chosen(poll, True)
    file = tmp_path / "runs/poll/votes.jsonl"
    assert (left, line) == (None, f"No pair is left; {file} has 2 votes.")
    votes.chosen(poll, True)
    lines = file.read_text().splitlines()
    first, second = map(json.loads, lines)
    expected = {"chosen": "pictures/000001.png", "rejected": "pictures/000000.png", "label": 0}
    assert first == expected
    assert (second["chosen"], second["label"]) == ("pictures/000004.png", 2)
    data = open_source("votes", "all", file="runs/poll/votes.jsonl", channels=1, classes=3)
    assert (len(data), data.shape) == (2, (4, 4, 1))
    # The pair that was skipped is asked again, of the files and after another drawing.
    assert votes.begun("poll").pairs == (voting.Pair(*_names(1), {"label": 1}),)
    *_, (again, *_) = votes.drawn(studio, "greys", "", 3, 5, "poll")
    assert again.pairs == votes.begun("poll").pairs
    flags = f"--workdir=runs/greys --num=3 --seed=5 --out={tmp_path / 'runs/poll'}"
    assert command == f"python -m jaxdiff vote {flags}"
    library = Path("runs/library")
    pairs, _ = voting.draw_pairs(Greys(), 3, voting.asked(Greys(), 3), library, seed=5)
    assert pairs == voting.read_pairs(Path("runs/poll"))
    assert "voting.draw_pairs(run, 3, cond, folder, seed=5)" in python


def _names(i):
    return tuple(f"pictures/{2 * i + j:06}.png" for j in (0, 1))


def test_what_cannot_be_asked_is_said(studio, folders):
    """Fails if a folder outside is read, or votes of other pairs are mixed with new ones."""
    draw = lambda *values: list(votes.drawn(studio, *values))
    with pytest.raises(gradio.Error, match="no name of a file"):
        votes.begun("../secrets")
    with pytest.raises(gradio.Error, match="has no pairs"):
        votes.begun("nothing")
    with pytest.raises(gradio.Error, match="from 1 to 2000"):
        draw("greys", "", 0, 0, "poll")
    *_, (poll, *_) = draw("greys", "", 2, 0, "poll")
    votes.chosen(poll, True)
    with pytest.raises(gradio.Error, match="has votes of other pairs"):
        draw("greys", "", 3, 0, "poll")
    assert votes.chosen(None, True)[-1] == "Draw pairs first."
