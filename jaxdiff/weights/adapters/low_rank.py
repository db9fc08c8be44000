"""Low-rank changes of kernels: LoRA, DoRA, LoHa, LoKr, and the whole difference.

The kernels are those whose path, "blocks/self/query/kernel", has a match of the regular expression
`modules`. A kernel is [in, out], [layers, in, out] of repeated blocks, or [*taps, in, out] of a
convolution; its matrix is [taps·in, out]. Each class begins as no change at all.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxdiff.options import PositiveFloat, Size, checked
from jaxdiff.random import stream
from jaxdiff.trees import pruned
from jaxdiff.typing import Params

ATTENTION = (
    r"(query|key|value)(_\w+)?/kernel$|(self|text|time|dual|attention\w*)/out(_\w+)?/kernel$"
)
"""The projections of attention, which LoRA changes by default (Hu et al. 2022, section 4.2)."""

Kernel = Float[Array, "*axes in out"]
Factors = Mapping[str, Array]


@checked
@dataclass(frozen=True)
class LoRA:
    """W + alpha/rank · down·up (Hu et al. 2022, equation 3); of convolutions, LoCon.

    Attributes:
        of: the name of the weights that are changed.
        modules: a regular expression of the paths of kernels.
        rank: of the change.
        alpha: the change is times alpha/rank; None for 1.

    `down` is [*axes, in, rank], `up` [layers, rank, out] or [rank, out].

    Raises:
        ValueError: the regular expression is not one, or nothing matches it.
    """

    of: str = "network"
    modules: str = ATTENTION
    rank: Size = 4
    alpha: PositiveFloat | None = None

    def init(self, key: Key[Array, ""], base: Params) -> Params:
        """Returns a random `down`, and zeros for `up`."""
        return _each(self, key, base, self._first)

    def apply(self, base: Params, factors: Params) -> Params:
        """Returns the weights with the change."""
        return _changed(base, factors, lambda w, f: w + self._change(f))

    def _first(self, key, kernel) -> Factors:
        return {"down": _uniform(key, _down(kernel, self.rank)), "up": _zeros(kernel, self.rank)}

    def _change(self, factors: Factors) -> Kernel:
        scale = 1.0 if self.alpha is None else self.alpha / self.rank
        return scale * (factors["down"] @ factors["up"])


@checked
@dataclass(frozen=True)
class DoRA:
    """(1 + gain)·|W| · (W + Δ)/|W + Δ|, Δ as in LoRA (Liu et al. 2024, equation 5).

    The norm is of each output's weights; no gradient goes through it (section 4.3). Attributes and
    errors are those of `LoRA`.
    """

    of: str = "network"
    modules: str = ATTENTION
    rank: Size = 4
    alpha: PositiveFloat | None = None

    def init(self, key: Key[Array, ""], base: Params) -> Params:
        """Returns the factors of LoRA, and zeros for `gain` [layers, 1, out] or [1, out]."""
        first = lambda key, w: {**self._low_rank._first(key, w), "gain": _zeros(w, 1)}
        return _each(self, key, base, first)

    def apply(self, base: Params, factors: Params) -> Params:
        """Returns the weights, changed in direction and in magnitude."""
        return _changed(base, factors, self._directed)

    @property
    def _low_rank(self) -> LoRA:
        return LoRA(self.of, self.modules, self.rank, self.alpha)

    def _directed(self, kernel: Kernel, factors: Factors) -> Kernel:
        changed = kernel + self._low_rank._change(factors)
        before, after = _norm(kernel), jax.lax.stop_gradient(_norm(changed))
        ratio = jnp.where(after > 0, before / jnp.where(after > 0, after, 1.0), 1.0)
        return (1 + factors["gain"]) * ratio * changed


@checked
@dataclass(frozen=True)
class LoHa:
    """W + alpha/rank · (a·b)∘(c·d), of rank² at most (Hyeon-Woo et al. 2022, proposition 1).

    Attributes and errors are those of `LoRA`.
    """

    of: str = "network"
    modules: str = ATTENTION
    rank: Size = 4
    alpha: PositiveFloat | None = None

    def init(self, key: Key[Array, ""], base: Params) -> Params:
        """Returns random factors, and zeros for the last, `up_1`."""
        return _each(self, key, base, self._first)

    def apply(self, base: Params, factors: Params) -> Params:
        """Returns the weights with the change."""
        return _changed(base, factors, lambda w, f: w + self._change(f))

    def _first(self, key, kernel) -> Factors:
        shape, up = _down(kernel, self.rank), _zeros(kernel, self.rank)
        return {
            "down_0": _uniform(stream(key, "down_0"), shape),
            "up_0": jax.random.normal(stream(key, "up_0"), up.shape),
            "down_1": _uniform(stream(key, "down_1"), shape),
            "up_1": up,
        }

    def _change(self, factors: Factors) -> Kernel:
        scale = 1.0 if self.alpha is None else self.alpha / self.rank
        first, second = (factors[f"down_{i}"] @ factors[f"up_{i}"] for i in (0, 1))
        return scale * first * second


@checked
@dataclass(frozen=True)
class LoKr:
    """W + alpha/rank · outer ⊗ (down·up), a Kronecker product (Yeh et al. 2024, section 3.2).

    `outer` is [layers, divisor of in, divisor of out], the divisors at most `factor`. Attributes
    and errors are otherwise those of `LoRA`.
    """

    of: str = "network"
    modules: str = ATTENTION
    rank: Size = 4
    alpha: PositiveFloat | None = None
    factor: Size = 8

    def init(self, key: Key[Array, ""], base: Params) -> Params:
        """Returns random `outer` and `down`, and zeros for `up`."""
        return _each(self, key, base, self._first)

    def apply(self, base: Params, factors: Params) -> Params:
        """Returns the weights with the change."""
        return _changed(base, factors, lambda w, f: w + self._change(f))

    def _first(self, key, kernel) -> Factors:
        rows, columns = (_divisor(n, self.factor) for n in kernel.shape[-2:])
        *axes, inputs, outputs = kernel.shape
        inner = jax.ShapeDtypeStruct((*axes, inputs // rows, outputs // columns), jnp.float32)
        return {
            "outer": _uniform(stream(key, "outer"), (*_layers(kernel), rows, columns)),
            "down": _uniform(stream(key, "down"), _down(inner, self.rank)),
            "up": _zeros(inner, self.rank),
        }

    def _change(self, factors: Factors) -> Kernel:
        scale = 1.0 if self.alpha is None else self.alpha / self.rank
        inner, outer = factors["down"] @ factors["up"], factors["outer"]
        product = jnp.einsum("...ab,...cd->...acbd", outer, inner)
        *axes, a, c, b, d = product.shape
        return scale * product.reshape(*axes, a * c, b * d)


@checked
@dataclass(frozen=True)
class Difference:
    """W + Δ, every value of Δ trained; by default keys and values of the text (Kumari et al. 2023).

    Custom diffusion trains these alone. `of`, `modules` and errors are those of `LoRA`.
    """

    of: str = "network"
    modules: str = r"text/(key|value)/kernel$"

    def init(self, key: Key[Array, ""], base: Params) -> Params:
        """Returns zeros."""
        return _each(self, key, base, lambda key, w: {"change": jnp.zeros(w.shape)})

    def apply(self, base: Params, factors: Params) -> Params:
        """Returns the weights with the change."""
        return _changed(base, factors, lambda w, f: w + f["change"])


def _each(adapter: Any, key: Key[Array, ""], base: Params, first: Callable) -> Params:
    """Returns the first factors of all kernels that match, each at its kernel's path."""
    try:
        modules = re.compile(adapter.modules)
    except re.error as error:
        raise ValueError(f"modules={adapter.modules!r} is no regular expression: {error}") from None
    chosen = pruned(base, lambda path: modules.search(path) is not None)
    if not chosen:
        paths = [_path(path) for path, _ in jax.tree_util.tree_leaves_with_path(base)]
        kernels = [path for path in paths if path.endswith("kernel")]
        raise ValueError(
            f"modules={adapter.modules!r} matches none of the {len(kernels)} kernels of"
            f" {adapter.of!r}: {', '.join(kernels[:6])}, …"
        )
    return jax.tree_util.tree_map_with_path(
        lambda path, kernel: _first(adapter, first, stream(key, _path(path)), _path(path), kernel),
        chosen,
    )


def _first(adapter, first, key, path, kernel) -> Factors:
    if kernel.ndim < 2:
        raise ValueError(
            f"modules={adapter.modules!r} matches {path}, a vector of {kernel.shape}; an adapter"
            " changes kernels"
        )
    return first(key, kernel)


def _changed(base: Params, factors: Params, change: Callable[[Kernel, Factors], Kernel]) -> Params:
    """Returns nested dicts whose kernels with factors are changed, in their types."""
    if not isinstance(base, Mapping):
        kernel, factors = jnp.asarray(base, jnp.float32), jax.tree.map(jnp.asarray, factors)
        return change(kernel, factors).astype(base.dtype)
    return {
        name: _changed(value, factors[name], change) if name in factors else value
        for name, value in base.items()
    }


def _path(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _layers(kernel: Any) -> tuple[int, ...]:
    """Returns the axes for which there are matrices of their own: the layers of repeated blocks."""
    return kernel.shape[:1] if kernel.ndim == 3 else (1,) * max(0, kernel.ndim - 2)


def _down(kernel: Any, rank: int) -> tuple[int, ...]:
    return (*kernel.shape[:-1], rank)


def _zeros(kernel: Any, rank: int) -> Array:
    layers = kernel.shape[:1] if kernel.ndim == 3 else ()
    return jnp.zeros((*layers, rank, kernel.shape[-1]))


def _uniform(key: Key[Array, ""], shape: tuple[int, ...]) -> Array:
    """Returns values within ±1/√n, n the inputs of an output."""
    bound = 1 / math.sqrt(math.prod(shape[:-1] if len(shape) != 3 else shape[1:-1]))
    return jax.random.uniform(key, shape, minval=-bound, maxval=bound)


def _norm(kernel: Kernel) -> Array:
    """Returns the norm of the weights of each output, with axes of size 1."""
    axes = (-2,) if kernel.ndim <= 3 else tuple(range(kernel.ndim - 1))
    return jnp.sqrt((kernel**2).sum(axes, keepdims=True))


def _divisor(n: int, most: int) -> int:
    return max(k for k in range(1, min(n, most) + 1) if n % k == 0)
