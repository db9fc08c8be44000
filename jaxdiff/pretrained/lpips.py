"""Files of LPIPS: its state in PyTorch, as safetensors."""

from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Array, Float

from jaxdiff.networks import lpips
from jaxdiff.pretrained.files import fingerprint, open_tensors
from jaxdiff.typing import Params


@dataclass(frozen=True)
class LPIPSFile:
    """LPIPS with the weights of a file: of `LPIPS(net="vgg").state_dict()`, saved as safetensors.

    The file has the convolutions of AlexNet or VGG16 as well as the weights of channels.

    Attributes:
        path: the file.

    Raises:
        ValueError: it is missing, pickled, or lacks an array; names it.
    """

    path: str

    def __post_init__(self):
        _ = self.network

    @property
    def network(self) -> str:
        """Returns "alex" or "vgg", as the file's names say."""
        stored = open_tensors(self.path)
        network = "vgg" if "net.slice1.2.weight" in stored else "alex"
        if missing := [key for key in lpips.keys_of(network) if key not in stored]:
            raise ValueError(f"{self.path} is no LPIPS: it has no {missing[0]!r}")
        return network

    def shapes(self) -> Params:
        """Returns the shapes; reads no array."""
        stored = open_tensors(self.path)
        keys = lpips.keys_of(self.network)
        return {key: jax.ShapeDtypeStruct(stored[key].shape, np.float32) for key in keys}

    def load(self, target: Params) -> Params:
        """Returns the arrays, each where `target` has it."""
        stored = open_tensors(self.path)
        put = lambda key, like: jax.device_put(
            np.asarray(stored[key], like.dtype), getattr(like, "sharding", None)
        )
        return {key: put(key, like) for key, like in target.items()}

    def fingerprint(self) -> str:
        """Returns a hash of the file."""
        return fingerprint(self.path)


@dataclass(frozen=True)
class LPIPS:
    """The distance of a file's LPIPS: `distance(params, x, y)`; `source` reads the weights."""

    source: LPIPSFile

    def distance(
        self, params: Params, x: Float[Array, "b h w c"], y: Float[Array, "b h w c"]
    ) -> Float[Array, " b"]:
        """Returns the distance of images."""
        return lpips.distance(self.source.network, params, x, y)
