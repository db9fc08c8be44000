"""Nodes of one's own, as a lab would write them."""

from typing import Annotated

from jaxdiff.options import Between
from jaxdiff.studio.graph.values import Image


def Brighter(image: Image, amount: Annotated[float, Between(0.0, 1.0)] = 0.5) -> Image:  # noqa: N802
    """Pictures that are brighter."""
    return image + amount
