"""Measures an autoencoder and a model of clips, and writes docs/video.md.

python experiments/video_page.py --autoencoder=runs/clips_autoencoder --clips=runs/moving_scenes \\
    --encoder=runs/scenes_clip --num=32

Without flags it is of the published models. What is not there is left out, and the page says so.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cli
import jax
import numpy as np

import jaxdiff
from jaxdiff import Run
from jaxdiff.data.emoji_files import ATTRIBUTION
from jaxdiff.data.scenes.captions import moving_caption
from jaxdiff.data.scenes.moving import MovingScenes
from jaxdiff.evaluation import films, motion, pictures
from jaxdiff.evaluation.prompted import prompted
from jaxdiff.evaluation.retrieval import found_share
from jaxdiff.evaluation.similarity import psnr, ssim
from jaxdiff.files import atomic_write, check_writable, write_json
from jaxdiff.runs.sizes import resized
from jaxdiff.tasks.contrastive_runs import embedder_of_run, features_of_run

PUBLISHED = Path(__file__).resolve().parents[1] / "pretrained"
AUTOENCODER = cli.flag(
    "autoencoder", cli.Text, str(PUBLISHED / "clips_autoencoder"), "Of clips; a run's folder."
)
CLIPS = cli.flag("clips", cli.Text, str(PUBLISHED / "moving_scenes"), "A model of clips.")
ENCODER = cli.flag(
    "encoder", cli.Text, str(PUBLISHED / "scenes_clip"), "A contrastive run, of images."
)
NUM = cli.flag("num", cli.Size, 32, "Clips of held-out captions.")
FALLS = cli.flag("falls", cli.Size, 16, "Clips of something that falls.")
STEPS = cli.flag("steps", cli.Steps, None, "Solver steps; those of the model by default.")
OUT = cli.flag("out", cli.Text, "docs/video.md", "The page; pictures beside it.")
BATCH = 8

INTRODUCTION = """# Words to clips

Written by `experiments/video_page.py`, with figures in `{json}`. The data are `moving_scenes`:
one to three emoji that move, turn, grow, or fall and bounce, before a camera.

{settings}
"""
MEANING = """*Flicker* is what is left of a frame after the best motion of each square of 7 pixels,
by block matching (0 to 2); *change* is the difference of neighbouring frames, motion included.
*Identity* is the cosine of first and last frame in the features of our encoder of images; *caption
found* asks that encoder for the right one of {among} captions of stills by the middle frame.
*Frames alone* are drawn by the same model as clips of one frame, and put side by side: what
attention across frames brings is the distance between the two rows.
"""
FALLING = """Captions say that one thing falls, before a camera that stands still. The acceleration
is that of a parabola through its heights until the lowest, in heights of the frame per squared
frame; the true one is {truth:.5f}. Clips whose thing is not seen for four frames are left out.
"""


def main() -> None:
    """Measures what is there, and writes the page."""
    out = Path(OUT.value)
    check_writable(out)
    there = lambda path: (Path(path) / "config.json").is_file()
    figures: dict[str, Any] = {}
    if there(AUTOENCODER.value):
        figures["autoencoder"] = of_autoencoder(jaxdiff.load(AUTOENCODER.value), out)
    if there(CLIPS.value):
        run = jaxdiff.load(CLIPS.value)
        figures["model"] = {"name": Path(CLIPS.value).name, "shape": run.shape, "num": NUM.value}
        encoder = ENCODER.value if there(ENCODER.value) else ""
        figures |= of_clips(run, encoder, out)
        figures["falling"] = of_falls(run)
    write_json(out.with_suffix(".json"), figures)
    with atomic_write(out) as draft:
        draft.write_text(page(figures, out))
    print(out)


def of_autoencoder(run: Run, out: Path) -> dict[str, float]:
    """Returns the figures of reconstructions of held-out clips, and writes their picture."""
    x = run.experiment.evaluator.held_out_examples(min(NUM.value, 32))["x"]
    found, z = run.experiment.sampler.reconstruct(run.weights, x)
    found = rounded(found)
    pairs = [clips.reshape(-1, *clips.shape[-3:]) for clips in (x, found)]
    pictures.save_clips(
        out.with_name("video_autoencoder.png"), pictures.paired(x[:3], found[:3], 1)
    )
    decode = jax.jit(lambda z: run.experiment.task.decode(run.weights["network"], z))
    jax.block_until_ready(decode(z[:4]))
    start = time.perf_counter()
    jax.block_until_ready(decode(z[:4]))
    seconds = time.perf_counter() - start
    return {
        "clips": len(x),
        "psnr": float(np.mean(np.minimum(psnr(*pairs), 100))),
        "ssim": float(np.mean(ssim(*pairs))),
        "compression": x[0].size / z[0].size,
        "decoding_ms_a_frame": 1000 * seconds / (len(z[:4]) * x.shape[1]),
        "flicker": float(motion.flicker(found).mean()),
        "flicker_of_data": float(motion.flicker(x).mean()),
    }


def of_clips(run: Run, encoder: str, out: Path) -> dict[str, Any]:
    """Returns the figures of real clips, samples, and frames drawn alone; writes pictures."""
    data = scenes(run, NUM.value)
    texts = [each["text"] for each in data]
    stills = [moving_caption(each["layout"], moves=False) for each in data]
    real = np.stack([each["x"] for each in data]).astype(np.float32) / 127.5 - 1
    flow, visible = (np.stack([each[name] for each in data]) for name in ("flow", "visible"))
    samples, a_clip = drawn(run, texts)
    # All frames of a clip by one caption, each from its own noise.
    frames, a_frame = drawn(resized(run, frames=1), [t for t in texts for _ in range(run.shape[0])])
    alone = frames.reshape(len(texts), run.shape[0], *run.shape[1:])
    films.save_gif(out.with_name("video_clips.gif"), played(samples[:4], texts[:4]))
    pictures.save_clips(out.with_name("video_clips.png"), samples[:4])
    rows = {}
    for name, clips in (("real", real), ("samples", samples), ("frames alone", alone)):
        row = {"flicker": motion.flicker(clips), "change": motion.change(clips)}
        if encoder:
            row["identity"] = motion.identity(clips, features_of_run(encoder))
        rows[name] = {key: [float(v.mean()), error(v)] for key, v in row.items()}
        if encoder:
            embed, embed_text = embedder_of_run(encoder)
            middle = np.ascontiguousarray(clips[:, clips.shape[1] // 2])
            share = found_share(embed(middle), embed_text(stills), len(stills))
            rows[name]["caption_found"] = [share, (share * (1 - share) / len(stills)) ** 0.5]
    truth = motion.warped(real, flow, visible)
    return {
        "rows": rows,
        "residual_along_true_motion": [float(truth.mean()), error(truth)],
        "seconds": {"clip": a_clip, "frame_of_clip": a_clip / run.shape[0], "image": a_frame},
    }


def of_falls(run: Run) -> dict[str, Any]:
    """Returns the accelerations of what falls, of real clips and of samples."""
    source = MovingScenes("test", frames=run.shape[0], size=run.shape[1])
    falls = []
    for index in range(len(source)):
        layout = source.layout(index)
        plain = layout.ground.kind not in ("checked", "gradient") and layout.camera.kind == "still"
        one = len(layout.movers) == 1 and layout.movers[0].path == "falling"
        if plain and one and layout.movers[0].change == "none":
            falls.append(source[index])
        if len(falls) == FALLS.value:
            break
    real = np.stack([each["x"] for each in falls]).astype(np.float32) / 127.5 - 1
    samples, _ = drawn(run, [each["text"] for each in falls])
    found = {}
    for name, clips in (("real", real), ("samples", samples)):
        seen = motion.accelerations(clips)
        seen = seen[np.isfinite(seen)]
        found[name] = {
            "seen": len(seen),
            "asked": len(clips),
            "share_that_accelerates": float((seen > 0).mean()) if len(seen) else float("nan"),
            "median": float(np.median(seen)) if len(seen) else float("nan"),
        }
    return found


def scenes(run: Run, num: int) -> list[dict[str, Any]]:
    """Returns held-out clips with their true motion and layout."""
    options = dict(run.config.data.to_dict())
    kept = {name: options[name] for name in ("frames", "size", "rate") if name in options}
    source = MovingScenes("test", **kept, fields=("text", "flow", "visible"))
    return [{**source[i], "layout": source.layout(i)} for i in range(num)]


def drawn(run: Run, texts: Sequence[str]) -> tuple[np.ndarray, float]:
    """Returns a sample of each caption in 8 bits, and the seconds of one after compiling."""
    size = min(BATCH if run.shape[0] > 1 else 4 * BATCH, len(texts))
    options = {"steps": STEPS.value, "batch_size": size}
    run.sample(size, {"text": list(texts[:size])}, **options)
    start = time.perf_counter()
    samples = run.sample(len(texts), {"text": list(texts)}, **options)
    return rounded(samples), (time.perf_counter() - start) / (-(-len(texts) // size) * size)


def rounded(x: np.ndarray) -> np.ndarray:
    """Returns frames as 8 bits would store them."""
    return np.round((np.clip(x, -1, 1) + 1) * 127.5).astype(np.float32) / 127.5 - 1


def error(values: np.ndarray) -> float:
    """Returns the standard error of a mean."""
    return float(values.std() / len(values) ** 0.5)


def played(clips: np.ndarray, texts: Sequence[str]) -> list[np.ndarray]:
    """Returns the sheets of a film, a clip a row under its caption."""
    rows = [np.repeat(clip[:, None], 1, axis=1) for clip in clips]
    wide = [np.repeat(np.repeat(row, 4, axis=2), 4, axis=3) for row in rows]
    return [prompted([row[f] for row in wide], texts) for f in range(clips.shape[1])]


def page(figures: Mapping[str, Any], out: Path) -> str:
    """Returns the page."""
    model = figures.get("model")
    settings = "No model of clips was there."
    if model:
        shape = " x ".join(map(str, model["shape"]))
        settings = f"The model is `{model['name']}`, of {shape}; {model['num']} captions of `test`."
    lines = [INTRODUCTION.format(json=out.with_suffix(".json").name, settings=settings)]
    if found := figures.get("autoencoder"):
        lines += [
            "## Autoencoder\n",
            *(f"- {k.replace('_', ' ')}: {v:.4g}" for k, v in found.items()),
        ]
        lines += ["\n![Held-out clips above their reconstructions](video_autoencoder.png)\n"]
    if model:
        rows = figures["rows"]
        names = list(next(iter(rows.values())))
        cells = lambda row: [f"{row[n][0]:.4f} ± {row[n][1]:.4f}" for n in names]
        table = [("clips", *(n.replace("_", " ") for n in names)), ("---",) * (len(names) + 1)]
        table += [(name, *cells(row)) for name, row in rows.items()]
        lines += ["## Flicker and identity\n", *("| " + " | ".join(row) + " |" for row in table)]
        truth, seconds = figures["residual_along_true_motion"], figures["seconds"]
        lines += ["\n" + MEANING.format(among=model["num"])]
        lines += [f"Along the true motion, real clips differ by {truth[0]:.4f} ± {truth[1]:.4f}.\n"]
        lines += [
            f"A clip takes {seconds['clip']:.2f} s to draw, a frame of it"
            f" {seconds['frame_of_clip']:.2f} s; an image by the same model"
            f" {seconds['image']:.2f} s.\n"
        ]
        lines += ["![Clips of held-out captions](video_clips.gif)\n", "## What falls\n"]
        lines += [FALLING.format(truth=2.5 / 16**2)]
        for name, row in figures["falling"].items():
            lines.append(
                f"- {name}: {row['seen']} of {row['asked']} can be read,"
                f" {100 * row['share_that_accelerates']:.0f} % accelerate downwards; the median is"
                f" {row['median']:.5f}"
            )
    return "\n".join([*lines, "", ATTRIBUTION]).rstrip() + "\n"


if __name__ == "__main__":
    cli.run(main)
