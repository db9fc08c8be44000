"""Sweeps: variations, their names, launchers, and what a second launch does."""

import shlex
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest
from ml_collections import ConfigDict

from jaxdiff.runs import launchers, sweeps
from jaxdiff.runs.launchers import Launch


def test_sweeps_combine_by_product_and_zip():
    rates, seeds = sweeps.written("optimizer.learning_rate=1e-4,3e-4"), sweeps.written("seed=0:3")
    assert len(list(sweeps.product(rates, seeds))) == 6
    assert list(sweeps.zipped(rates, seeds[:2])) == [
        {"optimizer.learning_rate": 1e-4, "seed": 0},
        {"optimizer.learning_rate": 3e-4, "seed": 1},
    ]
    with pytest.raises(ValueError, match="'seed' is set by two sweeps"):
        list(sweeps.product(seeds, seeds))


def test_commas_within_a_value_do_not_split_it():
    found = sweeps.written("sampling.solver=DDIM(eta=0.5, clip=[1, 2]),Heun,'a,b'")
    assert [each["sampling.solver"] for each in found] == [
        "DDIM(eta=0.5, clip=[1, 2])",
        "Heun",
        "a,b",
    ]
    for text in ("seed", "seed=", "=3"):
        with pytest.raises(ValueError, match="write a field and its values"):
            sweeps.written(text)


def test_names_are_readable_stable_and_unique():
    """Fails if a name depends on the order, or on which other runs there are."""
    variations = [
        {"seed": 1, "optimizer.learning_rate": 3e-4, "process": "LogSNRShift(shift=4.0)"},
        {"seed": 2, "optimizer.learning_rate": 3e-4, "process": "LogSNRShift(shift=4.0)"},
    ]
    names = list(sweeps.named(variations))
    assert names[0] == "learning_rate=0.0003,process=LogSNRShift_shift_4.0,seed=1"
    assert list(sweeps.named(variations[1:])) == names[1:]
    with pytest.raises(ValueError, match="two variations have one name"):
        sweeps.named([{"seed": 1}, {"seed": 1}])
    (long,) = sweeps.named([{f"train.{'x' * 50}{i}": "y" * 20 for i in range(5)}])
    assert len(long) == sweeps.LONGEST
    two = sweeps.named([{"network.depth": 1, "codec.depth": 2}])
    assert list(two) == ["codec.depth=2,network.depth=1"]


def test_draws_fill_their_ranges_and_grow():
    """Against the quantiles of the ranges; fails if more draws change the first ones."""
    ranges = {
        "optimizer.learning_rate": sweeps.LogUniform(1e-5, 1e-1),
        "network.depth": sweeps.Uniform(2, 5),
        "process": ["Cosine", "EDM"],
    }
    few, many = (list(sweeps.draws(n, ranges, seed=3)) for n in (8, 64))
    assert many[:8] == few
    rates = np.log10([each["optimizer.learning_rate"] for each in many])
    np.testing.assert_allclose(np.quantile(rates, [0.25, 0.5, 0.75]), [-4, -3, -2], atol=0.15)
    depths = [each["network.depth"] for each in many]
    assert {depths.count(depth) for depth in (2, 3, 4, 5)} == {16}
    assert [each["process"] for each in many].count("EDM") == 32
    assert len(list(sweeps.draws(5, ranges, quasi=False))) == 5


def test_a_recipe_has_its_sweeps_by_name():
    module = SimpleNamespace(sweep_seeds=lambda: iter([{"seed": 0}]))
    assert sweeps.of_recipe(module, "seeds") == [{"seed": 0}]
    with pytest.raises(ValueError, match="no sweep 'seed'; did you mean 'seeds'"):
        sweeps.of_recipe(module, "seed")


def launch_of(folder, name="a", steps=4):
    config = ConfigDict({"train": {"steps": steps}})
    return Launch(name, folder / name, config, ["--config=recipe.py", "--config.seed=1 2"])


def test_a_run_is_done_when_its_last_step_has_a_checkpoint(tmp_path):
    launch = launch_of(tmp_path)
    assert not launch.is_done()
    (launch.workdir / "checkpoints" / "2").mkdir(parents=True)
    assert launch.is_done(until=2)
    assert not launch.is_done()
    (launch.workdir / "checkpoints" / "4").mkdir()
    assert launch.is_done()


def test_an_error_is_kept_until_a_success(tmp_path):
    launch = launch_of(tmp_path)
    launchers.with_errors(launch, lambda: 1 / 0)
    assert launch.error() == "ZeroDivisionError: division by zero"
    launchers.with_errors(launch, lambda: None)
    assert launch.error() is None


def test_commands_can_be_pasted_into_a_shell(tmp_path, capsys):
    launchers.Commands()([launch_of(tmp_path)], until=3)
    words = shlex.split(capsys.readouterr().out)
    assert Path(words[1]).name == "train.py"
    assert words[2:] == [
        f"--workdir={tmp_path / 'a'}",
        "--config=recipe.py",
        "--config.seed=1 2",
        "--until=3",
    ]


def test_slurm_runs_each_command_and_keeps_its_error(tmp_path):
    """By submitit's executor in this process; fails if an error ends the array."""
    bad = Launch("bad", tmp_path / "bad", ConfigDict({"train": {"steps": 1}}), ["--config=none.py"])
    slurm = launchers.Slurm(tmp_path / "slurm", {"timeout_min": 5}, cluster="debug", wait=True)
    slurm([bad])
    assert "none.py" in bad.error()
    assert (bad.workdir / "log.txt").exists()


def test_xmanager_has_a_job_for_each_run(tmp_path, monkeypatch):
    """Fails if a flag is lost on the way, or a run left out."""
    imitated = MagicMock()
    experiment = imitated.xm_local.create_experiment.return_value.__enter__.return_value
    experiment.package.return_value = ["packaged"]
    monkeypatch.setitem(sys.modules, "xmanager", imitated)
    launches = [launch_of(tmp_path, name) for name in "ab"]
    launchers.XManager(requirements={"cpu": 2})(launches, until=3)
    found = [call.kwargs["args"] for call in imitated.xm.Job.call_args_list]
    assert found == [["-m", "jaxdiff", "train", *each.given(until=3)] for each in launches]
    assert experiment.add.call_count == 2
    imitated.xm.JobRequirements.assert_called_with(cpu=2)


def test_xmanager_itself_takes_the_jobs(tmp_path, monkeypatch):
    """Fails if a name or an argument is none of XManager's, or if it changes a flag."""
    xm_mock, xm_local = (pytest.importorskip(f"xmanager.{n}") for n in ("xm_mock", "xm_local"))
    experiment = xm_mock.MockExperiment()
    monkeypatch.setattr(xm_local, "create_experiment", lambda title: experiment)
    launch = launch_of(tmp_path)
    launchers.XManager(requirements={"cpu": 2})([launch])
    (job,) = experiment.launched_jobs
    assert shlex.split(" ".join(job.args.to_list())) == ["-m", "jaxdiff", "train", *launch.given()]
    assert isinstance(job.executor, xm_local.Local)


def test_xmanager_needs_what_a_cloud_can_read(tmp_path):
    with pytest.raises(ValueError, match="executor='Vertex' needs image"):
        launchers.XManager("Vertex")
    with pytest.raises(ValueError, match=r"jobs on Vertex do not see .*; use --workdir=gs://"):
        launchers.XManager("Vertex", "image")([launch_of(tmp_path)])
