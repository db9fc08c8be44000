"""The task of a contrastive encoder: two views of an image are to have one embedding."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from jaxdiff import random
from jaxdiff.config.build import Spec, build
from jaxdiff.evaluation.features import in_batches
from jaxdiff.networks import classifier
from jaxdiff.objectives.contrastive import info_nce
from jaxdiff.options import Count, NonNegativeFloat, PositiveFloat, Width
from jaxdiff.training.task import Losses
from jaxdiff.typing import Draw, Network, Params
from jaxdiff.weights.devices import Devices
from jaxdiff.weights.table import Table, Weights


class Contrastive:
    """An encoder of images by their two views, shifted and noised (Chen et al. 2020, SimCLR).

    Attributes of the config's `task`: `encoder`, a network of `jaxdiff.networks.classifier` whose
    logits are the embedding; `shift` in pixels and `noise` of a view; `scale`, of the similarities
    at the start, which is trained.

    Raises:
        ValueError: a name is unknown, or an option is out of range.
    """

    fields = ("x",)
    per_example = False
    players: Mapping[str, tuple[str, ...]] = {"encoder": ("network", "scale")}

    def __init__(
        self,
        config: Any,
        encoder: Spec = "ConvClassifier",
        embedding: Width = 32,
        shift: Count = 1,
        noise: NonNegativeFloat = 0.3,
        scale: PositiveFloat = 10.0,
    ):
        """Builds the encoder."""
        self.config, self.shape = config, tuple(config.data.shape)
        self.shift, self.noise, self.scale = shift, noise, scale
        self.network = build(classifier, encoder, Network, classes=embedding)

    def table(self) -> Table:
        """Returns the encoder and the logarithm of the scale."""
        x = jnp.zeros((1, *self.shape))
        return Table(
            {
                "network": Weights(init=lambda key: self.network.init(key, x)["params"]),
                "scale": Weights(init=lambda key: {"log": jnp.log(jnp.float32(self.scale))}),
            }
        )

    def example(self, batch: int) -> dict[str, Any]:
        """Returns the shapes of a batch on the devices."""
        return {
            "x": jax.ShapeDtypeStruct((batch, *self.shape), jnp.float32),
            "position": jax.ShapeDtypeStruct((batch,), jnp.int32),
        }

    def prepare(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the batch as it is."""
        return dict(batch)

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
        """Returns the contrastive loss of two views of each image."""
        views = (self.view(random.stream(draw.keys, name), batch["x"]) for name in ("one", "two"))
        one, two = (self.embed(weights["network"], view) for view in views)
        scale = jnp.exp(weights["scale"]["log"])
        loss = info_nce(one, two, scale, axis)
        return Losses({"encoder": loss}, {"scale": jnp.full(len(loss), scale)}, {})

    def absorb(self, statistics: Any, observed: Any) -> dict[str, Any]:
        """Returns no statistics."""
        return {}

    def embed(self, params: Params, x: Float[Array, "b h w c"]) -> Float[Array, "b d"]:
        """Returns the embeddings of images."""
        return self.network.apply({"params": params}, x)[0]

    def view(self, keys: Key[Array, " b"], x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Returns images moved by up to `shift` pixels, with noise."""
        if self.shift:
            room = ((self.shift,) * 2,) * 2 + ((0, 0),)

            def move(key: Array, image: Array) -> Array:
                top, left = jax.random.randint(key, (2,), 0, 2 * self.shift + 1)
                padded = jnp.pad(image, room, constant_values=-1)
                return jax.lax.dynamic_slice(padded, (top, left, 0), image.shape)

            x = jax.vmap(move)(random.stream(keys, "shift"), x)
        return x + self.noise * random.normal(random.stream(keys, "noise"), x)

    def sampler(self, devices: Devices) -> "Embedder":
        """Returns an object that embeds images; nothing can be drawn from an encoder."""
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
        run = jax.jit(self.task.embed)
        return in_batches(lambda batch: run(weights["network"], batch), x, self.batch_size)
