"""Training of a control network beside a frozen one: its weights, its maps, and its gain."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdiff import random
from jaxdiff.conditioning.conditions import filled
from jaxdiff.networks.control import begun, control_of
from jaxdiff.options import Width, check
from jaxdiff.tasks.controls import always, map_shape
from jaxdiff.tasks.model import BoundModel, Model
from jaxdiff.typing import Cond, Draw, Params, Prediction
from jaxdiff.weights import sources
from jaxdiff.weights.configured import given
from jaxdiff.weights.table import Weights

CONTROL = "control"
"""The name of a control network's weights in training, and of the batch's field of maps."""


Named = tuple[tuple[str, Any], ...]


def of_config(
    options: Mapping[str, Any], network: Any, shape: Sequence[int], latent_shape: Sequence[int]
) -> Named:
    """Returns the control network that `config.control` describes, by the name of its weights.

    Args:
        options: "channels" of the map, and "depth"; {} for none.
        network: the network that it steers.
        shape: of an example; `latent_shape`, in the space of the network.

    Raises:
        ValueError: an option is unknown or out of range, or the network cannot be steered.
    """
    if not options:
        return ()
    if unknown := sorted(set(options) - {"channels", "depth"}):
        raise ValueError(f"control has {unknown}; known: channels, depth")
    if len(shape) != 3 or shape[0] % latent_shape[0]:
        raise ValueError(f"control: of images, not of shape {tuple(shape)}")
    channels: Any = options.get("channels")
    depth = options.get("depth")
    check("control.channels", Width, channels)
    check("control.depth", Width | None, depth)
    control = control_of(network, channels, shape[0] // latent_shape[0], depth)
    return ((CONTROL, control),)


def maps_of(model: Model, batch: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the maps of a batch, which act at all times, for `Model.bind`."""
    return {name: always(batch[name]) for name, _ in model.controls}


def binding(model: Model, batch: Mapping[str, Any]) -> Callable[..., BoundModel]:
    """Returns `model.bind` with the maps of a batch."""
    return functools.partial(model.bind, control=maps_of(model, batch))


def gains(
    model: Model,
    weights: Mapping[str, Params],
    empty: Cond,
    x0: Float[Array, "b *shape"],
    cond: Cond,
    draw: Draw,
    batch: Mapping[str, Any],
) -> dict[str, Float[Array, " b"]]:
    """Returns the distance that a batch's maps make in x0: the root mean square over the data.

    An eighth of the batch is looked at, each example at a time of its own. It begins at zero and
    rises long before pictures follow the map. `empty` replaces dropped conditions.
    """
    if not model.controls:
        return {}
    few = lambda tree: jax.tree.map(lambda a: a[: max(len(x0) // 8, 1)], tree)
    some, cond, keys, maps = few((x0, cond, draw.keys, maps_of(model, batch)))
    steered, bare = (model.bind(weights, control=control) for control in (maps, {}))
    # Stratified times would lie close together in a part of the batch.
    t = random.uniform(random.stream(keys, "time of gain"))
    noise = random.normal(random.stream(keys, "gain"), some)
    x = bare.process.perturb(Prediction(some, noise), t)
    with_map, without = (filled(each, empty)(x, t, cond).x0 for each in (steered, bare))
    change = jnp.square(jax.lax.stop_gradient(with_map - without))
    return {f"{CONTROL}_gain": jnp.full(len(x0), jnp.sqrt(change.mean()))}


def entries(
    networks: Named, base: Weights, config: Any, zeros: tuple[Any, Cond]
) -> dict[str, Weights]:
    """Returns the entries of control networks, and of the network that they leave as it is.

    A control network begins as a copy of parts of the other. `zeros` are an example and its
    conditions.

    Raises:
        ValueError: `config.weights.network` is not named.
    """
    found = {}
    for name, network in networks:
        if not config.weights.get("network", ""):
            raise ValueError(
                "weights.network: name the run, or the files, of the network that control steers"
            )
        x, cond = zeros
        hint = jnp.zeros((1, *map_shape(network, x.shape[1:])))
        init = lambda key, of=network, hint=hint: of.init(key, x, jnp.ones(1), cond, hint)["params"]
        found[name] = Weights(init=init, source=sources.Like("network", begun))
        if config.weights.get(name, ""):
            found[name] = Weights(init=init, **given(config, name, None))
        found["network"] = dataclasses.replace(base, trained=False)
    return found


def inputs(networks: Named, batch: int, latent_shape: Sequence[int]) -> dict[str, Any]:
    """Returns the shapes of the maps in a batch."""
    shapes = {name: (batch, *map_shape(network, latent_shape)) for name, network in networks}
    return {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}


def check_maps(networks: Named, batch: Mapping[str, Any], latent_shape: Sequence[int]) -> None:
    """Raises ValueError if a batch lacks maps, or has some of another shape."""
    for name, network in networks:
        shape, found = map_shape(network, latent_shape), np.shape(batch.get(name, 0))[1:]
        if found != shape:
            raise ValueError(
                f"control: maps of the data have shape {found}, not {shape}; the transform"
                " \"ControlMap(of='edges')\" makes such"
            )
