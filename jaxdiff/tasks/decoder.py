"""Samples of an autoencoder: images of random latents, and reconstructions."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxdiff import random
from jaxdiff.progress import full_batches
from jaxdiff.tasks.unconditional import Unconditional
from jaxdiff.typing import Params
from jaxdiff.weights.devices import Devices


@dataclass(frozen=True, eq=False)
class Decoder:
    """Draws images of standard normal latents; `reconstruct(weights, x)` encodes and decodes.

    `encode` and `decode` are functions of the network's parameters and an array, in the space in
    which diffusion runs; `shape` is that of an example.
    """

    encode: Any
    decode: Any
    shape: tuple[int, ...]
    devices: Devices
    batch_size: int

    def __call__(self, *arguments: Any, **options: Any) -> np.ndarray:
        """Draws images; see `Unconditional`."""
        return Unconditional(self._draw, self.devices, self.batch_size)(*arguments, **options)

    def reconstruct(
        self, weights: Mapping[str, Params], x: Float[np.ndarray, "n *shape"]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the decoded means of the posteriors, and these latents."""
        images, latents = [], []
        for index, kept in full_batches(len(x), min(len(x), self.batch_size)):
            found = self._reconstruct(weights["network"], self.devices.spread(x[index]))
            image, z = self.devices.gather(found)
            images.append(image[:kept])
            latents.append(z[:kept])
        return np.concatenate(images), np.concatenate(latents)

    @functools.cached_property
    def _draw(self) -> Any:
        x = jnp.zeros((1, *self.shape))

        def draw(params, keys):
            latent = jax.eval_shape(self.encode, params, x).shape[1:]
            z = random.normal(random.stream(keys, "prior"), jnp.zeros((len(keys), *latent)))
            return self.decode(params, z)

        return jax.jit(draw)

    @functools.cached_property
    def _reconstruct(self) -> Any:
        def reconstruct(params, x):
            z = self.encode(params, x)
            return self.decode(params, z), z

        return jax.jit(reconstruct)
