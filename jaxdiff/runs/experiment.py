"""An experiment: everything that a config describes, built and checked but not yet run."""

import functools
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grain
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxdiff import codecs, networks, objectives
from jaxdiff import config as configs
from jaxdiff.conditioning import encoders
from jaxdiff.conditioning.conditions import Conditions
from jaxdiff.config.build import build
from jaxdiff.data import pipeline, sources
from jaxdiff.diffusion import (
    parameterizations,
    preconditioning,
    schedules,
    time_sampling,
    weighting,
)
from jaxdiff.diffusion.process import Process
from jaxdiff.evaluation import evaluators
from jaxdiff.evaluation.reference import Reference, make_reference
from jaxdiff.random import stream
from jaxdiff.runs.sampler import Options, Sampler
from jaxdiff.runs.workdir import cache_folder, open_workdir, use_compilation_cache
from jaxdiff.tasks.model import Model
from jaxdiff.training import ema, loop, state
from jaxdiff.training.checkpoint import Checkpoints
from jaxdiff.training.metrics import Meter
from jaxdiff.training.optimizer import make_optimizer
from jaxdiff.training.runner import Runner
from jaxdiff.training.state import TrainState
from jaxdiff.training.step import Recipe
from jaxdiff.typing import Params
from jaxdiff.weights import frozen, learned
from jaxdiff.weights.partition import make_mesh

logger = logging.getLogger(__name__)


class Experiment:
    """The parts that a config names, and what is done with them: training and sampling.

    Attributes:
        config: as given, every field there.
        process, model, codec, conditions, objective: the mathematics.
        frozen: those parts of it whose weights are read from files.
        recipe: those and the optimizer, for `training.step`.
        runner: the recipe on devices.

    Raises:
        ValueError: a field or a name is unknown, or the parts do not fit each other.
    """

    def __init__(self, config: configs.Config, mesh: Mesh | None = None):
        """Builds and checks every part, for all devices or a mesh; compiles and reads nothing."""
        configs.check(config)
        self.config = config = ConfigDict(config)
        use_compilation_cache()
        self.process = Process(build(schedules, config.process))
        parameterization = build(parameterizations, config.parameterization)
        self.process.check(parameterization, jnp.ones(1))
        self.model = Model(
            network=self._network(),
            process=self.process,
            parameterization=parameterization,
            input_scaling=build(preconditioning, config.input_scaling),
            time_input=build(preconditioning, config.time_input),
        )
        self.codec = build(codecs, _plain(config.codec))
        self.conditions = Conditions(
            names=tuple(config.conditions),
            encoders={n: build(encoders, spec) for n, spec in _plain(config.encoders).items()},
            num_classes=config.data.num_classes,
            dropout=config.condition_dropout,
            learned_null=getattr(self.model.network, "learned_null", True),
        )
        self.frozen = frozen.parts(self.codec, self.conditions.encoders)
        self.objective = build(
            objectives,
            config.objective,
            process=self.process,
            parameterization=build(
                parameterizations, config.loss_parameterization or config.parameterization
            ),
            time_sampling=build(time_sampling, config.time_sampling),
            weighting=build(weighting, config.weighting),
        )
        optimizer, self.learning_rate = make_optimizer(config.optimizer.to_dict())
        self.recipe = Recipe(
            model=self.model,
            codec=self.codec,
            objective=self.objective,
            optimizer=optimizer,
            ema_decay=build(ema, config.ema),
            batch_size=config.batch_size,
            seed=config.seed,
            conditions=self.conditions,
            accumulate=config.accumulate,
        )
        self.runner = Runner(self.recipe, config.parallel, mesh or make_mesh())
        # Finds what the network cannot take, and what it does not read.
        create = jax.make_jaxpr(self._create, return_shape=True)
        traced, self._shapes = create(self._init_key, self._example)
        self.conditions.check_read(self._example, traced)
        self.sampler = Sampler(
            self.model,
            self.codec,
            self.shape,
            self.latent_shape,
            conditions=self.conditions,
            options=Options(**config.sampling),
            mesh=self.runner.mesh,
        )
        for name in config.evaluation.evaluators:
            self._evaluator(name, Path())

    @property
    def shape(self) -> tuple[int, ...]:
        """Returns the shape of one example."""
        return tuple(self.config.data.shape)

    def source(self, split: str = "train") -> sources.Source:
        """Opens the data, preparing them on first use.

        Raises:
            ValueError: they are not of the shape or the classes that the config says.
        """
        return pipeline.open_data(self.config.data.to_dict(), split, self.config.transforms)

    def batches(self, split: str = "train", **options: Any) -> grain.DatasetIterator:
        """Returns the batches that training would see, or others by the loader's options."""
        options = {
            "batch_size": self.config.batch_size,
            "seed": self.config.seed,
            "transforms": self.config.transforms,
            "process_index": jax.process_index(),
            "process_count": jax.process_count(),
            "workers": self.config.train.workers,
            "prepare": self.conditions.prepare,
            **options,
        }
        return pipeline.loader(self.source(split), **options)

    @functools.cached_property
    def reference(self) -> Reference:
        """Returns the real data and features that samples are held against."""
        once = {"batch_size": 500, "epochs": 1, "shuffle": False, "process_count": 1}
        once |= {"process_index": 0, "prepare": None}
        data = {**self.config.data.to_dict(), "transforms": list(self.config.transforms)}
        return make_reference(
            self.batches("train", **once),
            self.batches(self.config.evaluation.split, **once),
            data,
            cache_folder() / "classifiers",
        )

    @property
    def score_classes(self) -> int:
        """Returns the number of classes that samples can be asked for: 0 without labels."""
        return self.config.data.num_classes if "label" in self.conditions.names else 0

    def init(self) -> TrainState:
        """Returns the state before the first step, on the devices.

        Raises:
            ValueError: the weights of a frozen part are not named, missing, or of another network.
        """
        created = self.runner.init(self._create, self._shapes, self._init_key)
        return created.replace(frozen=self.load_frozen())

    def abstract_state(self) -> TrainState:
        """Returns the state's shapes, types and shardings; reads nothing."""
        return self.runner.placed(self._shapes.replace(frozen=self._frozen_shapes))

    def load_frozen(self) -> dict[str, Params]:
        """Reads the parameters of the frozen parts onto the devices.

        Raises:
            ValueError: they are not named, missing, or of another network; says which field.
        """
        return frozen.load(self.frozen, self.abstract_state().frozen)

    def train(self, workdir: str | Path) -> TrainState:
        """Trains in `workdir`, from its newest checkpoint where there is one, to the last state.

        The config's evaluators run at its cadence; their pictures are in "samples".

        Raises:
            ValueError: the folder holds a run of another config, or of other weights; says which
                fields differ. Or weights are missing.
            OSError: the folder cannot be written to.
        """
        frozen.require(self.frozen)
        workdir, train = Path(workdir), self.config.train
        cadence = loop.Cadence(
            train.steps, train.log_every, train.checkpoint_every, train.evaluate_every
        )
        data = self.batches()
        prints = frozen.check(self.frozen, workdir)
        open_workdir(workdir, self.config)
        frozen.record(prints, workdir)
        checkpoints = Checkpoints(workdir / "checkpoints", train.keep_checkpoints)
        restored = checkpoints.restore(self.abstract_state(), data)
        if restored is None:
            state, meter = self.init(), Meter()
        else:
            state = restored[0].replace(frozen=self.load_frozen())
            meter = Meter(restored[1])
            logger.info("resuming at step %d", int(state.step))

        names = self.config.evaluation.evaluators
        chosen = [self._evaluator(name, workdir / "samples") for name in names]

        def evaluate(state: TrainState) -> Iterator[tuple[str, Any]]:
            return (found for evaluator in chosen for found in evaluator.run(state))

        run = loop.Run(
            workdir=workdir,
            cadence=cadence,
            checkpoints=checkpoints,
            config=configs.as_dict(self.config),
            fields=("x", *self.config.conditions),
            learning_rate=self.learning_rate,
            evaluate=evaluate,
        )
        try:
            return loop.train(run, self.runner, state, data, meter)
        finally:
            checkpoints.close()

    @functools.cached_property
    def latent_shape(self) -> tuple[int, ...]:
        """Returns the shape of one example in the space in which diffusion runs."""
        x = jax.ShapeDtypeStruct((1, *self.shape), jnp.float32)
        keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 1))
        params = self._frozen_shapes.get("codec")
        return jax.eval_shape(self.codec.encode, params, x, keys).shape[1:]

    @functools.cached_property
    def _frozen_shapes(self):
        return frozen.shapes(self.frozen)

    @functools.cached_property
    def _example(self):
        return self.conditions.example(self._frozen_shapes)

    @property
    def _init_key(self):
        # Dozens of draws: threefry takes XLA on CPU half a minute to compile, this a few seconds.
        return stream(jax.random.key(self.config.seed, impl="rbg"), "init")

    def _create(self, key, cond=None):
        x = jnp.zeros((1, *self.latent_shape))
        if cond is None:
            cond = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), self._example)
        params = {**self.model.init(key, x, cond), **learned.init(self.objective)}
        statistics = learned.begin(self.objective)
        return state.create(params, self.recipe.optimizer, statistics=statistics)

    def _evaluator(self, spec, folder):
        return build(
            evaluators,
            spec,
            draw=self.sampler,
            num_classes=self.score_classes,
            folder=folder,
            reference=lambda: self.reference,
            num=self.config.evaluation.num,
        )

    def _network(self):
        conditional = "label" in self.config.conditions
        return build(
            networks,
            self.config.network.to_dict(),
            num_classes=self.config.data.num_classes if conditional else None,
            dtype=jnp.dtype(self.config.compute_dtype),
        )


def _plain(spec):
    return spec.to_dict() if isinstance(spec, ConfigDict) else spec
