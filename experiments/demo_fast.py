"""Draws clothes in one and two steps by a published student, beside its teacher in fifty.

python experiments/demo_fast.py --out=runs/demo_fast.png

Both models are small and lie in the repository; nothing is trained.
"""

import time
from collections.abc import Mapping
from pathlib import Path

import cli
import numpy as np
from einops import rearrange

import jaxdiff
from jaxdiff import Run
from jaxdiff.evaluation.figures import INK, new_figure, save_figure

PUBLISHED = Path(__file__).resolve().parents[1] / "pretrained"
TEACHER = cli.flag(
    "teacher", cli.Text, str(PUBLISHED / "fashion_mnist_teacher"), "Its folder; a run's, too."
)
STUDENT = cli.flag(
    "student", cli.Text, str(PUBLISHED / "fashion_mnist_student"), "Its folder; a run's, too."
)
OUT = cli.flag("out", cli.Text, "runs/demo_fast.png", "The picture.")
COLUMNS = 6
"""Samples of a class in the picture."""


def main() -> None:
    """Draws, says how long an image takes, and writes the picture."""
    teacher, student = jaxdiff.load(TEACHER.value), jaxdiff.load(STUDENT.value)
    pictures = {}
    for name, run, steps in (
        ("student", student, 1),
        ("student", student, 2),
        ("teacher", teacher, 50),
    ):
        title = f"{name}, {steps} step{'s' * (steps > 1)}"
        images, milliseconds = drawn(run, steps)
        pictures[f"{title}: {milliseconds:.1f} ms an image"] = images
        print(f"{title:<18} {milliseconds:6.1f} ms an image")
    Path(OUT.value).parent.mkdir(parents=True, exist_ok=True)
    save_picture(Path(OUT.value), pictures)
    print(OUT.value)


def drawn(run: Run, steps: int) -> tuple[np.ndarray, float]:
    """Returns images [classes, 6, h, w, c] of seed 0, and the milliseconds of one."""
    grid(run, steps)  # compiles
    start = time.perf_counter()
    images = grid(run, steps)
    return images, 1000 * (time.perf_counter() - start) / (images.shape[0] * images.shape[1])


def grid(run: Run, steps: int) -> np.ndarray:
    """Returns samples [classes, COLUMNS, h, w, c] of seed 0: the same noise for all runs."""
    labels = np.repeat(np.arange(run.num_classes), COLUMNS)
    samples = run.sample(len(labels), {"label": labels}, steps=steps)
    return rearrange(samples, "(r q) h w c -> r q h w c", q=COLUMNS)


def save_picture(path: Path, pictures: Mapping[str, np.ndarray]) -> None:
    """Writes grids of images [rows, columns, h, w, 1] beside each other, each with its title."""
    figure, panels = new_figure(len(pictures), size=(2.2, 3.6), columns=len(pictures))
    for axes, (name, images) in zip(panels, pictures.items(), strict=True):
        axes.axis("off")
        sheet = rearrange(images, "rows columns h w 1 -> (rows h) (columns w)")
        axes.imshow(sheet, cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
        axes.set_title(name, fontsize=7, color=INK)
    save_figure(path, figure)


if __name__ == "__main__":
    cli.run(main)
