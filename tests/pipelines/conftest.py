"""One tiny Stable Diffusion for all tests of released models: opening it takes seconds."""

import jax
import pytest

import jaxdiff
from jaxdiff.weights.devices import Devices, make_mesh
from tests.support.released import write_sd


@pytest.fixture(scope="session")
def one():
    """One device, which compiles the fastest."""
    return Devices(make_mesh(jax.devices()[:1]))


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """The folder of a random Stable Diffusion 1."""
    pytest.importorskip("tokenizers")
    return write_sd(tmp_path_factory.mktemp("released") / "sd")


@pytest.fixture(scope="session")
def pipeline(folder, one):
    """The pipeline in the folder."""
    return jaxdiff.released(str(folder), devices=one)
