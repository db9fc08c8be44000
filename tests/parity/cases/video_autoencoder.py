"""The autoencoder of clips beside diffusers' `AutoencoderKLWan`, which runs it frame by frame."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxdiff.networks.video_autoencoder import VideoAutoencoder, VideoAutoencoderSettings
from jaxdiff.pretrained.tables.video_autoencoder import video_autoencoder
from tests.parity.cases import Case, Ours, Peer

TWO_LEVELS = VideoAutoencoderSettings((8, 16), (True,), layers_per_block=1, latent_channels=4)
THREE_LEVELS = VideoAutoencoderSettings(
    (8, 16, 16), (True, True), layers_per_block=1, latent_channels=4
)
WAN = VideoAutoencoderSettings((4, 8, 16, 16), layers_per_block=2, latent_channels=6)


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(7).standard_normal(shape).astype(np.float32)


def peer_options(settings: VideoAutoencoderSettings) -> dict:
    base = settings.channels[0]
    numbers = lambda value: [value] * settings.latent_channels if np.ndim(value) == 0 else value
    return {
        "base_dim": base,
        "dim_mult": [width // base for width in settings.channels],
        "num_res_blocks": settings.layers_per_block,
        "temperal_downsample": list(settings.halve_frames),
        "z_dim": settings.latent_channels,
        "in_channels": settings.image_channels,
        "out_channels": settings.image_channels,
        "latents_mean": list(numbers(settings.shift)),
        "latents_std": [1 / value for value in numbers(settings.scale)],
        "scale_factor_temporal": settings.frame_factor,
        "scale_factor_spatial": settings.factor,
    }


def inputs(settings: VideoAutoencoderSettings, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns a clip and latents of so many frames."""
    latents = 1 + (frames - 1) // settings.frame_factor
    size = (4 * settings.factor, 6 * settings.factor) if settings.factor < 4 else (16, 8)
    small = [n // settings.factor for n in size]
    clip = numbers(1, frames, *size, settings.image_channels)
    return clip, numbers(1, latents, *small, settings.latent_channels)


def ours(settings: VideoAutoencoderSettings, lengths: tuple[int, ...]) -> Ours:
    network = VideoAutoencoder(settings)

    def apply(params):
        run, out = functools.partial(network.apply, {"params": params}), {}
        for frames in lengths:
            x, z = map(jnp.asarray, inputs(settings, frames))
            said = run(x, method="encode")
            out[f"mean of {frames}"], out[f"log_variance of {frames}"] = said
            out[f"decoded {frames}"] = run(z, method="decode")
        return out

    x = jnp.asarray(inputs(settings, 1)[0])
    target = jax.eval_shape(network.init, jax.random.key(0), x)["params"]
    table = video_autoencoder(len(settings.channels), settings.layers_per_block)
    return Ours(apply, target, table)


def peer(settings: VideoAutoencoderSettings, lengths: tuple[int, ...]) -> Peer:
    import diffusers
    import torch

    module = diffusers.AutoencoderKLWan(**peer_options(settings))

    def run():
        out = {}
        for frames in lengths:
            x, z = (torch.tensor(x).permute(0, 4, 1, 2, 3) for x in inputs(settings, frames))
            said = module.encode(x).latent_dist
            out[f"mean of {frames}"], out[f"log_variance of {frames}"] = said.mean, said.logvar
            out[f"decoded {frames}"] = module.decode(z).sample
        return {name: value.permute(0, 2, 3, 4, 1) for name, value in out.items()}

    return Peer(module, run)


def cases() -> list[Case]:
    """Returns the video autoencoder's cases."""

    def case(name, settings, lengths, **options):
        sides = (functools.partial(side, settings, lengths) for side in (ours, peer))
        return Case("Video autoencoder", name, "diffusers", *sides, **options)

    return [
        case("two levels, 1 and 9 frames", TWO_LEVELS, (1, 9), gradients=True, recorded=True),
        case("three levels, 1, 5 and 9 frames", THREE_LEVELS, (1, 5, 9), gradients=True),
        case("Wan 2.1's levels, 9 frames", WAN, (9,)),
    ]
