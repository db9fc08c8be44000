"""Motion in clips without knowing it, on clips whose motion is known."""

import numpy as np

from jaxdiff.evaluation import motion


def dropped(acceleration, noise=0.0):
    """A square on a plain ground that falls from rest; its corner is at whole pixels."""
    rng = np.random.default_rng(0)
    clip = np.full((9, 64, 64, 3), -0.5, np.float32)
    for f in range(9):
        top = round(6 + acceleration * 64 * f * f / 2)
        clip[f, top : top + 10, 20:30] = [0.9, -0.9, 0.1]
    return (clip + noise * rng.standard_normal((9, 1, 1, 3)))[None]


def test_a_fall_is_measured():
    """Fails if the parabola is of other units, or runs on after the lowest point."""
    still, falling = dropped(0.0), dropped(0.01)
    assert abs(motion.accelerations(still)[0]) < 1e-3 or np.isnan(motion.accelerations(still)[0])
    np.testing.assert_allclose(motion.accelerations(falling), 0.01, rtol=0.1)
    bounced = np.concatenate([falling[:, :7], falling[:, 5:2:-1]], axis=1)
    np.testing.assert_allclose(motion.accelerations(bounced), 0.01, rtol=0.15)
    assert np.isnan(motion.accelerations(np.zeros((1, 5, 16, 16, 3)))[0])


def test_motion_is_no_flicker():
    """Fails if a moved thing counts, or a ground that changes its colour does not."""
    moved, shaken = dropped(0.01), dropped(0.01, noise=0.1)
    assert motion.change(moved)[0] > 0.005
    assert motion.flicker(moved)[0] < 0.3 * motion.change(moved)[0]
    assert motion.flicker(shaken)[0] > 10 * motion.flicker(moved)[0]


def test_the_true_motion_leaves_nothing():
    """Fails if x and y are exchanged, or points that are hidden count."""
    clip = dropped(0.02)
    flow, visible = np.zeros((1, 8, 64, 64, 2)), np.ones((1, 8, 64, 64), bool)
    tops = [round(6 + 0.02 * 64 * f * f / 2) for f in range(9)]
    for f in range(8):
        flow[0, f, tops[f] : tops[f] + 10, 20:30, 1] = tops[f + 1] - tops[f]
        visible[0, f, tops[f + 1] : tops[f + 1] + 10, 20:30] = False
        visible[0, f, tops[f] : tops[f] + 10, 20:30] = True
    assert motion.warped(clip, flow, visible)[0] == 0
    assert motion.warped(clip, flow[..., ::-1], visible)[0] > 0.01


def test_identity_is_of_first_and_last_frame():
    clips = np.zeros((2, 3, 1, 1, 2))
    clips[0, 0], clips[0, -1] = [1, 0], [2, 0]
    clips[1, 0], clips[1, -1] = [1, 0], [0, 3]
    found = motion.identity(clips, lambda x: x.reshape(len(x), -1))
    np.testing.assert_allclose(found, [1, 0], atol=1e-9)
