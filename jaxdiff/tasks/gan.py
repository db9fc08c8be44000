"""The task of an adversarial pair: a generator, of `config.network`, and a critic.

One evaluation makes a sample, but modes of the data may be lost: the comparison that diffusion
models are taught with.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdiff import config as configs
from jaxdiff import networks, random
from jaxdiff.config.build import Spec, build
from jaxdiff.objectives.adversarial import critic_loss, generator_loss, gradient_penalty
from jaxdiff.objectives.players import fixed
from jaxdiff.options import NonNegativeFloat, Width
from jaxdiff.tasks.unconditional import Unconditional
from jaxdiff.training.task import Losses
from jaxdiff.typing import Draw, Params
from jaxdiff.weights import sources
from jaxdiff.weights.devices import Devices
from jaxdiff.weights.table import Table, Weights


class GAN:
    """A generator against a critic, unconditional (Goodfellow et al. 2014).

    The loss is the logistic one that does not saturate, with the critic's gradient penalty at data.

    Attributes:
        shape: of one example.
        latent_shape: of the generator's input, standard normal noise.

    Raises:
        ValueError: a name is unknown, or an option is out of range.
    """

    per_example = True
    fields = ("x",)
    players: Mapping[str, tuple[str, ...]] = {
        "generator": ("network",),
        "critic": ("discriminator",),
    }

    def __init__(
        self,
        config: Any,
        discriminator: Spec = "MLP",
        latent_size: Width = 2,
        penalty: NonNegativeFloat = 0.1,
    ):
        """Builds both networks; `penalty` is the factor of the critic's gradient penalty."""
        if tuple(config.conditions):
            raise ValueError(f"GAN is unconditional, but conditions={tuple(config.conditions)}")
        self.config, self.penalty = config, penalty
        self.shape, self.latent_shape = tuple(config.data.shape), (latent_size,)
        dtype = jnp.dtype(config.compute_dtype)
        spec = configs.plain(config.network)
        self.generator = build(networks, spec, dtype=dtype, out_channels=self.shape[-1])
        self.critic = build(networks, discriminator, dtype=dtype, out_channels=1)

    def table(self) -> Table:
        """Returns the generator, which is averaged, and the critic, which is not."""
        latents, x = jnp.zeros((1, *self.latent_shape)), jnp.zeros((1, *self.shape))
        init = lambda network, key, x: network.init(key, x, jnp.zeros(1), {})["params"]
        source = sources.source(self.config.weights.get("network", ""))
        return Table(
            {
                "network": Weights(
                    init=lambda key: init(self.generator, key, latents),
                    source=source,
                    config_field="weights.network",
                ),
                "discriminator": Weights(
                    init=lambda key: init(self.critic, random.stream(key, "discriminator"), x),
                    averaged=False,
                ),
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
        """Returns the generator's and the critic's loss."""
        x = batch["x"]
        critic = lambda x: self._score(weights["discriminator"], x)
        judge = lambda x: self._score(fixed(weights["discriminator"]), x)
        fake = self.generate(weights["network"], self._noise(draw.keys))
        real_score, fake_score = critic(x), critic(fixed(fake))
        loss = critic_loss(real_score, fake_score) + self.penalty * gradient_penalty(critic, x)
        return Losses(
            {"generator": generator_loss(judge(fake)), "critic": loss},
            {"real_score": real_score, "fake_score": fake_score},
            {},
        )

    def absorb(self, statistics: Any, observed: Any) -> dict[str, Any]:
        """Returns no statistics."""
        return {}

    def generate(self, params: Params, z: Float[Array, "b d"]) -> Float[Array, "b *shape"]:
        """Returns the samples of some noise."""
        return self.generator.apply({"params": params}, z, jnp.zeros(len(z), z.dtype), {})

    def sampler(self, devices: Devices) -> Unconditional:
        """Returns the function that draws samples."""
        draw = lambda params, keys: self.generate(params, self._noise(random.stream(keys, "prior")))
        return Unconditional(jax.jit(draw), devices, self.config.sampling.batch_size)

    def _score(self, params, x):
        time = jnp.zeros(len(x), x.dtype)
        return self.critic.apply({"params": params}, x, time, {})[..., 0]

    def _noise(self, keys):
        latents = jnp.zeros((len(keys), *self.latent_shape))
        return random.normal(random.stream(keys, "latents"), latents)
