"""Compares few-step students with their teacher on images, and writes docs/few_step_images.md.

python experiments/few_step_images.py --teacher=runs/teacher --students=runs/few_step

`--students` is a folder of runs, a method each. Figures are kept beside each run, in
few_step_images.json, and made anew only if the run has gone on.
"""

import json
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
from jaxdiff.files import write_json
from jaxdiff.options import Size

FILE = "few_step_images.json"
STEPS = (1, 2, 4, 8)
CLASSIFIER = Training(steps=400)
"""Of the classifier that is trained on samples: some seconds."""

flags.DEFINE_string("teacher", None, "Folder of the teacher's run.", required=True)
flags.DEFINE_string("students", "runs/few_step", "Folder of the students' runs.")
flags.DEFINE_string("out", "docs/few_step_images.md", "The page; its picture lies beside it.")
cli.flag("num", Size, 2000, "Samples that each figure is made of.")
cli.flag("teacher_steps", Size, 50, "Solver steps of the teacher.")


def main() -> None:
    """Measures what has not been measured, and writes the page and its picture."""
    num, many = flags.FLAGS.num, flags.FLAGS.teacher_steps
    teacher = jaxdiff.load(flags.FLAGS.teacher)
    rows = {"teacher": measured(teacher, Path(flags.FLAGS.teacher), (*STEPS, many), num)}
    pictures = {f"teacher, {many} steps": page.grid(teacher, many)}
    pictures["teacher, 2 steps"] = page.grid(teacher, 2)
    for folder in sorted(path.parent for path in Path(flags.FLAGS.students).glob("*/config.json")):
        student = jaxdiff.load(folder)
        rows[folder.name] = measured(student, folder, STEPS, num)
        for steps in (1, 2):
            pictures[f"{folder.name}, {steps} step{'s' * (steps > 1)}"] = page.grid(student, steps)
    page.write(Path(flags.FLAGS.out), rows, real(teacher, num), pictures, num)
    print(flags.FLAGS.out)


def measured(run: Run, folder: Path, steps: tuple[int, ...], num: int) -> dict[str, Any]:
    """Returns figures by number of steps, from the file beside the run if it is of this step."""
    file = folder / FILE
    found = json.loads(file.read_text()) if file.exists() else {}
    if (found.get("step"), found.get("num")) != (run.step, num):
        found = {"step": run.step, "num": num, "by_steps": {}}
    for count in steps:
        if str(count) not in found["by_steps"]:
            found["by_steps"][str(count)] = figures(run, count, num)
            write_json(file, found)
            print(folder.name, count, found["by_steps"][str(count)])
    return found


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
