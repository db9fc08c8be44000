"""Scores a trained run and draws its pictures, into its workdir or another folder.

python experiments/evaluate.py --workdir=runs/digits --num=1000

Writes metrics.json, samples.png (a row a class), forward.png (data becoming noise), reverse.png
(noise becoming data) and loss.png (the curve, and the loss by noise level). Of an autoencoder:
PSNR, SSIM and a sheet of held-out examples, each above its reconstruction.
"""

import json
import time
from typing import Annotated

import cli
import numpy as np

from jaxdiff import Run
from jaxdiff.evaluation import report
from jaxdiff.evaluation.evaluators import balanced_labels
from jaxdiff.evaluation.reference import distances
from jaxdiff.files import AnyPath, as_path, check_writable, write_json
from jaxdiff.options import Between

cli.define_sampling_flags()
NUM = cli.flag("num", Annotated[int, Between(20, 2**31 - 1)], 1000, "Number of samples to score.")
OUT = cli.flag("out", cli.Text, None, "Folder for the results; the workdir by default.")

COLUMNS = 10


def main() -> None:
    """Scores, draws, and prints where everything is."""
    run, options = cli.load_run(), cli.sampling_options()
    workdir, out = as_path(cli.FLAGS.workdir), as_path(OUT.value or cli.FLAGS.workdir)
    check_writable(out / "metrics.json")
    if not run.num_classes:
        options["guidance_scale"] = 1.0  # there is nothing to be guided by
    if run.process is None:
        options = {name: options[name] for name in ("batch_size", "seed")}
    lines = report.read_metrics(workdir)
    if hasattr(run.experiment.sampler, "reconstruct"):
        found = run.evaluate("Reconstructions", out, num=NUM.value)
        found = {name: value for name, value in found.items() if not isinstance(value, np.ndarray)}
        figures = {"step": run.step, "num": NUM.value, **found, **report.training_figures(lines)}
        finish(figures, lines, out)
        return
    reference = run.reference
    # First, so that the program is compiled where its seconds are counted.
    figures = {
        "step": run.step,
        **scores(run, options),
        "classifier_accuracy": reference.classifier.accuracy if reference.classifier else None,
        "real": real_scores(run),
        **report.training_figures(lines),
    }
    pictures(run, options, out)
    finish(figures, lines, out)


def finish(figures: dict, lines: list, out: AnyPath) -> None:
    """Draws loss.png, writes metrics.json, and prints the figures and where everything is."""
    report.save_loss(out / "loss.png", lines)
    write_json(out / "metrics.json", {k: v for k, v in figures.items() if v is not None})
    print(json.dumps(figures, indent=1))
    for name in ("samples.png", "forward.png", "reverse.png", "loss.png", "metrics.json"):
        if (out / name).exists():
            print(out / name)


def scores(run: Run, options: dict) -> dict:
    """Returns the scores of the samples, with the seconds of compiling and of sampling."""
    size = min(NUM.value, options["batch_size"] or run.config.sampling.batch_size)
    start = time.perf_counter()
    run.sample(size, _labels(size, run.num_classes), **options)
    warm_up = time.perf_counter() - start
    draw = lambda weights, num, cond, **guide: run.sample(num, cond, **{**options, **guide})
    found = run.evaluate("SampleQuality", num=NUM.value, draw=draw)
    batch_seconds = found["sampling_seconds"] / -(-NUM.value // size)
    return {"num": NUM.value, **found, "sampling_compile_seconds": max(warm_up - batch_seconds, 0)}


def real_scores(run: Run) -> dict:
    """Returns the same figures of as many real training examples: the floor."""
    train = run.reference.train
    chosen = np.random.default_rng(0).permutation(len(train))[: NUM.value]
    return distances(run.reference, train[chosen])


def pictures(run: Run, options: dict, out: AnyPath) -> None:
    """Draws samples.png, forward.png and reverse.png."""
    num_classes, process, reference = run.num_classes, run.process, run.reference
    points = reference.train.ndim == 2
    rows = num_classes or COLUMNS
    num = 2000 if points else rows * COLUMNS
    samples = run.sample(num, _labels(num, num_classes), **options)
    report.save_samples(
        out / "samples.png", samples, COLUMNS, reference.held_out if points else None
    )
    if process is None:
        return
    num = 1000 if points else min(rows, 8)
    frames, captions = report.forward_frames(process, reference.held_out[:num])
    report.save_frames(out / "forward.png", frames, captions)
    path = run.sample(num, _labels(num, num_classes), trajectory=True, **options)
    grid = {name: options[name] for name in ("timesteps", "steps")}
    times = run.times(**grid)
    frames, captions = report.reverse_frames(process, path, np.asarray(times))
    report.save_frames(out / "reverse.png", frames, captions)


def _labels(num, num_classes):
    return {"label": balanced_labels(num, num_classes)} if num_classes else {}


if __name__ == "__main__":
    cli.run(main)
