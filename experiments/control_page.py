"""Measures a control network of several maps on held-out scenes, and writes docs/control.md.

python experiments/control_page.py --workdir=runs/scenes_control

Each kind of map is read back from the samples that it steered: by a network that was trained on
real scenes, or from the pixels. Figures are kept beside the page, in JSON; those that are there,
of the same step and number of scenes, are not measured again.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cli
import control_page_text as text
import numpy as np
from absl import flags
from scene_readers import scenes_of, seen, through_codec, trained_reader

import jaxdiff
from jaxdiff import Run
from jaxdiff.data.maps import ControlMap
from jaxdiff.evaluation import map_figures, pictures
from jaxdiff.evaluation.control import as_pictures
from jaxdiff.evaluation.map_reading import Reader
from jaxdiff.evaluation.report import read_metrics
from jaxdiff.files import read_json, write_json
from jaxdiff.tasks.controls import Map

WORKDIR = cli.flag("workdir", cli.Text, None, "Of configs/scenes_controlnet.py:all.", required=True)
NUM = cli.flag("num", cli.Size, 24, "Held-out scenes.")
READER = cli.flag("reader", cli.Text, "runs/scene_reader.npz", "Of maps; trained if it is missing.")
OUT = flags.DEFINE_string("out", "docs/control.md", "The page; the rest lies beside it.")

STRENGTHS = (0.5, 1.0, 2.0)
STEPS = 8
SHOWN = 8


def main() -> None:
    """Measures and draws what has not been measured, and writes the page."""
    run, out = jaxdiff.load(WORKDIR.value), Path(OUT.value)
    ledger = out.with_suffix(".json")
    known = read_json(ledger, dict) if ledger.exists() else {}
    if (known.get("step"), known.get("num")) != (run.step, NUM.value):
        known = {"step": run.step, "num": NUM.value, "figures": {}, "prompts": {}}
    reader = trained_reader(run, Path(READER.value))
    scenes = Scenes(run, reader, most=2)

    def keep(table: str, name: str, measure: Callable[[], Any]) -> None:
        if name not in known[table]:
            known[table][name] = measure()
            write_json(ledger, known)
            print(table, name, known[table][name], flush=True)

    for name, images in {
        "real": lambda: scenes.real,
        "autoencoder": lambda: through_codec(run, scenes.real),
        "none": scenes.bare,
    }.items():
        keep("figures", name, lambda images=images: scenes.figures(images()))
    for kind in run.maps.of:
        for strength in STRENGTHS:
            drawn = lambda kind=kind, strength=strength: scenes.follow(kind, strength, out)
            keep("figures", f"{kind} {strength:g}", drawn)
    together = lambda: scenes.figures(scenes.drawn(run.maps.of))
    keep("figures", "all 1", together)
    single = Scenes(run, reader, most=1)
    for kind in ("none", *run.maps.of):
        keep("prompts", kind, lambda kind=kind: single.prompts(kind))
    known["gain"] = gain(Path(WORKDIR.value))
    write_json(ledger, known)
    out.write_text(text.page(known, run.maps.of, STRENGTHS))
    print(out)


class Scenes:
    """Held-out scenes with their truths, and the samples that their maps steer."""

    def __init__(self, run: Run, reader: Reader, most: int):
        self.run, self.reader = run, reader
        self.real, self.truths, self.examples = scenes_of(run, "test", NUM.value, most)
        self.texts = [each["text"] for each in self.examples]
        self.bare = functools.cache(self.drawn)

    def maps(self, kind: str) -> np.ndarray:
        """Returns the maps of all scenes."""
        return np.stack([ControlMap(kind).values(each) for each in self.examples])

    def drawn(
        self, kinds: Sequence[str] = (), strength: float = 1.0, texts: Sequence[str] = ()
    ) -> np.ndarray:
        """Returns a sample for each scene, by its caption or another, and by maps of some kinds."""
        maps = {kind: self.maps(kind) for kind in kinds}
        given = {"control": Map(maps, strength)} if maps else {}
        cond = {"text": list(texts or self.texts)}
        return np.clip(self.run.sample(len(self.texts), cond, seed=1, steps=STEPS, **given), -1, 1)

    def follow(self, kind: str, strength: float, out: Path) -> float:
        """Returns how well samples follow maps of a kind; draws them at a strength of 1."""
        samples = self.drawn([kind], strength)
        if strength == 1:
            rows = as_pictures(self.maps(kind)), samples, self.bare(), self.real
            sheet = np.concatenate([each[:SHOWN] for each in rows])
            pictures.save_grid(out.with_suffix("") / f"{kind}.png", sheet, SHOWN)
        return self.figures(samples)[kind]

    def figures(self, images: np.ndarray) -> dict[str, float]:
        """Returns how well pictures agree with the scenes, by kind of map."""
        read, real = self.reader(images), self.truths
        mean = lambda of, *rows: average([of(*each) for each in zip(*rows, strict=True)])
        pixels = np.round((images + 1) * 127.5).astype(np.uint8)
        of_pixels = lambda kind: np.stack([ControlMap(kind).values({"x": x}) for x in pixels])
        rms = lambda kind: mean(map_figures.rms, of_pixels(kind), self.maps(kind))
        marked = lambda maps: maps[..., 0] > 0.1
        lines = marked(of_pixels("lines")), marked(self.maps("lines"))
        ground = read.segmentation > 0, real["segmentation"] > 0
        return {
            "edges": mean(map_figures.edge_f1, read.edges, real["edges"]),
            "lines": mean(map_figures.edge_f1, *lines),
            "segments": mean(map_figures.mean_iou, read.segmentation, real["segmentation"]),
            "depth": mean(map_figures.depth_order, read.depth, real["masks"]),
            "key_points": mean(map_figures.point_error, read.key_points, real["points"]),
            "masks": mean(map_figures.mean_iou, *ground),
            "grey": rms("grey"),
            "low_resolution": rms("low_resolution"),
        }

    def prompts(self, kind: str) -> dict[str, float]:
        """Returns how often the kind of emoji of the prompt, and of the map, is seen.

        Each scene has one; "other" is with the caption of the next scene of another kind.
        """
        given = [] if kind == "none" else [kind]
        kinds = np.array([each["kinds"][0] for each in self.examples])
        others = np.array([next_other(kinds, i) for i in range(len(kinds))])
        own = seen(self.reader(self.drawn(given)))
        other = seen(self.reader(self.drawn(given, texts=[self.texts[i] for i in others])))
        return {
            "real": float(np.mean(seen(self.reader(self.real)) == kinds)),
            "own": float(np.mean(own == kinds)),
            "other, of the prompt": float(np.mean(other == kinds[others])),
            "other, of the map": float(np.mean(other == kinds)),
        }


def next_other(kinds: np.ndarray, i: int) -> int:
    """Returns the next scene after `i`, round the end, of another kind."""
    after = [(i + j) % len(kinds) for j in range(1, len(kinds))]
    return next(j for j in after if kinds[j] != kinds[i])


def average(values: list[float | None]) -> float:
    """Returns the mean of those that could be told."""
    return float(np.mean([value for value in values if value is not None]))


def gain(folder: Path) -> list[dict[str, float]]:
    """Returns the logged control gain and loss by step; nothing for a published run."""
    if not (folder / "metrics.jsonl").exists():
        return []
    lines = [each for each in read_metrics(folder) if "control_gain" in each]
    return [{name: each[name] for name in ("step", "control_gain", "loss")} for each in lines]


if __name__ == "__main__":
    cli.run(main)
