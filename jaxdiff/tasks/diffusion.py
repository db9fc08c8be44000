"""The task of diffusion: a model of data, or of a codec's latents, under conditions."""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxdiff import codecs, random
from jaxdiff import config as configs
from jaxdiff.codecs.posterior import latents
from jaxdiff.conditioning import encoders
from jaxdiff.conditioning.conditions import Conditions, filled
from jaxdiff.config.build import build
from jaxdiff.diffusion.translation import check_translation, translated
from jaxdiff.networks.inputs import Inputs
from jaxdiff.objectives.players import fixed
from jaxdiff.pretrained.families import read_network
from jaxdiff.tasks import control_training, students
from jaxdiff.tasks.contrastive_runs import perceptual_of, perceptual_weights
from jaxdiff.tasks.critic import DISCRIMINATOR, discriminator_of, encoder_of
from jaxdiff.tasks.entries import frozen_entries, gained
from jaxdiff.tasks.model import build_model, build_objective, model_of_run
from jaxdiff.tasks.sampler import Sampler
from jaxdiff.tasks.sampling_options import Options
from jaxdiff.training.task import Losses
from jaxdiff.typing import REMEMBERED, Draw, Frozen, Params, Roles
from jaxdiff.weights import adapters, learned, sources
from jaxdiff.weights.configured import build_part, given
from jaxdiff.weights.devices import Devices
from jaxdiff.weights.table import Table, Weights

OBJECTIVE = "objective"
"""The place from which learned parts of the objective are named."""


class Diffusion:
    """A diffusion model, trained by an objective of `jaxdiff.objectives`.

    Attributes:
        process, model, codec, conditions, objective: the mathematics.
        shape, latent_shape: of one example, and of one in the space in which diffusion runs.

    Raises:
        ValueError: a name is unknown, or the parts do not fit each other.
    """

    def __init__(self, config: Any):
        """Builds and checks every part; compiles and reads nothing."""
        self.config = config
        self.shape = tuple(config.data.shape)
        self.model = build_model(config)
        self.process = self.model.process
        self.codec = build_part(config, codecs, "codec", config.codec)
        self.conditions = Conditions(
            names=tuple(config.conditions),
            encoders={
                name: build_part(config, encoders, name, spec)
                for name, spec in config.encoders.items()
            },
            num_classes=config.data.num_classes,
            dropout=config.condition_dropout,
            learned_null=getattr(self.model.network, "inputs", Inputs()).learned_null,
        )
        if "codec" in self.conditions.encoders:
            raise ValueError("encoders has 'codec', which is the autoencoder's name")
        parts = {"codec": self.codec, **self.conditions.encoders}
        self._frozen = {n: part for n, part in parts.items() if isinstance(part, Frozen)}
        steered = configs.plain(config.control), self.model.network, self.shape, self.latent_shape
        self.model = dataclasses.replace(self.model, controls=control_training.of_config(*steered))
        self.objective = build_objective(config, self.model, self.latent_shape)
        self.teacher = self._teacher(config.weights.get("teacher", ""))
        students.check_objective(self.objective, self.model, self.teacher, config)
        models = self.model, self.teacher
        self.discriminator = discriminator_of(self.objective, *models)
        self.encoder = encoder_of(self.objective, *models)
        self.perceptual = None
        if getattr(self.objective, "needs_perceptual", False):
            self.perceptual = perceptual_of(config.weights.perceptual)
        follows = self.teacher and students.is_student(self.objective) and not self.encoder
        of_teacher = 1.0
        if follows:
            of_teacher = students.guidance_of_run(config.weights.teacher, self.latent_shape)
        self._guided = students.guidance_within(self.objective, of_teacher)
        if self._begins_as_teacher():
            students.check_beginning(config.weights.teacher, config)
        # Further data of the examples, such as the picture that was not chosen.
        self._pairs = tuple(getattr(self.objective, "pairs", ()))
        # Classes, of which the network knows only what its conditions say.
        judged = getattr(self.objective, "judged", ())
        self._judged = tuple(name for name in judged if name not in self.conditions.names)
        own = (*self._pairs, *self._judged)
        self.fields = ("x", *own, *self.conditions.names, *dict(self.model.controls))
        self.players = getattr(self.objective, "players", {"model": tuple(self._trained())})
        # Finds what the network cannot take, and conditions that it does not read.
        traced, self._network_shapes = jax.make_jaxpr(self._init_network, return_shape=True)(
            jax.random.key(0, impl="rbg"), self._example_cond
        )
        self.conditions.check_read(self._example_cond, traced)
        if self.encoder is not None:
            self.encoder.shapes(*self._zeros())

    @property
    def per_example(self) -> bool:
        """Returns whether the losses of examples are independent."""
        return getattr(self.objective, "per_example", True)

    def table(self) -> Table:
        """Returns the weights: the network's, learned parts', frozen parts', a teacher's."""
        entries = {
            "network": Weights(
                init=self._init_network,
                shapes=lambda: self._network_shapes,
                **given(self.config, "network", self._read_network),
            )
        }
        source = entries["network"].source
        if self._begins_as_teacher():
            source = sources.OfRun(self.config.weights.teacher)
        if isinstance(source, sources.OfRun):
            source = dataclasses.replace(source, new=(*source.new, *gained(self.model)))
            entries["network"] = dataclasses.replace(entries["network"], source=source)
        entries |= control_training.entries(
            self.model.controls, entries["network"], self.config, self._zeros()
        )
        for name in self._companions:
            entries[name] = dataclasses.replace(
                entries["network"], source=sources.Like("network"), averaged=False
            )
        if (discriminator := self.discriminator) is not None:
            init = lambda key: discriminator.init(key, *self._zeros())
            entries[DISCRIMINATOR] = Weights(init=init, averaged=False)
        for place, part in self._learned():
            entries[place] = Weights(init=lambda key, part=part: part.init())
        entries |= frozen_entries(self.config, self._frozen)
        if self.teacher is not None:
            source = sources.OfRun(self.config.weights.teacher, name="")
            entries["teacher"] = Weights(
                shapes=source.shapes, source=source, trained=False, config_field="weights.teacher"
            )
        if self.perceptual is not None:
            entries["perceptual"] = perceptual_weights(self.perceptual)
        known = {*entries, *self.config.adapters}
        if unknown := [n for n, spec in self.config.weights.items() if spec and n not in known]:
            raise ValueError(f"weights has {unknown}; this task has {', '.join(entries)}")
        adapting = {n: build(adapters, spec) for n, spec in self.config.adapters.items()}
        return Table(entries, adapting)

    def example(self, batch: int) -> dict[str, Any]:
        """Returns the shapes of a batch on the devices."""
        data = jax.ShapeDtypeStruct((batch, *self.shape), jnp.float32)
        whole = jax.ShapeDtypeStruct((batch,), jnp.int32)
        return {
            "x": data,
            **dict.fromkeys(self._pairs, data),
            **dict.fromkeys(self._judged, whole),
            "position": whole,
            **self.conditions.inputs(batch),
            **control_training.inputs(self.model.controls, batch, self.latent_shape),
        }

    def prepare(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Returns a batch, on the host, in which texts are token ids."""
        control_training.check_maps(self.model.controls, batch, self.latent_shape)
        return self.conditions.prepare(batch)

    def begin(self) -> dict[str, Any]:
        """Returns the first statistics of the objective's adaptive parts."""
        return learned.begin(self.objective, OBJECTIVE)

    def losses(
        self,
        weights: Mapping[str, Params],
        average: Mapping[str, Params],
        statistics: Mapping[str, Any],
        batch: Mapping[str, Any],
        draw: Draw,
        step: Array,
        axis: str | None = None,
    ) -> Losses:
        """Returns the objective's loss of a batch, with condition dropout.

        In the batch, a `Posterior` may stand for the pixels, and a `Condition` for a prompt.
        """
        keys = draw.keys
        codec_keys, codec_params = random.stream(keys, "codec"), weights.get("codec")
        x0 = latents(self.codec, codec_params, batch["x"], codec_keys)
        inputs = {name: batch[name] for name in self.conditions.names}
        cond = self.conditions.drop(self.conditions.encode(weights, inputs), keys)
        empty = self.conditions.empty(weights)
        dropout_keys = random.stream(keys, "dropout")
        bind = control_training.binding(self.model, batch)
        student = bind(weights, dropout_keys=dropout_keys)
        roles = Roles(
            filled(student, empty),
            target=filled(bind(average), empty),
            decode=functools.partial(self.codec.decode, codec_params),
            judged={name: batch[name] for name in self._judged},
        )
        if self.teacher is not None:
            teacher = fixed(self.teacher.bind(weights["teacher"]))
            teacher = translated(teacher, self.teacher.process, self.process)
            roles = roles._replace(teacher=filled(teacher, empty))
        bound = lambda name: filled(self.model.bind(weights, name=name), empty)
        roles = roles._replace(others={name: bound(name) for name in self._companions})
        if self.discriminator is not None:
            roles = roles._replace(critic=self.discriminator.bind(weights, empty))
        if self.encoder is not None:
            roles = roles._replace(encoder=self.encoder.bind(weights, empty))
        if self.perceptual is not None:
            features = fixed(weights["perceptual"])
            roles = roles._replace(perceptual=functools.partial(self.perceptual.distance, features))
        for name in self._pairs:
            cond = {**cond, name: self.codec.encode(codec_params, batch[name], codec_keys)}
        prompts = getattr(self.objective, "prompts", {})
        cond = {**cond, **self.conditions.prompted(weights, len(x0), prompts)}
        objective = learned.bind(self.objective, {**weights, **statistics}, OBJECTIVE)
        loss, metrics = objective(roles, x0, cond, draw, step)
        changes = control_training.gains(self.model, weights, empty, x0, cond, draw, batch)
        metrics = {**metrics, **changes}
        by_player = loss if isinstance(loss, Mapping) else {next(iter(self.players)): loss}
        total = sum(by_player.values(), jnp.zeros(()))
        observed = learned.observe(objective, draw, total, metrics, OBJECTIVE)
        logged = {name: value for name, value in metrics.items() if name != REMEMBERED}
        return Losses(by_player, logged, observed)

    def absorb(self, statistics: Mapping[str, Any], observed: Any) -> dict[str, Any]:
        """Returns the new statistics of the objective's adaptive parts."""
        return learned.absorb(
            learned.bind(self.objective, statistics, OBJECTIVE), observed, OBJECTIVE
        )

    def sampler(self, devices: Devices) -> Sampler:
        """Returns the sampler; checks the config's `sampling`."""
        return Sampler(
            self.model,
            self.codec,
            self.shape,
            self.latent_shape,
            conditions=self.conditions,
            options=Options().changed(**self.config.sampling),
            devices=devices,
            learns=students.learns(self.objective),
            guided=self._guided,
        )

    @functools.cached_property
    def latent_shape(self) -> tuple[int, ...]:
        """Returns the shape of one example in the space in which diffusion runs."""
        x = jax.ShapeDtypeStruct((1, *self.shape), jnp.float32)
        keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 1))
        params = self._frozen_shapes.get("codec")
        return jax.eval_shape(self.codec.encode, params, x, keys).shape[1:]

    @functools.cached_property
    def _frozen_shapes(self):
        return {name: part.shapes() for name, part in self._frozen.items()}

    @functools.cached_property
    def _example_cond(self):
        return self.conditions.example(self._frozen_shapes)

    def _init_network(self, key, cond=None):
        x, zeros = self._zeros()
        return self.model.init(key, x, zeros if cond is None else cond)

    def _zeros(self):
        cond = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), self._example_cond)
        return jnp.zeros((1, *self.latent_shape)), cond

    def _learned(self):
        parts = dict(learned.parts(self.process, learned.PROCESS))
        parts |= dict(learned.parts(self.objective, OBJECTIVE))
        return [(p, part) for p, part in parts.items() if isinstance(part, learned.LearnedPart)]

    def _trained(self):
        networks = [name for name, _ in self.model.controls] or ["network"]
        return (*networks, *(place for place, _ in self._learned()), *self.config.adapters)

    def _teacher(self, path):
        """Returns the model of the run that `config.weights.teacher` names, of the same data."""
        if not path:
            return None
        try:
            model = model_of_run(path, self.shape)
            check_translation(model.process, self.process)
            students.check_teacher(path, self.config)
            return model
        except (ValueError, FileNotFoundError) as error:
            raise ValueError(f"weights.teacher: {error}") from error

    @property
    def _companions(self):
        return getattr(self.objective, "companions", ())

    def _begins_as_teacher(self):
        named = self.config.weights.get("network", "")
        return self.teacher and not named and students.is_student(self.objective)

    def _read_network(self, path: Path, target: Params) -> Params:
        return read_network(path, self.model.network, target)
