"""Computes the timestep grid of a trained run from the local errors of its solver.

python experiments/timesteps.py --workdir=runs/digits --solver=DPMpp2M --num=32

Writes timesteps.json, for --timesteps="Measured(path='runs/digits/timesteps.json')", at any number
of steps; and timesteps.png: the errors by noise level, the grid beside others, and how far samples
on each grid end from an exact solution that starts from the same noise (not the noise measured on).
"""

import datetime
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import cli
import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from jaxdiff import Run, random
from jaxdiff.config.build import build
from jaxdiff.diffusion import solvers, timesteps
from jaxdiff.diffusion.analysis import convergence, local_error
from jaxdiff.diffusion.process import Process
from jaxdiff.diffusion.sampling import prior
from jaxdiff.diffusion.timesteps import measured
from jaxdiff.evaluation.evaluators import balanced_labels
from jaxdiff.evaluation.figures import ACCENT, PALE
from jaxdiff.files import AnyPath, as_path, atomic_write, check_writable
from jaxdiff.progress import full_batches, progress
from jaxdiff.typing import Solver

BUILT_IN = ("Uniform", "Power", "Karras", "LogSNR")
REFERENCE_INTERVALS = 64

cli.flag("workdir", cli.Text, None, "Folder of the run.", required=True)
SOLVER = cli.flag("solver", cli.Text, None, "A deterministic one; the config's by default.")
GUIDANCE = cli.flag("guidance", cli.Text, None, "As for sampling; the config's by default.")
SCALE = cli.flag("guidance_scale", cli.Number, None, "The config's by default; 1 for none.")
NUM = cli.flag("num", cli.Size, 32, "Number of samples to measure on, and again to compare on.")
STEPS = flags.DEFINE_list("steps", "5,10,20,50", "Numbers of steps at which grids are compared.")
BATCH_SIZE = cli.flag("batch_size", cli.Size, None, "Samples at a time; the config's by default.")
SEED = cli.flag("seed", cli.Seed, 0, "Of the noise.")
OUT = cli.flag("out", cli.Text, None, "The file; <workdir>/timesteps.json by default.")

Errors = Mapping[str, Mapping[int, float]]


def main() -> None:
    """Measures, writes, compares."""
    out = as_path(OUT.value or as_path(cli.FLAGS.workdir) / "timesteps.json")
    if out.suffix != ".json":
        raise ValueError(f"out={out}: the file name must end in .json")
    if not all(text.isdecimal() and int(text) for text in STEPS.value):
        raise ValueError(f"steps={','.join(STEPS.value)}: numbers from 1, such as 5,10,20,50")
    budgets = sorted({int(text) for text in STEPS.value})
    run = cli.load_run()
    check_writable(out)
    spec, process = SOLVER.value or run.config.sampling.solver, run.process
    solver, order = build(solvers, spec, process=process), convergence.order_of(spec)
    guide = {
        "guidance": GUIDANCE.value or run.config.sampling.guidance,
        "guidance_scale": run.config.sampling.guidance_scale
        if SCALE.value is None
        else SCALE.value,
    }
    times, errors = measure(run, solver, guide)
    knots = local_error.place_steps(times, errors, order)
    how = {
        "solver": spec,
        "order": order,
        **guide,
        "num": NUM.value,
        "seed": SEED.value,
        "step": run.step,
        "date": str(datetime.date.today()),
        "local_errors": errors.tolist(),
    }
    measured.write(out, process, knots, **how)
    grids = {"Measured": timesteps.Measured(str(out)), **others(run, budgets)}
    found = compare(run, solver, guide, grids, budgets)
    measured.write(out, process, knots, **how, errors=found)
    picture = out.with_suffix(".png")
    draw(picture, process, np.asarray(times), errors, grids, found)
    print(table(found), out, picture, sep="\n")


def measure(
    run: Run, solver: Solver, guide: Mapping[str, Any]
) -> tuple[Float[Array, " times"], Float[np.ndarray, " places"]]:
    """Returns the fine times, and the RMS error at t = 0 of a step from each of them."""
    process = run.process
    times = local_error.fine_times(process)
    places = len(times) - local_error.STRIDE
    denoiser = run.denoiser(**guide)

    @jax.jit
    def path_of(denoiser, cond, keys):
        x = noise(run, keys, times[0])
        return local_error.fine_path(process, denoiser, x, times, cond, keys)

    @jax.jit
    def error_of(denoiser, path, place, cond, keys):
        return local_error.local_error(process, solver, denoiser, path, times, place, cond, keys)

    todo = [(batch, place) for batch in batches(run, "measure") for place in range(places)]
    squares = np.zeros(places)
    for (cond, keys, kept), place in progress(
        todo, "steps measured", lambda item: len(times) - item[1]
    ):
        if place == 0:
            path = path_of(denoiser, cond, keys)
        squares[place] += np.sum(error_of(denoiser, path, place, cond, keys)[:kept])
    return times, np.sqrt(squares / NUM.value)


def compare(
    run: Run,
    solver: Solver,
    guide: Mapping[str, Any],
    grids: Mapping[str, timesteps.Timesteps],
    budgets: Sequence[int],
) -> Errors:
    """Returns for each grid and number of steps the RMS distance from the exact solution."""
    process, parameterization = run.process, run.parameterization
    denoiser = run.denoiser(**guide)
    longest = max(*budgets, REFERENCE_INTERVALS) + 1

    @functools.partial(jax.jit, static_argnames="method")
    def solve(method, denoiser, times, steps, cond, keys):
        x = noise(run, keys, times[0])
        return local_error.solve(method, denoiser, x, times, 0, steps, cond, keys)

    fine = local_error.fine_times(process, REFERENCE_INTERVALS)
    placed = {(name, n): grid(process, n) for name, grid in grids.items() for n in budgets}
    for times in placed.values():
        process.check(parameterization, times[:-1])
    padded = lambda times: jnp.pad(times, (0, longest - len(times)))
    squares = dict.fromkeys(placed, 0.0)
    todo = [(batch, at) for batch in batches(run, "compare") for at in placed]
    first = next(iter(placed))
    for (cond, keys, kept), at in progress(todo, "grids compared", lambda item: item[1][1]):
        if at == first:
            exact = solve(solvers.RK4(process), denoiser, padded(fine), len(fine) - 1, cond, keys)
        x = solve(solver, denoiser, padded(placed[at]), at[1], cond, keys)
        squares[at] += float(local_error.squared_distance(x, exact)[:kept].sum())
    root = lambda at: float(np.sqrt(squares[at] / NUM.value))
    return {name: {n: root((name, n)) for n in budgets} for name in grids}


def others(run: Run, budgets: Sequence[int]) -> dict[str, timesteps.Timesteps]:
    """Returns built-in grids by name, and the config's own if it is yet another."""
    grids = {name: build(timesteps, f"{name}()") for name in BUILT_IN}
    own = run.config.sampling.timesteps
    grid = build(timesteps, own)
    special = isinstance(grid, timesteps.Measured | timesteps.Restarting)
    if special or grid in grids.values():
        return grids
    try:
        [grid(run.process, n) for n in budgets]
    except ValueError:  # such as more steps than a discrete grid has
        return grids
    return {**grids, own: grid}


def noise(run: Run, keys: Array, t: Array) -> Array:
    """Returns what sampling starts from at time t."""
    like = jnp.zeros((len(keys), *run.latent_shape))
    return prior(run.process, keys, like, t)


def batches(run: Run, stream: str) -> Iterator[tuple[dict, Array, int]]:
    """Yields conditions, keys, and how many are kept: the last batch is filled up.

    The classes share the samples evenly.
    """
    classes = run.num_classes
    labels = balanced_labels(NUM.value, classes) if classes else None
    key = random.stream(jax.random.key(SEED.value), stream)
    size = min(BATCH_SIZE.value or run.config.sampling.batch_size, NUM.value)
    for index, kept in full_batches(NUM.value, size):
        cond = {} if labels is None else {"label": jnp.asarray(labels[index])}
        inputs = cond, random.example_keys(key, jnp.asarray(index))
        yield *run.devices.spread(inputs), kept


def table(found: Errors) -> str:
    """Formats the errors, a grid a row."""
    width, budgets = max(map(len, found)), next(iter(found.values()))
    lines = [f"{'':{width}}" + "".join(f"{n:>5} steps" for n in budgets)]
    for name, row in found.items():
        lines.append(f"{name:{width}}" + "".join(f"{error:>11.4f}" for error in row.values()))
    return "RMS error of samples, the exact solution's distance\n" + "\n".join(lines)


def draw(
    path: AnyPath,
    process: Process,
    times: Float[np.ndarray, " times"],
    errors: Float[np.ndarray, " places"],
    grids: Mapping[str, timesteps.Timesteps],
    found: Errors,
) -> None:
    """Draws the local errors, the grids of ten steps, and the errors of samples."""
    figure = Figure(figsize=(15, 4.4), dpi=110, layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    level = lambda t: np.exp(-np.asarray(process.logsnr(jnp.asarray(t)), float) / 2)
    ends = level(times[[-2, 1]])
    ends = ends[0] / 1.5, ends[1] * 1.5
    left.loglog(level(times[1 : 1 + len(errors)]), errors, ".-", color=ACCENT)
    left.set(
        title=f"error that one of {len(times) // local_error.STRIDE} steps leaves in the data",
        xlabel="noise level sigma/alpha in the middle of the step",
        ylabel="RMS",
        xlim=ends,
    )
    styles = ("-", "--", ":", "-.")
    for i, (name, grid) in enumerate(grids.items()):
        ours = name == "Measured"
        look = {"color": ACCENT if ours else f"C{i}", "linewidth": 2.4 if ours else 1.2}
        # Noise and data themselves stand at the edges.
        middle.plot(np.clip(level(grid(process, 10)), *ends), [-i] * 11, ".-", **look)
        right.loglog(
            *zip(*found[name].items(), strict=True), styles[i % 4], marker=".", label=name, **look
        )
    middle.set(title="10 steps", xlabel="noise level sigma/alpha", xscale="log", xlim=ends)
    middle.set_yticks(-np.arange(len(grids)), grids)
    right.set(title="error of samples", xlabel="steps", ylabel="RMS")
    right.set_xticks(list(found["Measured"]), list(map(str, found["Measured"])))
    right.minorticks_off()
    right.legend(fontsize=8, frameon=False)
    for panel in (left, middle, right):
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
        panel.spines[["left", "bottom"]].set_color(PALE)
    with atomic_write(path) as draft:
        figure.savefig(draft)


if __name__ == "__main__":
    cli.run(main)
