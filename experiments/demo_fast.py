"""Draws clothes in one and two steps by a published student, beside its teacher in fifty.

python experiments/demo_fast.py --out=runs/demo_fast.png

Both models are small and lie in the repository; nothing is trained.
"""

import time
from pathlib import Path

import cli
import few_step_images_page as page
import numpy as np

import jaxdiff
from jaxdiff import Run

PUBLISHED = Path(__file__).resolve().parents[1] / "pretrained"
TEACHER = cli.flag(
    "teacher", cli.Text, str(PUBLISHED / "fashion_mnist_teacher"), "Its folder; a run's, too."
)
STUDENT = cli.flag(
    "student", cli.Text, str(PUBLISHED / "fashion_mnist_student"), "Its folder; a run's, too."
)
OUT = cli.flag("out", cli.Text, "runs/demo_fast.png", "The picture.")


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
    page.save_picture(Path(OUT.value), pictures)
    print(OUT.value)


def drawn(run: Run, steps: int) -> tuple[np.ndarray, float]:
    """Returns images [classes, 6, h, w, c] of seed 0, and the milliseconds of one."""
    page.grid(run, steps)  # compiles
    start = time.perf_counter()
    images = page.grid(run, steps)
    return images, 1000 * (time.perf_counter() - start) / (images.shape[0] * images.shape[1])


if __name__ == "__main__":
    cli.run(main)
