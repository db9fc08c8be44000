"""Maps between pixels and the space in which diffusion runs."""

from jaxdiff.codecs.latents import Latents
from jaxdiff.codecs.of_run import RunLatents
from jaxdiff.codecs.pixels import Pixels
from jaxdiff.codecs.tiles import Tiled
from jaxdiff.typing import Codec

KIND = Codec
"""The kind of objects that the names of this module build."""

__all__ = ["Latents", "Pixels", "RunLatents", "Tiled"]
