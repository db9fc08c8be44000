"""Votes between two pictures as a data set: the chosen one, the rejected one, their condition.

A file of votes has a JSON object a line, as `experiments/vote.py` writes it; paths are relative to
the file:

    {"chosen": "pictures/4.png", "rejected": "pictures/5.png", "text": "a seven", "label": 7}

"text" and "label" are in all lines or in none.
"""

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, SupportsIndex

from jaxdiff.data.image_folder import share_of
from jaxdiff.data.images import decode
from jaxdiff.options import Count, Share, check

PICTURES = ("chosen", "rejected")
CONDITIONS = {"text": str, "label": Count}


class Votes:
    """Pairs of pictures of one size: "x" was chosen, "rejected" was not.

    The split of a pair depends on the path of the chosen picture: "test" has the share
    `test_fraction`, "train" the others, "all" every pair.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: the split is unknown or empty; a line is not a vote, says which. On reading, if
            a picture is unreadable or of another size.
    """

    def __init__(
        self,
        split: str,
        file: str | PathLike,
        *,
        channels: int = 3,
        classes: Count = 0,
        test_fraction: Share = 0.1,
    ):
        path = Path(file)
        if not path.is_file():
            raise FileNotFoundError(f"votes: file={str(file)!r} is not a file")
        if split not in ("train", "test", "all"):
            raise ValueError(f"{path}: unknown split {split!r}; known: train, test, all")
        lines = path.read_text(encoding="utf-8").splitlines()
        votes = [_vote(line, f"{path}, line {i}") for i, line in enumerate(lines, 1) if line]
        if len({frozenset(vote) for vote in votes}) > 1:
            raise ValueError(f"{path}: some votes have a text or a label, and others have none")
        chosen = share_of([Path(v["chosen"]) for v in votes], split, test_fraction)
        self.votes = [vote for vote in votes if Path(vote["chosen"]) in set(chosen)]
        if not self.votes:
            raise ValueError(f"{path}: no votes in split {split!r} of {len(votes)}")
        self.root, self.channels = path.parent, channels
        self.num_classes = classes or None
        self.class_names = tuple(map(str, range(classes))) or None
        self.shape = self._read(self.votes[0]["chosen"]).shape

    def __len__(self) -> int:
        return len(self.votes)

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        vote = self.votes[index]
        chosen, rejected = (self._read(vote[name]) for name in PICTURES)
        if not chosen.shape == rejected.shape == self.shape:
            raise ValueError(
                f"{vote['chosen']} and {vote['rejected']} have shapes {chosen.shape} and"
                f" {rejected.shape}; all pictures must have that of the first, {self.shape}"
            )
        given = {name: vote[name] for name in CONDITIONS if name in vote}
        return {"x": chosen, "rejected": rejected, **given}

    def _read(self, name):
        path = self.root / name
        return decode(path, self.channels, str(path))


def _vote(line: str, where: str) -> Mapping[str, Any]:
    try:
        vote = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{where}: not JSON: {error}") from None
    known = {*PICTURES, *CONDITIONS}
    if not isinstance(vote, dict) or not {*PICTURES} <= {*vote} or not {*vote} <= known:
        raise ValueError(f"{where}: a vote has chosen and rejected, and may have text and label")
    for name, value in vote.items():
        check(f"{where}: {name}", CONDITIONS.get(name, str), value)
    return vote
