"""Diffusion on the latents of a frozen autoencoder (Rombach et al., 2022)."""

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxdiff.codecs.posterior import draw
from jaxdiff.codecs.tiles import Tiled
from jaxdiff.config.build import build, names
from jaxdiff.config.specs import parse
from jaxdiff.networks import autoencoder as image_autoencoder
from jaxdiff.networks import video_autoencoder
from jaxdiff.networks.autoencoder import (
    AutoencoderKL,
    AutoencoderSettings,
    Gaussian,
)
from jaxdiff.networks.vector_quantized import AutoencoderVQ
from jaxdiff.networks.video_autoencoder import VideoAutoencoder, VideoAutoencoderSettings
from jaxdiff.options import FloatType, Width, check, checked, short
from jaxdiff.pretrained import fingerprint, resolve
from jaxdiff.pretrained.families import Autoencoder, load_network, network_shapes, read_network
from jaxdiff.typing import Network, Params

Sizes = AutoencoderSettings | VideoAutoencoderSettings


@checked
@dataclass(frozen=True)
class Latents:
    """The latents of an autoencoder of images or clips: (latent - shift) · scale of its settings.

    Latents of a KL autoencoder are samples of the posterior, or with `sample=False` its mode.
    Latents of a VQ autoencoder are not quantized yet; decoding quantizes them. Any object with
    `settings` and `apply`, with the methods "encode" and "decode", serves as autoencoder.

    Attributes:
        autoencoder: an object; or in a config the name of its sizes, "sd_vae", or the sizes,
            {"channels": [128, 256]}, of a VQ autoencoder with "num_codes" and "code_channels"; or
            {"name": "Tiled", "autoencoder": ...} with one of these.
        sample: whether latents are samples of the posterior.
        weights: a folder of diffusers', a file, or a name on the hub; read by `load` only.
        dtype: of the computation; `param_dtype`, of the parameters.

    Raises:
        ValueError: a size is unknown or out of range.
    """

    autoencoder: Any
    sample: bool = True
    weights: str = ""
    dtype: FloatType = "float32"
    param_dtype: FloatType = "float32"

    def __post_init__(self):
        _ = self.network  # checks the sizes

    @functools.cached_property
    def network(self) -> Any:
        """Returns the autoencoder that the sizes describe, in tiles if they say so."""
        try:
            return make_autoencoder(self.autoencoder, jnp.dtype(self.dtype))
        except ValueError as error:
            raise ValueError(f"Latents.autoencoder: {error}") from error

    def shapes(self) -> Params:
        """Returns the parameters' shapes; reads nothing."""
        return parameter_shapes(self._network, jnp.dtype(self.param_dtype))

    def load(self, target: Params) -> Params:
        """Returns the parameters in `weights` like `target`, a tree of shapes.

        Raises:
            ValueError: files are missing, damaged or of another network; config.json has other
                sizes.
        """
        return read_network(self.weights, self._network, target)

    def fingerprint(self) -> str:
        """Returns a hash of the files."""
        return fingerprint(resolve(self.weights))

    def encode(
        self, params: Params, x: Float[Array, "b *size c"], keys: Key[Array, " b"]
    ) -> Float[Array, "b *size2 d"]:
        """Returns the latents of images in [-1, 1]; a key for each draws its sample.

        Raises:
            ValueError: no parameters; the autoencoder takes another size or number of channels.
        """
        return self.drawn(params, self.posterior(params, x), keys)

    def posterior(self, params: Params, x: Float[Array, "b *size c"]) -> Gaussian | Array:
        """Returns the distribution of images' latents; its mean, or latents of a VQ autoencoder."""
        z = self._apply(params, x, "encode")
        return z.mean if isinstance(z, Gaussian) and not self.sample else z

    def drawn(
        self, params: Params, posterior: Gaussian | Array, keys: Key[Array, " b"]
    ) -> Float[Array, "b *size d"]:
        """Returns latents of a posterior, shifted and scaled."""
        z = draw(posterior, keys)
        shift, scale = self._place(z)
        return (z - shift) * scale

    def decode(self, params: Params, z: Float[Array, "b *size d"]) -> Float[Array, "b *size2 c"]:
        """Returns the images of latents.

        Raises:
            ValueError: no parameters; wrong number of channels.
        """
        shift, scale = self._place(z)
        return self._apply(params, z / scale + shift, "decode").astype(z.dtype)

    @property
    def _network(self):
        return self.network.autoencoder if isinstance(self.network, Tiled) else self.network

    def _place(self, z: Array) -> tuple[Array, Array]:
        settings = self.network.settings
        return jnp.asarray(settings.shift, z.dtype), jnp.asarray(settings.scale, z.dtype)

    def _apply(self, params: Params, x: Array, method: str) -> Any:
        if params is None:
            raise ValueError("Latents has no parameters: weights['codec'] must hold them")
        return self.network.apply({"params": params}, x, method=method)


def load_autoencoder(
    source: str | os.PathLike,
    network: Autoencoder | None = None,
    *,
    dtype: Any = jnp.float32,
    param_dtype: Any = jnp.float32,
) -> tuple[Autoencoder, Params]:
    """Returns an autoencoder and its parameters, `Latents(autoencoder)` and `frozen["codec"]`.

    The folder has diffusers' config.json and *.safetensors. Without a config.json, such as for one
    file of a full model, `network` must be given.

    Raises:
        ValueError: files are missing, damaged or of another network.
    """
    if network is None:
        return load_network(source, dtype=dtype, param_dtype=param_dtype)
    return network, read_network(source, network, parameter_shapes(network, param_dtype))


def make_autoencoder(spec: Any, dtype: Any = jnp.float32) -> Any:
    """Returns the autoencoder of a spec: the name of its sizes, or the sizes; or the object given.

    Raises:
        ValueError: a name or an option is unknown, or a size out of range.
    """
    if isinstance(spec, Tiled):
        return replace(spec, autoencoder=make_autoencoder(spec.autoencoder, dtype))
    codes: dict[str, Any] = {}
    if isinstance(spec, str | Mapping):
        kind = Sizes | Network if isinstance(spec, str) else Sizes
        sizes = {"name": "AutoencoderSettings", **spec} if isinstance(spec, Mapping) else spec
        if isinstance(sizes, dict):
            codes = {n: sizes.pop(n) for n in ("num_codes", "code_channels") if n in sizes}
        clips = parse(sizes).attribute in names(video_autoencoder, Sizes)
        spec = build(video_autoencoder if clips else image_autoencoder, sizes, kind)
    if isinstance(spec, VideoAutoencoderSettings):
        return VideoAutoencoder(spec, dtype)
    if not isinstance(spec, AutoencoderSettings):
        if not callable(getattr(spec, "apply", None)):
            raise ValueError(
                f"autoencoder is {short(spec)}; expected the name of its sizes, such as 'sd_vae',"
                " or the sizes"
            )
        return spec
    if not codes:
        return AutoencoderKL(settings=spec, dtype=dtype)
    check("autoencoder.num_codes", Width, codes.get("num_codes"))
    check("autoencoder.code_channels", Width | None, codes.get("code_channels"))
    return AutoencoderVQ(settings=spec, dtype=dtype, **codes)


def latent_channels(network: Any) -> int:
    """Returns the width of an autoencoder's latents, those of a codebook before quantization."""
    codes = getattr(network, "code_channels", None)
    return network.settings.latent_channels if codes is None else codes


@functools.lru_cache(maxsize=4)
def parameter_shapes(network: Any, dtype: Any) -> Params:
    """Returns the shapes of an autoencoder's parameters."""
    settings = network.settings
    frames = (1,) if isinstance(network, VideoAutoencoder) else ()
    shape = (*frames, settings.factor, settings.factor, settings.image_channels)
    return network_shapes(network, shape, dtype)
