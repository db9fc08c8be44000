"""Draws prompts by a published model, as a grid, and as playing clips where one is published.

python experiments/demo_text.py --prompt="two green cats" --out=runs/demo_text.png

The models are small and lie in the repository; nothing is trained. That of words knows twelve kinds
of emoji, one or two at a time: "a red heart", "two blue cats", "a guitar left of an apple", "on a
checked yellow ground".
"""

import time
from pathlib import Path

import cli
import numpy as np
from absl import flags

import jaxdiff
from jaxdiff import Run
from jaxdiff.evaluation import films, pictures, prompted
from jaxdiff.files import check_writable

PUBLISHED = Path(__file__).resolve().parents[1] / "pretrained"
MODEL = cli.flag("model", cli.Text, str(PUBLISHED / "scenes_text"), "Its folder; a run's, too.")
CLIPS = cli.flag("clips", cli.Text, str(PUBLISHED / "moving_scenes"), "A model of clips, if there.")
PROMPT = flags.DEFINE_multi_string("prompt", [], "Instead of the built-in ones; may be repeated.")
NUM = cli.flag("num", cli.Size, 4, "Samples of each prompt.")
STEPS = cli.flag("steps", cli.Steps, None, "Solver steps; those of the model by default.")
SEED = cli.flag("seed", cli.Seed, 0, "Of the noise.")
OUT = cli.flag("out", cli.Text, "runs/demo_text.png", "The picture; clips beside it, as .gif.")

PROMPTS = (
    "a red heart, on a blue ground",
    "a green cat, on a white ground",
    "a pink umbrella, on a checked green ground",
    "a purple balloon left of a red apple, on a yellow ground",
)
OF_CLIPS = (
    "a red apple falling and bouncing, on a blue ground",
    "a green car moving right, on a white ground",
)


def main() -> None:
    """Draws, says how long it took, and writes picture and clips."""
    out = Path(OUT.value)
    check_writable(out)
    given = tuple(PROMPT.value)
    if not (Path(MODEL.value) / "config.json").is_file():
        raise ValueError(
            f"model={MODEL.value}: there is no published model; a run of configs/scenes_text.py"
            " serves, --model=runs/scenes_text"
        )
    prompts = given or PROMPTS
    run = jaxdiff.load(MODEL.value)
    rows = drawn(run, prompts, NUM.value)
    prompted.save_png(out, prompted.prompted(rows, prompts))
    print(out)
    if not (Path(CLIPS.value) / "config.json").is_file():
        print(f"{CLIPS.value}: no model of clips is published; a picture only")
        return
    prompts = given or OF_CLIPS
    rows = drawn(jaxdiff.load(CLIPS.value), prompts, min(NUM.value, 2))
    frames = [np.stack([row[:, i] for row in rows]) for i in range(rows[0].shape[1])]
    films.save_gif(out.with_suffix(".gif"), [prompted.prompted(f, prompts) for f in frames])
    pictures.save_clips(out.with_name(f"{out.stem}_clips.png"), np.concatenate(rows))
    print(out.with_suffix(".gif"))


def drawn(run: Run, prompts: tuple[str, ...], num: int) -> list[np.ndarray]:
    """Returns `num` samples of each prompt; prints the seconds."""
    start = time.perf_counter()
    cond = {"text": [prompt for prompt in prompts for _ in range(num)]}
    samples = run.sample(num * len(prompts), cond, steps=STEPS.value, seed=SEED.value)
    seconds = time.perf_counter() - start
    print(f"{len(samples)} samples of {run.shape} in {seconds:.1f} s, with compiling")
    return np.split(samples, len(prompts))


if __name__ == "__main__":
    cli.run(main)
