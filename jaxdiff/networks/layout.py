"""Where activations lie on a mesh of devices; the identity outside of `use`.

The compiler divides a program over devices by the arrays that it is given, and left alone may
choose badly: of weights that are divided along the hidden axis it makes a perceptron whose
activations are sent around at every layer. Here each layer's inputs and outputs are said to be
divided by example, so that weights are sent instead, which are smaller.

The axes are those of `jaxdiff.weights.layouts`: examples lie along "data" and "fsdp", tokens or
rows of pixels along "sequence", heads and hidden channels along "tensor".
"""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float

EXAMPLES = ("data", "fsdp")
"""The axes of the mesh over which a batch is divided."""

FREE = PartitionSpec.UNCONSTRAINED


class Layout(NamedTuple):
    """A mesh, and the name of the attention over the axis "sequence" (`layouts.Mesh.attention`)."""

    mesh: Mesh
    attention: str = "heads"

    def size(self, *axes: str) -> int:
        """Returns the number of devices along some axes together."""
        found = 1
        for axis in axes:
            found *= self.mesh.shape[axis]
        return found


_current: contextvars.ContextVar[Layout | None] = contextvars.ContextVar("layout", default=None)


@contextlib.contextmanager
def use(mesh: Mesh | None, attention: str = "heads") -> Iterator[None]:
    """Divides the activations of networks that are traced inside of this context over a mesh.

    None, or a mesh of one device, changes nothing.
    """
    given = None if mesh is None or mesh.size == 1 else Layout(mesh, attention)
    token = _current.set(given)
    try:
        yield
    finally:
        _current.reset(token)


def current() -> Layout | None:
    """Returns the layout of the context; None outside of any."""
    return _current.get()


def divides_tokens() -> bool:
    """Returns whether tokens of one example lie on several devices."""
    layout = current()
    return layout is not None and layout.size("sequence") > 1


def divided(x: Float[Array, "b *shape"], *, channels: Any = FREE) -> Float[Array, "b *shape"]:
    """Divides features by example, and from three axes on by their second axis along "sequence".

    The last axis is left to the compiler, which follows the weights; None keeps it whole. An axis
    that its devices do not divide is kept whole. So are rows of pixels beside channels that are
    divided over "tensor": XLA's partitioner gets a convolution wrong that is divided along both.
    """
    layout = current()
    if layout is None or x.ndim < 2 or len(x) % layout.size(*EXAMPLES):
        return x
    second = FREE
    if x.ndim > 2:
        channels_too = x.ndim > 3 and layout.size("tensor") > 1
        divides = x.shape[1] % layout.size("sequence") == 0 and not channels_too
        second = "sequence" if divides else None
    middle = (second, *(FREE for _ in x.shape[2:-1])) if x.ndim > 2 else ()
    return _constrained(x, layout, PartitionSpec(EXAMPLES, *middle, channels))


def whole(x: Float[Array, "b *shape"]) -> Float[Array, "b *shape"]:
    """Divides features by example and tokens, and keeps their channels whole."""
    return divided(x, channels=None)


def for_attention(
    query: Float[Array, "b q heads d"],
    key: Float[Array, "b k heads d"],
    value: Float[Array, "b k heads d"],
) -> tuple[Array, Array, Array]:
    """Divides queries, keys and values so that each device can attend without asking the others."""
    layout, specs = current(), attention_specs(query)
    if layout is None or specs is None:
        return query, key, value
    of_query, of_key = specs
    key, value = (_constrained(x, layout, of_key) for x in (key, value))
    return _constrained(query, layout, of_query), key, value


def attention_specs(
    query: Float[Array, "b q heads d"],
) -> tuple[PartitionSpec, PartitionSpec] | None:
    """Returns where queries lie, and where keys and values lie; None for one device.

    The heads lie along "tensor". Where tokens are divided, they are exchanged for heads
    (all-to-all, Jacobs et al., 2023), if the heads divide; otherwise each device has its queries
    and gathers all keys and values.
    """
    layout = current()
    if layout is None or len(query) % layout.size(*EXAMPLES):
        return None
    heads, tokens = query.shape[2], layout.size("sequence")
    over_heads = "tensor" if heads % layout.size("tensor") == 0 else None
    exchanged = heads % layout.size("sequence", "tensor") == 0 and layout.attention == "heads"
    if tokens > 1 and exchanged:
        spec = PartitionSpec(EXAMPLES, None, ("sequence", "tensor"), None)
        return spec, spec
    along = "sequence" if query.shape[1] % tokens == 0 else None
    of_key = PartitionSpec(EXAMPLES, None, over_heads, None)
    return PartitionSpec(EXAMPLES, along, over_heads, None), of_key


def ring_of(query: Array, key: Array) -> Layout | None:
    """Returns the layout if it asks for ring attention, and these tokens [b, n, ...] divide."""
    layout = current()
    if layout is None or layout.attention != "ring" or layout.size("sequence") == 1:
        return None
    tokens, examples = layout.size("sequence"), layout.size(*EXAMPLES)
    divides = query.shape[1] % tokens == key.shape[1] % tokens == len(query) % examples == 0
    return layout if divides else None


def after_attention(mixed: Float[Array, "b q heads d"]) -> Float[Array, "b q heads d"]:
    """Divides the output of attention by example, by token, and by head."""
    layout = current()
    if layout is None or len(mixed) % layout.size(*EXAMPLES):
        return mixed
    along = "sequence" if mixed.shape[1] % layout.size("sequence") == 0 else None
    heads = "tensor" if mixed.shape[2] % layout.size("tensor") == 0 else None
    return _constrained(mixed, layout, PartitionSpec(EXAMPLES, along, heads, None))


def _constrained(x: Array, layout: Layout, spec: PartitionSpec) -> Array:
    where = NamedSharding(layout.mesh, spec)
    return jax.lax.with_sharding_constraint(x, where)
