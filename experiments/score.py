"""Scores samples against reference statistics, and refuses what cannot be compared.

python experiments/score.py --workdir=runs/text --features=runs/clip --write_reference=real.npz
python experiments/score.py --workdir=runs/text --features=runs/clip --reference=real.npz

The reference is of the run's held-out data, once for all runs that are to be compared. The report,
score.json in the workdir, says how the figures came about: the number of samples, how prompts or
labels were drawn, rounding, size, solver, steps, guidance, and the hashes of all weights.
"""

import hashlib
import json
from typing import Any

import cli
import numpy as np

from jaxdiff import Run
from jaxdiff import config as configs
from jaxdiff.evaluation.evaluators import balanced_labels
from jaxdiff.evaluation.protocol import Protocol, read_statistics, statistics
from jaxdiff.files import as_path, check_writable, write_json
from jaxdiff.tasks.contrastive_runs import features_of_run
from jaxdiff.weights.checksums import checksums
from jaxdiff.weights.sources import OfRun

cli.define_sampling_flags()
FEATURES = cli.flag("features", cli.Text, None, "A contrastive run, the extractor.", required=True)
NUM = cli.flag("num", cli.Size, 1000, "Samples, or images of the reference.")
REFERENCE = cli.flag("reference", cli.Text, None, "Statistics, .npz; of --write_reference.")
WRITE = cli.flag("write_reference", cli.Text, None, "Write the statistics of held-out data here.")
OUT = cli.flag("out", cli.Text, None, "The report; <workdir>/score.json.")


def main() -> None:
    """Writes a reference, or a report."""
    if (REFERENCE.value is None) == (WRITE.value is None):
        raise ValueError("give --reference, or --write_reference to make one")
    out = as_path(WRITE.value or OUT.value or as_path(cli.FLAGS.workdir) / "score.json")
    check_writable(out)
    reference = read_statistics(REFERENCE.value) if REFERENCE.value else None
    run, features = cli.load_run(), features_of_run(FEATURES.value)
    split = run.config.evaluation.split
    extractor = f"contrastive {OfRun(FEATURES.value).fingerprint()}"
    if reference is None:
        images = run.experiment.evaluator.held_out_examples(NUM.value)["x"]
        protocol = Protocol(
            extractor, len(images), run.shape, images=f"{run.config.data.name}, split {split}"
        )
        statistics(features(images), protocol).save(out)
        print(out)
        return
    cond, drawn = asked(run, NUM.value, split)
    options = cli.sampling_options()
    protocol = Protocol(extractor, NUM.value, run.shape, images=f"{run.step} steps")
    # Before anything expensive.
    reference.distance(np.zeros((2, len(reference.moments.mean))), protocol)
    samples = run.sample(NUM.value, cond, **options)
    samples = np.round((np.clip(samples, -1, 1) + 1) * 127.5) / 127.5 - 1
    found = reference.distance(features(samples.astype(np.float32)), protocol)
    defaults = configs.plain(run.config.sampling)
    chosen = {**defaults, **{name: value for name, value in options.items() if value is not None}}
    report = {
        **found,
        "samples": NUM.value,
        "conditions": drawn,
        "format": "8 bits a channel, not resized",
        "shape": run.shape,
        "sampling": chosen,
        "weights": {
            "average": "the moving average",
            "step": run.step,
            **{name: digest(tree) for name, tree in run.weights.items()},
        },
        "features": extractor,
        "reference": reference.protocol and vars(reference.protocol),
    }
    write_json(out, report)
    print(json.dumps(report, indent=1))
    print(out)


def asked(run: Run, num: int, split: str) -> tuple[dict[str, Any], str]:
    """Returns the conditions of samples, and how they were drawn, in words.

    Raises:
        ValueError: the split has fewer examples with these conditions.
    """
    names = [name for name in run.config.conditions if name != "label"]
    cond: dict[str, Any] = {}
    words = []
    if run.num_classes:
        cond["label"] = balanced_labels(num, run.num_classes)
        words.append("labels: each class as often as the others")
    if names:
        known = run.experiment.evaluator.held_out_examples(num)
        if len(known["x"]) < num:
            raise ValueError(f"num={num}: split {split!r} has {len(known['x'])} examples")
        cond |= {name: list(known[name]) for name in names}
        words.append(f"{', '.join(names)}: of {num} examples of split {split!r}, drawn by seed 0")
    return cond, "; ".join(words) or "none"


def digest(tree: Any) -> str:
    """Returns a hash of the values of a tree."""
    return hashlib.sha256(json.dumps(checksums(tree), sort_keys=True).encode()).hexdigest()[:16]


if __name__ == "__main__":
    cli.run(main)
