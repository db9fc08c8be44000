"""Votes between two pictures of a run: pairs drawn, choices of persons or of a known taste."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from jaxdiff.data.images import png
from jaxdiff.evaluation.evaluators import balanced_labels
from jaxdiff.files import atomic_write, read_json
from jaxdiff.runs.run import Run

VOTES = "votes.jsonl"
PAIRS = "pairs.json"


@dataclass(frozen=True)
class Pair:
    """Two pictures of one condition, as paths relative to the folder of the votes."""

    first: str
    second: str
    cond: Mapping[str, Any]

    def vote(self, first: bool) -> dict[str, Any]:
        """Returns the line of `votes.jsonl` that says which of the two was chosen."""
        chosen, rejected = (self.first, self.second) if first else (self.second, self.first)
        return {"chosen": chosen, "rejected": rejected, **self.cond}


def asked(run: Run, num: int, texts: Sequence[str] = ()) -> dict[str, Any]:
    """Returns the conditions of `num` pairs: texts and classes, each for an equal share of them."""
    rows = {"label": np.arange(run.num_classes), "text": np.array(texts)}
    cond = {name: row[balanced_labels(num, len(row))] for name, row in rows.items() if len(row)}
    return {name: values for name, values in cond.items() if name in run.config.conditions}


def captions(run: Run, num: int) -> list[str]:
    """Returns the first `num` captions of the data that a run was trained with.

    Raises:
        ValueError: the data have no captions.
    """
    source = run.experiment.source("train")
    if "text" not in source[0]:
        raise ValueError(f"captions: the data {run.config.data.name!r} have no captions")
    return [source[i % len(source)]["text"] for i in range(num)]


def draw_pairs(
    run: Run, num: int, cond: Mapping[str, Any], folder: Path, **options: Any
) -> tuple[list[Pair], Float[np.ndarray, "num two *shape"]]:
    """Draws two pictures for each of `num` conditions, and writes them with pairs.json.

    `cond` has `num` values of each condition; `options` are those of `Run.sample`.

    Raises:
        ValueError: the samples are no images, or the folder has votes of other pairs already.
    """
    check_images(run)
    samples = run.sample(2 * num, doubled(cond), **options)
    return write_pairs(samples, cond, folder), samples.reshape(num, 2, *samples.shape[1:])


def doubled(cond: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the conditions of both pictures of each pair."""
    return {name: np.repeat(np.asarray(values), 2, axis=0) for name, values in cond.items()}


def check_images(run: Run) -> None:
    """Raises ValueError unless a run's samples are images."""
    if len(run.shape) != 3:
        raise ValueError(f"votes are between images; samples have shape {run.shape}")


def write_pairs(
    samples: Float[np.ndarray, "both *shape"], cond: Mapping[str, Any], folder: Path
) -> list[Pair]:
    """Writes samples, two for each condition, as pictures with pairs.json, and returns the pairs.

    Raises:
        ValueError: the folder has votes of other pairs already.
    """
    pairs = []
    for i in range(len(samples) // 2):
        first, second = (f"pictures/{2 * i + j:06}.png" for j in (0, 1))
        given = {name: _plain(values[i]) for name, values in cond.items()}
        pairs.append(Pair(first, second, given))
    listing = json.dumps([vars(pair) for pair in pairs], indent=1) + "\n"
    known = folder / PAIRS
    if (folder / VOTES).exists() and (not known.exists() or known.read_text() != listing):
        raise ValueError(f"{folder} has votes of other pairs; choose another folder")
    pixels = np.round((np.clip(samples, -1, 1) + 1) * 127.5).astype(np.uint8)
    for i, x in enumerate(pixels):
        with atomic_write(folder / f"pictures/{i:06}.png") as draft:
            draft.write_bytes(png(x).getvalue())
    with atomic_write(known) as draft:
        draft.write_text(listing)
    return pairs


def read_pairs(folder: Path) -> list[Pair]:
    """Returns the pairs of a folder, none where there are none.

    Raises:
        ValueError: its pairs.json is damaged.
    """
    file = folder / PAIRS
    try:
        return [Pair(**each) for each in read_json(file, list)] if file.exists() else []
    except TypeError as error:
        raise ValueError(f"{file}: no list of pairs ({error})") from None


def left(folder: Path, pairs: Sequence[Pair]) -> list[Pair]:
    """Returns the pairs without a vote."""
    known = voted(folder)
    return [pair for pair in pairs if frozenset((pair.first, pair.second)) not in known]


def choices(
    rewards: Float[np.ndarray, "num two"], temperature: float, seed: int = 0
) -> Bool[np.ndarray, " num"]:
    """Returns whether a voter of a known taste chooses the first of each pair.

    P(first) = sigmoid((r_first - r_second)/temperature) (Bradley & Terry 1952); with temperature 0
    the higher reward wins.
    """
    apart = rewards[:, 0] - rewards[:, 1]
    if temperature == 0:
        return apart > 0
    chance = 1 / (1 + np.exp(np.clip(-apart / temperature, -60, 60)))
    return np.random.default_rng(seed).random(len(chance)) < chance


def record(folder: Path, pair: Pair, first: bool) -> None:
    """Appends a vote to votes.jsonl."""
    with (folder / VOTES).open("a", encoding="utf-8") as file:
        file.write(json.dumps(pair.vote(first)) + "\n")


def voted(folder: Path) -> set[frozenset[str]]:
    """Returns the pictures of each pair that has a vote."""
    file = folder / VOTES
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    votes = [json.loads(line) for line in lines]
    return {frozenset((vote["chosen"], vote["rejected"])) for vote in votes}


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
