"""A studio's folders with one tiny Stable Diffusion, for all tests."""

import functools

import jax
import pytest

from jaxdiff.pipelines.opening import released
from jaxdiff.studio.folders import Folders
from jaxdiff.weights.devices import Devices, make_mesh
from tests.support.released import write_sd


@pytest.fixture(scope="session")
def opener():
    """Opens a model on one device, which compiles the fastest."""
    return functools.partial(released, devices=Devices(make_mesh(jax.devices()[:1])))


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """The folders, with the model `sd`."""
    pytest.importorskip("tokenizers")
    found = Folders(tmp_path_factory.mktemp("studio")).made()
    write_sd(found.folder("checkpoints") / "sd")
    return found
