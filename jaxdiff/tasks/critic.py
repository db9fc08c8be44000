"""Features of a model, the teacher or a fake score, and critics of samples on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxdiff import networks, random
from jaxdiff.condition import fill
from jaxdiff.config.build import build
from jaxdiff.diffusion.process import Process
from jaxdiff.diffusion.translation import moved
from jaxdiff.objectives.players import fixed
from jaxdiff.tasks.model import BoundModel, Model
from jaxdiff.trees import pytree
from jaxdiff.typing import Cond, Params

DISCRIMINATOR, TEACHER = "discriminator", "teacher"
"""Names of weights."""


@dataclass(frozen=True)
class Trunk:
    """The layers of a model that are read as features, for x of a process.

    `name` is that of the model's weights: "teacher", or a companion of the student.
    """

    model: Model
    name: str
    layers: Sequence[str]
    process: Process

    def shapes(self, x: Array, cond: Cond) -> dict[str, Any]:
        """Returns the features' shapes, for data and conditions of these shapes.

        Raises:
            ValueError: the model does not have one of the layers.
        """
        key, t = jax.random.key(0), jnp.zeros(len(x), x.dtype)
        params = jax.eval_shape(lambda: self.model.init(key, x, cond))
        given = {**dict.fromkeys(self.model.scalars, t), **cond}
        read = lambda params: BoundTrunk(self, BoundModel(self.model, params), {})(x, t, given)
        return jax.eval_shape(read, params)

    def bind(self, weights: Mapping[str, Params], empty: Cond) -> "BoundTrunk":
        """Returns the function that some weights make; those of a teacher are fixed.

        `empty` replaces dropped conditions where the model has no embeddings for them.
        """
        if self.name == TEACHER:
            return BoundTrunk(self, fixed(self.model.bind(weights[TEACHER])), empty)
        return BoundTrunk(self, self.model.bind(weights, name=self.name), empty)


@pytree(data=("model", "empty"))
@dataclass(frozen=True)
class BoundTrunk:
    """A trunk with its weights: features by their layers' names."""

    trunk: Trunk
    model: BoundModel
    empty: Mapping[str, Any]

    def __call__(
        self, x: Float[Array, "b *shape"], t: Float[Array, " b"], cond: Cond
    ) -> dict[str, Array]:
        """Returns the features of x_t."""
        cond = fill(cond, self.empty, len(x)) if self.empty else cond
        own, here = self.trunk.model.process, self.trunk.process
        x, t, cond = (x, t, cond) if own == here else moved(own, here, x, t, cond)
        return self.model.features(x, t, cond, self.trunk.layers)


@dataclass(frozen=True)
class Discriminator:
    """A network on the features of a trunk."""

    network: Any
    trunk: Trunk

    def init(self, key: Key[Array, ""], x: Array, cond: Cond) -> Params:
        """Returns first weights, for data and conditions of these shapes.

        Raises:
            ValueError: the discriminator reads layers that the trunk does not have.
        """
        shapes = self.trunk.shapes(x, cond)
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
        return self.network.init(random.stream(key, DISCRIMINATOR), zeros)["params"]

    def bind(self, weights: Mapping[str, Params], empty: Cond) -> "BoundCritic":
        """Returns the critic that some weights make."""
        trunk = self.trunk.bind(weights, empty)
        return BoundCritic(self.network, trunk, weights[DISCRIMINATOR])


@pytree(data=("features", "params"))
@dataclass(frozen=True)
class BoundCritic:
    """A discriminator with its weights and its trunk: a critic."""

    network: Any
    features: BoundTrunk
    params: Params

    def scores(self, features: Mapping[str, Array]) -> Float[Array, "b n"]:
        """Returns the scores of features: high for data."""
        return self.network.apply({"params": self.params}, features)


def discriminator_of(objective: Any, model: Model, teacher: Model | None) -> Discriminator | None:
    """Returns the discriminator that an objective asks for, on the teacher or a copy of the model.

    Raises:
        ValueError: a name or an option is unknown.
    """
    name = getattr(objective, "trunk", "")
    trunk = teacher if name == TEACHER else model
    if not name or trunk is None:
        return None
    network = build(networks, objective.discriminator)
    return Discriminator(network, Trunk(trunk, name, getattr(network, "layers", ()), model.process))


def encoder_of(objective: Any, model: Model, teacher: Model | None) -> Trunk | None:
    """Returns the features of the teacher that an objective asks for, if there is a teacher."""
    if teacher is None or getattr(objective, "encoder", "") != TEACHER:
        return None
    return Trunk(teacher, TEACHER, objective.layers, model.process)
