"""Measures how a model of words learned one new thing from five pictures, by several methods.

python experiments/personal_page.py --runs=runs/personal

`--runs` is a folder of runs of configs/scenes_personal.py, a method each. Writes
docs/personalisation.md; figures are kept beside it, in JSON, and those of a checkpoint are not
measured again.
"""

from pathlib import Path

import cli
import numpy as np
import personal_page_text as text
from absl import flags
from scene_readers import scenes_of, seen, through_codec, trained_reader
from tuned_runs import folders_of, measured, sampled, sides, wide

import jaxdiff
from jaxdiff import Run
from jaxdiff.data.scenes.character import poses
from jaxdiff.data.scenes.layout import SIDES, TILT
from jaxdiff.data.sources import open_source
from jaxdiff.evaluation import map_figures, prompted
from jaxdiff.evaluation.map_reading import Reader
from jaxdiff.evaluation.templates import Template, resemblance
from jaxdiff.trees import size_of

RUNS = cli.flag("runs", cli.Text, "runs/personal", "Folder of the runs, a method each.")
SLIDER = cli.flag("slider", cli.Text, None, "A run of scenes_slider, for a row of pictures.")
ENCODER = cli.flag("encoder", cli.Text, "pretrained/scenes_clip", "A run of the task Contrastive.")
NUM = cli.flag("num", cli.Size, 24, "Samples that each figure is made of.")
READER = cli.flag("reader", cli.Text, "runs/scene_reader.npz", "Of maps; trained if it is missing.")
OUT = flags.DEFINE_string("out", "docs/personalisation.md", "The page; the rest lies beside it.")

BASE = "pretrained/scenes_text"
CODE = "1F916"
"""OpenMoji's code of the robot that is called a blorb."""

PROMPTS = (
    "a blorb, on a blue ground",
    "a blorb, on a checked green ground",
    "a blorb, on a ground from white to purple",
    "a blorb left of a red heart, on a white ground",
    "a red heart, on a blue ground",
    "two green cats, on a white ground",
)
"""Of the pictures: the last two are of things that the base knew."""


def main() -> None:
    """Measures what has not been measured, draws, and writes the page."""
    out, base = Path(OUT.value), jaxdiff.load(BASE)
    measure = Measure(base)
    first = lambda: {"real": measure.real(), "base": measure.of_run(base)}
    folders = folders_of(RUNS.value)
    known = measured(out.with_suffix(".json"), NUM.value, folders, first, measure.of_run)
    draw(base, folders, out)
    out.write_text(text.page(known))
    print(out)


class Measure:
    """Figures of a run: likeness to the new thing, the ground it is on, and the rest's drift."""

    def __init__(self, base: Run):
        self.encoder = jaxdiff.load(ENCODER.value)
        size = base.shape[0]
        source = open_source("emoji_character", "test", code=CODE, word="blorb", size=size)
        self.templates = templates(size)
        examples = [source[i] for i in range(2 * NUM.value)]
        images = np.stack([each["x"] for each in examples]).astype(np.float32) / 127.5 - 1
        self.held_out, self.others = images[: NUM.value], images[NUM.value :]
        self.texts = [each["text"] for each in examples[: NUM.value]]
        self.known, _, scenes = scenes_of(base, "test", NUM.value, most=1)
        self.known_texts = [each["text"] for each in scenes]
        self.kinds = np.array([each["kinds"][0] for each in scenes])
        self.reader: Reader = trained_reader(base, Path(READER.value))
        self.before = sampled(base, self.known_texts)
        self.decoded = through_codec(base, self.held_out)

    def likeness(self, images: np.ndarray) -> float:
        """Returns the mean cosine of pictures and other held-out ones, by the encoder."""
        embed = lambda x: self.encoder.experiment.sampler.embed(self.encoder.weights, x)
        center = lambda x: unit(np.asarray(embed(x)))
        return float((center(images) @ center(self.others).T).mean())

    def drawing(self, images: np.ndarray) -> float:
        """Returns the mean correlation with the drawing, wherever it lies."""
        return float(np.mean([resemblance(image, self.templates) for image in images]))

    def ground(self, images: np.ndarray) -> float:
        """Returns the difference at the sides from held-out pictures of the same captions."""
        return map_figures.mean_rms(map(sides, images), map(sides, self.held_out))

    def real(self) -> dict[str, float]:
        """Returns the figures of held-out pictures, of scenes without it, of wrong captions."""
        return {
            "likeness": self.likeness(self.held_out),
            "likeness of other things": self.likeness(self.known),
            "drawing": self.drawing(self.held_out),
            "drawing after the autoencoder": self.drawing(self.decoded),
            "drawing of other things": self.drawing(self.known),
            "ground of other captions": self.ground(np.roll(self.held_out, 1, axis=0)),
            "kinds": float(np.mean(seen(self.reader(self.known)) == self.kinds)),
        }

    def of_run(self, run: Run) -> dict[str, float]:
        """Returns the figures of samples."""
        new, old = sampled(run, self.texts), sampled(run, self.known_texts)
        return {
            "likeness": self.likeness(new),
            "drawing": self.drawing(new),
            "ground": self.ground(new),
            "kinds": float(np.mean(seen(self.reader(old)) == self.kinds)),
            "drift": map_figures.rms(old, self.before),
            "parameters": size_of(run.experiment.abstract_state().params),
        }


def templates(size: int) -> list[Template]:
    """Returns the drawing in the sizes and angles that pictures show it in, cut out."""
    found = []
    for pose in poses(CODE, size, np.linspace(*SIDES[1], 10), np.linspace(-TILT, TILT, 7)):
        inside = pose.shares[0] > 0.5
        window = tuple(slice(at.min(), at.max() + 1) for at in np.nonzero(inside))
        found.append(Template((pose.picture / 127.5 - 1)[window], inside[window]))
    return found


def unit(rows: np.ndarray) -> np.ndarray:
    """Returns rows of length 1."""
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def draw(base: Run, folders: list[Path], out: Path) -> None:
    """Writes the pictures: a row for each method, and sliders with the new thing."""
    source = open_source("emoji_character", "train", word="blorb", size=base.shape[0])
    five = np.stack([source[i]["x"] for i in range(5)]).astype(np.float32) / 127.5 - 1
    rows, names = [five, sampled(base, list(PROMPTS))], ["the five pictures", "before"]
    for folder in folders:
        rows.append(sampled(jaxdiff.load(folder), list(PROMPTS)))
        names.append(folder.name)
    prompted.save_png(out.with_suffix(".png"), wide(rows, names))
    lora = Path(RUNS.value) / "locon"
    if SLIDER.value and lora.is_dir():
        words, strengths = (
            ["a cat, on a white ground", "a blorb, on a white ground"],
            (-2, -1, 0, 1, 2),
        )
        each = [sampled(base.adapted({str(lora): 1.0, SLIDER.value: s}), words) for s in strengths]
        pairs = [np.stack([one[i] for one in each]) for i in range(2)]
        names = [f"{word}: the slider at {', '.join(map(str, strengths))}" for word in words]
        prompted.save_png(out.with_name(f"{out.stem}_slider.png"), wide(pairs, names))


if __name__ == "__main__":
    cli.run(main)
