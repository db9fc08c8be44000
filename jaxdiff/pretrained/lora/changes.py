"""The arithmetic of adapters: what each kind makes of a weight, in the layout of its file.

A weight is [out, in, *kernel] there. The factors of a module are arrays by role.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdiff.pretrained.layouts import divide, join
from jaxdiff.pretrained.rules import Rule

Weight = Float[Array, "out *rest"]


class Change(NamedTuple):
    """A change of an array of ours, or of several that are one array in the file's layout.

    Attributes:
        ours: the names of the arrays; `rule`, their layout.
        part, parts: which of equal parts of the outputs is changed.
        bias: whether the arrays are biases, not weights.
        factors: arrays by role.
    """

    ours: tuple[str, ...]
    rule: Rule
    part: int
    parts: int
    bias: bool
    factors: Mapping[str, Array]


def apply(leaves: Mapping[str, Array], changes: Sequence[Change], weight: Any) -> dict[str, Array]:
    """Returns those of the arrays by name that the changes, times `weight`, make anew."""
    changed = dict(leaves)
    for change in changes:
        layout = change.rule.layout
        old = [changed[name] for name in change.ours]
        pieces = [layout.to_theirs(leaf.astype(jnp.float32)) for leaf in old]
        whole, sizes = join(pieces), [piece.shape[0] for piece in pieces]
        rows = whole.shape[0] // change.parts
        here = slice(change.part * rows, (change.part + 1) * rows)
        merge = merged_bias if change.bias else merged
        whole = whole.at[here].set(merge(whole[here], change.factors, weight))
        for name, leaf, piece in zip(change.ours, old, divide(whole, sizes), strict=True):
            changed[name] = layout.to_ours(piece, leaf.shape).astype(leaf.dtype)
    return {name: changed[name] for change in changes for name in change.ours}


def merged(base: Weight, factors: Mapping[str, Array], weight: Any) -> Weight:
    """Returns a weight with `weight` times the change.

    With a magnitude m (DoRA, Liu et al. 2024), the whole change leads to m·(W + Δ)/|W + Δ|, the
    norm over all axes but that of m.
    """
    change = difference(factors, base.shape)
    if "magnitude" not in factors:
        return base + weight * change
    directed, magnitude = base + change, factors["magnitude"]
    magnitude = magnitude if magnitude.ndim > 1 else magnitude.reshape(-1, *(1,) * (base.ndim - 1))
    of_outputs = magnitude.shape[0] == base.shape[0]
    axes = tuple(range(1, base.ndim)) if of_outputs else (0, *range(2, base.ndim))
    norm = jnp.sqrt((directed**2).sum(axes, keepdims=True))
    shape = norm.shape
    return base + weight * (magnitude.reshape(shape) * directed / norm - base)


def merged_bias(base: Float[Array, " out"], factors: Mapping[str, Array], weight: Any) -> Array:
    """Returns a bias with `weight` times the difference."""
    return base + weight * factors["diff_b"].reshape(base.shape)


def difference(factors: Mapping[str, Array], shape: tuple[int, ...]) -> Weight:
    """Returns the whole change of a weight of this shape.

    LoRA (Hu et al. 2022) and LoCon: up·down, with a kernel in the middle. LoHa (Hyeon-Woo et al.
    2022): the product, element by element, of two such. LoKr: a Kronecker product. Each is times
    alpha/rank, by default 1.

    Raises:
        ValueError: the factors are of no known kind, or of another shape.
    """
    if "diff" in factors:
        return factors["diff"].reshape(shape)
    if "down" in factors and "up" in factors:
        change, rank = _lora(factors)
    elif "hada_w1_a" in factors:
        change, rank = _loha(factors)
    elif "lokr_w1" in factors or "lokr_w1_a" in factors:
        change, rank = _lokr(factors, shape)
    else:
        raise ValueError(f"factors {sorted(factors)} are of no known kind")
    if change.size != math.prod(shape):
        raise ValueError(f"the factors make {change.size} numbers; the weight has shape {shape}")
    alpha = factors.get("alpha")
    # Zero stands for none.
    scale = 1.0 if alpha is None or rank is None else jnp.where(alpha == 0, 1.0, alpha / rank)
    return scale * change.reshape(shape)


def _lora(factors: Mapping[str, Array]) -> tuple[Array, int]:
    down, up = factors["down"], factors["up"]
    rank = up.shape[1]
    if "mid" in factors:
        flat = lambda x: x.reshape(x.shape[:2])
        return jnp.einsum("or,rs...,si->oi...", flat(up), factors["mid"], flat(down)), rank
    flat = down.reshape(down.shape[0], -1)
    left = up.reshape(up.shape[0], -1)
    if flat.shape[0] == rank:
        return left @ flat, rank
    # Trained apart: the parts of a fused weight have factors of their own.
    parts = flat.shape[0] // rank
    each = zip(jnp.split(left, parts), jnp.split(flat, parts), strict=True)
    return jnp.concatenate([a @ b for a, b in each]), rank


def _loha(factors: Mapping[str, Array]) -> tuple[Array, int]:
    def one(i: int) -> Array:
        a, b, core = (factors.get(f"hada_{name}") for name in (f"w{i}_a", f"w{i}_b", f"t{i}"))
        return a @ b if core is None else jnp.einsum("ij...,jr,ip->pr...", core, b, a)

    first, second = one(1), one(2)
    return first * second, factors["hada_w1_b"].shape[0]


def _lokr(factors: Mapping[str, Array], shape: tuple[int, ...]) -> tuple[Array, int | None]:
    first, second, rank = factors.get("lokr_w1"), factors.get("lokr_w2"), None
    if first is None:
        rank = factors["lokr_w1_b"].shape[0]
        first = factors["lokr_w1_a"] @ factors["lokr_w1_b"]
    if second is None:
        a, b = factors["lokr_w2_a"], factors["lokr_w2_b"]
        rank = b.shape[0]
        if "lokr_t2" in factors:
            second = jnp.einsum("ij...,jr,ip->pr...", factors["lokr_t2"], b, a)
        else:
            second = a @ b
    kernel, inner = shape[2:], shape[1] // first.shape[1]
    if second.ndim == 2 and kernel:
        second = second.reshape(second.shape[0], inner, *kernel)
    first = first.reshape(*first.shape, *(1,) * (second.ndim - 2))
    # With both factors whole there is no rank, and alpha has no effect.
    return jnp.kron(first, second), rank
