"""Drawings of emoji: names, splits, layers of lines; and further fields of TFDS data sets."""

import numpy as np
import pytest

from jaxdiff.config.build import build
from jaxdiff.data import emoji_files, transforms
from jaxdiff.data.datasets import openmoji
from jaxdiff.data.datasets.openmoji import PROFESSIONS, kind_of, split_of
from jaxdiff.data.sources import open_source
from jaxdiff.data.tfds_source import TfdsSource


@pytest.fixture(scope="module")
def emoji():
    return {each.caption: each for each in emoji_files.all_emoji()}


def test_captions_are_words_that_tell_all_emoji_apart(emoji):
    """Fails if names are codes, two emoji share one, or tone and gender are not seen."""
    assert len(emoji) == len(emoji_files.all_emoji()) > 3800
    farmer = emoji["woman farmer, medium-light skin tone"]
    assert farmer.points == (0x1F469, 0x1F3FC, 0x200D, 0x1F33E)
    assert (farmer.tones, farmer.gender, kind_of(farmer)) == (("medium-light",), "woman", "person")
    assert kind_of(emoji["flag of Peru"]) == "flag"
    assert kind_of(emoji["guitar"]) == "thing"
    assert "heart" in emoji["red heart"].aliases
    assert not any(set(":_") & set(caption) for caption in emoji)


def test_compositions_are_held_out_while_their_parts_are_not(emoji):
    """Fails if a pair of tone and profession is in two splits, or train lacks a tone or a tool."""
    splits = {}
    for each in emoji.values():
        tool = next((p for p in each.points if p in PROFESSIONS), None)
        if tool is not None and 0x200D in each.points and each.tones:
            splits.setdefault((each.tones[0], tool), set()).add(split_of(each))
    assert len(splits) == 5 * len(PROFESSIONS)
    assert all(len(found) == 1 for found in splits.values())
    held_out = {pair for pair, found in splits.items() if found == {"compositions"}}
    assert len(held_out) == len(PROFESSIONS) == len({tool for _, tool in held_out})
    assert {tone for tone, _ in splits.keys() - held_out} == set(emoji_files.TONES)
    assert {tool for _, tool in splits.keys() - held_out} == set(PROFESSIONS)


def test_all_variants_of_an_emoji_are_in_one_split(emoji):
    """Fails if a held-out image is in train with another skin tone or gender."""
    by_name = {}
    for each in emoji.values():
        if split_of(each) != "compositions":
            by_name.setdefault(openmoji._base(each), set()).add(split_of(each))
    tools = {f"{0x1F9D1:X}-{tool:X}" for tool in PROFESSIONS}
    assert all(len(found) == 1 for base, found in by_name.items() if base not in tools)
    test = sum(split_of(each) == "test" for each in emoji.values())
    assert 0.08 < test / len(emoji) < 0.12


def test_lines_are_a_part_of_the_drawing(emoji):
    """Fails if the layer of lines has colours, or lies elsewhere."""
    svg = emoji_files.drawing(emoji["red apple"].code)
    whole, lines = (emoji_files.raster(each, 48) for each in (svg, emoji_files.lines_of(svg)))
    inked = lines[..., 3] > 250
    assert 50 < inked.sum() < (whole[..., 3] > 250).sum() / 2
    assert lines[inked][:, :3].max() == 0
    assert (whole[inked][:, :3] < 40).all()


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """The data set of a few emoji at 16 pixels, so that preparing takes no time."""
    with pytest.MonkeyPatch.context() as patch:
        chosen = [each for i, each in enumerate(emoji_files.all_emoji()) if i % 80 == 0]
        tool = [e for e in emoji_files.all_emoji() if split_of(e) == "compositions"][:2]
        patch.setattr(openmoji, "all_emoji", lambda: (*chosen, *tool))
        folder = tmp_path_factory.mktemp("openmoji")
        options = {"size": 16, "data_dir": folder}
        for split in ("train", "test"):
            open_source("openmoji", split, **options)
        yield options


def test_a_data_set_has_captions_and_the_fields_asked_for(few):
    """Fails if texts are bytes, a second image is no image, or a field is passed on unasked."""
    source = open_source("openmoji", "train", fields=("text", "line", "tone"), **few)
    assert source.shape == (16, 16, 3)
    assert "CC BY-SA" in source.attribution
    example = source[3]
    assert set(example) == {"x", "label", "text", "line", "tone"}
    assert isinstance(example["text"], str)
    assert example["line"].shape == (16, 16, 1)
    assert example["line"].min() < 200 < example["line"].max()
    assert set(open_source("openmoji", "compositions", **few)[0]) == {"x", "label", "text"}
    with pytest.raises(
        ValueError, match=r"openmoji\.fields: there is no \['color'\]; known: .*tone"
    ):
        open_source("openmoji", "train", fields=("color",), **few)


def test_other_data_sets_pass_on_no_further_fields(digits):
    assert set(digits["test"][0]) == {"x", "label"}
    assert isinstance(digits["test"]._source, TfdsSource)


def test_a_line_of_a_caption_is_drawn():
    """Fails if one line is drawn always, or lines are cut elsewhere."""
    draw, rng = build(transforms, "CaptionLine"), np.random.default_rng(0)
    found = {draw.random_map({"text": "red heart\nheart "}, rng)["text"] for _ in range(20)}
    assert found == {"red heart", "heart"}
    with pytest.raises(ValueError, match=r"CaptionLine\.field: examples have \['x'\], no 'text'"):
        draw.random_map({"x": 0}, rng)
