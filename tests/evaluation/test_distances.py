"""Fréchet and kernel distances, precision and recall, against closed forms and peers."""

import numpy as np
import pytest
from scipy.linalg import sqrtm
from sklearn.metrics.pairwise import polynomial_kernel
from sklearn.neighbors import NearestNeighbors

from jaxdiff.evaluation.frechet import frechet_distance
from jaxdiff.evaluation.kernel import kernel_distance, squared_mmd
from jaxdiff.evaluation.moments import Moments, merge, moments
from jaxdiff.evaluation.precision_recall import precision_recall
from jaxdiff.evaluation.sliced_wasserstein import sliced_wasserstein


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def gaussian(mean, covariance, count=11):
    return Moments(count, np.asarray(mean, float), np.asarray(covariance, float) * (count - 1))


def rotation(d, seed=0):
    return np.linalg.qr(normal(d, d, seed=seed))[0]


class TestMoments:
    @pytest.mark.parametrize("sizes", [(1, 49), (20, 30), (7, 13, 1, 29)])
    def test_merged_batches_equal_the_whole(self, sizes):
        """Catches a merge without the scatter between the means, or with unweighted means."""
        x = normal(50, 5) * 3 + np.arange(50)[:, None]
        batches = np.split(x, np.cumsum(sizes)[:-1])
        merged = moments(batches[0])
        for batch in batches[1:]:
            merged = merge(merged, moments(batch))
        assert merged.count == 50
        np.testing.assert_allclose(merged.mean, x.mean(0), rtol=1e-12)
        np.testing.assert_allclose(merged.covariance, np.cov(x.T), rtol=1e-10)

    def test_a_large_mean_costs_no_precision(self):
        """Catches the covariance as a difference of raw moments."""
        x = normal(64, 3)
        shifted = merge(moments(x[:20] + 1e7), moments(x[20:] + 1e7))
        np.testing.assert_allclose(shifted.covariance, np.cov(x.T), rtol=1e-6)

    @pytest.mark.parametrize(
        ("features", "message"),
        [
            (np.zeros(3), r"features.*\(3,\)"),
            (np.zeros((0, 3)), r"\(0, 3\)"),
            (np.array([[1.0], [np.nan], [np.inf]]), "2 of 3 rows"),
        ],
    )
    def test_bad_features_are_named(self, features, message):
        with pytest.raises(ValueError, match=message):
            moments(features)

    def test_one_vector_has_no_covariance(self):
        with pytest.raises(ValueError, match="got 1"):
            _ = moments(np.zeros((1, 2))).covariance


class TestFrechet:
    def test_commuting_covariances(self):
        """|μ|² + Σ(√a − √b)² in any basis; catches a square root left out or an unbalanced sum."""
        a, b = np.array([4.0, 1.0, 9.0]), np.array([1.0, 16.0, 9.0])
        Q = rotation(3)
        first = gaussian([1, 2, 3], Q @ np.diag(a) @ Q.T)
        second = gaussian([1, 0, 0], Q @ np.diag(b) @ Q.T)
        assert frechet_distance(first, second) == pytest.approx(4 + 9 + (1 + 9 + 0), rel=1e-12)

    def test_agrees_with_the_matrix_square_root(self):
        """Covariances that do not commute; catches tr(√Ca √Cb) in place of tr √(Ca Cb)."""
        a, b = moments(normal(40, 6) @ normal(6, 6, seed=1)), moments(normal(30, 6, seed=2) + 1)
        trace = sqrtm(a.covariance @ b.covariance).real.trace()
        expected = (
            np.sum((a.mean - b.mean) ** 2) + np.trace(a.covariance + b.covariance) - 2 * trace
        )
        assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-10)
        assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-10)

    @pytest.mark.parametrize(("cosine", "expected"), [(1.0, 1.0), (0.0, 13.0), (0.5, 7.0)])
    def test_singular_covariances(self, cosine, expected):
        """Rank one, 4uuᵀ and 9wwᵀ: 4 + 9 − 2·2·3·|u·w|; catches a ridge on the covariances."""
        u, w = np.eye(50)[0], cosine * np.eye(50)[0] + (1 - cosine**2) ** 0.5 * np.eye(50)[1]
        a, b = (
            gaussian(np.zeros(50), 4 * np.outer(u, u)),
            gaussian(np.zeros(50), 9 * np.outer(w, w)),
        )
        assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)

    def test_is_zero_between_equals_with_fewer_vectors_than_features(self):
        a = moments(normal(8, 30))
        assert frechet_distance(a, a) < 1e-6

    def test_different_extractors_are_named(self):
        with pytest.raises(ValueError, match="3 and 4"):
            frechet_distance(moments(normal(5, 3)), moments(normal(5, 4)))


class TestKernel:
    def test_closed_form(self):
        """For N(0, 1) and N(0, s²), E(xy + 1)³ = 3 sx² sy² + 1, so MMD² = 3 (1 − s²)²."""
        x, y = normal(3000, 1), np.sqrt(2) * normal(3000, 1, seed=1)
        estimate = kernel_distance(x, y, subsets=300, subset_size=200)
        assert estimate.mean == pytest.approx(3.0, abs=0.5)
        assert 0 < estimate.standard_error < 0.2

    def test_is_unbiased(self):
        """Catches the diagonals: with them the mean is about 0.3 here, twenty errors from zero."""
        draws = normal(400, 2, 20, 4)
        values = [squared_mmd(x, y) for x, y in draws]
        assert abs(np.mean(values)) < 4 * np.std(values) / len(values) ** 0.5

    def test_agrees_with_sums_over_pairs(self):
        x, y = normal(7, 3), normal(9, 3, seed=1)
        k = lambda a, b: polynomial_kernel(a, b, degree=3, gamma=1 / 3, coef0=1)
        off_diagonal = lambda a: k(a, a)[~np.eye(len(a), dtype=bool)].mean()
        expected = off_diagonal(x) + off_diagonal(y) - 2 * k(x, y).mean()
        assert squared_mmd(x, y) == pytest.approx(expected, rel=1e-12)

    def test_the_seed_decides(self):
        x, y = normal(60, 3), normal(50, 3, seed=1)
        one, again, other = (
            kernel_distance(x, y, subsets=4, subset_size=20, seed=s) for s in (3, 3, 4)
        )
        assert one == again != other

    def test_sets_smaller_than_a_subset_are_named(self):
        with pytest.raises(ValueError, match=r"subset_size=1000.*50"):
            kernel_distance(normal(60, 3), normal(50, 3))


class TestPrecisionRecall:
    def test_dropped_modes(self):
        """Two of four far clusters, four times as many points: catches the two numbers swapped."""
        clusters = lambda modes, n, seed: np.concatenate(
            [normal(n, 2, seed=seed + m) * 0.1 + [100 * m, 0] for m in range(modes)]
        )
        precision, recall = precision_recall(clusters(4, 50, 0), clusters(2, 200, 9))
        assert precision > 0.8
        assert 0.4 < recall <= 0.5

    def test_counts_on_a_line(self):
        """By hand, k = 1: radii 1, 1, 3; catches a nearest neighbour that is the point itself."""
        real = np.array([[0.0], [1.0], [4.0]])
        generated = np.array([[-0.5], [1.5], [6.9], [7.1]])
        precision, recall = precision_recall(real, generated, neighbours=1)
        assert precision == 0.75
        assert recall == pytest.approx(2 / 3)
        assert precision_recall(generated, real, neighbours=1) == (recall, precision)

    def test_agrees_with_nearest_neighbours_of_a_peer(self):
        """Also catches blocks that do not cover the sets, and lost digits far from the origin."""
        real, generated = normal(70, 4) + 1e8, 1.2 * normal(90, 4, seed=1) + 1e8 + 0.3

        def covered(points, centres):
            radii = NearestNeighbors(n_neighbors=4).fit(centres).kneighbors()[0][:, 2]
            gaps = np.linalg.norm(points[:, None] - centres, axis=-1)
            return np.mean((gaps <= radii).any(axis=1))

        expected = covered(generated, real), covered(real, generated)
        assert 0.1 < min(expected) < max(expected) < 1
        for block in (1, 32, 1000):
            assert precision_recall(real, generated, block=block) == pytest.approx(expected)

    def test_the_limit_draws_from_the_whole_set(self):
        """Catches a limit that keeps the first features of a set sorted by class."""
        x = np.repeat(np.arange(10.0), 100)[:, None] + normal(1000, 1) * 1e-3
        precision, recall = precision_recall(x, x[-100:], limit=200)
        assert precision > 0.5
        assert recall < 0.3

    def test_too_few_features_are_named(self):
        with pytest.raises(ValueError, match=r"neighbours=3.*3"):
            precision_recall(normal(10, 2), normal(3, 2))


def test_the_sliced_distance_of_shifted_points_is_the_shift_s_mean_shadow():
    """2/π of the shift in the plane, all of it on a line; fails without the sorting."""
    x = np.random.default_rng(0).normal(size=(500, 2))
    shuffled = np.add(np.random.default_rng(1).permutation(x), [0.0, 3.0])
    distance = sliced_wasserstein(x, shuffled, directions=20_000)
    assert distance == pytest.approx(3 * 2 / np.pi, rel=0.02)
    assert sliced_wasserstein(x[:, :1], shuffled[:, :1] - 2) == pytest.approx(2, rel=1e-9)
    assert sliced_wasserstein(x, x[::-1]) < 1e-12
    with pytest.raises(ValueError, match=r"shapes \(500, 2\) and \(3, 2\)"):
        sliced_wasserstein(x, x[:3])
