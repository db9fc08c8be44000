"""The task of an autoencoder: images to latents and back, for diffusion in latents."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from einops import reduce
from jaxtyping import Array, Float

from jaxdiff import networks, random
from jaxdiff.codecs.latents import make_autoencoder
from jaxdiff.config.build import Spec, build
from jaxdiff.objectives.adversarial import critic_loss, generator_loss
from jaxdiff.objectives.players import adaptive_weight, fixed
from jaxdiff.options import Count, NonNegativeFloat
from jaxdiff.progress import full_batches
from jaxdiff.training.task import Losses
from jaxdiff.typing import Draw, Params
from jaxdiff.weights import sources
from jaxdiff.weights.devices import Devices
from jaxdiff.weights.table import Table, Weights


class Autoencoder:
    """A KL autoencoder with an optional adversary (Rombach et al. 2022, appendix G).

    The loss is the mean absolute error, plus `kl_weight` times the divergence from the standard
    normal per value, plus from step `adversary_from` on the adversary's loss, scaled so that its
    gradient at the reconstruction is `adversary_weight` times that of the error (Esser et al. 2021,
    eq. 7). A run is a codec: `--config.weights.codec=runs/autoencoder`.

    Raises:
        ValueError: a name is unknown, or an option is out of range.
    """

    fields = ("x",)

    def __init__(
        self,
        config: Any,
        autoencoder: Spec = "sd_vae",
        kl_weight: NonNegativeFloat = 1e-4,
        discriminator: Spec = None,
        adversary_weight: NonNegativeFloat = 0.5,
        adversary_from: Count = 0,
    ):
        """Builds the networks; `autoencoder` is as in `codecs.Latents`."""
        self.config, self.shape = config, tuple(config.data.shape)
        self.kl_weight = kl_weight
        self.adversary_weight, self.adversary_from = adversary_weight, adversary_from
        dtype = jnp.dtype(config.compute_dtype)
        self.network = make_autoencoder(autoencoder, dtype)
        self.critic: Any = build(networks, discriminator, dtype=dtype) if discriminator else None
        # The adaptive weight is a ratio of gradients over the batch.
        self.per_example = self.critic is None
        self.players = {"autoencoder": ("network",)}
        if self.critic is not None:
            self.players["critic"] = ("discriminator",)

    def table(self) -> Table:
        """Returns the autoencoder, which is averaged, and the critic, which is not."""
        x = jnp.zeros((1, *self.shape))
        entries = {
            "network": Weights(
                init=lambda key: self.network.init(key, x)["params"],
                source=sources.source(self.config.weights.get("network", "")),
                config_field="weights.network",
            )
        }
        if self.critic is not None:
            stream = functools.partial(random.stream, name="discriminator")
            init = lambda key: self.critic.init(stream(key), x)["params"]
            entries["discriminator"] = Weights(init=init, averaged=False)
        return Table(entries)

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
        """Returns the autoencoder's loss, and the critic's where there is one."""
        x = batch["x"]
        params = {"params": weights["network"]}
        posterior = self.network.apply(params, x, method="encode")
        z = posterior.sample(random.stream(draw.keys, "latents"))
        found = self.network.apply(params, z, method="decode")
        error = lambda y: reduce(jnp.abs(y - x), "b ... -> b", "mean")
        kl = posterior.kl() / z[0].size
        loss, metrics = error(found) + self.kl_weight * kl, {"error": error(found), "kl": kl}
        if self.critic is None:
            return Losses({"autoencoder": loss}, metrics, {})
        score = lambda params, y: self.critic.apply({"params": params}, y)
        judge = functools.partial(score, fixed(weights["discriminator"]))
        critic = functools.partial(score, weights["discriminator"])
        adversary = lambda y: generator_loss(judge(y))
        ratio = adaptive_weight(lambda y: error(y).mean(), lambda y: adversary(y).mean(), found)
        factor = self.adversary_weight * jnp.clip(ratio, 0, 1e4) * (step >= self.adversary_from)
        by_player = {
            "autoencoder": loss + factor * adversary(found),
            "critic": critic_loss(critic(x), critic(fixed(found))),
        }
        return Losses(by_player, {**metrics, "adversary_factor": jnp.full(len(x), factor)}, {})

    def absorb(self, statistics: Any, observed: Any) -> dict[str, Any]:
        """Returns no statistics."""
        return {}

    def sampler(self, devices: Devices) -> "Decoder":
        """Returns the function that decodes random latents, and reconstructs images."""
        return Decoder(self, devices, self.config.sampling.batch_size)


@dataclass(frozen=True, eq=False)
class Decoder:
    """Draws images of standard normal latents; `reconstruct(weights, x)` encodes and decodes."""

    task: Autoencoder
    devices: Devices
    batch_size: int

    def __call__(
        self,
        weights: Mapping[str, Params],
        num: int,
        cond: Mapping[str, Any] | None = None,
        *,
        seed: int = 0,
        first: int = 0,
        batch_size: int | None = None,
        guidance_scale: float = 1.0,
    ) -> np.ndarray:
        """Draws images [num, ...], the same for a seed and an index in any batches.

        Raises:
            ValueError: num is less than 1, or conditions or guidance are asked for.
        """
        if num < 1 or cond or guidance_scale != 1:
            raise ValueError(
                f"num={num}, cond={cond}, guidance_scale={guidance_scale}: an autoencoder draws at"
                " least 1 image, without conditions and guidance"
            )
        key, parts = random.stream(jax.random.key(seed), "sample"), []
        for index, kept in full_batches(num, min(num, batch_size or self.batch_size)):
            keys = self.devices.spread(random.example_keys(key, jnp.asarray(index + first)))
            parts.append(self.devices.gather(self._draw(weights["network"], keys))[:kept])
        return np.concatenate(parts)

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
        network, x = self.task.network, jnp.zeros((1, *self.task.shape))

        def draw(params, keys):
            encode = lambda x: network.apply({"params": params}, x, method="encode").mean
            latent = jax.eval_shape(encode, x).shape[1:]
            z = random.normal(random.stream(keys, "prior"), jnp.zeros((len(keys), *latent)))
            return network.apply({"params": params}, z, method="decode")

        return jax.jit(draw)

    @functools.cached_property
    def _reconstruct(self) -> Any:
        network = self.task.network

        def reconstruct(params, x):
            z = network.apply({"params": params}, x, method="encode").mean
            return network.apply({"params": params}, z, method="decode"), z

        return jax.jit(reconstruct)
