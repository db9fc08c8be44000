"""The task of an autoencoder: images or clips to latents and back, for diffusion in latents."""

import functools
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxdiff import networks, random
from jaxdiff.codecs.latents import latent_channels, make_autoencoder
from jaxdiff.codecs.moments import MOMENTS, absorbed_moments, no_moments, observed_moments
from jaxdiff.config.build import Spec, build
from jaxdiff.networks.autoencoder import Gaussian
from jaxdiff.networks.vector_quantized import AutoencoderVQ
from jaxdiff.networks.video_autoencoder import VideoAutoencoder
from jaxdiff.objectives import adversarial
from jaxdiff.objectives.autoencoder import ERRORS
from jaxdiff.objectives.players import adaptive_weight, fixed
from jaxdiff.options import Count, NonNegativeFloat
from jaxdiff.tasks.contrastive_runs import perceptual_of, perceptual_weights
from jaxdiff.tasks.decoder import Decoder
from jaxdiff.training.task import Losses
from jaxdiff.typing import Draw, Metrics, Params
from jaxdiff.weights import sources
from jaxdiff.weights.devices import Devices
from jaxdiff.weights.table import Table, Weights

LAST_LAYER = ("decoder", "conv_out", "kernel")


class Autoencoder:
    """A KL or VQ autoencoder with an optional adversary (Rombach et al. 2022, appendix G).

    The autoencoder's loss is

        error + perceptual_weight · perceptual + latent penalty + factor · adversary

    where the latent penalty is `kl_weight` times the divergence from the standard normal per value
    of the latents, or for a codebook (van den Oord et al. 2017, eq. 3) `codebook_weight` and
    `commitment_weight` times their distances. From step `adversary_from` on, `factor` is such that
    the adversary's gradient at the last layer is `adversary_weight` times as long as that of the
    error (Esser et al. 2021, eq. 7). The critic is trained from the beginning.

    The perceptual loss compares feature maps of a contrastive encoder of ours,
    `--config.weights.perceptual=runs/contrastive`, or is LPIPS of a file,
    `--config.weights.perceptual=vgg.safetensors`; without, there is none. Clips are compared frame
    by frame. An autoencoder of clips takes images as clips of one frame.

    The mean and the deviation of the latents, by channel, are measured along the way and are in
    each checkpoint. A run is a codec, `config.codec = "RunLatents"`, which brings latents to mean 0
    and deviation 1: `--config.weights.codec=runs/autoencoder`.

    Raises:
        ValueError: a name is unknown, or an option is out of range.
    """

    fields = ("x",)

    def __init__(
        self,
        config: Any,
        autoencoder: Spec = "sd_vae",
        error: Literal["absolute", "squared"] = "absolute",
        kl_weight: NonNegativeFloat = 1e-4,
        codebook_weight: NonNegativeFloat = 1.0,
        commitment_weight: NonNegativeFloat = 0.25,
        perceptual_weight: NonNegativeFloat = 1.0,
        discriminator: Spec = None,
        adversary: Literal["hinge", "logistic"] = "hinge",
        adversary_weight: NonNegativeFloat = 0.5,
        adversary_from: Count = 0,
    ):
        """Builds the networks; `autoencoder` is as in `codecs.Latents`."""
        self.config, self.shape = config, tuple(config.data.shape)
        self.error, self.kl_weight = ERRORS[error], kl_weight
        self.codebook_weight, self.commitment_weight = codebook_weight, commitment_weight
        self.adversary_weight, self.adversary_from = adversary_weight, adversary_from
        self._adversarial = adversarial.LOSSES[adversary]
        dtype = jnp.dtype(config.compute_dtype)
        self.network = make_autoencoder(autoencoder, dtype)
        self.critic: Any = build(networks, discriminator, dtype=dtype) if discriminator else None
        path = config.weights.get("perceptual", "")
        self.perceptual = perceptual_of(path) if path else None
        self.perceptual_weight = perceptual_weight
        # The adaptive weight is a ratio of gradients over the batch.
        self.per_example = self.critic is None
        self.players = {"autoencoder": ("network",)}
        if self.critic is not None:
            self.players["critic"] = ("discriminator",)

    def table(self) -> Table:
        """Returns the autoencoder, which is averaged, the critic, and frozen features."""
        x = jnp.zeros((1, *self.shape))
        entries = {
            "network": Weights(
                init=lambda key: self.network.init(key, self._framed(x))["params"],
                source=sources.source(self.config.weights.get("network", "")),
                config_field="weights.network",
            )
        }
        if self.critic is not None:
            stream = functools.partial(random.stream, name="discriminator")
            init = lambda key: self.critic.init(stream(key), x)["params"]
            entries["discriminator"] = Weights(init=init, averaged=False)
        if self.perceptual is not None:
            entries["perceptual"] = perceptual_weights(self.perceptual)
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
        """Returns the moments of no latents yet."""
        return {MOMENTS: no_moments(latent_channels(self.network))}

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
        z, moments, penalty, metrics = self._latents(weights["network"], x, draw)
        found, pull = self._decoded(weights["network"], z)
        error = lambda y: self.error(x, y)
        wanted = error
        metrics = {**metrics, "error": error(found)}
        if self.perceptual is not None:
            distance = functools.partial(self.perceptual.distance, fixed(weights["perceptual"]))
            perceptual = lambda y: self._by_frame(distance, x, y)
            wanted = lambda y: error(y) + self.perceptual_weight * perceptual(y)
            metrics["perceptual"] = perceptual(found)
        loss = wanted(found) + penalty
        observed = {MOMENTS: moments}
        if self.critic is None:
            return Losses({"autoencoder": loss}, metrics, observed)
        of_generator, of_critic = self._adversarial
        score = lambda params, y: self.critic.apply({"params": params}, y)
        judge = functools.partial(score, fixed(weights["discriminator"]))
        critic = functools.partial(score, weights["discriminator"])
        adversary = lambda y: of_generator(judge(y)).mean(-1)
        ratio = adaptive_weight(
            lambda y: wanted(y).mean(),
            lambda y: adversary(y).mean(),
            found,
            pull=pull,
            axis=axis,
        )
        factor = self.adversary_weight * jnp.clip(ratio, 0, 1e4) * (step >= self.adversary_from)
        real, fake = critic(x), critic(fixed(found))
        by_player = {
            "autoencoder": loss + factor * adversary(found),
            "critic": of_critic(real, fake).mean(-1),
        }
        metrics |= {
            "adversary_factor": jnp.full(len(x), factor),
            "real_score": real.mean(-1),
            "fake_score": fake.mean(-1),
        }
        return Losses(by_player, metrics, observed)

    def absorb(self, statistics: Any, observed: Any) -> dict[str, Any]:
        """Returns the latents' moments with those of one more batch."""
        return {MOMENTS: absorbed_moments(statistics[MOMENTS], observed[MOMENTS])}

    def encode(self, params: Params, x: Array) -> Array:
        """Returns latents of images or clips: a posterior's mean, or what is not quantized yet."""
        z = self.network.apply({"params": params}, self._framed(x), method="encode")
        return z.mean if isinstance(z, Gaussian) else z

    def decode(self, params: Params, z: Array) -> Array:
        """Returns the images or clips of latents, as many frames as the data have."""
        y = self.network.apply({"params": params}, z, method="decode")
        return y[:, 0] if y.ndim > 1 + len(self.shape) else y

    def sampler(self, devices: Devices) -> Decoder:
        """Returns the function that decodes random latents, and reconstructs images."""
        size = self.config.sampling.batch_size
        return Decoder(self.encode, self.decode, self.shape, devices, size)

    def _latents(
        self, params: Params, x: Array, draw: Draw
    ) -> tuple[Array, dict[str, Array], Array, Metrics]:
        """Returns latents to decode, their moments, their penalty [b], and metrics [b]."""
        found = self.network.apply({"params": params}, self._framed(x), method="encode")
        if isinstance(found, Gaussian):
            z = found.sample(random.stream(draw.keys, "latents"))
            kl = found.kl() / z[0].size
            moments = observed_moments(found.mean, jnp.exp(found.log_variance))
            return z, fixed(moments), self.kl_weight * kl, {"kl": kl}
        moments, penalty, metrics = observed_moments(found), jnp.zeros(len(x)), {}
        if isinstance(self.network, AutoencoderVQ):
            quantized: Any = self.network.apply({"params": params}, found, method="quantize")
            found, metrics = quantized.codes, dict(quantized.metrics)
            penalty = self.codebook_weight * metrics["codebook"]
            penalty += self.commitment_weight * metrics["commitment"]
        return found, fixed(moments), penalty, metrics

    def _decoded(self, params: Params, z: Array) -> tuple[Array, Any]:
        """Returns the decoded latents, and what takes a gradient there to the last layer."""
        decode = lambda last: self.decode(_with(params, LAST_LAYER, last), z)
        try:
            last = _get(params, LAST_LAYER)
        except KeyError:  # an autoencoder of one's own, with other names
            return self.decode(params, z), lambda gradient: gradient
        found, pull = jax.vjp(decode, last)
        return found, lambda gradient: pull(gradient)[0]

    def _framed(self, x: Array) -> Array:
        """Returns images as clips of one frame, if the autoencoder is one of clips."""
        return x[:, None] if isinstance(self.network, VideoAutoencoder) and x.ndim == 4 else x

    def _by_frame(self, distance: Any, x: Array, y: Array) -> Array:
        """Returns a distance of images [b], of clips the mean over the frames."""
        if x.ndim == 4:
            return distance(x, y)
        merge = lambda a: a.reshape(-1, *a.shape[2:])
        return distance(merge(x), merge(y)).reshape(x.shape[:2]).mean(1)


def _get(tree: Params, path: tuple[str, ...]) -> Any:
    return _get(tree[path[0]], path[1:]) if path else tree


def _with(tree: Params, path: tuple[str, ...], leaf: Any) -> Params:
    """Returns a tree with another leaf at a path."""
    return {**tree, path[0]: _with(tree[path[0]], path[1:], leaf)} if path else leaf
