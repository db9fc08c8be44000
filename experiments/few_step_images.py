"""Compares few-step students with their teacher on images, and writes docs/few_step_images.md.

python experiments/few_step_images.py --teacher=runs/teacher --students=runs/few_step

`--students` is a folder of runs, a method each. Figures are kept beside the page, in JSON, and
pictures in a folder with its name: those of a run are made anew only if it has gone on, and those
of runs that are gone stay.
"""

import time
from pathlib import Path
from typing import Any

import cli
import few_step_images_page as page
import numpy as np
from absl import flags

import jaxdiff
from jaxdiff import Run
from jaxdiff.evaluation.classification import class_accuracy
from jaxdiff.evaluation.evaluators import balanced_labels
from jaxdiff.evaluation.features import Training, train_classifier
from jaxdiff.evaluation.reference import distances
from jaxdiff.files import read_json, write_json
from jaxdiff.options import Size

STEPS = (1, 2, 4, 8)
CLASSIFIER = Training(steps=400)
"""Of the classifier that is trained on samples: some seconds."""

flags.DEFINE_string("teacher", None, "Folder of the teacher's run.", required=True)
flags.DEFINE_string("students", "runs/few_step", "Folder of the students' runs.")
flags.DEFINE_string("out", "docs/few_step_images.md", "The page; the rest lies beside it.")
cli.flag("num", Size, 2000, "Samples that each figure is made of.")
cli.flag("teacher_steps", Size, 50, "Solver steps of the teacher.")


def main() -> None:
    """Measures and draws what has not been measured, and writes the page."""
    num, many, out = flags.FLAGS.num, flags.FLAGS.teacher_steps, Path(flags.FLAGS.out)
    teacher = jaxdiff.load(flags.FLAGS.teacher)
    measured(teacher, "teacher", (*STEPS, many), num, out)
    for folder in sorted(path.parent for path in Path(flags.FLAGS.students).glob("*/config.json")):
        measured(jaxdiff.load(folder), folder.name, STEPS, num, out)
    rows = {name: row for name, row in read(out).items() if row["num"] == num}
    page.write(out, rows, real(teacher, num), num)
    print(out)


def read(out: Path) -> dict[str, Any]:
    """Returns the figures of all methods that were measured."""
    ledger = out.with_suffix(".json")
    return read_json(ledger, dict) if ledger.exists() else {}


def measured(run: Run, name: str, steps: tuple[int, ...], num: int, out: Path) -> None:
    """Adds a run's figures and pictures by number of steps, but for those that are there."""
    rows = read(out)
    row = rows.get(name, {})
    if (row.get("step"), row.get("num")) != (run.step, num):
        row = {"step": run.step, "num": num, "by_steps": {}}
    for count in steps:
        fresh = str(count) not in row["by_steps"]
        if fresh:
            row["by_steps"][str(count)] = figures(run, count, num)
            write_json(out.with_suffix(".json"), rows | {name: row})
            print(name, count, row["by_steps"][str(count)])
        picture = page.picture_path(out, name, count)
        if fresh or not picture.exists():
            page.draw(run, count, picture)


def figures(run: Run, steps: int, num: int) -> dict[str, float]:
    """Returns distances, accuracies and milliseconds of samples in a number of steps."""
    labels = balanced_labels(num, run.num_classes)
    run.sample(run.config.sampling.batch_size, steps=steps, guidance_scale=1.0)  # compiles
    start = time.perf_counter()
    samples = run.sample(num, {"label": labels}, steps=steps)
    seconds = time.perf_counter() - start
    logits = run.reference.classifier.logits(samples)
    return {
        **distances(run.reference, samples),
        "class_accuracy": class_accuracy(logits, labels).overall,
        "classification_score": classification_score(run, samples, labels),
        "milliseconds": 1000 * seconds / num,
    }


def classification_score(run: Run, images: np.ndarray, labels: np.ndarray) -> float:
    """Returns the accuracy on real images of a classifier trained on these.

    The classification accuracy score of Ravuri & Vinyals 2019.
    """
    reference = run.reference
    real = reference.held_out, reference.held_out_labels
    network = reference.classifier.network
    return train_classifier(network, np.clip(images, -1, 1), labels, real, CLASSIFIER).accuracy


def real(run: Run, num: int) -> dict[str, float]:
    """Returns the figures of as many real training images: the floor."""
    chosen = np.random.default_rng(0).permutation(len(run.reference.train))[:num]
    images, labels = run.reference.train[chosen], run.reference.labels[chosen]
    score = classification_score(run, images, labels)
    return {**distances(run.reference, images), "classification_score": score}


if __name__ == "__main__":
    cli.run(main)
