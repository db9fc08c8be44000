"""Maps of attention: read, and replaced in some rows, by whoever calls a network.

A network's `Attention` modules look for two collections of Flax; without them nothing is computed.

- `EDITS` holds, at a module's path under "edit", a function in place of `attention.attend`:
  `network.apply({"params": params, EDITS: edits_of(params, text=edit)}, ...)`.
- `MAPS`, if it is mutable, is given the maps of attention to a text: `recorded_maps`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxdiff.networks.attention import MAPS, attend, maps_of, mix
from jaxdiff.trees import pytree
from jaxdiff.typing import Params

Query, Key = Float[Array, "b q heads d"], Float[Array, "b k heads d"]
Maps = Float[Array, "b heads q k"]


@pytree(data=("alignment", "replaced", "scales", "active"))
@dataclass(frozen=True)
class EditedMaps:
    """Attention whose maps are made of those of the row before (Hertz et al. 2022, section 3).

    M* = scales·(replaced·(M_before @ alignment) + (1 - replaced)·M), in the rows that are active.

    Attributes:
        alignment: to which of a row's tokens the tokens of the row before belong [b, k, k].
        replaced: 1 for tokens whose maps are the other row's [b, k].
        scales: of each token's map [b, k].
        active: which rows are changed [b].
    """

    alignment: Float[Array, "b k k"]
    replaced: Float[Array, "b k"]
    scales: Float[Array, "b k"]
    active: Bool[Array, " b"]

    def __call__(self, query: Query, key: Key, value: Key, **options: Any) -> Query:
        """Returns the values, mixed by the edited maps."""
        return mix(self.maps(query, key, **options), value)

    def maps(self, query: Query, key: Key, **options: Any) -> Maps:
        """Returns the edited maps."""
        own = maps_of(query, key, **options)
        before = jnp.roll(own, 1, axis=0)
        moved = jnp.einsum(
            "bhqs,bsk->bhqk", before, self.alignment, precision=jax.lax.Precision.HIGHEST
        )
        of_token = lambda a: a[:, None, None, :]
        edited = jnp.where(of_token(self.replaced) > 0, moved, own) * of_token(self.scales)
        return jnp.where(self.active[:, None, None, None], edited, own)


@pytree(data=("active",))
@dataclass(frozen=True)
class SharedMaps:
    """Attention whose maps are those of the row before, in the rows that are active [b].

    These are its queries and keys with the row's own values, by any kernel of attention.
    """

    active: Bool[Array, " b"]

    def __call__(self, query: Query, key: Key, value: Key, **options: Any) -> Query:
        """Returns the values, mixed by the maps of the row before."""
        rows = self.active[:, None, None, None]
        before = lambda a: jnp.where(rows, jnp.roll(a, 1, axis=0), a)
        return attend(before(query), before(key), value, **options)


def edits_of(params: Params, **edits: Any) -> dict[str, Any]:
    """Returns the collection `EDITS` with an edit for all modules of a name, `text=` or `self=`.

    Raises:
        ValueError: a network has no attention of this name.
    """
    placed: set[str] = set()
    found = _placed(params, edits, placed)
    if missing := sorted(set(edits) - placed):
        raise ValueError(
            f"the network has no attention {missing[0]!r} whose maps could be changed: edits are of"
            " U-Nets and transformers with cross-attention to a text"
        )
    return found


def recorded_maps(
    network: Any, variables: Mapping[str, Any], *inputs: Any
) -> list[Float[Array, "b _ k"]]:
    """Returns the maps of attention to the text of each layer, the mean over its heads.

    Raises:
        ValueError: the network has no attention to a text.
    """
    _, state = network.apply(variables, *inputs, mutable=[MAPS])
    found = jax.tree.leaves(state.get(MAPS, {}))
    if not found:
        raise ValueError("the network has no attention to a text, whose maps could be read")
    # Layers of a scan lie along a leading axis.
    layers = [each for maps in found for each in (maps if maps.ndim == 5 else [maps])]
    return [maps.mean(axis=1) for maps in layers]


def _placed(params: Params, edits: Mapping[str, Any], placed: set[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, below in params.items():
        if not isinstance(below, Mapping):
            continue
        if key in edits and "query" in below:
            found[key] = {"edit": edits[key]}
            placed.add(key)
        elif inner := _placed(below, edits, placed):
            found[key] = inner
    return found
