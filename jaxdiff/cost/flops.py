"""Floating-point operations of a program, counted in its jaxpr.

The compiler counts a loop's body once; here a scan counts its body as often as it runs. Counted are
matrix products and convolutions, two operations for each multiply-add, which are nearly all.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr


def flops(function: Callable[..., Any], *arguments: Any) -> int:
    """Returns the operations of one call, over all devices; arguments may be shapes.

    A `while` loop, whose turns are not known, counts its body once; of branches the most costly
    counts.
    """
    return of_jaxpr(jax.make_jaxpr(function)(*arguments).jaxpr)


def of_jaxpr(jaxpr: Jaxpr) -> int:
    """Returns the operations of a jaxpr and of all that are within it."""
    return sum(_of_equation(equation) for equation in jaxpr.eqns)


def _of_equation(equation: Any) -> int:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        return _of_product(equation)
    if name == "conv_general_dilated":
        return _of_convolution(equation)
    inner = [of_jaxpr(jaxpr) for jaxpr in _within(params)]
    if name == "scan":
        return params["length"] * sum(inner)
    return max(inner, default=0) if name == "cond" else sum(inner)


def _of_product(equation: Any) -> int:
    left = equation.invars[0].aval.shape
    (contracted, _), _ = equation.params["dimension_numbers"]
    return 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(left[i] for i in contracted)


def _of_convolution(equation: Any) -> int:
    """Counts where a tap meets an element of the input; padding and inserted zeros cost nothing."""
    given, kernel = (each.aval.shape for each in equation.invars)
    made, params = equation.outvars[0].aval.shape, equation.params
    numbers = params["dimension_numbers"]
    channels = kernel[numbers.rhs_spec[1]]  # of one group
    total = 2 * made[numbers.out_spec[0]] * made[numbers.out_spec[1]] * channels
    for axis, padding in enumerate(params["padding"]):
        total *= _meetings(
            given[numbers.lhs_spec[2 + axis]],
            kernel[numbers.rhs_spec[2 + axis]],
            made[numbers.out_spec[2 + axis]],
            (params["window_strides"][axis], int(padding[0])),
            (params["lhs_dilation"][axis], params["rhs_dilation"][axis]),
        )
    return total


def _meetings(
    size: int, taps: int, out: int, moved: tuple[int, int], dilated: tuple[int, int]
) -> int:
    """Returns the pairs of an output and a tap that meet an element, along one axis."""
    stride, padding = moved
    inner, outer = dilated
    at = stride * np.arange(out)[:, None] + outer * np.arange(taps) - padding
    return int(((at >= 0) & (at <= inner * (size - 1)) & (at % inner == 0)).sum())


def _within(params: dict[str, Any]) -> Iterator[Jaxpr]:
    for value in params.values():
        for each in value if isinstance(value, tuple | list) else (value,):
            if isinstance(each, ClosedJaxpr):
                yield each.jaxpr
            elif isinstance(each, Jaxpr):
                yield each
