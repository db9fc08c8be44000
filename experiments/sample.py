"""Draws samples from a trained run into a picture (.png), clips (.gif, .mp4) or an array (.npy).

python experiments/sample.py --workdir=runs/digits --num=64 --labels=3,7 --out=threes_and_sevens.png
python experiments/sample.py --workdir=runs/digits --image=mine.npy --t_start=0.5 --labels=3
python experiments/sample.py --workdir=runs/captions --text="a seven" --text="a two" --num=8
python experiments/sample.py --workdir=runs/clips --text="a red apple" --frames=17 --out=a.mp4
python experiments/sample.py --workdir=runs/clips --first_frame=apple.png --num=4 --out=a.gif
python experiments/sample.py --workdir=runs/edges --control_image=map.png:0.8 --text="a red cat"
python experiments/sample.py --workdir=runs/scenes --text="a blue ground" \\
    --region_text="a red cat" --region_mask=left.png
python experiments/sample.py --workdir=runs/base --adapter=runs/lora:0.8 --num=16

With --source_text, --image is edited: what it says becomes --text, and the rest stays as it was:

python experiments/sample.py --workdir=runs/scenes --image=cat.png --source_text="a red cat" \\
    --text="a green cat" --strength=0.7

With --image, sampling begins from these images, noised to --t_start; with --noise, from x_t as
--invert wrote it, which encodes images as the noise from which the solver draws them.

With --image and --mask, the pixels under the mask are kept and the others painted; with
--measurement and --operator, samples agree with what the operator makes of them:

python experiments/sample.py --workdir=runs/digits --image=half.png --mask=known.png --num=8
python experiments/sample.py --workdir=runs/digits --measurement=small.npy \\
    --operator="AveragePooling(factor=2)" --inverse="DPS(scale=2.0)"
"""

from pathlib import Path

import cli
import numpy as np
from absl import flags

from jaxdiff.data import images
from jaxdiff.data.maps import CHANNELS
from jaxdiff.evaluation.evaluators import balanced_labels
from jaxdiff.evaluation.report import save_samples
from jaxdiff.files import as_path, atomic_write, check_writable, read_array
from jaxdiff.runs.clips import begun
from jaxdiff.runs.editing import edit
from jaxdiff.runs.sizes import resized
from jaxdiff.tasks.controls import Map
from jaxdiff.tasks.regions import Region

cli.define_sampling_flags()
NUM = cli.flag("num", cli.Size, 64, "Number of samples.")
LABELS = flags.DEFINE_list(
    "labels", None, "Classes, each for an equal share of the samples; all by default."
)
TEXT = flags.DEFINE_multi_string("text", [], "Prompt, each for an equal share of the samples.")
NEGATIVE = cli.flag("negative", cli.Text, None, "Prompt that guidance leads away from.")
FIRST_FRAME = cli.flag("first_frame", cli.Text, None, "The picture that clips begin with: .png.")
T_START = cli.flag("t_start", cli.Share, None, "Time at which sampling starts; 1 is noise.")
T_END = cli.flag("t_end", cli.Share, None, "Time at which sampling stops; 0 is data.")
IMAGE = cli.flag("image", cli.Text, None, "Images to start from: .npy [n, ...] in [-1, 1], .png.")
NOISE = cli.flag("noise", cli.Text, None, "x_t to start from: .npy, as --invert writes it.")
MASK = cli.flag("mask", cli.Text, None, "Where --image is known: .npy or .png, white is known.")
MEASUREMENT = cli.flag("measurement", cli.Text, None, "Of the samples: .npy [n, ...], .png.")
OPERATOR = cli.flag("operator", cli.Text, None, 'Of the measurement: "AveragePooling(factor=4)".')
INVERSE = cli.flag("inverse", cli.Text, None, "KnownPixels, RePaint, DPS or PiGDM, with options.")
INVERT = flags.DEFINE_bool("invert", False, "Encode --image as noise instead; --out is .npy.")
SOURCE_TEXT = cli.flag(
    "source_text", cli.Text, None, "Prompt that --image shows, edited to --text."
)
STRENGTH = cli.flag("strength", cli.Share, 0.65, "Of the edit: 0 leaves --image as it is.")
ADAPTER = flags.DEFINE_multi_string(
    "adapter", [], "A run's adapter and its strength, as runs/lora:0.8; several are added up."
)
EMBEDDING = flags.DEFINE_multi_string(
    "embedding", [], "A word for --text that a run has learned, mine.safetensors; its file's name."
)
REGION_TEXT = flags.DEFINE_multi_string("region_text", [], "A prompt for a part of the samples.")
REGION_MASK = flags.DEFINE_multi_string(
    "region_mask", [], "Where each holds, and its weight, mask.png:0.8; white is where it holds."
)
CONTROL_IMAGE = flags.DEFINE_multi_string(
    "control_image", [],
    "Map of a control network and its strength, map.png:0.8; .png, or .npy. Of a network that reads"
    " several kinds, with its kind: edges=map.png:0.8.",
)  # fmt: skip
CONTROL_STEPS = flags.DEFINE_multi_string(
    "control_steps", [], "The share of the steps at which each map acts, 0:0.5."
)
HEIGHT = cli.flag("height", cli.Size, None, "Of a sample in pixels; that of training by default.")
WIDTH = cli.flag("width", cli.Size, None, "Of a sample in pixels.")
FRAMES = cli.flag("frames", cli.Size, None, "Of a clip.")
OUT = cli.flag(
    "out", cli.Text, None, "A .png, .gif or .mp4 (clips) or .npy; <workdir>/sample_seed<seed>.png."
)
PLAYING = (".gif", ".mp4")


def main() -> None:
    """Samples and saves."""
    out = as_path(OUT.value or as_path(cli.FLAGS.workdir) / f"sample_seed{cli.FLAGS.seed}.png")
    if out.suffix not in (".png", *PLAYING, ".npy"):
        raise ValueError(f"out={out}: the file name must end in .png, .gif or .mp4 (clips) or .npy")
    if INVERT.value and (IMAGE.value is None or out.suffix != ".npy"):
        raise ValueError("invert: name the images by --image, and an --out that ends in .npy")
    if LABELS.value == []:
        raise ValueError("labels is empty: name classes by number, as 3,7")
    labels = np.array([_label(text) for text in LABELS.value or ()], int)
    strengths = dict(cli.weighted("adapter", text) for text in ADAPTER.value)
    run = cli.load_run()
    run = run.adapted(strengths) if strengths else run
    for path in EMBEDDING.value:
        run = run.with_word(path)
    if out.suffix in PLAYING and len(run.shape) != 4:
        raise ValueError(
            f"out={out}: a {out.suffix} is of clips, and samples have shape {run.shape}"
        )
    run = resized(run, HEIGHT.value, WIDTH.value, FRAMES.value)
    check_writable(out)
    channels = run.shape[-1]
    starts = {"image": IMAGE, "noise": NOISE, "measurement": MEASUREMENT}
    given = {name: _read(flag.value, channels) for name, flag in starts.items()}
    given = {name: value for name, value in given.items() if value is not None}
    num = len(next(iter(given.values()))) if given else NUM.value
    if num == 1 and cli.FLAGS["num"].present:
        num = NUM.value  # several samples for one image
        given = {name: np.repeat(value, num, axis=0) for name, value in given.items()}
    problem = _problem(run, num, given)
    if not len(labels):
        labels = np.arange(run.num_classes)
    rows = {"label": labels, "text": np.array(TEXT.value)}
    cond = {k: row[balanced_labels(num, len(row))] for k, row in rows.items() if len(row)}
    options = {**cli.sampling_options(), "t_start": T_START.value, "t_end": T_END.value}
    if SOURCE_TEXT.value is not None:
        samples = _edited(run, num, given, cond)
    elif INVERT.value:
        samples = run.invert(cond=cond, **given, **options)
    else:
        negative = {"text": NEGATIVE.value} if NEGATIVE.value else None
        problem["control"], problem["regions"] = _controls(run), _regions()
        samples = run.sample(num, cond, negative=negative, **given, **problem, **options)
    if out.suffix == ".npy":
        with atomic_write(out) as draft:
            np.save(draft, samples)
    else:
        save_samples(out, samples, columns=min(round(num**0.5), num))
    print(out)


def _read(path, channels):
    if path is None:
        return None
    if not Path(path).is_file():
        raise ValueError(f"{path}: there is no such file")
    if Path(path).suffix == ".npy":
        return read_array(path)
    return images.decode(Path(path), channels, path)[None] / 127.5 - 1


def _problem(run, num, given):
    """Returns what the flags say about the samples: known pixels, or the operator of a measurement.

    Known pixels are those of --image under --mask, or the first frames of clips.
    """
    mask = _read(MASK.value, 1)
    if mask is not None and not np.isfinite(mask).all():
        raise ValueError(f"mask={MASK.value} is not finite")
    known = {"mask": None if mask is None else mask > 0}
    if FIRST_FRAME.value is not None:
        if "image" in given or mask is not None:
            raise ValueError("first_frame: it is all that is known; leave --image and --mask out")
        known = begun(_read(FIRST_FRAME.value, run.shape[-1])[0], num, run.shape)
    return {**known, "operator": OPERATOR.value, "inverse": INVERSE.value}


def _controls(run):
    """Returns the maps of the flags, each with its strength and steps; None without maps."""
    if not CONTROL_IMAGE.value:
        return None
    if run.maps is not None:
        return _by_kind(run.maps)
    maps = [cli.weighted("control_image", text) for text in CONTROL_IMAGE.value]
    spans = [cli.span(text) for text in CONTROL_STEPS.value] or [()] * len(maps)
    if len(spans) != len(maps):
        raise ValueError(f"control_steps: {len(spans)} for {len(maps)} of --control_image")
    networks = [network for _, network in run.experiment.task.model.controls]
    if maps and len(maps) != len(networks):
        raise ValueError(f"control_image: {len(maps)} for {len(networks)} control networks")
    found = []
    for (path, strength), span, network in zip(maps, spans, networks, strict=True):
        found.append(Map(_map(path, network.map_channels), strength, *span))
    return found


def _by_kind(maps):
    """Returns the maps of the flags, by kind, for the one network that reads them."""
    found, strengths = {}, set()
    for text in CONTROL_IMAGE.value:
        kind, given, file = text.partition("=")
        if not given or kind not in maps.of:
            raise ValueError(
                f"control_image={text!r}: write a kind and a file, edges=map.png; kinds:"
                f" {', '.join(maps.of)}"
            )
        path, strength = cli.weighted("control_image", file)
        found[kind] = _map(path, CHANNELS[kind])
        strengths.add(strength)
    spans = {cli.span(text) for text in CONTROL_STEPS.value} or {()}
    if len(strengths) > 1 or len(spans) > 1:
        raise ValueError("control_image: one network reads these maps, with one strength and span")
    return Map(found, strengths.pop(), *spans.pop())


def _map(path, channels):
    values = _read(path, min(channels, 3))
    return values if Path(path).suffix == ".npy" else (values[0] + 1) / 2


def _regions():
    """Returns the prompts of --region_text, each with its mask."""
    masks = [cli.weighted("region_mask", text) for text in REGION_MASK.value]
    if len(masks) != len(REGION_TEXT.value):
        raise ValueError(f"region_mask: {len(masks)} for {len(REGION_TEXT.value)} of --region_text")
    found = []
    for text, (path, weight) in zip(REGION_TEXT.value, masks, strict=True):
        mask = _read(path, 1)
        mask = mask if Path(path).suffix == ".npy" else (mask[0, ..., 0] + 1) / 2
        found.append(Region(text, mask, weight))
    return found


def _edited(run, num, given, cond):
    if "image" not in given or not TEXT.value:
        raise ValueError("source_text: name the --image that it describes, and the --text to come")
    options = {"strength": STRENGTH.value, "steps": cli.FLAGS.steps, "seed": cli.FLAGS.seed}
    options["target_scale"] = cli.FLAGS.guidance_scale
    options = {name: value for name, value in options.items() if value is not None}
    source = {"text": [SOURCE_TEXT.value] * num}
    return edit(run, given["image"], source, {"text": cond["text"]}, **options)


def _label(text):
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"labels={text!r}: classes are given by number") from None


if __name__ == "__main__":
    cli.run(main)
