"""Measures autoencoders and models of words in their latents, and writes docs/latent.md.

python experiments/latent_page.py --autoencoder=kl=runs/scenes_autoencoder \\
    --text=dit=runs/scenes_text_dit --text=pixel=runs/scenes_text_pixel --encoder=runs/scenes_clip

Without flags it is of the published models. What is not there is left out, and the page says so.
--num and --train_images shrink it; about eight minutes of two cores with the defaults.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cli
import jax
import latent_page_text as page
import numpy as np
from absl import flags
from latent_page_cost import of_step, seconds

import jaxdiff
from jaxdiff import Run
from jaxdiff.data.scenes.still import EmojiScenes
from jaxdiff.evaluation import attributes
from jaxdiff.evaluation.frechet import frechet_distance
from jaxdiff.evaluation.moments import moments
from jaxdiff.evaluation.prompted import prompted, save_png
from jaxdiff.evaluation.reference import Reference, distances
from jaxdiff.evaluation.retrieval import found_share
from jaxdiff.evaluation.similarity import psnr, ssim
from jaxdiff.files import check_writable, write_json
from jaxdiff.tasks.contrastive_runs import coarse_maps_of_run, embedder_of_run, features_of_run

PUBLISHED = Path(__file__).resolve().parents[1] / "pretrained"
AUTOENCODER = flags.DEFINE_multi_string("autoencoder", [], "NAME=FOLDER; may be repeated.")
TEXT = flags.DEFINE_multi_string("text", [], "NAME=FOLDER of a model of words; may be repeated.")
ENCODER = cli.flag(
    "encoder", cli.Text, str(PUBLISHED / "scenes_clip"), "A contrastive run with texts."
)
RECIPES = flags.DEFINE_list(
    "recipes", ["scenes_text:unet", "scenes_text:pixel"], "Whose training steps are compared."
)
NUM = cli.flag("num", cli.Size, 100, "Scenes of each split that samples are drawn for.")
EXAMPLES = cli.flag("examples", cli.Size, 300, "Held-out images for autoencoders.")
PROBE = cli.flag("probe_scenes", cli.Size, 4000, "Real scenes that the probe learns from.")
TRAIN = cli.flag("train_images", cli.Size, 4000, "Training images to look for copies in.")
SCALES = flags.DEFINE_list("scales", ["1", "2", "3", "5"], "Of the guidance curve.")
STEPS = cli.flag("steps", cli.Steps, None, "Solver steps; each model's own by default.")
SOLVER = cli.flag("solver", cli.Text, None, "The solver; each model's own by default.")
TIMED = cli.flag("timed_steps", cli.Count, 3, "Training steps that are timed; 0 for none.")
OUT = cli.flag("out", cli.Text, "docs/latent.md", "The page; figures and pictures beside it.")
BATCH = 20
SHOWN, OF_EACH = 8, 5


class Judge:
    """Our own encoder: features, retrieval, and a probe of attributes of real scenes."""

    def __init__(self, path: str, size: int):
        """Trains the probe, and reads real scenes of both splits with it."""
        self.features = features_of_run(path)
        self.maps = coarse_maps_of_run(path)
        self.embed, self.embed_text = embedder_of_run(path)
        train = scenes("train", PROBE.value, size)
        self.probe = attributes.train_probe(self.maps(pixels(train)), attributes.facts(train))
        self.scenes = {
            split: scenes(split, 2 * NUM.value, size) for split in ("test", "compositions")
        }

    def of(self, images: np.ndarray, split: str, real: bool = False) -> dict[str, Any]:
        """Returns all figures of images for the first scenes of a split."""
        asked = self.scenes[split][: len(images)]
        texts = [each["text"] for each in asked]
        among = min(100, len(images))
        whole = len(images) // among * among
        found = found_share(self.embed(images)[:whole], self.embed_text(texts)[:whole], among)
        others = pixels(self.scenes[split][-NUM.value :])
        reference = Reference(others, others, self.features)
        read = attributes.read(self.probe, self.maps, images, attributes.facts(asked))
        return {
            "num": len(images),
            "among": among,
            "prompt_found": found,
            **distances(reference, images),
            "attributes": {name: each._asdict() for name, each in read.items()},
        }


def main() -> None:
    """Measures what is there, and writes figures, pictures and the page."""
    out = Path(OUT.value)
    check_writable(out)
    autoencoders = named(AUTOENCODER.value, "kl", "scenes_autoencoder")
    models = named(TEXT.value, "dit", "scenes_text")
    runs = {name: jaxdiff.load(path) for name, path in models.items()}
    judge = None
    if (Path(ENCODER.value) / "config.json").is_file():
        size = next(iter(runs.values())).shape[0] if runs else 64
        judge = Judge(ENCODER.value, size)
    figures: dict[str, Any] = {"settings": settings(autoencoders, models)}
    if autoencoders:
        figures["autoencoders"] = of_autoencoders(autoencoders, judge, out)
    if judge is not None:
        figures["real"] = {
            split: judge.of(pixels(each[: NUM.value]), split)
            for split, each in judge.scenes.items()
        }
        for name, run in runs.items():
            figures.setdefault("text", {})[name] = of_text(name, run, judge, out)
        if runs:
            name, run = next(iter(runs.items()))
            figures["guidance"] = {"run": name, "scales": guidance(run, judge)}
            page.save_guidance(out.with_name("latent_guidance.png"), figures["guidance"]["scales"])
    if TIMED.value:
        codec = next(iter(autoencoders.values()), "")
        figures["steps"] = {name: of_step(name, codec, TIMED.value) for name in RECIPES.value}
    write_json(out.with_suffix(".json"), figures)
    page.write(out, figures)
    print(out)


def named(given: Sequence[str], name: str, published: str) -> dict[str, str]:
    """Returns folders by name: those given, or the published one where there is one."""
    if given:
        pairs = [each.partition("=")[::2] for each in given]
        if bad := [name for name, path in pairs if not path]:
            raise ValueError(f"{bad[0]!r}: expected NAME=FOLDER")
        return dict(pairs)
    folder = PUBLISHED / published
    return {name: str(folder)} if (folder / "config.json").is_file() else {}


def settings(autoencoders: Mapping[str, str], models: Mapping[str, str]) -> dict[str, Any]:
    """Returns how the figures came about."""
    return {
        "autoencoders": {name: Path(path).name for name, path in autoencoders.items()},
        "models": {name: Path(path).name for name, path in models.items()},
        "encoder": Path(ENCODER.value).name,
        "samples": NUM.value,
        "steps": STEPS.value,
        "solver": SOLVER.value,
        "probe_scenes": PROBE.value,
        "train_images": TRAIN.value,
    }


def scenes(split: str, num: int, size: int) -> list[dict[str, Any]]:
    """Returns the first scenes of a split, with what they show."""
    source = EmojiScenes(split, size=size, scenes=num, fields=attributes.FIELDS)
    return [source[i] for i in range(num)]


def pixels(examples: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Returns the images of scenes in [-1, 1]."""
    return np.stack([each["x"] for each in examples]).astype(np.float32) / 127.5 - 1


def rounded(images: np.ndarray) -> np.ndarray:
    """Returns images as 8 bits would store them."""
    return np.round((np.clip(images, -1, 1) + 1) * 127.5).astype(np.float32) / 127.5 - 1


def of_autoencoders(folders: Mapping[str, str], judge: Judge | None, out: Path) -> dict[str, Any]:
    """Returns the figures of each, and writes latent_autoencoders.png."""
    figures, rows = {}, {}
    for name, folder in folders.items():
        run = jaxdiff.load(folder)
        x = run.experiment.evaluator.held_out_examples(EXAMPLES.value)["x"]
        found, z = run.experiment.sampler.reconstruct(run.weights, x)
        found = rounded(found)
        decode = jax.jit(lambda z, run=run: run.experiment.task.decode(run.weights["network"], z))
        row = {
            "images": len(x),
            "psnr": float(np.mean(np.minimum(psnr(x, found), 100))),
            "ssim": float(np.mean(ssim(x, found))),
            "compression": x[0].size / z[0].size,
            "decoding_ms": 1000 * seconds(decode, z[:64]) / len(z[:64]),
        }
        if judge is not None:
            both = (moments(judge.features(each)) for each in (x, found))
            row["frechet_distance"] = frechet_distance(*both)
        figures[name] = row
        rows.setdefault("data", x[:SHOWN])
        rows[f"{name}: {row['psnr']:.1f} dB, SSIM {row['ssim']:.3f}"] = found[:SHOWN]
    save_png(out.with_name("latent_autoencoders.png"), prompted(list(rows.values()), list(rows)))
    return figures


def of_text(name: str, run: Run, judge: Judge, out: Path) -> dict[str, Any]:
    """Returns the figures of a model of words on both splits, and writes its pictures."""
    figures, shown = {}, {}
    for split, each in judge.scenes.items():
        texts = [scene["text"] for scene in each[: NUM.value]]
        images, per_image = drawn(run, texts)
        figures[split] = {**judge.of(images, split), "seconds_per_image": per_image}
        shown[split] = images
    save_png(out.with_name(f"latent_{name}.png"), several(run, judge))
    nearest = out.with_name(f"latent_{name}_nearest.png")
    figures["copies"] = copies(run, shown["test"], judge, nearest)
    return figures


def several(run: Run, judge: Judge) -> np.ndarray:
    """Returns a sheet of the real scenes of some prompts, each with samples beside it."""
    asked = judge.scenes["test"][: BATCH // OF_EACH]
    texts = [scene["text"] for scene in asked for _ in range(OF_EACH)]
    images, _ = drawn(run, texts, seed=1)
    rows = np.split(images, len(asked))
    rows = [np.concatenate([pixels([scene]), row]) for scene, row in zip(asked, rows, strict=True)]
    return prompted(rows, [scene["text"] for scene in asked])


def drawn(run: Run, texts: Sequence[str], **options: Any) -> tuple[np.ndarray, float]:
    """Returns a sample of each prompt in 8 bits, and the seconds of one after compiling."""
    options = {"steps": STEPS.value, "solver": SOLVER.value, "batch_size": BATCH, **options}
    size = min(BATCH, len(texts))
    begun = run.sample(size, {"text": list(texts[:size])}, **options)
    start = time.perf_counter()
    if len(texts) <= size:
        again = run.sample(size, {"text": list(texts)}, **options)
        return rounded(again), (time.perf_counter() - start) / size
    texts = list(texts[size:])
    rest = run.sample(len(texts), {"text": texts}, first=size, **options)
    per_image = (time.perf_counter() - start) / (-(-len(texts) // size) * size)
    return rounded(np.concatenate([begun, rest])), per_image


def copies(run: Run, images: np.ndarray, judge: Judge, path: Path) -> dict[str, float]:
    """Returns how often a sample is nearer to a training image than held-out ones are."""
    parts, left = [], TRAIN.value
    for batch in run.batches("train", batch_size=min(500, left), prepare=None):
        parts.append(batch["x"][:left])
        left -= len(parts[-1])
        if left <= 0:
            break
    train = np.concatenate(parts)
    unit = lambda z: z / np.linalg.norm(z, axis=1, keepdims=True)
    known = unit(judge.features(train))
    likeness = lambda x: unit(judge.features(x)) @ known.T
    of_real = likeness(pixels(judge.scenes["test"])).max(1)
    found = likeness(images)
    nearest = train[found.argmax(1)]
    order = np.argsort(-found.max(1))[:SHOWN]
    rows = [images[order], nearest[order]]
    save_png(path, prompted(rows, ["the samples nearest to training images", "those images"]))
    limit = float(np.quantile(of_real, 0.95))
    return {
        "rate": float((found.max(1) > limit).mean()),
        "rate_of_held_out": 0.05,
        "median": float(np.median(found.max(1))),
        "median_of_held_out": float(np.median(of_real)),
    }


def guidance(run: Run, judge: Judge) -> dict[str, Any]:
    """Returns figures of fewer samples by guidance scale."""
    num = max(min(NUM.value // 2, 50), min(NUM.value, BATCH))
    texts = [scene["text"] for scene in judge.scenes["test"][:num]]
    by_scale = {}
    for scale in SCALES.value:
        images, _ = drawn(run, texts, guidance_scale=float(scale))
        by_scale[scale] = judge.of(images, "test")
    return by_scale


if __name__ == "__main__":
    cli.run(main)
