"""Frozen dataclasses as pytrees: arrays are leaves, everything else is static structure."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import GetAttrKey

from jaxdiff.options import checked

Class = TypeVar("Class", bound=type)
Arrays = (jax.Array, np.ndarray)

_DATA = "_data_fields"


def pytree(*, data: Sequence[str] = ()) -> Callable[[Class], Class]:
    """Registers a dataclass with JAX, so that its objects go through `jax.jit` as arguments.

    A field is data if it is named in `data`, or if it holds arrays, alone or in a tree; every other
    field is static structure and must be hashable. Numbers are static unless their field is named:
    a new value of a named number compiles nothing.

    Objects that JAX puts together are not constructed again: checks of options, by annotations and
    in `__post_init__`, see what a person gives, and never tracers.

    Raises:
        TypeError: the class is not a dataclass.
    """

    def register(cls: Class) -> Class:
        names = [field.name for field in fields(cls)]

        def split(whole: Any) -> tuple[tuple[str, ...], tuple[Any, ...]]:
            kept = whole.__dict__.get(_DATA)
            if kept is None:
                kept = tuple(n for n in names if n in data or _has_arrays(getattr(whole, n)))
            static = tuple((n, getattr(whole, n)) for n in names if n not in kept)
            return kept, static

        def flatten(whole: Any) -> tuple[tuple[Any, ...], Any]:
            kept, static = split(whole)
            return tuple(getattr(whole, n) for n in kept), (kept, static)

        def flatten_with_keys(whole: Any) -> tuple[tuple[tuple[GetAttrKey, Any], ...], Any]:
            kept, static = split(whole)
            return tuple((GetAttrKey(n), getattr(whole, n)) for n in kept), (kept, static)

        def unflatten(structure: Any, children: Any) -> Any:
            kept, static = structure
            whole = object.__new__(cls)
            # What JAX puts in the place of arrays (shapes, shardings) is data as well.
            whole.__dict__.update({**dict(static), **dict(zip(kept, children, strict=True))})
            whole.__dict__[_DATA] = kept
            return whole

        jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
        return checked(cls)

    return register


@pytree()
@dataclass(frozen=True)
class Static:
    """A hashable object of a class that JAX does not know, as an argument without arrays."""

    value: Any


def as_argument(value: Any) -> Any:
    """Returns an object for `jax.jit` to take: itself if it is a pytree, else wrapped as `Static`.

    Raises:
        ValueError: it is no pytree and cannot be hashed, so it may hold arrays.
    """
    if not jax.tree_util.all_leaves([value]) or isinstance(value, Arrays):
        return value
    try:
        hash(value)
    except TypeError as error:
        raise ValueError(
            f"{type(value).__name__} holds arrays or lists: decorate it with jaxdiff.trees.pytree"
        ) from error
    return Static(value)


def from_argument(value: Any) -> Any:
    """Returns the object that `as_argument` was given."""
    return value.value if isinstance(value, Static) else value


def replaced(whole: Any, **changes: Any) -> Any:
    """Returns a dataclass with other fields, not constructed again: they may be tracers."""
    new = object.__new__(type(whole))
    new.__dict__.update({**whole.__dict__, **changes})
    new.__dict__.pop(_DATA, None)
    return new


def pruned(tree: Any, keep: Callable[[str], bool], prefix: str = "") -> Any:
    """Returns nested dicts with only the leaves whose path, "a/b", is to be kept."""
    if not isinstance(tree, Mapping):
        return tree
    inner = {
        name: pruned(value, keep, f"{prefix}{name}/")
        for name, value in tree.items()
        if isinstance(value, Mapping) or keep(f"{prefix}{name}")
    }
    is_empty = lambda value: isinstance(value, Mapping) and not value
    return {name: value for name, value in inner.items() if not is_empty(value)}


def has(tree: Any, path: str) -> bool:
    """Returns whether nested dicts have a leaf or a branch at a path, "a/b"."""
    for name in path.split("/"):
        if not isinstance(tree, Mapping) or name not in tree:
            return False
        tree = tree[name]
    return True


def overlaid(tree: Any, over: Any) -> Any:
    """Returns nested dicts with the leaves of `over` in place of their own."""
    if not isinstance(tree, Mapping):
        return over
    return {name: overlaid(v, over[name]) if name in over else v for name, v in tree.items()}


def same_structure(tree: Any, other: Any) -> bool:
    """Returns whether two trees have leaves at the same places."""
    return jax.tree.structure(tree) == jax.tree.structure(other)


def _has_arrays(value: Any) -> bool:
    """Whether a field is data: its leaves are arrays, or named numbers of a registered class."""
    leaves = jax.tree.leaves(value)
    if not leaves or jax.tree_util.all_leaves([value]):
        return isinstance(value, Arrays)
    array = any(isinstance(leaf, Arrays) for leaf in leaves)
    return array or not isinstance(value, tuple | list | dict)


def stacked(trees: Sequence[Any]) -> Any:
    """Returns one tree of several, whose arrays have a first axis for them."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def size_of(tree: Any) -> int:
    """Returns the number of elements in all arrays (or shapes) of a tree."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def leaf_name(path: tuple) -> str:
    """Returns a tree path as a name: "params/conv_in/kernel"."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def leaf_names(tree: Any) -> list[str]:
    """Returns the names of all leaves, in the order of `jax.tree.leaves`."""
    return [leaf_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
