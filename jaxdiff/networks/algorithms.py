"""The algorithm of attention and of convolution gradients on a CPU: in blocks, or as XLA does it.

Both give the same numbers. On one CPU device, a loop over examples or blocks of queries is up to
four times as fast. Over several devices, each turn of that loop would send its example around.

    with algorithms.use(cpu_loops=devices.count == 1):
        step = jax.jit(...).lower(...).compile()
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

from jax import lax

_cpu_loops = contextvars.ContextVar("cpu_loops", default=True)


@contextlib.contextmanager
def use(*, cpu_loops: bool) -> Iterator[None]:
    """Chooses the algorithm for networks that are traced inside of this context.

    The choice is made at tracing: a compiled function keeps the algorithm it was traced with. On a
    GPU or TPU it changes nothing.
    """
    token = _cpu_loops.set(cpu_loops)
    try:
        yield
    finally:
        _cpu_loops.reset(token)


def choose(loop: Callable[..., Any], plain: Callable[..., Any], *args: Any) -> Any:
    """Returns `loop(*args)` if compiled for a CPU that may loop, and else `plain(*args)`.

    Outside of `use` it may: a function that is compiled by hand is mostly for one device.
    """
    if not _cpu_loops.get():
        return plain(*args)
    return lax.platform_dependent(*args, cpu=loop, default=plain)
