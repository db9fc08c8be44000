"""A studio's folders with one tiny Stable Diffusion, for all tests.

The package is imported in the fixtures: `pytest tests/studio` reads this file before the checks of
shapes are installed.
"""

import functools

import jax
import pytest


@pytest.fixture(scope="session")
def opener():
    """Opens a model on one device, which compiles the fastest."""
    from jaxdiff.pipelines.opening import released
    from jaxdiff.weights.devices import Devices, make_mesh

    return functools.partial(released, devices=Devices(make_mesh(jax.devices()[:1])))


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """The folders, with the model `sd`."""
    pytest.importorskip("tokenizers")
    from jaxdiff.studio.folders import Folders
    from tests.support.released import write_sd

    found = Folders(tmp_path_factory.mktemp("studio")).made()
    write_sd(found.folder("checkpoints") / "sd")
    return found


@pytest.fixture(scope="session")
def net(folders):
    """The name of a ControlNet in the folders."""
    from tests.support.control import write_control

    write_control(folders.folder("controlnet") / "net")
    return "net"


@pytest.fixture
def client(studio):
    """A client on this machine of the file's own `studio`."""
    from fastapi.testclient import TestClient

    from jaxdiff.studio.service.app import application

    with TestClient(application(studio, page=False), base_url="http://127.0.0.1:7860") as found:
        yield found
