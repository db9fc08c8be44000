"""Knowledge about samples: pixels of an image under a mask, or a measurement of the samples."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from jaxdiff.config.build import build
from jaxdiff.diffusion import inverse as problems
from jaxdiff.diffusion.inverse import operators
from jaxdiff.diffusion.process import Process
from jaxdiff.typing import Solver


@dataclass(frozen=True, eq=False)
class Known:
    """Known pixels of `image` under `mask`, or a `measurement` by an operator, of all samples.

    `method` is a name of `jaxdiff.diffusion.inverse`.
    """

    method: Any
    image: Float[np.ndarray, "n *shape"] | None = None
    mask: Bool[np.ndarray, "n *shape"] | None = None
    measurement: Float[np.ndarray, "n *measured"] | None = None
    operator: Any = None

    def problem(self, index: Int[np.ndarray, " b"], process: Process, solver: Solver) -> Any:
        """Returns the method with the arrays of some examples: guidance, or a solver."""
        take = lambda array: None if array is None else array[index]
        parts = {
            "mask": take(self.mask),
            "known": take(self.image),
            "measurement": take(self.measurement),
            "operator": self.operator,
        }
        given = {name: value for name, value in parts.items() if value is not None}
        return build(problems, self.method, process=process, solver=solver, **given)


def known_of(
    num: int,
    shape: tuple[int, ...],
    image: Any,
    mask: Any,
    measurement: Any,
    operator: Any,
    method: Any,
) -> Known | None:
    """Returns the knowledge that arguments of a call give about `num` samples; None if none.

    Raises:
        ValueError: arguments do not belong together, or have other shapes.
    """
    if mask is None and measurement is None:
        if method is not None:
            raise ValueError(
                f"inverse={method!r} needs image and mask, or measurement and operator"
            )
        return None
    if mask is not None and (image is None or measurement is not None):
        raise ValueError("mask: give the image whose pixels are known, and no measurement")
    if measurement is not None and operator is None:
        raise ValueError("measurement: name its operator, such as 'AveragePooling(factor=2)'")
    if mask is not None:
        image = checked_array("image", image, (num, *shape))
        mask = _mask(mask, num, shape)
        return Known(method or "KnownPixels", image, mask)
    measurement = _numbers("measurement", measurement)
    if not measurement.ndim or len(measurement) not in (1, num):
        raise ValueError(f"measurement has shape {measurement.shape}; expected {num} examples")
    measurement = np.broadcast_to(measurement, (num, *measurement.shape[1:]))
    if isinstance(operator, str | Mapping):
        operator = build(operators, operator)
    _check_measurement(measurement, operator, (num, *shape))
    return Known(method or "DPS", measurement=measurement, operator=operator)


def _check_measurement(measurement: Any, operator: Any, shape: tuple[int, ...]) -> None:
    """Raises ValueError unless the operator makes arrays of the measurement's shape of samples."""
    try:
        found = jax.eval_shape(operator, jax.ShapeDtypeStruct(shape, jnp.float32)).shape
    except Exception as error:  # whatever a person's own operator raises
        reason = (str(error).splitlines() or [""])[0]
        raise ValueError(f"operator={operator} takes no samples {shape}: {reason}") from error
    if found != measurement.shape:
        raise ValueError(
            f"measurement has shape {measurement.shape}, but {operator} makes {found} of {shape}"
        )


def start_of(
    num: int,
    image: Any,
    noise: Any,
    shapes: tuple[tuple[int, ...], tuple[int, ...]],
    t_start: float,
) -> dict[str, np.ndarray]:
    """Returns what sampling begins with: an image, noise, or nothing, {}.

    `shapes` are those of a sample and of its latents.

    Raises:
        ValueError: both are given, or one has another shape; nothing is, and `t_start` is not 1.
    """
    if num < 1:
        raise ValueError(f"num={num}: at least one sample")
    if image is not None and noise is not None:
        raise ValueError("image and noise are both given: sampling starts from one of them")
    if image is not None:
        return {"image": checked_array("image", image, (num, *shapes[0]))}
    if noise is not None:
        return {"noise": checked_array("noise", noise, (num, *shapes[1]))}
    if t_start != 1:
        raise ValueError(f"t_start={t_start}: give an image to begin from, or noise, an x_t")
    return {}


def checked_array(name: str, value: Any, shape: tuple[int, ...]) -> Shaped[np.ndarray, "n *shape"]:
    """Returns an argument as float32.

    Raises:
        ValueError: it has another shape, is no array of numbers, holds NaN, or holds bytes.
    """
    array = _numbers(name, value)
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}; expected {shape}")
    return array


def _numbers(name: str, value: Any) -> Float[np.ndarray, "..."]:
    array = np.asarray(value)
    if array.dtype.kind not in "fiub" or array.dtype == np.uint8:
        raise ValueError(f"{name} has type {array.dtype}; expected floats, images in [-1, 1]")
    if not array.size or not np.isfinite(array).all():
        raise ValueError(f"{name} is {'not finite' if array.size else 'empty'}")
    return array.astype(np.float32)


def _mask(mask, num, shape):
    """Returns a mask [num, *size, 1] of one [*size], [*size, 1] or with an axis for examples.

    Of points [d], which have no size, the mask is [d] or [num, d].
    """
    mask, points = _numbers("mask", np.asarray(mask, float)) > 0.5, len(shape) == 1
    wanted = shape if points else (*shape[:-1], 1)
    if not points and (mask.shape == shape[:-1] or mask.shape[1:] == shape[:-1]):
        mask = mask[..., None]
    if mask.ndim == len(wanted):
        mask = mask[None]
    if mask.shape[1:] != wanted or mask.shape[0] not in (1, num):
        raise ValueError(f"mask has shape {mask.shape}; expected {(num, *wanted)}")
    return np.broadcast_to(mask, (num, *wanted))
