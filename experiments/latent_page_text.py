"""The page docs/latent.md and its plot, from what `latent_page.py` measures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxdiff.data.emoji_files import ATTRIBUTION
from jaxdiff.evaluation.attributes import ATTRIBUTES
from jaxdiff.evaluation.figures import ACCENT, INK, new_figure, save_figure
from jaxdiff.files import atomic_write

INTRODUCTION = """# Words to pictures, in latents

Written by `experiments/latent_page.py`, with figures in `{json}`. The data are `emoji_scenes`: one
to four emoji in colours, places and relations that the caption says. The judge is our own
contrastive encoder `{encoder}`, trained on the same kind of data: its distances compare with
nothing outside this page, and what it cannot see is not measured.

Samples are by the models' own solver and guidance{solver}, with averaged weights, rounded to 8
bits, without resizing. Prompts are the captions of the first {samples} scenes of a split, in
order. The split `test` has new scenes of kinds and colours that training shows; `compositions`
has pairs of a kind and a colour that it never shows.

`dit` is an early training of the recipe's transformer, which drew no kinds. The published model of
words is a U-Net for twelve kinds, `scenes_text:few`, whose scenes are others, and the prompts here
do not fit it. `experiments/scene_kinds.py` measures it: the kind is right in 80 % of 240 samples
(75 to 85).
"""

MISSING = {
    "autoencoders": "No autoencoder was there.",
    "text": "No model of words, or no contrastive encoder, was there.",
    "guidance": "",
    "steps": "Training steps were not timed.",
}


def write(out: Path, figures: Mapping[str, Any]) -> None:
    """Writes the page."""
    settings = figures["settings"]
    solver = "".join(f", {n} {settings[n]}" for n in ("solver", "steps") if settings[n])
    introduction = INTRODUCTION.format(
        json=out.with_suffix(".json").name,
        encoder=settings["encoder"],
        solver=solver,
        samples=settings["samples"],
    )
    parts = [introduction, "## Autoencoders\n", *autoencoders(figures)]
    parts += ["## Words\n", *words(figures), "## Guidance\n", *guidance(figures)]
    parts += ["## Copies\n", *copies(figures), "## Pixels or latents\n", *costs(figures)]
    parts += [ATTRIBUTION]
    with atomic_write(out) as draft:
        draft.write_text("\n".join(parts).rstrip() + "\n")


def autoencoders(figures: Mapping[str, Any]) -> list[str]:
    """Returns the lines about reconstructions of held-out images."""
    found = figures.get("autoencoders")
    if not found:
        return [MISSING["autoencoders"], ""]
    header = ("autoencoder", "images", "PSNR, dB", "SSIM", "distance", "compression", "ms an image")
    rows = [
        (
            f"`{name}`",
            row["images"],
            f"{row['psnr']:.2f}",
            f"{row['ssim']:.4f}",
            number(row.get("frechet_distance")),
            f"{row['compression']:.0f}",
            f"{row['decoding_ms']:.1f}",
        )
        for name, row in found.items()
    ]
    return [
        *table(header, rows),
        "Distance is the Fréchet distance of the judge's features, of images to their own"
        " reconstructions; compression is the ratio of numbers; the time is of decoding, 64 at a"
        " time.",
        "",
        "![Held-out images above their reconstructions](latent_autoencoders.png)",
        "",
    ]


def words(figures: Mapping[str, Any]) -> list[str]:
    """Returns the lines about samples and their prompts."""
    found = figures.get("text")
    if not found:
        return [MISSING["text"], ""]
    header = ("images", "split", "caption found", *ATTRIBUTES, "distance", "kernel", "precision")
    header = (*header, "recall", "s an image")
    rows = []
    for split, real in figures["real"].items():
        rows.append(("real", split, *scores(real), ""))
        for name, by_split in found.items():
            row = by_split[split]
            rows.append((f"`{name}`", split, *scores(row), f"{row['seconds_per_image']:.2f}"))
    among = next(iter(figures["real"].values()))["among"]
    lines = [
        *table(header, rows),
        f"*Caption found*: how often the judge finds the right one of {among} captions; by chance"
        f" {1 / among:.2f}. Attributes are read by a probe that learned them from"
        f" {figures['settings']['probe_scenes']} real scenes; its row `real` is the most that can"
        " be seen. Object, colour and count are of scenes of one group; a relation is right if the"
        " axis is, and the objects are not exchanged. Brackets are intervals of 95 % (Wilson)."
        " Distance and kernel are to as many other real scenes: with so few, compare them with the"
        " row `real` only.",
        "",
    ]
    for name in found:
        lines += [
            f"![Real scenes, and samples of {name} for their captions](latent_{name}.png)",
            "",
        ]
    return lines


def guidance(figures: Mapping[str, Any]) -> list[str]:
    """Returns the lines about guidance scales."""
    found = figures.get("guidance")
    if not found:
        return [MISSING["guidance"], ""]
    rows = [(scale, *scores(row)) for scale, row in found["scales"].items()]
    among = next(iter(found["scales"].values()))["among"]
    header = ("scale", "caption found", *ATTRIBUTES, "distance", "kernel", "precision", "recall")
    return [
        f"`{found['run']}`, among {among} captions:",
        "",
        *table(header, rows),
        "![The share of captions found, and the kernel distance, by scale](latent_guidance.png)",
        "",
    ]


def copies(figures: Mapping[str, Any]) -> list[str]:
    """Returns the lines about memorisation."""
    found = figures.get("text")
    if not found:
        return [MISSING["text"], ""]
    header = ("model", "near a training image", "held-out images", "likeness", "of held-out images")
    rows = [
        (
            f"`{name}`",
            f"{row['copies']['rate']:.2f}",
            f"{row['copies']['rate_of_held_out']:.2f}",
            f"{row['copies']['median']:.3f}",
            f"{row['copies']['median_of_held_out']:.3f}",
        )
        for name, row in found.items()
    ]
    lines = [
        *table(header, rows),
        "Near is nearer, in the judge's features, than 95 % of held-out images are to one of the"
        f" first {figures['settings']['train_images']} training images; likeness is the median"
        " cosine.",
        "",
    ]
    for name in found:
        lines += [f"![The nearest training images of {name}](latent_{name}_nearest.png)", ""]
    return lines


def costs(figures: Mapping[str, Any]) -> list[str]:
    """Returns the lines about training steps on pixels and in latents."""
    found = {name: row for name, row in figures.get("steps", {}).items() if row}
    if not found:
        return [MISSING["steps"], ""]
    header = ("recipe", "numbers of an example", "operations", "s a step", "temporary memory, MB")
    rows = [
        (
            f"`{name}`",
            f"{row['numbers']:.0f}",
            f"{row['operations'] / 1e9:.1f} G",
            f"{row['seconds']:.2f}",
            f"{row['temporary_bytes'] / 1e6:.0f}",
        )
        for name, row in found.items()
    ]
    lines = [*table(header, rows), "Steps of 16 scenes, the fastest of those timed."]
    if len(found) > 1:
        latent, pixel = sorted(found.values(), key=lambda row: row["numbers"])[:: len(found) - 1]
        ratio = lambda name: pixel[name] / latent[name]
        lines.append(
            f" An example has {ratio('numbers'):.0f} times fewer numbers in latents, and a step"
            f" takes {ratio('operations'):.1f} times fewer operations and"
            f" {ratio('seconds'):.1f} times less time. The usual claim is 64 and about 8, of images"
            " of 512 pixels and a factor of 8 a side. Here a side is a fourth, the step encodes its"
            " images (a cache saves that), and the network for pixels has a level more, whose"
            " widest maps are narrow."
        )
    return [*lines, ""]


def scores(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the cells of a set of images."""
    read = [
        f"{each['value']:.2f} [{each['low']:.2f}, {each['high']:.2f}]" if each["num"] else "none"
        for each in (row["attributes"][name] for name in ATTRIBUTES)
    ]
    names = ("frechet_distance", "kernel_distance", "precision", "recall")
    return (f"{row['prompt_found']:.2f}", *read, *(number(row[name]) for name in names))


def number(value: float | None) -> str:
    """Returns a number of three digits; nothing for None."""
    return "" if value is None else f"{value:.3g}"


def table(header: Sequence[Any], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Returns the lines of a table, and an empty one."""
    lines = [header, ("---",) * len(header), *rows]
    return ["| " + " | ".join(map(str, line)) + " |" for line in lines] + [""]


def save_guidance(path: Path, by_scale: Mapping[str, Any]) -> None:
    """Plots retrieval and kernel distance by guidance scale."""
    figure, panels = new_figure(2, size=(4.2, 3.0))
    scales = [float(scale) for scale in by_scale]
    for panel, name, color in zip(
        panels, ("prompt_found", "kernel_distance"), (ACCENT, INK), strict=False
    ):
        panel.plot(scales, [row[name] for row in by_scale.values()], "o-", color=color)
        panel.set(xlabel="guidance scale", title=name.replace("_", " "), ylim=(0, None))
    save_figure(path, figure)
