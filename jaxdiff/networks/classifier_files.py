"""Files of small classifiers: a network with its weights in one .npz file."""

import json
import os
import zipfile
import zlib
from dataclasses import fields
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxdiff.config.build import build
from jaxdiff.files import atomic_write
from jaxdiff.networks import classifier as networks
from jaxdiff.typing import Params


def write(path: str | os.PathLike, network: Any, params: Params, **header: Any) -> None:
    """Writes one .npz file, whole or not at all; `header` has an "image_shape"."""
    header = {"network": _settings(network), **header}
    arrays = flatten_dict(jax.device_get(params), sep="/")
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, header=np.array(json.dumps(header)), **arrays)


def read(path: str | os.PathLike) -> tuple[Any, Params, dict[str, Any]]:
    """Returns the network of a file that `write` wrote, its weights, and the header.

    Raises:
        ValueError: the file is damaged, or weights and network do not fit; names the file.
    """
    try:
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(str(arrays.pop("header")))
        # JSON has no tuples; lists could not be hashed by jit.
        spec = {k: tuple(v) if isinstance(v, list) else v for k, v in header["network"].items()}
        network = build(networks, spec)
        header = {**header, "image_shape": tuple(header["image_shape"])}
        _ = header["accuracy"]
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} is not a whole classifier file: {error}") from error
    example = jnp.zeros((1, *header["image_shape"]))
    expected = jax.eval_shape(network.init, jax.random.key(0), example)
    shapes = {name: leaf.shape for name, leaf in flatten_dict(expected, sep="/").items()}
    found = {name: leaf.shape for name, leaf in arrays.items()}
    if found != shapes:
        raise ValueError(f"{path}: its network needs weights {shapes}, the file has {found}")
    return network, unflatten_dict(arrays, sep="/"), header


def _settings(network: Any) -> dict[str, Any]:
    """Returns the spec from which `build` rebuilds the network."""
    kind = type(network)
    own = kind.__module__ == networks.__name__
    name = kind.__name__ if own else f"{kind.__module__}:{kind.__name__}"
    options = [f.name for f in fields(network) if f.name not in ("parent", "name")]
    return {"name": name} | {option: getattr(network, option) for option in options}
