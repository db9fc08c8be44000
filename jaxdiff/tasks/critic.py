"""A critic of samples: a discriminator on the features of the teacher, or of a fake score."""

from collections.abc import Mapping
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
class Discriminator:
    """A network on the features of a model, its trunk, for x of a process.

    `trunk_name` is the name of the trunk's weights: "teacher", or a companion of the student.
    """

    network: Any
    trunk: Model
    trunk_name: str
    process: Process

    def init(self, key: Key[Array, ""], x: Array, cond: Cond) -> Params:
        """Returns first weights, for data and conditions of these shapes.

        Raises:
            ValueError: the discriminator reads layers that the trunk does not have.
        """
        params = jax.eval_shape(lambda key: self.trunk.init(key, x, cond), key)
        t = jnp.zeros(len(x), x.dtype)
        given = {**dict.fromkeys(self.trunk.scalars, t), **cond}
        bound = lambda params: BoundCritic(self, BoundModel(self.trunk, params), {}, {})
        features = jax.eval_shape(lambda params: bound(params).features(x, t, given), params)
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), features)
        return self.network.init(random.stream(key, DISCRIMINATOR), zeros)["params"]

    def bind(self, weights: Mapping[str, Params], empty: Cond) -> "BoundCritic":
        """Returns the critic that some weights make; those of a teacher are fixed.

        `empty` replaces dropped conditions where the trunk has no embeddings for them.
        """
        if self.trunk_name == TEACHER:
            trunk = fixed(self.trunk.bind(weights[TEACHER]))
        else:
            trunk = self.trunk.bind(weights, name=self.trunk_name)
        return BoundCritic(self, trunk, weights[DISCRIMINATOR], empty)


@pytree(data=("trunk", "params", "empty"))
@dataclass(frozen=True)
class BoundCritic:
    """A discriminator with its weights and its trunk's: a critic."""

    discriminator: Discriminator
    trunk: BoundModel
    params: Params
    empty: Mapping[str, Any]

    def features(
        self, x: Float[Array, "b *shape"], t: Float[Array, " b"], cond: Cond
    ) -> dict[str, Array]:
        """Returns the features of x_t that the discriminator reads."""
        cond = fill(cond, self.empty, len(x)) if self.empty else cond
        own, here = self.discriminator.trunk.process, self.discriminator.process
        x, t, cond = (x, t, cond) if own == here else moved(own, here, x, t, cond)
        return self.trunk.features(x, t, cond, getattr(self.discriminator.network, "layers", ()))

    def scores(self, features: Mapping[str, Array]) -> Float[Array, "b n"]:
        """Returns the scores of features: high for data."""
        return self.discriminator.network.apply({"params": self.params}, features)


def discriminator_of(objective: Any, model: Model, teacher: Model | None) -> Discriminator | None:
    """Returns the discriminator that an objective asks for, on the teacher or a copy of the model.

    Raises:
        ValueError: a name or an option is unknown.
    """
    name = getattr(objective, "trunk", "")
    trunk = teacher if name == TEACHER else model
    if not name or trunk is None:
        return None
    return Discriminator(build(networks, objective.discriminator), trunk, name, model.process)
