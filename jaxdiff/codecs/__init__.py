"""Maps between pixels and the space in which diffusion runs."""

from jaxdiff.typing import Codec
from jaxdiff.codecs.latents import Latents
from jaxdiff.codecs.pixels import Pixels
from jaxdiff.codecs.tiles import Tiled

KIND = Codec
"""What a name of this module makes."""

__all__ = ["Latents", "Pixels", "Tiled"]
