"""Checkpoints merged: a weighted mean of two, or a difference of two added to a third.

mean:        (1 - weight)·first + weight·second
difference:  first + weight·(second - third)
"""

from typing import Annotated

import jax
import jax.numpy as jnp

from jaxdiff.options import Between, check
from jaxdiff.pipelines.pipeline import Pipeline

Weight = Annotated[float, Between(-2.0, 2.0)]


def merged(
    first: Pipeline, second: Pipeline, weight: float = 0.5, third: Pipeline | None = None
) -> Pipeline:
    """Returns the first model with merged weights of network, codec and text encoders.

    Integers, such as the empty prompt's tokens, stay the first's. Arithmetic is in float32.

    Args:
        first: whose settings are kept.
        second: of the same family and sizes.
        weight: its share; with a third, that of the difference of the second to the third.
        third: what the second came from.

    Raises:
        ValueError: the weight is out of range; the models have other arrays.
    """
    check("weight", Weight, weight)
    others = [each for each in (second, third) if each is not None]
    for each in others:
        found = jax.tree.map(jnp.shape, each.weights)
        if found != jax.tree.map(jnp.shape, first.weights):
            raise ValueError(f"{each} and {first} have other arrays: they are of other families")

    def mix(a, b, c=None):
        if not jnp.issubdtype(a.dtype, jnp.floating):
            return a
        wide = [x.astype(jnp.float32) for x in (a, b, *([] if c is None else [c]))]
        base = wide[2] if len(wide) == 3 else wide[0]
        return (wide[0] + weight * (wide[1] - base)).astype(a.dtype)

    trees = (first.weights, *(each.weights for each in others))
    return first.with_weights(**jax.tree.map(mix, *trees))
