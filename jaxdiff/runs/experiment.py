"""An experiment: a config's task, built and checked, with its data, its state and its launch."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import grain
import jax
from ml_collections import ConfigDict

from jaxdiff import config as configs
from jaxdiff import tasks
from jaxdiff.config.build import build
from jaxdiff.data import pipeline, sources
from jaxdiff.files import AnyPath, as_path
from jaxdiff.random import stream
from jaxdiff.runs import display
from jaxdiff.runs.evaluation import Evaluation
from jaxdiff.runs.launch import launch
from jaxdiff.training import ema, state
from jaxdiff.training.optimizer import make_optimizer
from jaxdiff.training.runner import Runner
from jaxdiff.training.state import TrainState
from jaxdiff.training.step import Recipe, check_losses, with_floats
from jaxdiff.typing import Params
from jaxdiff.weights.devices import Devices


def recipe_of(config: Any) -> Recipe:
    """Returns the recipe of a config's training step; reads nothing.

    Raises:
        ValueError: a name is unknown, or the parts do not fit each other.
    """
    optimizer, rates = make_optimizer(
        config.optimizer.to_dict(), config.optimizers.to_dict(), config.train.steps
    )
    return Recipe(
        task=build(tasks, configs.plain(config.task), config=config),
        optimizer=optimizer,
        rates=rates,
        ema_decay=build(ema, config.ema),
        batch_size=config.batch_size,
        seed=config.seed,
        accumulate=config.accumulate,
    )


class Experiment:
    """A task with its data and its devices: `Experiment(config).train(workdir)`.

    Attributes:
        config: as given.
        recipe: of the training step. `arguments` are in it, paths of `Recipe.floats` that are
            arguments of the step; constants, with a warning, where the step cannot be traced so.
        task: what is trained, of `jaxdiff.tasks`; `table`, its weights.
        sampler: draws samples from weights; `evaluator` makes what measures them, by name.
        runner: the training step on the devices.

    Raises:
        ValueError: a field or a name is unknown, or the parts do not fit each other.
    """

    def __init__(
        self,
        config: configs.Config,
        devices: Devices | None = None,
        arguments: Sequence[str] = (),
    ):
        """Builds and checks every part, for all devices or those given; reads nothing."""
        configs.check(config)
        self.config: Any = ConfigDict(dict(config))
        self._sources: dict[str, sources.Source] = {}
        self.devices = devices or Devices(parallel=self.config.parallel)
        self.recipe = recipe_of(self.config)
        self.task: Any = self.recipe.task  # which has more than a task must, by its kind
        self.table = self.recipe.table
        check_losses(self.recipe, self._shapes, self.devices.count)
        if arguments:
            self.recipe = with_floats(self.recipe, self._shapes, arguments)
        self.runner = Runner(self.recipe, self.devices)
        self.sampler = self.task.sampler(self.devices)
        self.evaluator = Evaluation(
            self.config, self.task, self.devices, self.sampler, self.batches
        )

    def _repr_html_(self) -> str:
        return display.of_experiment(self)

    def source(self, split: str = "train") -> sources.Source:
        """Opens the data once for each split, preparing them on first use.

        Raises:
            ValueError: their shape or their classes are not those of the config.
        """
        if split not in self._sources:
            data, transforms = self.config.data.to_dict(), self.config.transforms
            self._sources[split] = pipeline.open_data(data, split, transforms)
        return self._sources[split]

    def batches(self, split: str = "train", **options: Any) -> grain.DatasetIterator:
        """Returns the batches that training would see, or others by the loader's options."""
        options = {
            "batch_size": self.config.batch_size,
            "seed": self.config.seed,
            "transforms": self.config.transforms,
            "process_index": jax.process_index(),
            "process_count": jax.process_count(),
            "workers": self.config.train.workers,
            "prepare": self.task.prepare,
            **options,
        }
        return pipeline.loader(self.source(split), **options)

    def init(self) -> TrainState:
        """Returns the state before the first step: weights from their sources, the others random.

        Raises:
            ValueError: a source is not named, missing, or of another network.
        """
        targets = self.abstract_state()
        frozen = self.load_frozen()
        loaded = {**frozen, **self.table.load(targets.params, frozen=False)}
        made = self.runner.init(self._create, targets.replace(frozen={}), self._init_key, loaded)
        return made.replace(frozen=frozen)

    def abstract_state(self) -> TrainState:
        """Returns the state's shapes, types and shardings; reads nothing."""
        return self.devices.placed(self._shapes)

    def load_frozen(self) -> dict[str, Params]:
        """Returns the frozen weights on the devices: read from their sources, or random.

        Raises:
            ValueError: a source is not named, missing, or of another network; says which field.
        """
        targets = self.abstract_state().frozen
        loaded = self.table.load(targets)
        if len(loaded) == len(targets):
            return loaded
        make = functools.partial(self.table.create, frozen=True)
        where = self.devices.shardings({"frozen": targets})["frozen"]
        return jax.jit(make, out_shardings=where)(self._init_key, loaded)

    def train(self, workdir: str | AnyPath, until: int | None = None) -> TrainState:
        """Trains in `workdir` to the last step, or to step `until`, and returns the last state.

        A run begins from its newest checkpoint; without one, from the sources of `config.weights`,
        and where none is named, at random. The config's evaluators run at its cadence; their
        pictures are in "samples".

        Raises:
            ValueError: the folder holds a run of another config, or of other weights; says which
                fields differ. Or weights are missing.
            OSError: the folder cannot be written to.
        """
        return launch(self, as_path(workdir), until)

    def average(self, state: TrainState) -> dict[str, Params]:
        """Returns the weights of a state that samples are drawn from, adapters applied."""
        return self.table.adapt(state.average)

    @functools.cached_property
    def _shapes(self):
        params, frozen = self.table.split(self.table.shapes())
        return jax.eval_shape(self._state, params).replace(frozen=frozen)

    @property
    def _init_key(self):
        # Dozens of draws: threefry takes XLA on CPU half a minute to compile, this a few seconds.
        return stream(jax.random.key(self.config.seed, impl="rbg"), "init")

    def _create(self, key, loaded):
        return self._state(self.table.create(key, loaded))

    def _state(self, params: Mapping[str, Params]) -> TrainState:
        return state.create(
            params,
            self.recipe.optimizer,
            statistics=self.task.begin(),
            averaged=self.table.averaged,
        )
