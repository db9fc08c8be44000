"""Measures how often the studio's invisible mark is found, and found where it is not.

python experiments/watermark_rates.py --num=48 --out=docs/provenance.md

Pictures are emoji scenes and crops of two photographs that scikit-learn carries.
"""

import io
from collections.abc import Callable
from pathlib import Path

import cli
import numpy as np
from PIL import Image

from jaxdiff.files import atomic_write, check_writable
from jaxdiff.progress import progress
from jaxdiff.studio import watermark

NUM = cli.flag("num", cli.Size, 48, "Pictures of each kind.")
SIDES = cli.flag(
    "sides", tuple[cli.Size, ...], (256,), "Pixels on a side of the pictures: 256,512."
)
OUT = cli.flag("out", cli.Text, "docs/provenance.md", "Where to write the tables.")
KEY, OTHER = "a key", "another key"


def jpeg(quality: int) -> Callable[[Image.Image], Image.Image]:
    """Returns the change by a JPEG file of a quality."""

    def change(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file).convert("RGB")

    return change


def crop(share: float) -> Callable[[Image.Image], Image.Image]:
    """Returns the change that keeps a share of each side, off the middle."""

    def change(image: Image.Image) -> Image.Image:
        side = round(image.width * share)
        left, top = (image.width - side) // 3, (image.height - side) // 2
        return image.crop((left, top, left + side, top + side))

    return change


def resize(scale: float) -> Callable[[Image.Image], Image.Image]:
    """Returns the change of the size."""
    return lambda image: image.resize(
        [round(n * scale) for n in image.size], Image.Resampling.BICUBIC
    )


def then(*changes: Callable[[Image.Image], Image.Image]) -> Callable[[Image.Image], Image.Image]:
    """Returns changes one after another."""

    def change(image: Image.Image) -> Image.Image:
        for each in changes:
            image = each(image)
        return image

    return change


CHANGES = {
    "none": lambda image: image,
    "JPEG 90": jpeg(90),
    "JPEG 70": jpeg(70),
    "JPEG 50": jpeg(50),
    "JPEG 30": jpeg(30),
    "cropped to 75 % of each side": crop(0.75),
    "cropped to 50 % of each side": crop(0.5),
    "resized to 75 %": resize(0.75),
    "resized to 50 %": resize(0.5),
    "resized to 150 %": resize(1.5),
    "resized to 63 %, between the scales that are tried": resize(0.63),
    "resized to 75 %, cropped to 75 %, JPEG 70": then(resize(0.75), crop(0.75), jpeg(70)),
    "turned by 90 degrees": lambda image: image.rotate(90),
    "turned by 3 degrees": lambda image: image.rotate(3, Image.Resampling.BICUBIC),
}


def pictures(num: int, side: int) -> dict[str, list[Image.Image]]:
    """Returns pictures of a side, by their kind."""
    from sklearn.datasets import load_sample_images  # noqa: PLC0415 - reads files

    from jaxdiff.data.scenes.still import EmojiScenes  # noqa: PLC0415 - of an extra

    scenes = EmojiScenes("test", size=side)
    photos = [Image.fromarray(each) for each in load_sample_images().images]
    generator = np.random.default_rng(0)

    def cut(index: int) -> Image.Image:
        photo = photos[index % len(photos)]
        # Of 427 pixels in height; larger crops are made larger.
        part = min(side, photo.height)
        left, top = (int(generator.integers(n - part + 1)) for n in photo.size)
        return photo.crop((left, top, left + part, top + part)).resize((side, side))

    return {
        "emoji scenes": [Image.fromarray(scenes[i]["x"]) for i in range(num)],
        "photographs": [cut(i) for i in range(num)],
    }


def main() -> None:
    """Measures and writes."""
    out = Path(OUT.value)
    check_writable(out)
    rows, wrong, noise = {name: [] for name in CHANGES}, [], []
    kinds = [
        (f"{kind}, {side}", found)
        for side in SIDES.value
        for kind, found in pictures(NUM.value, side).items()
    ]
    for kind, images in progress(kinds, "kinds of pictures"):
        marked = [watermark.marked(image, KEY) for image in images]
        errors = [
            np.asarray(a, float) - np.asarray(b, float) for a, b in zip(images, marked, strict=True)
        ]
        noise.append((kind, 10 * np.log10(255**2 / np.mean([np.mean(e**2) for e in errors]))))
        for name, change in CHANGES.items():
            scores = [watermark.score(change(image), KEY) for image in marked]
            rows[name].append(scores)
        wrong += [watermark.score(image, KEY) for image in images]
        wrong += [watermark.score(image, OTHER) for image in marked]
        wrong += [watermark.score(jpeg(50)(image), KEY) for image in images]
    write(out, [kind for kind, _ in kinds], rows, np.asarray(wrong), noise)
    print(out)


def write(
    out: Path,
    kinds: list[str],
    rows: dict[str, list[list[float]]],
    wrong: np.ndarray,
    noise: list[tuple[str, float]],
) -> None:
    """Writes the page."""
    rate = lambda scores: f"{100 * np.mean(np.asarray(scores) >= watermark.THRESHOLD):.0f} %"
    table = [
        "| change | " + " | ".join(kinds) + " | lowest score |",
        "|---" * (len(kinds) + 2) + "|",
    ]
    for name, found in rows.items():
        lowest = min(map(min, found))
        table.append(f"| {name} | {' | '.join(map(rate, found))} | {lowest:.1f} |")
    above = int((wrong >= watermark.THRESHOLD).sum())
    text = PAGE.format(
        table="\n".join(table),
        threshold=watermark.THRESHOLD,
        alarms=above,
        tries=len(wrong),
        highest=wrong.max(),
        bound=100 * (3 / len(wrong) if above == 0 else above / len(wrong)),
        levels=", ".join(f"{value:.1f} dB ({kind})" for kind, value in noise),
        num=NUM.value,
        sides=" and ".join(map(str, SIDES.value)),
        flag=",".join(map(str, SIDES.value)),
    )
    with atomic_write(out) as draft:
        draft.write_text(text)


PAGE = """# Where a picture comes from

Every picture of the studio holds its settings: `parameters` as other tools write them, or the
graph. Two more things are switched on by flags of `python -m jaxdiff studio`:

- `--credentials` signs each PNG file (C2PA, by `c2pa-python`, of the extra `provenance`): that a
  model made it, and with which settings. The key is a local one, in `keys` of the studio's
  folder. Readers show the signature as intact and its signer as unknown, which is true: no list
  of trust has it. A changed file is found out; a file whose credentials were cut off is not.
- `--watermark` adds an invisible mark (`jaxdiff.studio.watermark`): a pattern of noise that a key
  draws, which is found again after what the table says. It says that a picture came from a studio
  with this key; it is no proof of who made it, and who knows the key, or tries, removes it.

The panel "PNG info" says what of both is in a picture.

## How often the mark is found

{num} pictures of each kind, of {sides} pixels a side. A picture counts as marked
from a score of {threshold} on.

{table}

The peak signal-to-noise ratio of marked pictures is {levels}.

**False alarms**: {alarms} of {tries} tries (pictures without a mark, with another key's, and
without a mark after JPEG 50) had a score of {threshold} or more; the highest was {highest:.2f}.
With 95 % confidence the rate is below {bound:.2g} %, for pictures like these.

A picture that is turned is not found: the search knows shifts and sizes, from 50 % to 200 %.
Pictures under 64 pixels are too small for one pattern.

    python experiments/watermark_rates.py --num={num} --sides={flag}
"""


if __name__ == "__main__":
    cli.run(main)
