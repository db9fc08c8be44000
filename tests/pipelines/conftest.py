"""One tiny Stable Diffusion for all tests of released models: opening it takes seconds.

The package is imported in the fixtures: `pytest tests/pipelines` reads this file before the checks
of shapes are installed.
"""

import jax
import pytest


@pytest.fixture(scope="session")
def one():
    """One device, which compiles the fastest."""
    from jaxdiff.weights.devices import Devices, make_mesh

    return Devices(make_mesh(jax.devices()[:1]))


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """The folder of a random Stable Diffusion 1."""
    pytest.importorskip("tokenizers")
    from tests.support.released import write_sd

    return write_sd(tmp_path_factory.mktemp("released") / "sd")


@pytest.fixture(scope="session")
def pipeline(folder, one):
    """The pipeline in the folder."""
    import jaxdiff

    return jaxdiff.released(str(folder), devices=one)
