"""Trains every few-step objective on mixtures with an exact flow map, and writes docs/few_step.md.

python experiments/few_step_oracles.py                  # some twenty minutes on two cores
python experiments/few_step_oracles.py --methods=mean_flow,tcd --out=/tmp/few_step.md

Runs are kept in --workdir; one that is there already is not trained again.
"""

import dataclasses
import importlib.util
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cli
import few_step_page
import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from objective_calls import calls_of

import jaxdiff
from jaxdiff import Experiment, Run
from jaxdiff.config.build import build
from jaxdiff.data.sources import open_source
from jaxdiff.diffusion import flow_map, oracles, schedules
from jaxdiff.diffusion.process import Process
from jaxdiff.evaluation.sliced_wasserstein import sliced_wasserstein
from jaxdiff.tasks import students

flags.DEFINE_list("methods", None, "Variants of configs/toy_few_step.py; all by default.")
flags.DEFINE_list("data", ["three_peaks", "eight_gaussians"], "Mixtures of jaxdiff.data.toy.")
flags.DEFINE_integer("steps", 0, "Training steps; those of the recipe by default.")
flags.DEFINE_string("workdir", "runs/few_step_oracles", "Folder of the runs.")
flags.DEFINE_string("out", "docs/few_step.md", "The page; its picture lies beside it.")

TIMES = np.array([1.0, 0.8, 0.6, 0.4, 0.2, 0.0])
"""The map is compared between every two of these."""

POINTS, SAMPLES = 1000, 4000
ANGLES = np.arange(8) * np.pi / 4
MIXTURES = {
    "three_peaks": ([0.3, 0.5, 0.2], [[-1.5], [0.0], [1.2]], [0.2, 0.3, 0.15]),
    "eight_gaussians": ([1 / 8] * 8, np.c_[2 * np.cos(ANGLES), 2 * np.sin(ANGLES)], [0.2] * 8),
}
"""Weights, means and deviations of the densities, as `jaxdiff.data.toy` draws them."""


@dataclasses.dataclass
class Row:
    """What is said of one method on one mixture."""

    method: str
    learns: str
    teacher: bool
    calls: dict[str, int]
    seconds: float
    map_error: float
    end_error: float
    distances: dict[int, float]
    paths: np.ndarray


def main() -> None:
    """Trains what has not been trained, and writes the page."""
    recipe = _recipe()
    methods = flags.FLAGS.methods or list(recipe.VARIANTS)
    pages = {}
    for data in flags.FLAGS.data:
        exact = _exact(data)
        rows = [_row(recipe, data, method, exact) for method in methods]
        pages[data] = (rows, exact.floor, exact.paths)
    few_step_page.write(Path(flags.FLAGS.out), pages, recipe.STEPS, SAMPLES)


@dataclasses.dataclass
class Exact:
    """Trajectories of the exact flow from noise, [times, points, d], and two sets of data."""

    points: np.ndarray
    paths: np.ndarray
    data: np.ndarray
    floor: float


def _exact(data: str) -> Exact:
    real = [
        np.stack([source[i]["x"] for i in range(SAMPLES)])
        for source in (open_source(data, split, size=SAMPLES) for split in ("test", "train"))
    ]
    dimensions = real[0].shape[1]
    noise = np.random.default_rng(0).normal(size=(POINTS, dimensions))
    few = np.linspace(-2.2, 2.2, 12)[:, None] * np.ones(dimensions)
    fine = np.linspace(1.0, 0.0, 41)
    with jax.enable_x64(True):
        mixture = oracles.GaussianMixture(_process(), *map(jnp.asarray, MIXTURES[data]))
        flow = jax.jit(oracles.FlowMap(mixture, steps=256).flow)
        at = lambda x, s: flow(jnp.asarray(x), jnp.ones(len(x)), jnp.full(len(x), s))
        points = np.stack([at(noise, s) for s in TIMES])
        paths = np.stack([at(few, s) for s in fine])
    return Exact(points, paths, real[0], sliced_wasserstein(*real))


def _row(recipe: Any, data: str, method: str, exact: Exact) -> Row:
    """Returns what was measured of a method, from the file beside its run if it is there."""
    file = Path(flags.FLAGS.workdir) / data / f"{method}.json"
    if not file.exists():
        row = dataclasses.asdict(_measured(recipe, data, method, exact))
        file.write_text(json.dumps(row | {"paths": np.asarray(row["paths"]).tolist()}))
    found = json.loads(file.read_text())
    found["distances"] = {int(n): value for n, value in found["distances"].items()}
    return Row(**found | {"paths": np.asarray(found["paths"])})


def _measured(recipe: Any, data: str, method: str, exact: Exact) -> Row:
    run, seconds = _trained(recipe, data, method)
    objective = run.experiment.task.objective
    learned = students.learns(objective)
    jump = _jump(run, learned)
    errors = {
        (i, j): np.sqrt(np.mean((jump(exact.points[i], TIMES[i], TIMES[j]) - exact.points[j]) ** 2))
        for i in range(len(TIMES) - 1)
        for j in range(i + 1, len(TIMES))
        if learned == "flow map" or j == len(TIMES) - 1
    }
    distances = {}
    for steps in (1, 2, 4):
        teller = _of_steps(recipe, data, method, steps) or run
        samples = teller.sample(SAMPLES, solver=_solver(learned), steps=steps)
        distances[steps] = sliced_wasserstein(samples, exact.data)
    row = Row(
        method=method,
        learns=learned,
        teacher=run.experiment.task.teacher is not None or bool(run.config.weights.network),
        calls=calls_of(objective, run.experiment.task.teacher is not None, run.shape),
        seconds=seconds,
        map_error=float(np.mean(list(errors.values()))),
        end_error=float(errors[0, len(TIMES) - 1]),
        distances=distances,
        paths=_paths(jump, learned, exact),
    )
    print(f"{data} {method}: {row.map_error:.3f} {row.end_error:.3f} {distances} {seconds:.0f} s")
    return row


def _jump(run: Run, learned: str) -> Callable[..., np.ndarray]:
    """Returns the model's map of points x from a time t to a time s."""
    denoiser, process = run.denoiser(), run.process

    @jax.jit
    def jump(x, t, s):
        t, s = (jnp.full(len(x), time) for time in (t, s))
        return flow_map.jump(process, denoiser, x, t, s, {})

    return lambda x, t, s: np.asarray(jump(jnp.asarray(x, jnp.float32), t, s))


def _paths(jump: Callable[..., np.ndarray], learned: str, exact: Exact) -> np.ndarray:
    """Returns [times, points, d]: where a flow map leads, or which end the others foretell."""
    fine = np.linspace(1.0, 0.0, 41)
    if learned == "flow map":
        return np.stack([jump(exact.paths[0], 1.0, s) for s in fine])
    return np.stack([jump(x, t, 0.0) for x, t in zip(exact.paths, fine, strict=True)])


def _solver(learned: str) -> str:
    return {"flow map": "FlowMap", "consistency": "Consistency", "denoiser": "DDIM"}[learned]


def _trained(recipe: Any, data: str, method: str) -> tuple[Run, float]:
    """Returns the run of a method, trained if it is not there, and the seconds that it took."""
    root = Path(flags.FLAGS.workdir) / data
    if method == "progressive":
        return _progressive(recipe, data)
    teacher = "" if method == "denoising" else str(root / "denoising")
    fields = {"weights.teacher": teacher} if method in recipe.TAUGHT else {}
    if method == "easy_consistency":
        fields = {"weights.network": teacher}
    if method == "truncated_consistency":
        fields = {"weights.teacher": str(root / "easy_consistency")}
    return _run(recipe, data, method, root / method, fields)


ROUNDS = (8, 4, 2, 1)


def _progressive(recipe: Any, data: str) -> tuple[Run, float]:
    """Halves the steps in rounds, each of its share of the budget."""
    root, seconds = Path(flags.FLAGS.workdir) / data, 0.0
    teacher = root / "denoising"
    for count in ROUNDS:
        steps = (flags.FLAGS.steps or recipe.STEPS) // len(ROUNDS)
        fields = {
            "weights.teacher": str(teacher),
            "objective": f"ProgressiveDistillation(steps={count})",
            "train.steps": steps,
            "optimizer.schedule": f"cosine(steps={steps}, warmup_steps=20)",
        }
        teacher = root / f"progressive_{count}"
        run, passed = _run(recipe, data, "progressive", teacher, fields)
        seconds += passed
    return run, seconds


def _of_steps(recipe: Any, data: str, method: str, steps: int) -> Run | None:
    """Returns the student of a number of steps, where each number has its own."""
    if method != "progressive":
        return None
    return jaxdiff.load(Path(flags.FLAGS.workdir) / data / f"progressive_{steps}")


def _run(
    recipe: Any, data: str, method: str, folder: Path, fields: dict[str, Any]
) -> tuple[Run, float]:
    file = folder / "seconds.json"
    if not file.exists():
        config = recipe.get_config(method)
        dimensions = open_source(data, "test", size=1).shape[0]
        config.data = {"name": data, "shape": (dimensions,), "num_classes": len(MIXTURES[data][0])}
        config.evaluation.evaluators = ()
        if flags.FLAGS.steps:
            config.train.steps = flags.FLAGS.steps
        config.update_from_flattened_dict(fields)
        config.train.checkpoint_every = config.train.steps
        experiment = Experiment(config)
        start = time.perf_counter()
        experiment.train(folder)
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        compiling = json.loads(lines[0])["compile_seconds"]
        file.write_text(json.dumps(time.perf_counter() - start - compiling))
    return jaxdiff.load(folder), json.loads(file.read_text())


def _process() -> Process:
    return Process(build(schedules, _recipe().get_config("denoising").process))


def _recipe() -> Any:
    path = Path(__file__).resolve().parents[1] / "configs" / "toy_few_step.py"
    spec: Any = importlib.util.spec_from_file_location("toy_few_step", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    cli.run(main)
