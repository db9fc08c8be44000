"""The autoencoders of latent diffusion beside diffusers' `AutoencoderKL` and `VQModel`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxdiff.networks.autoencoder import AutoencoderKL, AutoencoderSettings, posterior
from jaxdiff.networks.vector_quantized import AutoencoderVQ
from jaxdiff.pretrained import to_theirs
from jaxdiff.pretrained.tables.autoencoder import autoencoder
from tests.parity.cases import Case, Ours, Peer, draw

CHANNELS = (8, 16)
IMAGES = np.random.default_rng(5).standard_normal((2, 8, 12, 3)).astype(np.float32)
WIDE = 40.0
"""Moments are also compared this many times as large, where log-variances are clipped."""

SD = AutoencoderSettings(CHANNELS, layers_per_block=1, num_groups=4)
SD3 = AutoencoderSettings(
    CHANNELS, layers_per_block=2, num_groups=4, latent_channels=16, quant_convs=False
)
VQ = AutoencoderVQ(
    AutoencoderSettings(CHANNELS, layers_per_block=1, num_groups=4, latent_channels=5),
    num_codes=20,
    code_channels=3,
)


def latents(channels: int) -> np.ndarray:
    return np.random.default_rng(6).standard_normal((2, 3, 5, channels)).astype(np.float32)


def peer_options(settings: AutoencoderSettings) -> dict:
    levels = len(settings.channels)
    return {
        "block_out_channels": settings.channels,
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "layers_per_block": settings.layers_per_block,
        "latent_channels": settings.latent_channels,
        "norm_num_groups": settings.num_groups,
        "mid_block_add_attention": settings.middle_attention,
    }


def to_torch(x: np.ndarray):
    import torch

    return torch.tensor(x).permute(0, 3, 1, 2)


def from_torch(x):
    return x.permute(0, 2, 3, 1)


def shapes(network):
    return jax.eval_shape(network.init, jax.random.key(0), jnp.asarray(IMAGES))["params"]


def kl_ours(settings: AutoencoderSettings) -> Ours:
    network = AutoencoderKL(settings)

    def apply(params):
        run = functools.partial(network.apply, {"params": params})
        said = run(jnp.asarray(IMAGES), method="encode")
        wide = posterior(WIDE * jnp.concatenate(said, axis=-1))
        z = jnp.asarray(latents(settings.latent_channels))
        return {**said._asdict(), "clipped": wide.log_variance, "decoded": run(z, method="decode")}

    return Ours(apply, shapes(network), autoencoder(len(settings.channels)))


def kl_peer(settings: AutoencoderSettings) -> Peer:
    import diffusers
    from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

    quant = settings.quant_convs
    module = diffusers.AutoencoderKL(
        **peer_options(settings), use_quant_conv=quant, use_post_quant_conv=quant
    )

    def run():
        said = module.encode(to_torch(IMAGES)).latent_dist
        wide = DiagonalGaussianDistribution(WIDE * said.parameters)
        decoded = module.decode(to_torch(latents(settings.latent_channels))).sample
        out = {"mean": said.mean, "log_variance": said.logvar, "clipped": wide.logvar}
        return {name: from_torch(x) for name, x in {**out, "decoded": decoded}.items()}

    return Peer(module, run)


def faint(settings: AutoencoderSettings) -> dict[str, np.ndarray]:
    """Draws weights with which features have a variance of 1e-5: there the norms' eps counts."""
    ours = kl_ours(settings)
    weights = draw(jax.eval_shape(lambda tree: to_theirs(ours.table, tree), ours.target))
    both = ("conv_in.", "conv1.", "conv2.", "to_out.0.")
    bias = ("samplers.0.conv.bias", "conv_shortcut.bias")
    small = lambda key: any(part in key for part in (*both, *bias))
    return {key: value / 300 if small(key) else value for key, value in weights.items()}


def vq_ours() -> Ours:
    def apply(params):
        run = functools.partial(VQ.apply, {"params": params})
        z = run(jnp.asarray(IMAGES), method="encode")
        quantized = run(z, method="quantize")
        metrics = quantized.metrics
        return {
            "latents": z,
            "indices": quantized.indices.astype(jnp.float32),
            "loss": (metrics["commitment"] + 0.25 * metrics["codebook"]).mean(),
            "decoded": run(z, method="decode"),
        }

    return Ours(apply, shapes(VQ), autoencoder(len(CHANNELS)))


def vq_peer() -> Peer:
    import diffusers

    module = diffusers.VQModel(
        **peer_options(VQ.settings), num_vq_embeddings=VQ.num_codes, vq_embed_dim=VQ.code_channels
    )

    def run():
        z = module.encode(to_torch(IMAGES)).latents
        _, loss, (_, _, indices) = module.quantize(z)
        out = {"latents": from_torch(z), "decoded": from_torch(module.decode(z).sample)}
        shape = out["latents"].shape[:3]
        return {**out, "loss": loss, "indices": indices.reshape(shape).float()}

    return Peer(module, run)


def cases() -> list[Case]:
    """Returns the autoencoders' cases."""
    kl = functools.partial(Case, "KL autoencoder", package="diffusers", recorded=True)
    return [
        kl(
            name="4 channels, quant convolutions, faint features",
            ours=functools.partial(kl_ours, SD),
            peer=functools.partial(kl_peer, SD),
            weights=functools.partial(faint, SD),
        ),
        kl(
            name="16 channels, no quant convolutions",
            ours=functools.partial(kl_ours, SD3),
            peer=functools.partial(kl_peer, SD3),
            gradients=True,
        ),
        Case(
            "VQ autoencoder",
            "codes narrower than the latents",
            "diffusers",
            vq_ours,
            vq_peer,
            gradients=True,
            recorded=True,
        ),
    ]
