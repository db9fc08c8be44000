"""The evaluators of an experiment, with the real data that they compare samples with."""

import functools
import itertools
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grain
import numpy as np

from jaxdiff.caches import cache_folder
from jaxdiff.config.build import build
from jaxdiff.evaluation import evaluators
from jaxdiff.evaluation.reference import Reference, make_reference
from jaxdiff.files import AnyPath
from jaxdiff.tasks.contrastive_runs import embedder_of_run, features_of_run
from jaxdiff.training.held_out import HeldOut
from jaxdiff.training.task import Task
from jaxdiff.weights.devices import Devices


@dataclass(frozen=True)
class Evaluation:
    """Evaluators by name, and the real data and losses that they share.

    Attributes:
        config: of the experiment.
        task: what is trained.
        draw: draws samples from weights.
        batches: opens the data of a split, by the loader's options.

    Raises:
        ValueError: an evaluator of the config does not exist, or does not fit the data.
    """

    config: Any
    task: Task
    devices: Devices
    draw: Any
    batches: Callable[..., grain.DatasetIterator]

    def __post_init__(self):
        self.chosen(Path())

    def __call__(self, spec: Any, folder: AnyPath, **options: Any) -> evaluators.Evaluator:
        """Returns an evaluator by name, its pictures in a folder."""
        given = {
            "draw": self.draw,
            "num_classes": self.num_classes,
            "folder": folder,
            "reference": lambda run="": self.by_features(run) if run else self.reference,
            "held_out": self.held_out_examples,
            "embedder": embedder_of_run,
            "loss": self.held_out,
            "num": self.config.evaluation.num,
            "shape": tuple(self.config.data.shape),
        }
        return build(evaluators, spec, **{**given, **options})

    def chosen(self, folder: AnyPath) -> Mapping[str, evaluators.Evaluator]:
        """Returns the evaluators of the config by their names; a second of a name is numbered."""
        found = {}
        for spec in self.config.evaluation.evaluators:
            evaluator = self(spec, folder)
            name = type(evaluator).__name__
            found[f"{name}_{len(found)}" if name in found else name] = evaluator
        return found

    @property
    def num_classes(self) -> int:
        """Returns the number of classes that samples can be asked for: 0 without labels."""
        return self.config.data.num_classes if "label" in self.task.fields else 0

    @functools.cached_property
    def reference(self) -> Reference:
        """Returns the real data and features that samples are compared with."""
        once = {"batch_size": 500, "epochs": 1, "shuffle": False, "process_count": 1}
        once |= {"process_index": 0, "prepare": None}
        data = {**self.config.data.to_dict(), "transforms": list(self.config.transforms)}
        return make_reference(
            self.batches("train", **once),
            self.batches(self.config.evaluation.split, **once),
            data,
            cache_folder() / "classifiers",
        )

    def by_features(self, run: str) -> Reference:
        """Returns `evaluation.num` examples of each split, with the features of a run.

        Raises:
            ValueError: `run` is not the folder of a run of the task `Contrastive`.
        """
        features = features_of_run(run)
        num, split = self.config.evaluation.num, self.config.evaluation.split
        train, held_out = (self.held_out_examples(num, each)["x"] for each in ("train", split))
        return Reference(train, held_out, features)

    @functools.cached_property
    def held_out(self) -> HeldOut:
        """Returns the function of weights and step that gives the loss on the evaluation split."""
        once = {"shuffle": False, "seed": 0, "process_index": 0, "process_count": 1, "workers": 0}
        batches = functools.partial(self.batches, self.config.evaluation.split, **once)
        return HeldOut(self.task, self.devices, batches, self.config.batch_size)

    def held_out_examples(self, num: int, split: str = "") -> dict[str, np.ndarray]:
        """Returns examples of a split by field, drawn by a fixed seed, or all if it has fewer.

        By default, of the evaluation split.
        """
        once = {"batch_size": min(num, 256), "epochs": 1, "seed": 0, "prepare": None}
        alone = {"process_index": 0, "process_count": 1, "workers": 0}
        parts = []
        with closing(
            self.batches(split or self.config.evaluation.split, **once, **alone)
        ) as batches:
            for batch in itertools.islice(batches, -(-num // once["batch_size"])):
                parts.append({name: batch[name] for name in self.task.fields if name in batch})
        return {name: np.concatenate([p[name] for p in parts])[:num] for name in parts[0]}
