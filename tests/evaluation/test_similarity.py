"""PSNR and SSIM against their definitions."""

import numpy as np
import pytest

from jaxdiff.evaluation.similarity import psnr, seams, ssim


def test_psnr_of_a_known_error():
    """An error of 0.2 everywhere, in a range of 2: 20·log10(2/0.2) = 20 dB."""
    x = np.random.default_rng(0).uniform(-0.5, 0.5, (3, 8, 8, 3))
    np.testing.assert_allclose(psnr(x, x + 0.2), 20.0, rtol=1e-6)
    assert np.isinf(psnr(x, x)).all()


def test_ssim_of_equal_and_of_constant_images():
    """Equal images: 1. Constant ones: the term of luminance alone, since variances are zero."""
    x = np.random.default_rng(1).uniform(-1, 1, (2, 16, 20, 3))
    np.testing.assert_allclose(ssim(x, x), 1.0, rtol=1e-9)
    a, b, c1 = 0.3, 0.7, (0.01 * 2) ** 2
    found = ssim(np.full((1, 16, 16, 1), a), np.full((1, 16, 16, 1), b))
    np.testing.assert_allclose(found, (2 * a * b + c1) / (a**2 + b**2 + c1), rtol=1e-9)


@pytest.mark.parametrize("shape", [(13, 14), (8, 8)])
def test_ssim_is_the_mean_of_its_windows(shape):
    """Each window by a sum over its pixels; fails if edges count, or the window is another."""
    rng = np.random.default_rng(2)
    x, y = (rng.uniform(-1, 1, (1, *shape, 1)) for _ in range(2))
    size = min(11, shape[0] - (shape[0] + 1) % 2)
    place = np.arange(size) - size // 2
    weights = np.exp(-(place[:, None] ** 2 + place**2) / (2 * 1.5**2))
    weights /= weights.sum()
    c1, c2, values = 0.02**2, 0.06**2, []
    for i in range(shape[0] - size + 1):
        for j in range(shape[1] - size + 1):
            a, b = (z[0, i : i + size, j : j + size, 0] for z in (x, y))
            ma, mb = (weights * a).sum(), (weights * b).sum()
            va, vb = (weights * (a - ma) ** 2).sum(), (weights * (b - mb) ** 2).sum()
            covariance = (weights * (a - ma) * (b - mb)).sum()
            values.append(
                (2 * ma * mb + c1) * (2 * covariance + c2) / (ma**2 + mb**2 + c1) / (va + vb + c2)
            )
    np.testing.assert_allclose(ssim(x, y), np.mean(values), rtol=1e-9)


def test_a_seam_is_a_step_that_is_larger_than_others():
    """Fails if the columns are counted from the other side of the step."""
    even = np.tile(np.arange(12.0)[None, None, :, None], (2, 4, 1, 3))
    np.testing.assert_allclose(seams(even, [4, 8]), 1)
    joined = even + 10.0 * (np.arange(12) >= 4)[:, None]
    np.testing.assert_allclose(seams(joined, [4]), 11 / (21 / 11))
    assert np.all(seams(joined, [5]) < 1)
