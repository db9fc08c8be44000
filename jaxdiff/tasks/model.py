"""A model: a network, and the meaning of its inputs and its output in a process."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxdiff import config as configs
from jaxdiff import networks, objectives
from jaxdiff.config.build import build
from jaxdiff.diffusion import (
    flow_map,
    parameterizations,
    preconditioning,
    schedules,
    time_sampling,
    weighting,
)
from jaxdiff.diffusion.process import Parameterization, Process
from jaxdiff.networks.attention import EDITS
from jaxdiff.networks.attention_maps import recorded_maps
from jaxdiff.networks.control import added
from jaxdiff.networks.features import default_layers, features_of
from jaxdiff.networks.inputs import Inputs
from jaxdiff.tasks.controls import Control
from jaxdiff.trees import pytree
from jaxdiff.typing import Cond, Params, Prediction
from jaxdiff.weights import learned, sources


@pytree()
@dataclass(frozen=True)
class Model:
    """`network` with `init` and `apply`, called as `network(x, time, cond, dropout_keys)`.

    `controls` are networks that steer it by maps, with the names of their weights.
    """

    network: Any
    process: Process
    parameterization: Parameterization
    input_scaling: Callable[[Process, Array, Array], Array]
    time_input: Callable[[Process, Array], Array]
    controls: tuple[tuple[str, Any], ...] = ()

    @property
    def scalars(self) -> Mapping[str, float]:
        """Returns the numbers that the network reads beside its time; "until" of a flow map."""
        return getattr(self.network, "inputs", Inputs()).numbers

    def init(self, key: Key[Array, ""], x: Float[Array, "b *shape"], cond: Cond) -> Params:
        """Returns fresh parameters of the network, for data and conditions of these shapes."""
        return self.network.init(key, x, jnp.ones(len(x), x.dtype), cond)["params"]

    def bind(
        self,
        weights: Mapping[str, Params],
        *,
        name: str = "network",
        dropout_keys: Key[Array, " b"] | None = None,
        control: Mapping[str, Any] = MappingProxyType({}),
    ) -> "BoundModel":
        """Returns the denoiser that some weights make; without keys, without dropout.

        The network's are those of `name`; a learned schedule's are under its place. `control` holds
        the maps of control networks by name, as `controls.check` returns them; one without steers
        nothing.
        """
        steered = tuple(
            Control(network, weights[each], **control[each])
            for each, network in self.controls
            if each in control
        )
        places = [place for place, _ in learned.parts(self.process, learned.PROCESS)]
        values = {place: weights[place] for place in places if place in weights}
        return BoundModel(self, weights[name], values, dropout_keys, steered)


@pytree(data=("params", "learned", "dropout_keys", "controls", "edits"))
@dataclass(frozen=True)
class BoundModel:
    """A model with its weights: a denoiser that goes through `jax.jit` as an argument.

    `params` are the network's, `learned` those of a learned schedule, by place; `controls` are
    control networks with their maps, one for each example; `edits` change attention, as
    `networks.attention_maps` says.
    """

    model: Model
    params: Params
    learned: Mapping[str, Params] = field(default_factory=dict)
    dropout_keys: Key[Array, " b"] | None = None
    controls: tuple[Control, ...] = ()
    edits: Mapping[str, Any] = field(default_factory=dict)

    @property
    def process(self) -> Process:
        """Returns the forward process, its schedule as learned."""
        return learned.bind(self.model.process, self.learned, learned.PROCESS)

    def __call__(
        self, x: Float[Array, "b *shape"], t: Float[Array, "..."], cond: Cond
    ) -> Prediction:
        """Returns x0 and noise; the second half of twice the channels of x is the variance.

        A flow map that is not asked until when is the denoiser at `t`.
        """
        inputs = self._inputs(x, t, cond)
        steered = {}
        if self.controls:
            steered["residuals"] = added([each.residuals(t, *inputs) for each in self.controls])
        y = self.model.network.apply(self._variables, *inputs, **steered)
        y, share = _split_variance(y.astype(x.dtype), x.shape[-1])
        prediction = self.process.solve(self.model.parameterization, y, x, t)
        return prediction._replace(variance=share)

    def features(
        self,
        x: Float[Array, "b *shape"],
        t: Float[Array, "..."],
        cond: Cond,
        layers: Sequence[str] = (),
    ) -> dict[str, Array]:
        """Returns the outputs of layers of the network, by default of those that it offers.

        Raises:
            ValueError: a layer is unknown, or the network offers none.
        """
        network = self.model.network
        layers = tuple(layers) or default_layers(network)
        return features_of(network, self.params, layers, *self._inputs(x, t, cond))

    def text_maps(
        self, x: Float[Array, "b *shape"], t: Float[Array, "..."], cond: Cond
    ) -> list[Float[Array, "b _ tokens"]]:
        """Returns the maps of attention to the text of each layer, the mean over its heads.

        Raises:
            ValueError: the network has no attention to a text.
        """
        return recorded_maps(self.model.network, self._variables, *self._inputs(x, t, cond))

    @property
    def _variables(self):
        return {"params": self.params, **({EDITS: self.edits} if self.edits else {})}

    def _inputs(self, x, t, cond):
        model, process = self.model, self.process
        if flow_map.UNTIL in model.scalars:
            cond = {flow_map.UNTIL: t, **cond}
        scaled, time = model.input_scaling(process, x, t), model.time_input(process, t)
        return scaled, time, cond, _keys_of(self.dropout_keys, len(x))


def _keys_of(keys, count):
    """Returns `count` dropout keys: those of a batch, and others made of them for further ones."""
    if keys is None or len(keys) == count:
        return keys
    place = jnp.arange(count)
    return jax.vmap(jax.random.fold_in)(keys[place % len(keys)], place // len(keys))


def _split_variance(y, channels):
    """Returns y, and (v + 1)/2 of an output [y, v] (Nichol & Dhariwal 2021, section 3.1)."""
    if y.shape[-1] != 2 * channels:
        return y, None
    y, v = jnp.split(y, 2, axis=-1)
    return y, (v + 1) / 2


def build_model(config: Any) -> Model:
    """Returns the network with its process, as a config describes them.

    Raises:
        ValueError: a name is unknown, or the parameterization is undefined at a time.
    """
    process = Process(build(schedules, config.process))
    parameterization = build(parameterizations, config.parameterization)
    process.check(parameterization, jnp.array([0.5, 1.0]))
    conditional = "label" in config.conditions
    network = build(
        networks,
        configs.plain(config.network),
        num_classes=config.data.num_classes if conditional else None,
        dtype=jnp.dtype(config.compute_dtype),
    )
    return Model(
        network=network,
        process=process,
        parameterization=parameterization,
        input_scaling=build(preconditioning, config.input_scaling, preconditioning.InputScaling),
        time_input=build(preconditioning, config.time_input, preconditioning.TimeInput),
    )


def build_objective(config: Any, model: Model, latent_shape: tuple[int, ...]) -> Any:
    """Returns the objective that a config describes, for a model of data of this shape.

    Raises:
        ValueError: a name or an option is unknown, or a value is out of range.
    """
    return build(
        objectives,
        config.objective,
        process=model.process,
        parameterization=build(
            parameterizations, config.loss_parameterization or config.parameterization
        ),
        time_sampling=build(time_sampling, config.time_sampling),
        weighting=build(weighting, config.weighting),
        shape=tuple(latent_shape),
        num_classes=config.data.num_classes if "label" in config.conditions else 0,
    )


def model_of_run(path: str, shape: tuple[int, ...]) -> Model:
    """Returns the model that a run's config describes, which must be of data of this shape.

    Raises:
        FileNotFoundError: there is no run in the folder.
        ValueError: its data have another shape.
    """
    config: Any = configs.read_config(path)
    if tuple(config.data.shape) != tuple(shape):
        raise ValueError(f"{path} is of data of shape {tuple(config.data.shape)}, not {shape}")
    return build_model(config)


def bound_of_run(path: str, shape: tuple[int, ...]) -> BoundModel:
    """Returns the denoiser that a run's newest average makes; only its weights are read.

    Raises:
        FileNotFoundError: there is no run in the folder.
        ValueError: its data have another shape, or it has no checkpoint yet.
    """
    source = sources.OfRun(path, name="")
    return model_of_run(path, shape).bind(source.load(source.shapes()))
