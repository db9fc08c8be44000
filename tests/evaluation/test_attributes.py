"""What pictures show, read by a probe."""

import numpy as np
import pytest

from jaxdiff.data.scenes.still import EmojiScenes
from jaxdiff.evaluation.attributes import FIELDS, HEADS, facts, share, train_probe


def test_facts_are_those_of_the_caption():
    """Fails if a group is another's, or the two sides of a relation are exchanged."""
    blank = [-1] * 4
    two = {"kinds": [5, 5, -1, -1], "colors": [2, 2, -1, -1], "groups": [0, 0, -1, -1]}
    behind = {"kinds": [7, 3, -1, -1], "colors": blank, "groups": [0, 1, -1, -1], "relation": 5}
    right = {"kinds": [3, 7, -1, -1], "colors": blank, "groups": [1, 0, -1, -1], "relation": 1}
    three = {"kinds": [1, 2, 3, -1], "colors": blank, "groups": [2, 0, 1, -1], "relation": -1}
    found = facts([{**two, "relation": -1}, behind, right, three])
    rows = [[int(found[name][i]) for name in HEADS] for i in range(4)]
    assert rows[0] == [5, 2, 1, -1, -1, -1]
    assert rows[1] == [-1, -1, -1, 2, 3, 7]
    assert rows[2] == [-1, -1, -1, 0, 3, 7]
    assert rows[3] == [-1] * 6
    source = EmojiScenes("test", size=16, fields=FIELDS)
    found = facts([source[i] for i in range(8)])
    assert all(values.max() >= 0 for values in found.values())


def test_a_probe_reads_what_is_there():
    """Features that say the facts plainly; fails if a head learns another's label."""
    rng = np.random.default_rng(0)
    n = 600
    single = rng.random(n) < 0.5
    known = {name: rng.integers(min(size, 4), size=n) for name, size in HEADS.items()}
    known["other side"] = (known["one side"] + 1) % 4
    for name in HEADS:
        off = single if name in ("axis", "one side", "other side") else ~single
        known[name] = np.where(off, -1, known[name]).astype(np.int32)
    features = np.concatenate(
        [np.eye(5, dtype=np.float32)[values] for values in known.values()], axis=1
    )
    probe = train_probe(features, known, steps=60)
    right = probe.right(features, known)
    assert {name: len(each) for name, each in right.items()} == {
        "object": single.sum(), "colour": single.sum(), "count": single.sum(),
        "relation": (~single).sum(),
    }  # fmt: skip
    assert all(each.mean() > 0.97 for each in right.values())
    exchanged = {**known, "one side": known["other side"], "other side": known["one side"]}
    assert probe.right(features, exchanged)["relation"].mean() < 0.03


def test_intervals_of_shares():
    """Wilson's of 8 in 10: 0.49 to 0.943."""
    found = share(np.array([True] * 8 + [False] * 2))
    assert found == pytest.approx((0.8, 0.490, 0.943, 10), abs=1e-3)
    assert np.isnan(share(np.array([])).value)
