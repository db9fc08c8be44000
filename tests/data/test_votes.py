"""Files of votes: pairs, splits, and lines that are none."""

import json

import numpy as np
import pytest

from jaxdiff.data.images import png
from jaxdiff.data.pipeline import loader
from jaxdiff.data.sources import open_source
from jaxdiff.runs.voting import Pair, choices, record, voted


@pytest.fixture
def folder(tmp_path):
    """Forty pairs: of pair i the chosen picture has the value 2·i, the rejected one 2·i + 1."""
    (tmp_path / "pictures").mkdir()
    for i in range(80):
        pixels = np.full((4, 4, 1), i, np.uint8)
        (tmp_path / f"pictures/{i}.png").write_bytes(png(pixels).getvalue())
    for i in range(40):
        pair = Pair(f"pictures/{2 * i}.png", f"pictures/{2 * i + 1}.png", {"label": i % 10})
        record(tmp_path, pair, first=True)
    return tmp_path


def opened(folder, split="all", **options):
    return open_source("votes", split, file=folder / "votes.jsonl", channels=1, **options)


def test_votes_are_pairs_with_their_condition(folder):
    """Fails if the pictures change places, or the rejected ones stay bytes in a batch."""
    votes = opened(folder, classes=10)
    assert (len(votes), votes.shape, votes.num_classes) == (40, (4, 4, 1), 10)
    batch = next(loader(votes, batch_size=40, seed=0))
    bytes_of = lambda x: np.round((x[:, 0, 0, 0] + 1) * 127.5)
    np.testing.assert_array_equal(bytes_of(batch["x"]), 2 * batch["record"])
    np.testing.assert_array_equal(bytes_of(batch["rejected"]), 2 * batch["record"] + 1)
    np.testing.assert_array_equal(batch["label"], batch["record"] % 10)
    train, test = (opened(folder, split) for split in ("train", "test"))
    assert len(train) + len(test) == 40
    assert 0 < len(test) < 20
    assert len(voted(folder)) == 40


def test_a_known_taste_votes_by_bradley_and_terry():
    """Fails if the lower reward wins, or the chance is not the logistic of the difference."""
    rewards = np.array([[1.0, 0.0], [0.0, 1.0]])
    np.testing.assert_array_equal(choices(rewards, 0.0), [True, False])
    many = np.tile([[0.1, 0.0]], (20_000, 1))
    np.testing.assert_allclose(choices(many, 0.1).mean(), 1 / (1 + np.exp(-1)), atol=0.02)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"line 41: not JSON"),
        ('{"chosen": "a.png"}', r"line 41: a vote has chosen and rejected"),
        ('{"chosen": "a.png", "rejected": "b.png", "label": -1}', r"line 41: label"),
        ('{"chosen": "a.png", "rejected": "b.png"}', "some votes have a text or a label"),
    ],
)
def test_a_line_that_is_no_vote_is_named(folder, line, message):
    """Fails if it is left out in silence, or found when training reads it."""
    with (folder / "votes.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ValueError, match=message):
        opened(folder)


def test_pictures_of_two_sizes_and_missing_ones_are_named(folder):
    """Fails if the error is that of stacking arrays."""
    (folder / "pictures/3.png").write_bytes(png(np.zeros((4, 5, 1), np.uint8)).getvalue())
    (folder / "pictures/5.png").unlink()
    votes = opened(folder)
    with pytest.raises(ValueError, match=r"pictures/3\.png have shapes"):
        votes[1]
    with pytest.raises(ValueError, match=r"5\.png: not a readable image"):
        votes[2]
    with pytest.raises(FileNotFoundError, match="nowhere"):
        open_source("votes", "all", file=folder / "nowhere")
    assert json.loads((folder / "votes.jsonl").read_text().splitlines()[0])["label"] == 0
