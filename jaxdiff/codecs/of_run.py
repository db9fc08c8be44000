"""Diffusion on the latents of an autoencoder that was trained here, scaled as it measured them."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxdiff import config as configs
from jaxdiff.codecs.latents import latent_channels, make_autoencoder, parameter_shapes
from jaxdiff.codecs.moments import MOMENTS, no_moments, shift_and_scale
from jaxdiff.codecs.posterior import draw
from jaxdiff.config.build import describe_difference
from jaxdiff.config.specs import parse
from jaxdiff.files import as_path
from jaxdiff.networks.autoencoder import Gaussian
from jaxdiff.networks.video_autoencoder import VideoAutoencoder
from jaxdiff.options import FloatType, checked
from jaxdiff.typing import Params
from jaxdiff.weights.sources import OfRun
from jaxdiff.weights.stored import AVERAGE, CHECKPOINTS, read_item

TASK = "Autoencoder"


@checked
@dataclass(frozen=True)
class RunLatents:
    """The latents of a run of the task `Autoencoder`: mean 0 and deviation 1 in each channel.

    An autoencoder of clips takes images as clips of one frame, one of images clips by frame.
    Its averaged weights encode and decode. The mean and the deviation are those that it measured
    while it was trained; they are read from the same checkpoint as the weights.

    Attributes:
        autoencoder: the sizes, as in `Latents`; None for those in the run's config. A recipe that
            names them can be built and traced where the run is not.
        sample: whether latents are samples of the posterior, or its mean.
        weights: the run's folder; `config.weights.codec` in a config.
        dtype: of the computation.

    Raises:
        ValueError: `weights` holds no run of an autoencoder, or one of other sizes; or there are
            neither sizes nor a run.
    """

    autoencoder: Any = None
    sample: bool = True
    weights: str = ""
    dtype: FloatType = "float32"

    def __post_init__(self):
        _ = self.network  # checks the sizes, and reads the run's config

    @functools.cached_property
    def network(self) -> Any:
        """Returns the autoencoder."""
        dtype = jnp.dtype(self.dtype)
        if self.autoencoder is None and not self.weights:
            raise ValueError(
                "RunLatents: name a run of the task Autoencoder,"
                " --config.weights.codec=runs/autoencoder, or the sizes of its autoencoder"
            )
        there = (as_path(self.weights) / "config.json").is_file() if self.weights else False
        if self.autoencoder is not None and not there:
            return self._named(dtype)
        task = parse(configs.plain(_config_of(self.weights).task))
        if task.attribute != TASK:
            raise ValueError(
                f"RunLatents.weights: {self.weights} is a run of {task.attribute}, not of {TASK}"
            )
        found = make_autoencoder(task.options.get("autoencoder", "sd_vae"), dtype)
        wanted = found if self.autoencoder is None else self._named(dtype)
        if wanted != found:
            difference = describe_difference(found, wanted)
            raise ValueError(f"RunLatents.autoencoder: {self.weights} has {difference} is named")
        return found

    def _named(self, dtype: Any) -> Any:
        try:
            return make_autoencoder(self.autoencoder, dtype)
        except ValueError as error:
            raise ValueError(f"RunLatents.autoencoder: {error}") from error

    def shapes(self) -> Params:
        """Returns the shapes of the parameters and of the latents' moments; reads no weights."""
        network = parameter_shapes(self.network, jnp.dtype("float32"))
        channels = latent_channels(self.network)
        return {"network": network, MOMENTS: jax.eval_shape(lambda: no_moments(channels))}

    def load(self, target: Params) -> Params:
        """Returns the average and the moments of the newest checkpoint, like `target`.

        Raises:
            ValueError: there is no run, no checkpoint yet, or one of another model.
        """
        folder = as_path(self.weights) / CHECKPOINTS
        _config_of(self.weights)
        average, step = read_item(folder, AVERAGE, {"network": target["network"]})
        moments = {"statistics": {MOMENTS: target[MOMENTS]}}
        progress, _ = read_item(folder, "progress", moments, step)
        return {**average, **progress["statistics"]}

    def fingerprint(self) -> str:
        """Returns the hash of the arrays' files."""
        items = (OfRun(self.weights, item=item).fingerprint() for item in (AVERAGE, "progress"))
        return "-".join(items)

    def encode(
        self, params: Params, x: Float[Array, "b *size c"], keys: Key[Array, " b"]
    ) -> Float[Array, "b *size2 d"]:
        """Returns the latents of images or clips in [-1, 1]; a key for each draws its sample."""
        return self.drawn(params, self.posterior(params, x), keys)

    def posterior(self, params: Params, x: Float[Array, "b *size c"]) -> Gaussian | Array:
        """Returns the distribution of latents; its mean, or latents of a VQ autoencoder."""
        into, back = self._axes(x)
        z = self.network.apply({"params": params["network"]}, into(x), method="encode")
        z = z.mean if isinstance(z, Gaussian) and not self.sample else z
        return jax.tree.map(back, z)

    def drawn(
        self, params: Params, posterior: Gaussian | Array, keys: Key[Array, " b"]
    ) -> Float[Array, "b *size d"]:
        """Returns latents of a posterior, of mean 0 and deviation 1."""
        shift, scale = shift_and_scale(params[MOMENTS])
        return (draw(posterior, keys) - shift) * scale

    def decode(self, params: Params, z: Float[Array, "b *size d"]) -> Float[Array, "b *size2 c"]:
        """Returns the images or clips of latents."""
        into, back = self._axes(z)
        shift, scale = shift_and_scale(params[MOMENTS])
        latents = into(z / scale + shift)
        y = self.network.apply({"params": params["network"]}, latents, method="decode")
        return back(y).astype(z.dtype)

    def _axes(self, x: Array) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
        """Returns maps of arrays to the network's axes, and back."""
        if isinstance(self.network, VideoAutoencoder):
            return (lambda a: a[:, None], lambda a: a[:, 0]) if x.ndim == 4 else (_same, _same)
        if x.ndim == 4:
            return _same, _same
        frames = x.shape[1]
        join = lambda a: a.reshape(-1, *a.shape[2:])
        return join, lambda a: a.reshape(-1, frames, *a.shape[1:])


def _same(a: Array) -> Array:
    return a


def _config_of(run: str) -> Any:
    try:
        return configs.read_config(run)
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(f"RunLatents.weights: {error}") from error
