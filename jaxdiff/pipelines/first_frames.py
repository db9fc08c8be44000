"""The conditions of a network that continues a picture, as Wan's (2025).

They are latents of a clip whose first frame is the picture and whose others are grey, which frames
are known, and the states of the picture in an image encoder.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxdiff import random
from jaxdiff.conditioning.images import check_picture
from jaxdiff.pipelines.parts import Parts
from jaxdiff.typing import Params

KNOWN, FRAMES, PROMPT = "known", "known_frames", "image_prompt"


def continues(parts: Parts) -> bool:
    """Returns whether the network reads a first frame."""
    return KNOWN in parts.model.network.inputs.maps


def first_frame(
    parts: Parts, weights: Params, image: Any, num: int, size: tuple[int, ...]
) -> dict[str, Float[np.ndarray, "n ..."]]:
    """Returns what the network reads beside the text, for `num` clips of a size.

    Args:
        parts: of the pipeline, with its `weights`.
        image: [h, w, 3] or [num, h, w, 3] in [-1, 1].
        num: the number of clips; `size`, their frames, height and width.

    Raises:
        ValueError: there is no image, or it has another size.
    """
    if image is None:
        raise ValueError("this model continues a picture: give image, [h, w, 3] in [-1, 1]")
    image = np.asarray(image, np.float32)
    pictures = image if image.ndim == 4 else image[None]
    if len(pictures) not in (1, num) or pictures.shape[1:] != (*size[1:], 3):
        raise ValueError(
            f"image has shape {list(image.shape)}; expected {[*size[1:], 3]}, or one for each of"
            f" {num} clips"
        )
    for each in pictures:
        check_picture(each)
    clips = np.zeros((len(pictures), *size, 3), np.float32)
    clips[:, 0] = pictures
    keys = random.example_keys(jax.random.key(0), jnp.arange(len(clips)))
    latents = np.asarray(parts.encode_mode(weights["codec"], jnp.asarray(clips), keys))
    known = np.zeros((*latents.shape[:-1], parts.model.network.inputs.maps[KNOWN]), np.float32)
    known[:, 0] = 1
    states = np.asarray(parts.image_states(weights["image"], pictures))
    found = {KNOWN: known, FRAMES: latents, PROMPT: states}
    return {name: np.broadcast_to(a, (num, *a.shape[1:])) for name, a in found.items()}
