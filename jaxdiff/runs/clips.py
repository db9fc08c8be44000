"""Clips that begin with a picture, which is known, and go on as the model draws them."""

from typing import Any

import numpy as np
from jaxtyping import Float


def begun(picture: Float[np.ndarray, "h w c"], num: int, shape: tuple[int, ...]) -> dict[str, Any]:
    """Returns the arguments `image` and `mask` of `Run.sample` for clips with a known first frame.

    Args:
        picture: the first frame, in [-1, 1].
        num: the number of clips.
        shape: of a clip, (frames, h, w, c).

    Raises:
        ValueError: samples are no clips, or the picture has another size than their frames.
    """
    if len(shape) != 4:
        raise ValueError(f"a first frame is of clips; samples have shape {tuple(shape)}")
    if picture.shape != tuple(shape[1:]):
        raise ValueError(f"the first frame has shape {picture.shape}; frames have {shape[1:]}")
    mask = np.zeros(shape[:-1], bool)
    mask[0] = True
    return {"image": np.broadcast_to(picture, (num, *shape)).astype(np.float32), "mask": mask}
