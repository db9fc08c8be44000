"""Dataclasses as arguments of compiled functions."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.trees import pytree


@pytree(data=("scale",))
@dataclass(frozen=True)
class Scaled:
    scale: float
    of: Any = None
    unit: str = "time"

    def __post_init__(self):
        if self.scale < 0:
            raise ValueError("negative")


@dataclass(frozen=True)
class Plain:
    power: int


def test_a_new_number_compiles_nothing_and_a_new_setting_does():
    """Fails if numbers are static, or settings are not."""
    count = 0

    @jax.jit
    def apply(whole, x):
        nonlocal count
        count += 1
        return whole.scale * x

    for scale in (1.0, 2.0, 3.0):
        assert apply(Scaled(scale), 1.0) == scale
    assert count == 1
    apply(Scaled(1.0, unit="noise"), 1.0)
    assert count == 2


def test_nested_arrays_and_numbers_are_data_and_plain_objects_are_not():
    """Fails if an array, however deep, becomes part of the program."""
    whole = Scaled(1.0, of={"a": Scaled(2.0, of=np.ones(3))})
    assert len(jax.tree.leaves(whole)) == 3
    assert jax.tree.leaves(Scaled(1.0, of=Plain(2))) == [1.0]
    assert jax.tree.leaves(Scaled(1.0, of=(1, 2))) == [1.0]
    assert jax.tree.leaves(Scaled(1.0, of=Scaled(2.0))) == [1.0, 2.0]


def test_checks_do_not_see_tracers():
    """Fails if unflattening constructs: a tracer has no truth value."""
    jax.jit(lambda whole: whole.scale)(Scaled(1.0))
    with pytest.raises(ValueError, match="negative"):
        Scaled(-1.0)


def test_structure_survives_what_stands_for_arrays():
    """Fails if a field is sorted anew after its array became a shape."""
    whole = Scaled(jnp.ones(()), of=jnp.ones(3))
    shapes = jax.eval_shape(lambda w: w, whole)
    assert jax.tree.structure(shapes) == jax.tree.structure(whole)
    assert jax.tree.structure(jax.tree.map(str, shapes)) == jax.tree.structure(whole)


def test_leaves_have_the_fields_names():
    """Fails if paths are numbers: rules for sharding go by name."""
    paths = [
        jax.tree_util.keystr(p, simple=True, separator="/")
        for p, _ in jax.tree_util.tree_leaves_with_path(Scaled(1.0, of={"a": jnp.ones(2)}))
    ]
    assert paths == ["scale", "of/a"]
