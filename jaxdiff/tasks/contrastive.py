"""The task of a contrastive encoder: an image and its text, or two views, have one embedding."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from jaxdiff import random
from jaxdiff.conditioning import encoders
from jaxdiff.conditioning.conditions import Conditions
from jaxdiff.config.build import Spec, build
from jaxdiff.evaluation.features import in_batches
from jaxdiff.networks import classifier
from jaxdiff.networks.text.tower import TextTower
from jaxdiff.objectives.contrastive import info_nce, sigmoid_pairs
from jaxdiff.objectives.players import fixed
from jaxdiff.options import Count, NonNegativeFloat, PositiveFloat, Width
from jaxdiff.progress import full_batches
from jaxdiff.training.task import Losses
from jaxdiff.typing import Condition, Draw, Frozen, Network, Params
from jaxdiff.weights.configured import build_part, unnamed_in
from jaxdiff.weights.devices import Devices
from jaxdiff.weights.table import Table, Weights

TEXT = "text"


class Contrastive:
    """An encoder of images by pairs: of an image and its text, or of two views of the image.

    With "text" among the config's conditions, the pair is an image and its text (CLIP: Radford et
    al. 2021; with `loss="sigmoid"` SigLIP: Zhai et al. 2023). The text's states are those of
    `config.encoders.text`, which is frozen; a transformer over them, the tower, is trained.
    Without, the pair is two views, shifted and noised (SimCLR: Chen et al. 2020).

    Attributes of the config's `task`: `encoder`, a network of `jaxdiff.networks.classifier` whose
    logits are the embedding; `shift` in pixels and `noise` of a view, of images with a text too;
    `loss`, "softmax" or "sigmoid"; `scale`, of the similarities at the start, which is trained, as
    is the `bias` of the sigmoid; `text_width` and `text_layers` of the tower.

    Raises:
        ValueError: a name is unknown, an option is out of range, or there is another condition.
    """

    per_example = False

    def __init__(
        self,
        config: Any,
        encoder: Spec = "ConvClassifier",
        embedding: Width = 32,
        shift: Count = 1,
        noise: NonNegativeFloat = 0.3,
        scale: PositiveFloat = 10.0,
        loss: Literal["softmax", "sigmoid"] = "softmax",
        bias: float = -10.0,
        text_width: Width = 128,
        text_layers: Count = 2,
    ):
        """Builds the encoders."""
        self.config, self.shape = config, tuple(config.data.shape)
        self.shift, self.noise, self.scale = shift, noise, scale
        self.loss, self.bias = loss, bias
        self.network = build(classifier, encoder, Network, classes=embedding)
        if other := [name for name in config.conditions if name != TEXT]:
            raise ValueError(f"conditions has {other}: a contrastive encoder reads only 'text'")
        self.conditions = Conditions(
            names=tuple(config.conditions),
            encoders={
                name: build_part(config, encoders, name, spec)
                for name, spec in config.encoders.items()
            },
        )
        if TEXT in self.conditions.names and TEXT not in self.conditions.encoders:
            raise ValueError("conditions has 'text', but encoders has no entry for it")
        self.tower = TextTower(embedding, text_width, text_layers)
        self.fields = ("x", *self.conditions.names)
        trained = ("network", "scale", *(("text_tower",) if self.with_text else ()))
        self.players: Mapping[str, tuple[str, ...]] = {"encoder": trained}

    @property
    def with_text(self) -> bool:
        """Returns whether pairs are of images and texts."""
        return TEXT in self.conditions.names

    def table(self) -> Table:
        """Returns the encoder, the similarity's scale and bias, the tower and the frozen states."""
        x = jnp.zeros((1, *self.shape))
        start = lambda key: {
            "log": jnp.log(jnp.float32(self.scale)),
            "bias": jnp.float32(self.bias),
        }
        entries = {
            "network": Weights(init=lambda key: self.network.init(key, x)["params"]),
            "scale": Weights(init=start),
        }
        if not self.with_text:
            return Table(entries)
        part: Any = self.conditions.encoders[TEXT]
        shapes = {TEXT: part.shapes()} if isinstance(part, Frozen) else {}
        if shapes:
            entries[TEXT] = Weights(
                shapes=part.shapes,
                source=part,
                trained=False,
                config_field=f"weights.{TEXT}",
                unnamed=functools.partial(unnamed_in, part, f"weights.{TEXT}"),
            )

        def init(key: Array) -> Params:
            cond = self.conditions.example(shapes)[TEXT]
            zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), (cond.value, cond.mask))
            return self.tower.init(random.stream(key, "text_tower"), *zeros)["params"]

        return Table({**entries, "text_tower": Weights(init=init)})

    def example(self, batch: int) -> dict[str, Any]:
        """Returns the shapes of a batch on the devices."""
        return {
            "x": jax.ShapeDtypeStruct((batch, *self.shape), jnp.float32),
            "position": jax.ShapeDtypeStruct((batch,), jnp.int32),
            **self.conditions.inputs(batch),
        }

    def prepare(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Returns a batch, on the host, in which texts are arrays."""
        return self.conditions.prepare(batch)

    def begin(self) -> dict[str, Any]:
        """Returns no statistics."""
        return {}

    def losses(
        self,
        weights: Mapping[str, Params],
        average: Mapping[str, Params],
        statistics: Any,
        batch: Mapping[str, Any],
        draw: Draw,
        step: Array,
        axis: str | None = None,
    ) -> Losses:
        """Returns the contrastive loss of each pair."""
        view = lambda name: self.view(random.stream(draw.keys, name), batch["x"])
        one = self.embed(weights["network"], view("one"))
        if self.with_text:
            two = self.embed_text(weights, batch[TEXT])
        else:
            two = self.embed(weights["network"], view("two"))
        scale = jnp.exp(weights["scale"]["log"])
        if self.loss == "sigmoid":
            loss = sigmoid_pairs(one, two, scale, weights["scale"]["bias"], axis)
        else:
            loss = info_nce(one, two, scale, axis)
        return Losses({"encoder": loss}, {"scale": jnp.full(len(loss), scale)}, {})

    def absorb(self, statistics: Any, observed: Any) -> dict[str, Any]:
        """Returns no statistics."""
        return {}

    def embed(self, params: Params, x: Float[Array, "b h w c"]) -> Float[Array, "b d"]:
        """Returns the embeddings of images."""
        return self.network.apply({"params": params}, x)[0]

    def embed_text(self, weights: Mapping[str, Params], inputs: Any) -> Float[Array, "b d"]:
        """Returns the embeddings of prepared texts."""
        return self.embed_states(weights, self.conditions.encode(weights, {TEXT: inputs})[TEXT])

    def embed_states(self, weights: Mapping[str, Params], cond: Condition) -> Float[Array, "b d"]:
        """Returns the embeddings of texts, of the states of `config.encoders.text`."""
        params = {"params": weights["text_tower"]}
        found: Any = self.tower.apply(params, fixed(cond.value), cond.mask)
        return found

    def view(self, keys: Key[Array, " b"], x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Returns images moved by up to `shift` pixels, with noise."""
        if self.shift:
            room = ((self.shift,) * 2,) * 2 + ((0, 0),)

            def move(key: Array, image: Array) -> Array:
                top, left = jax.random.randint(key, (2,), 0, 2 * self.shift + 1)
                padded = jnp.pad(image, room, mode="edge")
                return jax.lax.dynamic_slice(padded, (top, left, 0), image.shape)

            x = jax.vmap(move)(random.stream(keys, "shift"), x)
        return x + self.noise * random.normal(random.stream(keys, "noise"), x)

    def sampler(self, devices: Devices) -> "Embedder":
        """Returns an object that embeds images and texts; nothing can be drawn from an encoder."""
        return Embedder(self, self.config.sampling.batch_size)


@dataclass(frozen=True, eq=False)
class Embedder:
    """`embedder.embed(weights, images)` returns their embeddings."""

    task: Contrastive
    batch_size: int

    def __call__(self, weights: Any, num: int, cond: Any = None, **options: Any) -> np.ndarray:
        """Raises ValueError: an encoder draws nothing."""
        raise ValueError("a contrastive encoder draws no samples: use run.experiment.sampler.embed")

    def embed(
        self, weights: Mapping[str, Params], x: Float[np.ndarray, "n h w c"]
    ) -> Float[np.ndarray, "n d"]:
        """Returns embeddings of images in [-1, 1]."""
        return in_batches(lambda batch: self._images(weights["network"], batch), x, self.batch_size)

    def embed_text(
        self, weights: Mapping[str, Params], texts: Sequence[str]
    ) -> Float[np.ndarray, "n d"]:
        """Returns embeddings of texts.

        Raises:
            ValueError: the encoder has seen no texts.
        """
        if not self.task.with_text:
            raise ValueError("this encoder was trained without texts: conditions has no 'text'")
        found, prepare = [], self.task.conditions.encoders[TEXT].prepare
        for index, kept in full_batches(len(texts), min(len(texts), self.batch_size)):
            inputs = prepare([texts[i] for i in index])
            found.append(np.asarray(self._texts(weights, inputs))[:kept])
        return np.concatenate(found)

    @functools.cached_property
    def _images(self) -> Any:
        return jax.jit(self.task.embed)

    @functools.cached_property
    def _texts(self) -> Any:
        return jax.jit(self.task.embed_text)
