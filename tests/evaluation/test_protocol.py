"""Statistics that say how they came about, and those of others."""

import dataclasses

import numpy as np
import pytest

from jaxdiff.evaluation.frechet import frechet_distance
from jaxdiff.evaluation.moments import moments
from jaxdiff.evaluation.protocol import (
    INCEPTION,
    Protocol,
    Statistics,
    read_statistics,
    statistics,
)

REAL, OTHER = np.random.default_rng(0).normal(size=(2, 50, 4)) * [[[1.0]], [[2.0]]]
HERE = Protocol("clip 1a2b", 50, (8, 8, 3))


def test_a_distance_to_a_file_is_that_to_its_features(tmp_path):
    """Fails if count, mean or covariance change on the way, or the protocol is lost."""
    statistics(REAL, HERE).save(tmp_path / "real.npz")
    read = read_statistics(tmp_path / "real.npz")
    assert read.protocol == HERE
    found = read.distance(OTHER, dataclasses.replace(HERE, images="of another model"))
    expected = frechet_distance(moments(REAL), moments(OTHER))
    assert found == {"frechet_distance": pytest.approx(expected, rel=1e-9)}


def test_other_ways_are_refused(tmp_path):
    """Fails if a set of another size, rounding or extractor is compared in silence."""
    reference = statistics(REAL, HERE)
    for field, value in [("num", 49), ("rounded", False), ("resize", "bicubic"), ("features", "")]:
        with pytest.raises(ValueError, match=f"not comparable .*: {field}: .* there, .* here"):
            reference.distance(OTHER, dataclasses.replace(HERE, **{field: value}))
    with pytest.raises(ValueError, match="one of the sets does not say how it came about"):
        reference.distance(OTHER, None)
    with pytest.raises(ValueError, match="num=50, but there are 49 features"):
        statistics(REAL[1:], HERE)


def test_files_of_others_are_read(tmp_path):
    """As ADM, EDM and pytorch-fid write them; fails if the covariance is divided again."""
    mean, covariance = REAL.mean(0), np.cov(REAL, rowvar=False)
    np.savez(tmp_path / "other.npz", mu=mean, sigma=covariance, mu_s=0, sigma_s=0)
    read = read_statistics(tmp_path / "other.npz")
    assert read.protocol is None
    np.testing.assert_allclose(read.moments.covariance, covariance)
    expected = frechet_distance(moments(REAL), moments(OTHER))
    assert read.distance(OTHER, None) == {"frechet_distance": pytest.approx(expected, rel=1e-9)}
    inception = dataclasses.replace(HERE, features=INCEPTION)
    assert list(Statistics(moments(REAL), inception).distance(OTHER, inception)) == ["fid"]


def test_files_that_are_no_statistics_are_named(tmp_path):
    np.savez(tmp_path / "images.npz", np.zeros((2, 8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match=r"images\.npz has \[\], no \['mu', 'sigma'\]; it has im"):
        read_statistics(tmp_path / "images.npz")
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 no")
    with pytest.raises(ValueError, match=r"bad\.npz is no \.npz of statistics"):
        read_statistics(tmp_path / "bad.npz")
    with pytest.raises(ValueError, match=r"edm2\.pkl is pickled"):
        read_statistics(tmp_path / "edm2.pkl")
    np.savez(tmp_path / "nan.npz", mu=np.full(2, np.nan), sigma=np.eye(2))
    with pytest.raises(ValueError, match="mu or sigma is not finite"):
        read_statistics(tmp_path / "nan.npz")
