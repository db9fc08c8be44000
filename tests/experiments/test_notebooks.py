"""The notebooks, executed with small numbers."""

import nbformat
import pytest
from nbclient import NotebookClient

from tests.support.forked import ROOT, SECONDS, environment

SMALL = {"SIZE = 1500": "SIZE = 40", "BUDGETS = (6, 12, 24, 48)": "BUDGETS = (6, 12)"}
SMALL |= {
    "STEPS = 1500, 40": "STEPS = 40, 4",
    "config.train.steps = 2000": "config.train.steps = 4",
}


def executed(name, folder, monkeypatch, changes=(), cell=None):
    """Runs a notebook in a folder, its texts changed; returns its outputs.

    `cell` is put after the one that has `get_config()`.
    """
    for variable, value in environment().items():
        monkeypatch.setenv(variable, value)
    notebook = nbformat.read(ROOT / f"experiments/notebooks/{name}.ipynb", as_version=4)
    for each in notebook.cells:
        for old, new in changes:
            each.source = each.source.replace(old, new)
    if cell is not None:
        place = next(i for i, each in enumerate(notebook.cells) if "get_config()" in each.source)
        notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(cell))
    NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": folder}}).execute()
    return [output for each in notebook.cells for output in each.get("outputs", [])]


def pictures(outputs):
    return sum("image/png" in output.get("data", {}) for output in outputs)


def test_the_quickstart_goes_from_data_to_samples(tmp_path, monkeypatch):
    """Fails if the API that it shows has changed."""
    shrink = (
        "config.train.steps = 4\nconfig.train.log_every = 2\nconfig.batch_size = 16\n"
        "config.network.channels = (8,)\nconfig.network.attention_at = ()\n"
        "config.network.head_channels = 8\n"
        f"config.sampling.steps = 3\nworkdir = {str(tmp_path / 'run')!r}"
    )
    folder = ROOT / "experiments/notebooks"
    outputs = executed("quickstart", folder, monkeypatch, cell=shrink)
    assert pictures(outputs) >= 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "count"), [("algebra", 4), ("solvers", 4), ("guidance", 2), ("your_own", 2)]
)
def test_a_notebook_of_the_course_runs(name, count, tmp_path, monkeypatch):
    """In a folder of its own; fails if a cell does, or a picture is missing."""
    outputs = executed(name, tmp_path, monkeypatch, SMALL.items())
    assert pictures(outputs) == count
    if name == "guidance":  # a new scale compiles nothing
        assert any("compiled 1 programs" in output.get("text", "") for output in outputs)
    if name == "your_own":
        html = [
            output["data"]["text/html"]
            for output in outputs
            if "text/html" in output.get("data", {})
        ]
        assert any("mine:Spiral" in each for each in html)
        assert any("4/4" in each and "<progress" in each for each in html)
