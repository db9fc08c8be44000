"""Measures how a model of words was tuned to a taste, by several methods: reward, variety, drift.

python experiments/preferences_page.py --runs=runs/preferences

`--runs` is a folder of runs of configs/scenes_preferences.py, a method each. Writes
docs/preferences_words.md; figures are kept beside it, in JSON, and those of a checkpoint are not
measured again.
"""

from pathlib import Path

import cli
import jax
import jax.numpy as jnp
import numpy as np
import preferences_page_text as text
from absl import flags
from scene_readers import scenes_of, seen, through_codec, trained_reader
from tuned_runs import folders_of, measured, sampled, sides, wide

import jaxdiff
from jaxdiff import Run
from jaxdiff.evaluation import map_figures, prompted
from jaxdiff.evaluation.features import Classifier
from jaxdiff.evaluation.taste import variety
from jaxdiff.objectives.rewards import Brightness
from jaxdiff.tasks.alignment import PromptAlignment

RUNS = cli.flag("runs", cli.Text, "runs/preferences", "Folder of the runs, a method each.")
COUNTER = cli.flag("counter", cli.Text, "runs/other_counts.npz", "A classifier of scene_kinds.py.")
NUM = cli.flag("num", cli.Size, 24, "Prompts of one emoji, each drawn twice; as many of more.")
READER = cli.flag("reader", cli.Text, "runs/scene_reader.npz", "Of maps; trained if it is missing.")
OUT = flags.DEFINE_string("out", "docs/preferences_words.md", "The page; the rest lies beside it.")

BASE = "pretrained/scenes_text"
PROMPTS = (
    "a red heart, on a blue ground",
    "a green cat, on a brown ground",
    "a yellow star, on a purple ground",
    "a blue fish, on a white ground",
    "an orange apple, on a checked green ground",
    "a pink umbrella, on a grey ground",
)


def main() -> None:
    """Measures what has not been measured, draws, and writes the page."""
    out, base = Path(OUT.value), jaxdiff.load(BASE)
    measure = Measure(base)
    first = lambda: {"real": measure.of_images(measure.decoded), "base": measure.of_run(base)}
    folders = folders_of(RUNS.value)
    known = measured(out.with_suffix(".json"), NUM.value, folders, first, measure.of_run)
    runs = {"before": base, **{each.name: jaxdiff.load(each) for each in folders}}
    rows = [sampled(run, list(PROMPTS)) for run in runs.values()]
    prompted.save_png(out.with_suffix(".png"), wide(rows, list(runs)))
    out.write_text(text.page(known))
    print(out)


class Measure:
    """Figures of a run: the reward, and what it may cost."""

    def __init__(self, base: Run):
        images, _, scenes = scenes_of(base, "test", NUM.value, most=1)
        self.texts = [each["text"] for each in scenes]
        self.kinds = np.array([each["kinds"][0] for each in scenes])
        self.real, self.decoded = images, through_codec(base, images)
        *_, several = scenes_of(base, "test", 2 * NUM.value, most=base.config.data.most)
        self.several = [each["text"] for each in several]
        self.counts = np.array([np.sum(each["kinds"] >= 0) for each in several])
        self.counter = Classifier.load(COUNTER.value)
        self.aligned = PromptAlignment("pretrained/scenes_clip")
        self.reader = trained_reader(base, Path(READER.value))
        encoder = base.experiment.task.conditions.encoders["text"]
        arrays = jax.tree.map(jnp.asarray, encoder.prepare(self.texts))
        self.cond = {"text": encoder.encode(None, arrays)}
        self.before = sampled(base, self.texts)

    def of_images(self, images: np.ndarray) -> dict[str, float]:
        """Returns the figures of pictures of the prompts."""
        read = self.reader(images)
        return {
            "reward": float(np.mean(np.asarray(Brightness()(images, {})))),
            "size": float(np.mean(read.segmentation > 0)),
            "kinds": float(np.mean(seen(read) == self.kinds)),
            "alignment": float(np.mean(np.asarray(self.aligned(images, self.cond)))),
            "ground": map_figures.mean_rms(map(sides, images), map(sides, self.real)),
        }

    def of_run(self, run: Run) -> dict[str, float]:
        """Returns the figures of samples, two of each prompt."""
        one, two = (sampled(run, self.texts, seed) for seed in (1, 2))
        several = sampled(run, self.several)
        return self.of_images(one) | {
            "counts": float(np.mean(self.counter.logits(several).argmax(axis=1) == self.counts)),
            "variety": variety(np.concatenate([one, two]), np.tile(np.arange(len(one)), 2)),
            "drift": map_figures.rms(one, self.before),
        }


if __name__ == "__main__":
    cli.run(main)
