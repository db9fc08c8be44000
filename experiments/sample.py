"""Draws samples from a trained run into a picture (.png) or an array (.npy).

python experiments/sample.py --workdir=runs/digits --num=64 --labels=3,7 --out=threes_and_sevens.png
"""

from pathlib import Path

import cli
import numpy as np
from absl import flags

from jaxdiff import load
from jaxdiff.evaluation.evaluators import asked_labels
from jaxdiff.evaluation.report import save_samples
from jaxdiff.files import written_whole

cli.define_sampling_flags()
NUM = flags.DEFINE_integer("num", 64, "Number of samples.")
LABELS = flags.DEFINE_list(
    "labels", None, "Classes, each for an equal share of the samples; all by default."
)
OUT = flags.DEFINE_string("out", None, "Where to: .png or .npy; <workdir>/samples.png by default.")


def main() -> None:
    """Samples and saves."""
    out = Path(OUT.value or Path(cli.FLAGS.workdir) / "samples.png")
    if out.suffix not in (".png", ".npy"):
        raise ValueError(f"out={out}: the file name must end in .png or .npy")
    labels = np.array([_label(text) for text in LABELS.value or ()], int)
    run = load(cli.FLAGS.workdir)
    if not len(labels):
        labels = np.arange(run.experiment.score_classes)
    cond = {"label": labels[asked_labels(NUM.value, len(labels))]} if len(labels) else {}
    samples = run.sample(NUM.value, cond, **cli.sampling_options())
    if out.suffix == ".npy":
        with written_whole(out) as draft:
            np.save(draft, samples)
    else:
        save_samples(out, samples, columns=min(round(NUM.value**0.5), NUM.value))
    print(out)


def _label(text):
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"labels={text!r}: classes are given by number") from None


if __name__ == "__main__":
    cli.run(main)
