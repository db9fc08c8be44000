"""The outputs of a network's layers by name, for discriminators and other networks to read.

A name is that of a module inside the network, "middle_1_residual", with slashes for one within
another. Layers of a scan lie in one module: "blocks[3]" is the fourth, "blocks" all of them.
"""

import re
from collections.abc import Sequence
from typing import Any

import jax
from jaxtyping import Array

from jaxdiff.typing import Network, Params

_INDEXED = re.compile(r"(.*)\[(\d+)\]$")


def features_of(
    network: Network, params: Params, layers: Sequence[str], *inputs: Any
) -> dict[str, Array]:
    """Returns the outputs [b, ..., c] of layers of a Linen network, called with these inputs.

    Raises:
        ValueError: a layer has no output in the network; lists the names of those that have.
    """
    named = {layer: _split(layer) for layer in layers}
    paths = {path for path, _ in named.values()}
    captured = lambda module, method: method == "__call__" and "/".join(module.path) in paths
    found = _captured(network, params, captured, inputs)
    return {layer: _chosen(network, params, inputs, found, layer) for layer in named}


def default_layers(network: Any) -> tuple[str, ...]:
    """Returns the layers that a network offers as its features.

    Raises:
        ValueError: it names none.
    """
    layers = tuple(getattr(network, "feature_layers", ()))
    if not layers:
        raise ValueError(
            f"{type(network).__name__} names no feature_layers; name layers of it, as by"
            " discriminator=\"FeatureDiscriminator(layers=('NAME',))\""
        )
    return layers


def _captured(network: Any, params: Params, chosen: Any, inputs: tuple[Any, ...]) -> Any:
    _, state = network.apply(
        {"params": params}, *inputs, capture_intermediates=chosen, mutable=["intermediates"]
    )
    return state.get("intermediates", {})


def _chosen(network: Any, params: Params, inputs: Any, found: Any, layer: str) -> Array:
    path, index = _split(layer)
    for name in path.split("/"):
        found = found.get(name, {})
    if "__call__" not in found:
        everything = _captured(network, params, lambda module, method: True, inputs)
        named = ", ".join(sorted(_names(everything)))
        raise ValueError(f"the network has no layer {path!r} with an output; it has {named}")
    # A layer that is called more than once has several outputs, and a scan's block also a None.
    output = jax.tree.leaves(found["__call__"][0])[0]
    if index is None and len(output) != len(jax.tree.leaves(inputs[0])[0]):
        raise ValueError(
            f"layer {layer!r} is {len(output)} layers of a scan; name one, '{path}[0]'"
        )
    if index is None:
        return output
    if index >= len(output):
        raise ValueError(f"layer {layer!r}: {path!r} has {len(output)} layers, counted from 0")
    return output[index]


def _split(layer: str) -> tuple[str, int | None]:
    match = _INDEXED.match(layer)
    return (match[1], int(match[2])) if match else (layer, None)


def _names(tree: Any, above: str = "") -> list[str]:
    names = []
    for name, value in tree.items():
        if name == "__call__":
            names += [above] if above else []
        elif hasattr(value, "items"):
            names += _names(value, f"{above}/{name}" if above else name)
    return names
