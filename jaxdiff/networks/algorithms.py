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

KERNELS = ("auto", "xla", "blocks", "cudnn", "splash")
"""Of attention: in blocks on one CPU device and XLA's elsewhere; XLA's, which keeps all weights in
memory; in blocks, which computes them again; cuDNN's fused one, on NVIDIA GPUs in 16 bits; splash
attention, JAX's fused one for TPUs."""

_kernel = contextvars.ContextVar("kernel", default="auto")
_cpu_loops = contextvars.ContextVar("cpu_loops", default=True)


@contextlib.contextmanager
def use(*, cpu_loops: bool, kernel: str = "auto") -> Iterator[None]:
    """Chooses the algorithms for networks that are traced inside of this context.

    The choice is made at tracing: a compiled function keeps the algorithm it was traced with. On a
    GPU or TPU it changes nothing.
    """
    tokens = _cpu_loops.set(cpu_loops), _kernel.set(kernel)
    try:
        yield
    finally:
        _cpu_loops.reset(tokens[0])
        _kernel.reset(tokens[1])


def kernel() -> str:
    """Returns the name of attention's implementation, of `KERNELS`."""
    return _kernel.get()


def choose(loop: Callable[..., Any], plain: Callable[..., Any], *args: Any) -> Any:
    """Returns `loop(*args)` if compiled for a CPU that may loop, and else `plain(*args)`.

    Outside of `use` it may: a function that is compiled by hand is mostly for one device.
    """
    if not _cpu_loops.get():
        return plain(*args)
    return lax.platform_dependent(*args, cpu=loop, default=plain)
