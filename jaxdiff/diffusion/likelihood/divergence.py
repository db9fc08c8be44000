"""The divergence of a vector field, exactly or by probes, in bounded memory.

Each method returns f(z) with divergences [b, k]: one column, or one for each probe. They are
products of vectors with the Jacobian, `chunk` of them at a time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxdiff import random
from jaxdiff.options import Size, checked
from jaxdiff.typing import Data

Field = Callable[[Array], Array]
"""A vector field on examples [b, ...], each by itself."""


@runtime_checkable
class Divergence(Protocol):
    """A method for the divergence of a vector field."""

    @property
    def columns(self) -> int:
        """Returns the number of values for each example."""

    def __call__(
        self, f: Field, z: Data, keys: Key[Array, " b"]
    ) -> tuple[Data, Float[Array, "b k"]]:
        """Returns f(z) and its divergences at z."""


@checked
@dataclass(frozen=True)
class Exact:
    """The trace of the Jacobian, a product for each dimension."""

    chunk: Size = 16
    columns = 1

    def __call__(
        self, f: Field, z: Data, keys: Key[Array, " b"]
    ) -> tuple[Data, Float[Array, "b 1"]]:
        """Returns f(z) and its divergence."""
        value, pullback = jax.vjp(f, z)
        flat = z.reshape(len(z), -1)

        def diagonal(i):
            unit = jnp.zeros_like(flat).at[:, i].set(1).reshape(z.shape)
            return pullback(unit)[0].reshape(flat.shape)[:, i]

        entries = jax.lax.map(diagonal, jnp.arange(flat.shape[1]), batch_size=self.chunk)
        return value, jnp.sum(entries, axis=0)[:, None]


@checked
@dataclass(frozen=True)
class Hutchinson:
    """E[εᵀJε] over probes with mean 0 and covariance I (Hutchinson 1989; Grathwohl et al. 2019)."""

    probes: Size = 1
    distribution: Literal["rademacher", "gaussian"] = "rademacher"
    chunk: Size = 16

    @property
    def columns(self) -> int:
        """Returns the number of probes."""
        return self.probes

    def __call__(
        self, f: Field, z: Data, keys: Key[Array, " b"]
    ) -> tuple[Data, Float[Array, "b k"]]:
        """Returns f(z) and one estimate of its divergence for each probe."""
        value, pullback = jax.vjp(f, z)
        draw = _PROBES[self.distribution]

        def estimate(i):
            probe = draw(random.fold_in(random.stream(keys, "probe"), i), z)
            return jnp.sum((pullback(probe)[0] * probe).reshape(len(z), -1), axis=1)

        return value, jax.lax.map(estimate, jnp.arange(self.probes), batch_size=self.chunk).T


def _rademacher(keys, like):
    return jax.vmap(lambda key, x: jax.random.rademacher(key, x.shape, x.dtype))(keys, like)


_PROBES = {"rademacher": _rademacher, "gaussian": random.normal}
