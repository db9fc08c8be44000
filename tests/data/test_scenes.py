"""Scenes of emoji: what captions say is in the pictures, and truths are exact."""

import numpy as np
import pytest

from jaxdiff.data.scenes import motion, truth
from jaxdiff.data.scenes.captions import caption, moving_caption
from jaxdiff.data.scenes.character import poses
from jaxdiff.data.scenes.layout import RELATIONS, SIDES, TILT, draw_ground
from jaxdiff.data.scenes.paint import Camera, Ground, Placed, paint
from jaxdiff.data.scenes.sprites import COLOR_NAMES, NOUNS, is_held_out, sprite
from jaxdiff.data.sources import open_source
from jaxdiff.evaluation.templates import Template, correlation

PIXELS = ("masks", "segmentation", "edges", "depth", "points")
FIELDS = ("text", "count", "kinds", "colors", "groups", "relation", "places", *PIXELS)


@pytest.fixture(scope="module")
def scenes():
    return open_source("emoji_scenes", "train", size=32, fields=FIELDS)


def test_a_scene_is_the_same_everywhere_and_its_splits_differ(scenes):
    again = open_source("emoji_scenes", "train", size=32, scenes=9)
    np.testing.assert_array_equal(again[8]["x"], scenes[8]["x"])
    assert set(again[8]) == {"x", "text"}
    test = open_source("emoji_scenes", "test", size=32)
    assert test[8]["text"] != scenes[8]["text"]
    with pytest.raises(IndexError):
        again[9]


def test_relations_and_counts_hold_in_the_places(scenes):
    """Fails if a caption says more, fewer, or another side than the picture shows."""
    seen = set()
    for index in range(150):
        layout = scenes.layout(index)
        members = np.array(layout.members)
        assert [sum(members == i) for i in range(len(layout.groups))] == [
            group.count for group in layout.groups
        ]
        for each, member in zip(layout.placed, members, strict=True):
            assert (each.kind, each.color) == layout.groups[member][:2]
        if layout.relation < 0:
            continue
        seen.add(layout.relation)
        x, y = np.array([(each.x, each.y) for each in layout.placed]).T
        first = members == 0
        holds = {
            "left of": x[first].max() < x[~first].min(),
            "right of": x[first].min() > x[~first].max(),
            "above": y[first].max() < y[~first].min(),
            "below": y[first].min() > y[~first].max(),
            "in front of": members.tolist() == [1, 0],
            "behind": members.tolist() == [0, 1],
        }
        assert holds[RELATIONS[layout.relation]], caption(layout)
    assert len(seen) == len(RELATIONS)


def test_what_is_in_front_hides_a_part_of_what_is_behind(scenes):
    """Fails if "in front of" does not overlap, or the farther one is painted last."""
    found = [i for i in range(300) if scenes.layout(i).relation >= 4][:8]
    for index in found:
        layout, masks = scenes.layout(index), scenes[index]["masks"]
        ground = np.zeros((64, 64, 3), np.float32)
        alone = truth.owner(paint(ground, layout.placed[:1], 32)) == 0
        hidden = (alone & masks[1]).sum() / alone.sum()
        assert 0.02 < hidden < 0.8
        assert not (masks[0] & masks[1]).any()


def test_compositions_are_pairs_that_training_never_shows():
    """Fails if a held-out pair is in train, or a scene of the split has none."""
    for split, wanted in [("train", False), ("test", False), ("compositions", True)]:
        source = open_source("emoji_scenes", split)
        clips = open_source("moving_scenes", split, frames=1)
        for index in range(60):
            for groups in (source.layout(index).groups, clips.layout(index).groups):
                first, *rest = (is_held_out(group.kind, group.color) for group in groups)
                assert first == wanted
                assert not any(rest)
    held_out = {(k, c) for k in range(len(NOUNS)) for c in range(9) if is_held_out(k, c)}
    assert len(held_out) == len(NOUNS)
    assert {c for _, c in held_out} == set(range(len(COLOR_NAMES)))


def test_truths_agree_with_each_other_and_with_the_picture(scenes):
    """Fails if masks overlap, edges are not their outline, or a point is off its emoji."""
    for index in range(12):
        example, layout = scenes[index], scenes.layout(index)
        count = len(layout.placed)
        masks, shown = example["masks"], example["segmentation"]
        assert masks.sum(0).max() <= 1
        np.testing.assert_array_equal(shown > 0, masks.any(0))
        for layer, each in enumerate(layout.placed):
            assert set(np.unique(shown[masks[layer]])) <= {1 + each.kind}
            assert (example["depth"][masks[layer]] == np.float32((layer + 1) / 4)).all()
        assert not masks[count:].any()
        changes = np.diff(example["depth"], axis=1) != 0
        assert (example["edges"][:, :-1] >= changes).all()
        x, y, visible = np.moveaxis(example["points"][:count], -1, 0)
        inside = (x >= 0) & (x < 32) & (y >= 0) & (y < 32)
        assert (visible <= inside).all()
        assert visible[-1, 1:].sum() >= 3  # nothing hides the nearest
        assert example["kinds"].tolist() == [e.kind for e in layout.placed] + [-1] * (4 - count)
        # The ground is seen where nothing lies.
        bare = layout.ground.paint(64)[::2, ::2]
        far = ~np.pad(masks.any(0), 2)[2:-2, 2:-2] & ~example["edges"]
        if layout.ground.kind == "plain":
            difference = np.abs(example["x"] / 255 - bare).max(-1)[far]
            assert np.median(difference) < 0.01


def test_an_emoji_lies_where_its_matrix_says():
    """Fails if angles turn the other way, or a place is of a corner."""
    each = Placed(NOUNS.index("key"), 0, 0.3, 0.6, 0.5, 0.7)
    shares = paint(np.zeros((128, 128, 3), np.float32), [each], 64).shares[0]
    y, x = np.nonzero(shares > 0.5)
    found = np.array([x.mean(), y.mean()]) + 0.5
    want = (each.matrix[:, :2] @ sprite(*each[:2]).points[0] + each.matrix[:, 2]) * 64
    np.testing.assert_allclose(found, want, atol=0.7)
    (tip,) = truth.points(np.where(shares > 0.5, 0, -1), [each], 1)[:, 1, :2]
    left = each.matrix[:, :2] @ sprite(*each[:2]).points[1] + each.matrix[:, 2]
    np.testing.assert_allclose(tip, 64 * left, atol=1e-3)


def test_colors_are_those_of_the_caption():
    """Fails if another part of a drawing is recoloured, or none is."""
    for noun in ("apple", "heart", "fish", "pig"):
        for color, pair in [("blue", (0x61, 0xB2, 0xE4)), ("yellow", (0xFC, 0xEA, 0x2B))]:
            picture = sprite(NOUNS.index(noun), COLOR_NAMES.index(color)).levels[0]
            pixels = np.asarray(picture).astype(int)
            near = np.abs(pixels[..., :3] - pair).max(-1) < 3
            assert near.sum() > 0.25 * (pixels[..., 3] > 250).sum()


def test_captions_in_words():
    layout = open_source("moving_scenes", "train").layout(0)
    ground = Ground("checked", "orange", "white", 0.0)
    apple = motion.Mover(
        Placed(NOUNS.index("apple"), 3, 0.5, 0.2, 0.3, 0.0), "falling", "none", 0, 0
    )
    group = motion.Group(NOUNS.index("apple"), 3, 1)
    camera = motion.CameraPath("in", 0.3, 1.0)
    scene = layout._replace(groups=(group,), movers=(apple,), camera=camera, ground=ground)
    assert moving_caption(scene) == (
        "a green apple falling and bouncing, the camera zooming in, on a checked orange ground"
    )
    assert moving_caption(scene, moves=False) == "a green apple, on a checked orange ground"


def test_what_falls_accelerates_by_gravity_and_bounces_lower():
    """Fails if the path is no parabola, loses its height at once, or goes below the floor."""
    times = np.linspace(0, 2, 401)
    height = np.array([motion.bounced(time, 0.6) for time in times])
    second = np.diff(height, 2) / (times[1] ** 2)
    smooth = np.isclose(second, -motion.GRAVITY, rtol=1e-3)
    assert smooth.mean() > 0.97
    assert height.min() >= 0
    fall = np.sqrt(2 * 0.6 / motion.GRAVITY)
    peaks = height[1:-1][(np.diff(height)[:-1] > 0) & (np.diff(height)[1:] <= 0)]
    assert peaks[0] == pytest.approx(motion.BOUNCE**2 * 0.6, rel=1e-3)
    assert motion.bounced(fall, 0.6) == pytest.approx(0, abs=1e-9)
    assert motion.bounced(60.0, 0.6) == 0


def test_flow_carries_each_frame_to_the_next():
    """Fails if flow goes backwards, ignores the camera, or calls hidden points visible."""
    fields = ("flow", "visible", "camera", "masks", "points", "places")
    options = {"frames": 5, "rate": 6.0, "size": 64, "fields": fields}
    source = open_source("moving_scenes", "train", **options)
    errors, still = [], []
    for index in range(8):
        example = source[index]
        assert example["flow"].shape == (4, 64, 64, 2)
        x = example["x"].astype(float)
        for frame in range(4):
            flow, seen = example["flow"][frame], example["visible"][frame]
            place = np.arange(64) + 0.5
            there = np.stack(np.meshgrid(place, place), -1) + flow
            column, row = np.moveaxis(np.clip(np.floor(there).astype(int), 0, 63), -1, 0)
            errors.append(np.abs(x[frame + 1][row, column] - x[frame])[seen].mean())
            still.append(np.abs(x[frame + 1] - x[frame])[seen].mean())
    assert np.mean(errors) < 0.4 * np.mean(still)


def test_a_camera_moves_everything_alike():
    camera, each = Camera(0.6, 0.4, 2.0), Placed(0, 0, 0.6, 0.5, 0.1, 0.3)
    assert camera.seen(each)[2:] == pytest.approx((0.5, 0.7, 0.2, 0.3))
    ground = Ground("checked", "red", "white", 0.0)
    near, far = ground.paint(64, Camera(zoom=2.0)), ground.paint(64)
    np.testing.assert_array_equal(near[::2, ::2], far[16:48, 16:48])


@pytest.mark.parametrize("most", [1, 2, 3])
def test_scenes_of_some_kinds_and_of_few_emoji(most):
    """Fails if another kind is drawn, or no scene has as many as it may."""
    chosen = ("cat", "heart", "star", "key", "tree", "fish")
    for split in ("train", "compositions"):
        scenes = open_source("emoji_scenes", split, kinds=chosen, most=most)
        layouts = [scenes.layout(i) for i in range(200)]
        kinds = {NOUNS[group.kind] for each in layouts for group in each.groups}
        assert kinds == set(chosen)
        assert max(len(each.placed) for each in layouts) == most


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("emoji_scenes", {"split": "dev"}, "unknown split 'dev'; known: train, test, compositions"),
        ("emoji_scenes", {"split": "train", "size": 4}, r"emoji_scenes\.size is 4; expected"),
        ("emoji_scenes", {"split": "train", "fields": ("flow",)}, r"emoji_scenes\.fields"),
        ("emoji_scenes", {"split": "train", "kinds": ("hart",)}, "unknown kind 'hart'.*heart"),
        ("emoji_scenes", {"split": "train", "kinds": ("cat", "dog")}, "are fewer than 6"),
        ("emoji_scenes", {"split": "train", "most": 5}, r"emoji_scenes\.most is 5"),
        ("moving_scenes", {"split": "train", "frames": 0}, r"moving_scenes\.frames is 0"),
        ("moving_scenes", {"split": "train", "rate": 0.0}, r"moving_scenes\.rate"),
    ],
)
def test_wrong_options_are_named(name, options, message):
    with pytest.raises(ValueError, match=message):
        open_source(name, **options)


def test_without_the_extra_the_error_says_how_to_get_it(monkeypatch):
    from jaxdiff.data import emoji_files  # noqa: PLC0415

    with pytest.raises(ModuleNotFoundError, match=r'pip install "jaxdiff\[scenes\]"'):
        emoji_files._package("no_such_package")


def test_a_character_of_its_own_is_in_five_scenes_and_in_no_other():
    """Fails if the pictures of training are among those that samples are compared to."""
    train, test = (open_source("emoji_character", s, size=32) for s in ("train", "test"))
    assert (len(train), train.shape) == (5, (32, 32, 3))
    assert all(each["text"].startswith("a blorb, on ") for each in train)
    assert not any(np.array_equal(one["x"], test[i]["x"]) for one in train for i in range(8))
    np.testing.assert_array_equal(train[-1]["x"], train[4]["x"])
    with pytest.raises(IndexError):
        train[5]
    with pytest.raises(FileNotFoundError, match="FFFFF"):
        open_source("emoji_character", "train", code="FFFFF")


def test_poses_of_a_character_are_found_in_its_pictures():
    """Fails if a pose is of another size, angle or emoji, or its share of another pixel."""
    picture = open_source("emoji_character", "test", size=64)[0]["x"] / 127.5 - 1
    rng = np.random.default_rng((5, 2))  # after five pictures of training
    draw_ground(rng)
    side = rng.uniform(*SIDES[1])
    rng.uniform(side / 2, 1 - side / 2, 2)
    angle = rng.uniform(-TILT, TILT)
    found = {}
    for code, turned in (("1F916", 0.0), ("1F916", 0.5), ("1F431", 0.0)):
        [pose] = poses(code, 64, [side], [angle + turned])
        inside = pose.shares[0] > 0.5
        window = tuple(slice(at.min(), at.max() + 1) for at in np.nonzero(inside))
        template = Template((pose.picture / 127.5 - 1)[window], inside[window])
        found[code, turned] = correlation(picture, template)
    own = found.pop(("1F916", 0.0))
    assert own > 0.9
    assert max(found.values()) < 0.7
