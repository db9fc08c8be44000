"""A trained run: its config, its weights, samples and figures from it."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import grain
import numpy as np
from jaxtyping import Array, Float

from jaxdiff import config as configs
from jaxdiff.caches import use_compilation_cache
from jaxdiff.conditioning.conditions import Conditions
from jaxdiff.conditioning.encoders import OwnWords
from jaxdiff.conditioning.text_encoder import PromptEncoder
from jaxdiff.config.build import build
from jaxdiff.config.recipes import published
from jaxdiff.data import transforms
from jaxdiff.data.maps import ControlMaps
from jaxdiff.diffusion.process import Parameterization, Process
from jaxdiff.evaluation.reference import Reference
from jaxdiff.files import AnyPath, as_path
from jaxdiff.pipelines.embeddings import save_word
from jaxdiff.runs import display
from jaxdiff.runs.adapted import adapted, with_word_of
from jaxdiff.runs.experiment import Experiment
from jaxdiff.runs.workdir import read_config
from jaxdiff.tasks import controls
from jaxdiff.training.state import TrainState
from jaxdiff.typing import Codec, Cond, Denoiser, Params, Scalar
from jaxdiff.weights import learned
from jaxdiff.weights.devices import Devices
from jaxdiff.weights.stored import AVERAGE, CHECKPOINTS, read_item


@dataclass(frozen=True, repr=False)
class Run:
    """An experiment with weights: `run.sample(...)`, `run.denoiser()`, `run.evaluate(...)`.

    `weights` are the averages at `step` and the frozen ones, by name, with adapters applied;
    `folder` is the place that they were loaded from.
    """

    experiment: Experiment
    weights: Mapping[str, Params]
    step: int
    folder: AnyPath | None = None

    @classmethod
    def of(cls, experiment: Experiment, state: TrainState) -> "Run":
        """Returns the run of a state, as `Experiment.train` returns it."""
        return cls(experiment, experiment.average(state), int(state.step))

    def adapted(self, strengths: Mapping[str, Scalar]) -> "Run":
        """Returns the run with adapters of other runs: `run.adapted({"runs/lora": 0.8})`.

        Each change is times its strength; another strength compiles nothing.

        Raises:
            FileNotFoundError: a folder holds no run.
            ValueError: a run has no adapter, or one of other weights.
        """
        return replace(self, weights=adapted(self.weights, strengths))

    def with_word(self, source: str | os.PathLike, word: str | None = None) -> "Run":
        """Returns the run with a word of one's own for prompts (textual inversion).

        Args:
            source: a .safetensors file of vectors, as `pipelines.embeddings.save_word` writes it.
            word: by default the file's key, or its name.

        Raises:
            ValueError: the file has vectors of another encoder; the word is there already.
        """
        encoders = getattr(self.experiment.task, "conditions", Conditions()).encoders
        given = encoders.get("text"), self.weights.get("text")
        config, params = with_word_of(self.config, *given, source, word)
        experiment = Experiment(config, self.devices)
        return replace(self, experiment=experiment, weights={**self.weights, "text": params})

    def save_word(self, path: str | os.PathLike, word: str | None = None) -> None:
        """Writes a word that the run has learned as a file; see `pipelines.embeddings.save_word`.

        Raises:
            ValueError: the run has no such word.
        """
        conditions = getattr(self.experiment.task, "conditions", Conditions())
        text = conditions.encoders.get("text")
        if not isinstance(text, OwnWords | PromptEncoder):
            raise ValueError("this run has learned no words; see configs/scenes_personal.py:word")
        save_word(text, self.weights["text"], path, word)

    def __repr__(self) -> str:
        data, task = self.config.data.name, type(self.experiment.task).__name__
        return f"Run({task} of {data}, step {self.step})"

    def _repr_html_(self) -> str:
        return display.of_run(self)

    @property
    def config(self) -> Any:
        """Returns the experiment's config."""
        return self.experiment.config

    @property
    def devices(self) -> Devices:
        """Returns the devices."""
        return self.experiment.devices

    @property
    def process(self) -> Process | None:
        """Returns the forward process, its schedule as learned; None if the task has none."""
        process = getattr(self.experiment.task, "process", None)
        return learned.bind(process, self.weights, learned.PROCESS)

    @property
    def parameterization(self) -> Parameterization:
        """Returns the parameterization of the network's output."""
        return self.experiment.task.model.parameterization

    @property
    def codec(self) -> Codec:
        """Returns the codec between pixels and the space in which diffusion runs."""
        return self.experiment.task.codec

    @property
    def shape(self) -> tuple[int, ...]:
        """Returns the shape of one sample."""
        return self.experiment.task.shape

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Returns the shape of one example in the space in which diffusion runs."""
        return self.experiment.task.latent_shape

    @property
    def num_classes(self) -> int:
        """Returns the number of classes that samples can be asked for: 0 without labels."""
        return self.experiment.evaluator.num_classes

    @property
    def maps(self) -> ControlMaps | None:
        """Returns the maps that the control network reads side by side; None for one kind alone."""
        made = (build(transforms, spec) for spec in configs.plain(self.config.transforms))
        return next((each for each in made if isinstance(each, ControlMaps)), None)

    @property
    def reference(self) -> Reference:
        """Returns the real data and features that samples are compared with."""
        return self.experiment.evaluator.reference

    def batches(self, split: str = "train", **options: Any) -> grain.DatasetIterator:
        """Returns batches of the data; see `Experiment.batches`."""
        return self.experiment.batches(split, **options)

    def num_examples(self, split: str = "train") -> int:
        """Returns the number of examples in a split of the data."""
        return len(self.experiment.source(split))

    def times(self, **options: Any) -> Float[Array, " times"]:
        """Returns the times [steps + 1] at which the solver stops."""
        return self.experiment.sampler.times(self.weights, **options)

    def denoiser(self, guidance_scale: float = 1.0, guidance: Any = "ClassifierFree") -> Denoiser:
        """Returns the denoiser `(x, t, cond) -> Prediction`: a pytree, for `jax.jit` too."""
        return self.experiment.sampler.denoiser(self.weights, guidance_scale, guidance)

    def encode(self, num: int, cond: Mapping[str, Any]) -> Cond:
        """Returns conditions for `denoiser`, encoded; see `Sampler.encode`."""
        return self.experiment.sampler.encode(self.weights, num, cond)

    def sample(self, num: int, cond: Any = None, **options: Any) -> Float[np.ndarray, "..."]:
        """Draws samples [num, ...]; the options are those of `Sampler.__call__`.

        A control network that reads several maps takes them by kind: `control={"edges": ...}`.
        """
        if "control" in options:
            size = self.shape[-3:-1]
            options["control"] = controls.by_kind(options["control"], self.maps, size)
        return self.experiment.sampler(self.weights, num, cond, **options)

    def show(
        self, num: int = 16, cond: Any = None, *, columns: int | None = None, **options: Any
    ) -> display.Shown:
        """Returns samples as a picture, or as a playing clip; the options are those of `sample`."""
        return display.show(self.sample(num, cond, **options), columns)

    def invert(self, image: Any, cond: Any = None, **options: Any) -> Float[np.ndarray, "..."]:
        """Encodes images as noise for `sample(noise=...)`; see `Sampler.invert`."""
        return self.experiment.sampler.invert(self.weights, image, cond, **options)

    def evaluate(
        self, evaluator: Any, folder: str | AnyPath = ".", **options: Any
    ) -> dict[str, Any]:
        """Returns the numbers and pictures that an evaluator yields, by name.

        `options` are the evaluator's, such as `num` or `draw`.
        """
        built = self.experiment.evaluator(evaluator, as_path(folder), **options)
        return dict(built.run(self.weights, self.step))


def load(
    workdir: str | AnyPath,
    changes: Mapping[str, Any] | None = None,
    *,
    step: int | None = None,
    devices: Devices | None = None,
    trust: Sequence[str] = (),
) -> Run:
    """Loads the average weights of a run, and frozen weights from their sources.

    Nothing else of a checkpoint is read, and the folder is left as it is.

    Args:
        workdir: the run's folder; "pretrained/NAME" is a published model of this package, from any
            folder.
        changes: fields that need not be as they were in training, such as the new place of
            weights: `{"weights.codec": "new/place"}`.
        step: of the checkpoint; None for the newest that can be read.
        devices: all of them by default.
        trust: modules of your own that its config.json may name, as may those of other runs that
            it names, from now on in this process.

    Raises:
        FileNotFoundError: there is no run in the folder.
        ValueError: it has no checkpoint yet; frozen weights are missing or others than in training;
            a change would make another model; or it names a module that is not trusted.
    """
    configs.trust(*trust)
    use_compilation_cache()
    workdir = published(workdir)
    config = read_config(workdir)
    if changes:
        try:
            config.update_from_flattened_dict(changes)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"changes={dict(changes)}: {error}") from error
        if differences := configs.differences(config, read_config(workdir, only_compared=True)):
            raise ValueError(f"not the run in {workdir} any more: {'; '.join(differences)}")
    experiment = Experiment(config, devices)
    folder = as_path(workdir) / CHECKPOINTS
    average, step = read_item(folder, AVERAGE, experiment.abstract_state().ema, step)
    experiment.table.fingerprints(as_path(workdir))
    weights = experiment.table.adapt({**experiment.load_frozen(), **average})
    return Run(experiment, weights, step, as_path(workdir))
