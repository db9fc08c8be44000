"""The package as pip installs it: commands and recipes come along, and run from any folder."""

import os
import subprocess
import sys

import pytest

from tests.support.forked import ROOT, SECONDS

SMALL = (
    "--config.network.channels=(8,)",
    "--config.network.layers_per_block=1",
    "--config.network.attention_at=()",
    "--config.network.head_channels=8",
    "--config.batch_size=8",
    "--config.sampling.steps=2",
)


def ran(command, **options):
    """Runs a command and returns all that it printed."""
    result = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=SECONDS, **options
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the package of a wheel, beside nothing of this checkout."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--quiet"]
    ran([*pip, "wheel", "--no-deps", "--wheel-dir", folder / "wheels", ROOT], cwd=folder)
    (wheel,) = (folder / "wheels").glob("jaxdiff-*.whl")
    ran([*pip, "install", "--no-deps", "--target", folder / "site", wheel], cwd=folder)
    return folder / "site"


@pytest.mark.slow
def test_an_installed_package_trains_and_samples(installed, tmp_path):
    """Fails if a module, a script, a recipe or `py.typed` is missing from the wheel."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "JAX_NUM_CPU_DEVICES": "1"}
    python = lambda *arguments: ran([sys.executable, *arguments], cwd=tmp_path, env=environment)
    assert str(installed) in python("-c", "import jaxdiff; print(jaxdiff.__file__)")
    assert (installed / "jaxdiff" / "py.typed").exists()
    jaxdiff = lambda *arguments: python("-m", "jaxdiff", *arguments)
    jaxdiff("train", "--config=digits", "--workdir=run", "--config.train.steps=2", *SMALL)
    jaxdiff("sample", "--workdir=run", "--num=4", "--out=four.png")
    assert (tmp_path / "four.png").stat().st_size > 100
    listed = python(
        "-c", "from jaxdiff.config.recipes import folder; print(folder('recipes', 'configs'))"
    )
    assert str(installed) in listed
