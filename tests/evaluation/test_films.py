"""Playing clips as files, and sheets with prompts."""

import av
import numpy as np
from PIL import Image

from jaxdiff.evaluation import pictures
from jaxdiff.evaluation.prompted import BAND, prompted

CLIPS = np.linspace(-1, 1, 3 * 5 * 65 * 65 * 3, dtype=np.float32).reshape(3, 5, 65, 65, 3)


def test_clips_play(tmp_path):
    """Fails if frames are lost, or a sheet of odd size stops the encoder."""
    for name in ("a.gif", "a.mp4"):
        pictures.save_clips(tmp_path / name, CLIPS, 3)
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 5
        width, height = gif.size
    with av.open(str(tmp_path / "a.mp4")) as film:
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(frames) == 5
    assert frames[0].shape == (height + height % 2, width + width % 2, 3)
    assert frames[-1].mean() > frames[0].mean()


def test_a_prompt_stands_above_its_row():
    """Fails if a band is empty, or rows are lost."""
    sheet = prompted([CLIPS[:, 0], CLIPS[:, 1]], ["a red heart", "a very long prompt " * 9])
    plain = pictures.grid(CLIPS[:, 0], 3)
    assert sheet.shape == (2 * (BAND + len(plain)), plain.shape[1], 3)
    for top in (0, BAND + len(plain)):
        assert sheet[top : top + BAND].min() < 128
