"""The field of drifting models: generated points are drawn to data, and pushed from each other."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from einops import rearrange, reduce
from jaxtyping import Array, Float

Points = Float[Array, "b _ d"]

FAR = 100.0
"""A distance, in units of the mean, at which a point has no part in the field."""


def drift(
    x: Points,
    data: Points,
    others: Points,
    weight: Float[Array, " b"],
    temperatures: Sequence[float],
) -> tuple[Float[Array, "b 1 1"], Points]:
    """Returns the unit of length [b, 1, 1], and the field V in it at each of the generated x.

    The unit is the mean distance, divided by √d.

    The affinity of two points is √(softmax over points · softmax over x) of -distance/temperature.
    A point moves to the data, and away from other generated points and from `others`, whose
    affinities have the factor `weight`. The coefficient of a data point is its affinity times the
    sum of affinities to the generated, and the reverse, so the coefficients add to 0. Each
    temperature's field has a root mean square of 1 (Deng et al. 2026).
    """
    points = jnp.concatenate([x, others, data], axis=1)
    ones = lambda a: jnp.ones(a.shape[:2], x.dtype)
    weights = jnp.concatenate([ones(x), weight[:, None] * ones(others), ones(data)], axis=1)
    distance = _distances(x, points)
    mean = reduce(distance * weights[:, None], "b g k -> b 1 1", "mean")
    mean = jnp.maximum(mean / reduce(weights, "b k -> b 1 1", "mean"), 1e-3)
    itself = jnp.eye(x.shape[1], points.shape[1], dtype=x.dtype)
    unit = mean / x.shape[2] ** 0.5
    field = jnp.zeros_like(x)
    for temperature in temperatures:
        logits = -(distance / mean + FAR * itself) / temperature
        both = jax.nn.softmax(logits, axis=2) * jax.nn.softmax(logits, axis=1)
        affinity = jnp.sqrt(jnp.maximum(both, 1e-6)) * weights[:, None]
        away, towards = jnp.split(affinity, [points.shape[1] - data.shape[1]], axis=2)
        total = lambda affinity: affinity.sum(axis=2, keepdims=True)
        pulls = jnp.concatenate([-away * total(towards), towards * total(away)], axis=2)
        force = jnp.einsum("bgk,bkd->bgd", pulls, points / unit)
        field += force / jnp.sqrt(jnp.maximum(jnp.mean(force**2), 1e-8))
    return unit, field


def drift_loss(
    x: Points,
    data: Points,
    others: Points,
    weight: Float[Array, " b"],
    temperatures: Sequence[float],
) -> Float[Array, " b"]:
    """Returns ‖x - (x + V)‖², the second fixed: its gradient moves x along the field."""
    fixed = jax.lax.stop_gradient
    unit, field = drift(fixed(x), fixed(data), fixed(others), weight, temperatures)
    error = x / unit - fixed(x / unit + field)
    return reduce(error**2, "b g d -> b", "mean")


def pooled(features: Mapping[str, Float[Array, "b *places c"]]) -> dict[str, Float[Array, "b _ _"]]:
    """Returns each layer's features at all places, their means and their deviations.

    Means and deviations are over all places, and of images over patches of 2×2 and 4×4, too.
    """
    found = {}
    for name, h in features.items():
        if h.ndim == 2:
            found[name] = h[:, None]
            continue
        found[name] = rearrange(h, "b ... c -> b (...) c")
        parts = {"": rearrange(found[name], "b n c -> b 1 n c")}
        for size in (2, 4) if h.ndim == 4 else ():
            if h.shape[1] % size == h.shape[2] % size == 0:
                inside = {"i": size, "j": size}
                parts[f"_{size}"] = rearrange(h, "b (h i) (w j) c -> b (h w) (i j) c", **inside)
        for part, values in parts.items():
            mean = reduce(values, "b p n c -> b p c", "mean")
            variance = reduce((values - mean[:, :, None]) ** 2, "b p n c -> b p c", "mean")
            found |= {f"{name}_mean{part}": mean, f"{name}_std{part}": jnp.sqrt(variance + 1e-6)}
    return found


def _distances(x: Points, y: Points) -> Float[Array, "b n m"]:
    squares = lambda a: reduce(a**2, "b n d -> b n", "sum")
    products = jnp.einsum("bnd,bmd->bnm", x, y)
    squared = squares(x)[:, :, None] + squares(y)[:, None] - 2 * products
    return jnp.sqrt(jnp.maximum(squared, 1e-8))
