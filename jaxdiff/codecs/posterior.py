"""All that a frozen encoder knows of an example, computed once: a sample is drawn at each step."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Array, Float, Key

from jaxdiff.networks.autoencoder import Gaussian
from jaxdiff.trees import pytree
from jaxdiff.typing import Codec, Params


@pytree(data=("latents",))
@dataclass(frozen=True)
class Posterior:
    """What stands in a batch for pixels: `latents`, as `codec.posterior` returns them."""

    latents: Any


@runtime_checkable
class Summarizing(Protocol):
    """A codec whose encoding is in two parts: the network, and then a draw that costs nothing."""

    def posterior(self, params: Params, x: Array) -> Gaussian | Array:
        """Returns all that `drawn` needs of images: the latents' distribution, or the latents."""

    def drawn(self, params: Params, posterior: Gaussian | Array, keys: Array) -> Array:
        """Returns latents, `encode(params, x, keys)` of the images that `posterior` is of."""


def latents(
    codec: Codec, params: Params, x: Array | Posterior, keys: Key[Array, " b"]
) -> Float[Array, "b *size d"]:
    """Returns what diffusion is to model: of images, or of what was kept of their encoding."""
    if isinstance(x, Posterior):
        return codec.drawn(params, x.latents, keys)  # pyright: ignore[reportAttributeAccessIssue]
    return codec.encode(params, x, keys)


def draw(z: Gaussian | Array, keys: Key[Array, " b"]) -> Float[Array, "b *size d"]:
    """Returns a sample of a distribution of latents, or latents as they are."""
    return z.sample(keys) if isinstance(z, Gaussian) else z
