"""Control networks with their weights and maps: parts of a bound model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from jaxdiff.data.maps import ControlMaps
from jaxdiff.networks.residuals import Residuals
from jaxdiff.options import NonNegativeFloat, Range, checked
from jaxdiff.trees import pytree
from jaxdiff.typing import Cond, Params

ALWAYS = (2.0, -1.0)
"""Times beyond both ends."""


@checked
@dataclass(frozen=True)
class Map:
    """A map for a control network, and how it acts.

    Attributes:
        values: [h, w, c] for all samples, or [n, h, w, c], in [0, 1]; or several by kind, for a
            network that reads them side by side: {"edges": ..., "depth": ...}.
        strength: factor of the features that the control network adds; 0 for no control.
        start, end: the share of the steps before which, and after which, it does not act.
        decay: factor of the strength from each layer's features to those of the layer before it,
            so that the finest are the weakest; 1 for all alike. Public tools take 0.825 where the
            prompt is to count for more than the map.
    """

    values: Any
    strength: NonNegativeFloat = 1.0
    start: Annotated[float, Range(ge=0, lt=1)] = 0.0
    end: Annotated[float, Range(gt=0, le=1)] = 1.0
    decay: Annotated[float, Range(gt=0, le=1)] = 1.0

    def __post_init__(self):
        if self.start >= self.end:
            raise ValueError(f"control: start={self.start} is not before end={self.end}")


@pytree(data=("params", "values", "strength", "since", "until", "decay"))
@dataclass(frozen=True)
class Control:
    """A control network with its weights and a map for each example.

    It acts at times from `since`, which is the noisier, to `until`, which is left out.
    """

    network: Any
    params: Params
    values: Float[Array, "n h w c"]
    strength: Float[Array, " n"]
    since: Float[Array, " n"]
    until: Float[Array, " n"]
    decay: Float[Array, " n"] | None = None

    def residuals(
        self,
        t: Float[Array, " b"],
        x: Float[Array, "b *shape"],
        time: Float[Array, " b"],
        cond: Cond,
        dropout_keys: Key[Array, " b"] | None = None,
    ) -> Any:
        """Returns the features that are added to those of the network that it steers.

        Guidance may ask about the examples several times in one batch: the maps are repeated.
        """
        again = len(x) // len(self.values)
        repeated = lambda a: a if again == 1 else jnp.concatenate([a] * again)
        values, strength, since, until = map(
            repeated, (self.values, self.strength, self.since, self.until)
        )
        found = self.network.apply({"params": self.params}, x, time, cond, values, dropout_keys)
        t = jnp.broadcast_to(t, (len(x),))
        factor = jnp.where((t <= since) & (t > until), strength, 0)
        if self.decay is None:
            return jax.tree.map(lambda a: times(a, factor), found)
        return by_depth(found, factor, repeated(self.decay))


def times(a: Float[Array, "b *shape"], factor: Float[Array, " b"]) -> Float[Array, "b *shape"]:
    """Returns arrays times a factor for each example."""
    return a * jnp.expand_dims(factor, range(1, a.ndim)).astype(a.dtype)


def by_depth(found: Any, factor: Float[Array, " b"], decay: Float[Array, " b"]) -> Any:
    """Returns features times a factor, and times `decay` for each layer between them and the last.

    Of a U-Net the middle is the last; of a DiT, [b, layers, n, d], the deepest block.
    """
    last = lambda count: range(count - 1, -1, -1)
    fading = lambda each, before: tuple(
        times(a, factor * decay ** (before + i)) for a, i in zip(each, last(len(each)), strict=True)
    )
    if isinstance(found, Residuals):
        middle = None if found.middle is None else times(found.middle, factor)
        return Residuals(middle, fading(found.skips, 1), fading(found.levels, 0))
    powers = decay[:, None] ** jnp.arange(found.shape[1])[::-1]
    return times(found, factor) * powers[..., None, None].astype(found.dtype)


def always(values: Float[Array, "n h w c"]) -> dict[str, Array]:
    """Returns maps that act at all times with full strength, for `Model.bind`."""
    since, until = (jnp.full(len(values), time) for time in ALWAYS)
    return {
        "values": values, "strength": jnp.ones(len(values)), "since": since, "until": until,
    }  # fmt: skip


def check(
    num: int,
    controls: Sequence[tuple[str, Any]],
    given: Any,
    latent_shape: Sequence[int],
    times: Any,
) -> dict[str, dict[str, np.ndarray]]:
    """Returns maps by the name of the control network, one for each of `num` samples.

    Args:
        num: the number of samples.
        controls: the control networks of a model, by name.
        given: a map or a `Map`, or one for each control network; None for none.
        latent_shape: of an example, in the space of the network.
        times: the times at which the solver stops.

    Raises:
        ValueError: there is no control network, or another number of them; a map has another shape,
            or values outside [0, 1].
    """
    if given is None:
        return {}
    if not controls:
        raise ValueError("control is given, but the model has no control network")
    each = given if isinstance(given, list | tuple) else [given]
    if isinstance(given, Mapping) or len(each) != len(controls):
        raise ValueError(
            f"control has {len(each)} maps for {len(controls)} control networks: give a list with"
            " one for each, None for one that is not to act"
        )
    return {
        name: _checked(num, network, one if isinstance(one, Map) else Map(one), latent_shape, times)
        for (name, network), one in zip(controls, each, strict=True)
        if one is not None
    }


def by_kind(given: Any, maps: ControlMaps | None, size: Sequence[int]) -> Any:
    """Returns maps that are given by kind as one; others as they are.

    Args:
        given: as `check` takes it, or maps by kind, also as the values of a `Map`.
        maps: the kinds that the model's control network reads, None for one kind alone.
        size: height and width of a map.

    Raises:
        ValueError: the network reads one kind, or lacks one that is given.
    """
    one = given if isinstance(given, Map) else Map(given)
    if not isinstance(one.values, Mapping):
        return given
    if maps is None:
        raise ValueError(
            f"control names the maps {sorted(one.values)}, but the model has no network that reads"
            " several kinds; see configs/scenes_controlnet.py:all"
        )
    return replace(one, values=maps.joined(one.values, size))


def map_shape(network: Any, latent_shape: Sequence[int]) -> tuple[int, int, int]:
    """Returns the shape [h, w, c] of the maps of a control network."""
    height, width = (network.map_factor * side for side in latent_shape[:2])
    return height, width, network.map_channels


def _checked(num, network, one, latent_shape, times):
    values, shape = np.asarray(one.values, np.float32), map_shape(network, latent_shape)
    if values.shape not in (shape, (num, *shape)):
        raise ValueError(
            f"control: a map has shape {values.shape}; expected {shape}, or {(num, *shape)}"
        )
    if not (values.min() >= 0 and values.max() <= 1):
        raise ValueError(
            f"control: a map has values in [{values.min()}, {values.max()}], not [0, 1]"
        )
    steps, times = len(times) - 1, np.asarray(times)
    first, last = int(np.ceil(one.start * steps)), int(one.end * steps)
    since = times[first] if first else ALWAYS[0]
    until = times[last] if last < steps else ALWAYS[1]
    numbers = {"strength": one.strength, "since": since, "until": until, "decay": one.decay}
    return {
        "values": np.broadcast_to(values, (num, *shape)),
        **{name: np.full(num, number, np.float32) for name, number in numbers.items()},
    }
