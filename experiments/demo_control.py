"""Steers pictures by published models: a line drawing, adapters, an inpainting, an outpainting.

python experiments/demo_control.py --drawing=mine.png --prompt="a red cat" --out=runs/demo.png

A drawing is of dark lines on a light ground, by default one of OpenMoji's. The models are small and
lie in the repository; nothing is trained.
"""

import time
from pathlib import Path

import cli
import numpy as np
from absl import flags
from PIL import Image

import jaxdiff
from jaxdiff import Run
from jaxdiff.data import images
from jaxdiff.data.edges import luma
from jaxdiff.data.maps import ControlMap
from jaxdiff.data.sources import open_source
from jaxdiff.evaluation import prompted
from jaxdiff.evaluation.control import as_pictures
from jaxdiff.evaluation.films import Sheet
from jaxdiff.files import check_writable
from jaxdiff.runs.sizes import resized

PUBLISHED = Path(__file__).resolve().parents[1] / "pretrained"
MODEL = cli.flag("model", cli.Text, str(PUBLISHED / "scenes_control"), "Folder of the model.")
DRAWING = cli.flag("drawing", cli.Text, None, "A .png of dark lines on a light ground.")
PROMPT = flags.DEFINE_multi_string("prompt", [], "For the drawing; may be repeated.")
NUM = cli.flag("num", cli.Size, 4, "Samples of each prompt.")
STEPS = cli.flag("steps", cli.Steps, 8, "Solver steps.")
SEED = cli.flag("seed", cli.Seed, 0, "Of the noise.")
OUT = cli.flag("out", cli.Text, "runs/demo_control.png", "The picture.")

SCENE = 47
"""A held-out scene of one butterfly, whose lines are the drawing."""
PROMPTS = ("a blue butterfly, on a white ground", "an orange butterfly, on a checked green ground")
INSTEAD = "a red heart"
BLORB, REDDER = str(PUBLISHED / "scenes_blorb"), str(PUBLISHED / "scenes_redder")
"""Adapters: of a thing that the model has learned from five pictures, and of a slider."""
OF_BLORB = ("a blorb, on a blue ground", "a blorb, on a checked yellow ground")
ROOM = 4
"""Pixels around the drawing that are painted anew, too."""


def main() -> None:
    """Draws, says how long it took, and writes one picture."""
    out, start = Path(OUT.value), time.perf_counter()
    check_writable(out)
    if not (Path(MODEL.value) / "config.json").is_file():
        raise ValueError(
            f"model={MODEL.value}: there is no model; see configs/scenes_controlnet.py"
        )
    run = jaxdiff.load(MODEL.value)
    if run.maps is None or "lines" not in run.maps.of:
        raise ValueError(f"model={MODEL.value} reads no map of lines")
    prompts = tuple(PROMPT.value) or PROMPTS
    drawing = lines_of(DRAWING.value, run) if DRAWING.value else example(run)
    if not drawing.max() > 0.5:
        raise ValueError(f"drawing={DRAWING.value}: it has no dark lines")
    num, last = NUM.value, prompts[-1]
    cond = {"text": [prompt for prompt in prompts for _ in range(num)]}
    steered = lambda run: sampled(run, len(cond["text"]), cond, control={"lines": drawing})
    rows = np.split(steered(run), len(prompts))
    redder = np.split(steered(run.adapted({REDDER: 2.0})), len(prompts))[0]
    instead = INSTEAD + "".join(last.partition(",")[1:])
    inside = repainted(run, rows[-1], drawing, instead)
    beyond = widened(run, rows[-1], last)
    shown = np.repeat(-as_pictures(drawing[None]), num, axis=0)
    named = ["the drawing", *prompts, f"redder: {prompts[0]}", f"painted anew: {instead}"]
    parts = [prompted.prompted([shown, *rows, redder, inside], named)]
    parts.append(prompted.prompted(np.split(learned(run), len(OF_BLORB)), OF_BLORB))
    parts.append(prompted.prompted([beyond], [f"beyond the sides: {last}"]))
    prompted.save_png(out, stacked(parts))
    print(f"{out}: {time.perf_counter() - start:.0f} s with compiling")


def learned(run: Run) -> np.ndarray:
    """Returns pictures of the thing that an adapter has learned; without a map."""
    cond = {"text": [prompt for prompt in OF_BLORB for _ in range(NUM.value)]}
    # Of zeros: no map, by the program that is compiled already.
    none = {"lines": np.zeros((*run.shape[:2], 1), np.float32)}
    return sampled(run.adapted({BLORB: 1.0}), len(cond["text"]), cond, control=none)


def repainted(run: Run, pictures: np.ndarray, drawing: np.ndarray, prompt: str) -> np.ndarray:
    """Returns pictures in which another thing stands where the drawing was, on the same ground."""
    rows, columns = (np.flatnonzero((drawing[..., 0] > 0.5).any(axis)) for axis in (1, 0))
    top, left = max(rows.min() - ROOM, 0), max(columns.min() - ROOM, 0)
    known = np.ones((*run.shape[:2], 1), bool)
    known[top : rows.max() + ROOM, left : columns.max() + ROOM] = False
    return sampled(run, len(pictures), {"text": prompt}, image=pictures, mask=known)


def widened(run: Run, pictures: np.ndarray, prompt: str) -> np.ndarray:
    """Returns pictures that go on beyond their sides, by a half of their width."""
    side = run.shape[1] // 4
    image = np.pad(pictures, ((0, 0), (0, 0), (side, side), (0, 0)), mode="edge")
    known = np.zeros((*image.shape[1:3], 1), bool)
    known[:, side:-side] = True
    wide = resized(run, width=image.shape[2])
    return sampled(wide, len(pictures), {"text": prompt}, image=image, mask=known)


def sampled(run: Run, num: int, cond: dict, **given: np.ndarray) -> np.ndarray:
    """Returns samples with the flags' steps and seed; prints the seconds."""
    start = time.perf_counter()
    samples = run.sample(num, cond, steps=STEPS.value, seed=SEED.value, **given)
    print(f"{num} samples of {run.shape}: {time.perf_counter() - start:.1f} s")
    return samples


def lines_of(path: str, run: Run) -> np.ndarray:
    """Returns the map of a drawing's dark lines."""
    whole = images.to_pillow(images.decode(Path(path), 3, path))
    height, width, _ = run.shape
    return 1 - luma(np.asarray(whole.resize((width, height), Image.Resampling.LANCZOS)))


def example(run: Run) -> np.ndarray:
    """Returns the map of lines of a held-out scene."""
    kinds = run.config.data.kinds
    scenes = open_source("emoji_scenes", "test", size=run.shape[0], kinds=kinds, most=1)
    return ControlMap("lines").values(scenes[SCENE])


def stacked(sheets: list[Sheet]) -> Sheet:
    """Returns sheets under each other, on white."""
    width = max(sheet.shape[1] for sheet in sheets)
    fill = lambda s: np.pad(s, ((0, 8), (0, width - s.shape[1]), (0, 0)), constant_values=255)
    return np.concatenate([fill(sheet) for sheet in sheets])


if __name__ == "__main__":
    cli.run(main)
