"""The scripts as a user runs them: train, sample and evaluate a tiny run; the notebook."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

from tests.support.forked import ROOT, SECONDS, environment


@pytest.fixture(scope="module")
def script(scripts):
    """Runs a script by its name, and returns what it printed."""

    def run(name, *flags, code=0):
        found, printed = scripts(f"experiments/{name}.py", *flags)
        assert found == code, printed
        return printed

    return run


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """Thirty steps on points, with an evaluation on the way, by the command that a user types."""
    folder = tmp_path_factory.mktemp("runs") / "toy"
    command = [
        sys.executable,
        "experiments/train.py",
        "--config=configs/toy_2d.py:two_moons",
        f"--workdir={folder}",
        "--config.train.steps=30",
        "--config.train.log_every=10",
        "--config.train.evaluate_every=20",
        "--config.network.features=32",
        "--config.batch_size=64",
    ]
    subprocess.run(command, cwd=ROOT, env=environment(), timeout=SECONDS, check=True)
    return folder


def test_a_run_leaves_what_the_readme_says(workdir):
    names = {path.name for path in workdir.iterdir()}
    assert names >= {
        "config.json",
        "environment.json",
        "metrics.jsonl",
        "checkpoints",
        "tensorboard",
    }
    assert list((workdir / "samples").glob("step_00000020.png"))
    assert json.loads((workdir / "environment.json").read_text())["packages"]["jax"]
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").open()]
    assert [line["step"] for line in lines if "loss" in line] == [10, 20, 30]


def test_evaluation_writes_pictures_and_figures(script, workdir):
    script("evaluate", f"--workdir={workdir}", "--num=200", "--steps=4")
    for name in ("samples.png", "forward.png", "reverse.png", "loss.png"):
        assert np.asarray(Image.open(workdir / name)).std() > 1
    figures = json.loads((workdir / "metrics.json").read_text())
    assert figures["frechet_distance"] > figures["real"]["frechet_distance"] >= 0
    assert figures["training_images_per_second"] > 0


def test_samples_come_out_as_an_array_or_a_picture(script, workdir, tmp_path):
    out = tmp_path / "new" / "samples.npy"
    script(
        "sample",
        f"--workdir={workdir}",
        "--num=10",
        "--solver=DPMpp2M",
        "--steps=4",
        f"--out={out}",
    )
    assert np.load(out).shape == (10, 2)


@pytest.mark.parametrize("flags", [["--solver=Heun", "--probes=2"], ["--method=bound"]])
def test_likelihoods_come_with_their_standard_errors(script, workdir, tmp_path, flags):
    """Of points, as a density; fails if the last batch's filling is counted."""
    script(
        "likelihood",
        f"--workdir={workdir}",
        f"--out={tmp_path}",
        "--num=20",
        "--batch_size=16",
        "--steps=8",
        *flags,
    )
    method = "bound" if "--method=bound" in flags else "flow"
    file = tmp_path / f"likelihood_{method}.json"
    found = json.loads(file.read_text())
    assert found["num"] == 20
    assert found["levels"] is None
    assert found["nats_per_example"] == pytest.approx(
        2 * np.log(2) * found["bits_per_dimension"], rel=1e-6
    )
    assert found["standard_error"] > 0
    if "--probes=2" in flags:
        assert 0 < found["standard_error_of_probes"] < found["standard_error"]
    else:
        parts = sum(found[f"bound_{part}"] for part in ("prior", "steps", "decoder"))
        assert parts == pytest.approx(found["bits_per_dimension"], rel=1e-4)
        assert len(found["terms"]["bits_per_dimension"]) == 7
    assert np.asarray(Image.open(file.with_suffix(".png"))).std() > 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--solver=DDPM"], "solver='DDPM' is stochastic and has no likelihood"),
        (["--conditional"], "the run has no labels as a condition"),
    ],
)
def test_a_likelihood_that_there_is_not_is_one_message(script, workdir, flags, message):
    printed = script("likelihood", f"--workdir={workdir}", *flags, code=1)
    assert message in printed
    assert "Traceback" not in printed


@pytest.mark.slow
def test_a_run_s_own_grid_serves_any_number_of_steps(script, workdir, tmp_path):
    """Measured on points, then sampled on; fails if the last batch's filling is counted."""
    found = {}
    for size in (6, 4):
        grid = tmp_path / f"{size}.json"
        flags = [f"--workdir={workdir}", f"--out={grid}", "--num=6", f"--batch_size={size}"]
        printed = script("timesteps", *flags, "--solver=DDIM", "--steps=4,16")
        found[size] = json.loads(grid.read_text())
        assert np.asarray(Image.open(grid.with_suffix(".png"))).std() > 1
        assert "Measured" in printed
    assert found[6]["order"] == 1
    assert found[6]["errors"]["Measured"]["4"] > found[6]["errors"]["Measured"]["16"] > 0
    for name in ("local_errors", "knots", "errors"):
        one, other = jax.tree.leaves(found[6][name]), jax.tree.leaves(found[4][name])
        np.testing.assert_allclose(one, other, rtol=0.01, atol=1e-6)
    out = tmp_path / "samples.npy"
    flags = [f"--timesteps=Measured(path={str(grid)!r})", "--steps=3", "--num=2", f"--out={out}"]
    script("sample", f"--workdir={workdir}", *flags)
    assert np.isfinite(np.load(out)).all()


@pytest.mark.parametrize(
    ("name", "flags", "message"),
    [
        ("timesteps", ["--steps=5,0"], "steps=5,0: numbers from 1"),
        (
            "sample",
            ["--timesteps=Measured(path='no.json')"],
            "there is no file 'no.json'",
        ),
    ],
)
def test_a_grid_that_there_is_not_is_one_message(script, workdir, name, flags, message):
    printed = script(name, f"--workdir={workdir}", *flags, code=1)
    assert message in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--solver=DDIMM"], "unknown solver 'DDIMM'; did you mean 'DDIM'"),
        (["--out=x.jpg"], "must end in .png, .gif"),
        (["--out=x.gif"], "a .gif is of clips"),
        (["--labels=seven"], "labels='seven'"),
    ],
)
def test_a_wrong_flag_is_one_message(script, workdir, flags, message):
    printed = script("sample", f"--workdir={workdir}", *flags, code=1)
    assert message in printed
    assert "Traceback" not in printed


SWEPT = """
from tests.support.tiny import points_config

def get_config():
    config = points_config()
    config.objective, config.time_sampling = "Denoising", "Uniform"
    config.train.update(steps=4, log_every=2, checkpoint_every=4)
    config.evaluation.evaluators = ("HeldOutLoss",)
    return config

def sweep_batches():
    yield {"batch_size": 8}
    yield {"batch_size": 16}
"""


@pytest.fixture(scope="module")
def swept(script, tmp_path_factory):
    """A sweep of 2 x 2 runs, one of which cannot work."""
    folder = tmp_path_factory.mktemp("swept")
    (folder / "recipe.py").write_text(SWEPT)
    flags = [f"--config={folder / 'recipe.py'}", f"--workdir={folder / 'sweep'}"]
    flags += ["--sweep=batches", "--sweep=process=Cosine,Tabulated(betas=0.1)"]
    return folder, flags, script("sweep", *flags)


def test_a_sweep_trains_what_is_missing_and_lists_what_failed(script, swept):
    """Fails if an error ends the sweep, or a second launch trains again."""
    folder, flags, printed = swept
    assert "4 runs, 0 of them done" in printed
    found = json.loads((folder / "sweep" / "sweep.json").read_text())["runs"]
    states = {name: run["state"] for name, run in found.items()}
    bad = "process=Tabulated_betas_0.1"
    assert states == {
        "batch_size=16,process=Cosine": "done",
        "batch_size=8,process=Cosine": "done",
        f"batch_size=16,{bad}": "failed",
        f"batch_size=8,{bad}": "failed",
    }
    assert "betas" in found[f"batch_size=8,{bad}"]["error"]
    log = folder / "sweep" / "batch_size=8,process=Cosine" / "metrics.jsonl"
    before = log.stat().st_mtime_ns
    assert "4 runs, 2 of them done" in script("sweep", *flags)
    assert log.stat().st_mtime_ns == before


@pytest.mark.slow
def test_halving_goes_on_with_the_better_runs_as_they_would_have_been(script, swept):
    """Fails if the schedule is that of a round, or the worse half goes on."""
    folder, _, _ = swept
    flags = [f"--config={folder / 'recipe.py'}", "--sweep=seed=0:4", "--launcher=pool"]
    script("sweep", *flags, f"--workdir={folder / 'halved'}", "--halve=loss", "--rounds=2")
    whole = folder / "whole"
    script("train", f"--config={folder / 'recipe.py'}", f"--workdir={whole}", "--config.seed=0")
    found = json.loads((folder / "halved" / "sweep.json").read_text())["runs"]
    assert sorted(run["step"] for run in found.values()) == [2, 2, 4, 4]
    first = {name: line_at(folder / "halved" / name, 2)["loss"] for name in found}
    better = sorted(first, key=first.get)[:2]
    assert {name for name, run in found.items() if run["step"] == 4} == set(better)
    assert line_at(folder / "halved" / "seed=0", 2)["loss"] == line_at(whole, 2)["loss"]


def line_at(workdir, step):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").open()]
    return next(line for line in lines if line["step"] == step and "loss" in line)


def test_runs_of_a_sweep_are_compared(script, swept):
    """Fails if a failed run, which has no figures, ends the comparison."""
    folder, _, _ = swept
    printed = script(
        "compare", f"--workdir={folder / 'sweep'}", "--metric=evaluation.held_out_loss"
    )
    assert "| batch_size | evaluation.held_out_loss | interval | runs |" in printed
    table = (folder / "sweep" / "compare.csv").read_text().splitlines()
    assert len(table) == 1 + 2
    assert np.asarray(Image.open(folder / "sweep" / "curves.png")).std() > 1


@pytest.mark.slow
def test_few_step_objectives_make_a_page_with_a_picture(script, tmp_path):
    """Two methods, three steps; a second launch trains nothing, and writes the same page."""
    flags = ["--methods=denoising,tcd", "--data=three_peaks", "--steps=3"]
    flags += [f"--workdir={tmp_path / 'runs'}", f"--out={tmp_path / 'page.md'}"]
    script("few_step_oracles", *flags)
    page = (tmp_path / "page.md").read_text()
    assert "| `tcd` | yes | 1 student + 1 target + 2 teacher |" in page
    assert "| two sets of data |" in page
    assert np.asarray(Image.open(tmp_path / "page.png")).std() > 1
    assert "compiling" not in script("few_step_oracles", *flags)
    assert (tmp_path / "page.md").read_text() == page


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "flags", "message"),
    [
        ("sample", ["--image=nan.npy", "--t_start=0.5"], "image is not finite"),
        ("sample", ["--image=bytes.npy", "--t_start=0.5"], "image has type uint8"),
        ("sample", ["--image=none.npy"], "none.npy: there is no such file"),
        ("sample", ["--noise=scalar.npy"], "is no .npy file of numbers"),
        ("sample", ["--labels="], "labels is empty"),
        ("sample", ["--num=0"], "flag --num=0: expected an integer from 1"),
        ("sample", ["--guidance_scale=nan"], "flag --guidance_scale=nan: expected a number"),
        ("sample", ["--solver={"], "'{' is not a table"),
        ("sample", ["--out=/proc/x/y.npy"], "/proc/x/y.npy cannot be written"),
        ("sample", ["--changes=seed=3"], "not the run in"),
        ("sample", ["--trust=a-b"], "is no name of a module"),
        ("sample", ["extra"], "unexpected arguments"),
        ("evaluate", ["--num=3"], "flag --num=3: expected an integer from 20"),
        ("likelihood", ["--method=foo"], "expected one of 'flow', 'bound', 'continuous'"),
        ("likelihood", ["--split=dev"], "unknown split 'dev'"),
        ("timesteps", ["--out=/proc/x/y.json"], "/proc/x/y.json cannot be written"),
    ],
)
def test_wrong_flags_and_files_are_one_message(script, workdir, tmp_path, name, flags, message):
    """Fails if one is found by an exception from inside, or after the samples are drawn."""
    arrays = {"nan": np.full((2, 2), np.nan), "bytes": np.zeros((2, 2), np.uint8)}
    for each, array in {**arrays, "scalar": np.zeros(())}.items():
        np.save(tmp_path / f"{each}.npy", array)
    here = lambda flag: flag.replace("=", f"={tmp_path}/", 1) if "npy" in flag else flag
    flags = [flag if "/proc" in flag else here(flag) for flag in flags]
    printed = script(name, f"--workdir={workdir}", *flags, code=1)
    assert message in printed
    assert "Traceback" not in printed


@pytest.mark.slow
def test_a_sweep_over_rates_and_seeds_compiles_once(script, tmp_path):
    """Fails if a rate, a schedule's number or a seed is a constant of the program."""
    recipe = tmp_path / "recipe.py"
    always = 'import jax\njax.config.update("jax_persistent_cache_min_compile_time_secs", 0)\n'
    recipe.write_text(always + SWEPT)
    flags = [f"--config={recipe}", f"--workdir={tmp_path / 'sweep'}", "--sweep=seed=0:2"]
    script("sweep", *flags, "--sweep=optimizer.learning_rate=1e-3,3e-3", "--config.batch_size=24")
    found = json.loads((tmp_path / "sweep" / "sweep.json").read_text())["runs"]
    # All four are, where the cache outlives the test.
    assert sorted(run["compiled_from_cache"] for run in found.values())[1:] == [True] * 3
    assert len({run["loss"] for run in found.values()}) == 4
