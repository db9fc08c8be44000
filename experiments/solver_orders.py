"""Measures every solver against the closed form, and writes docs/solvers.md with its plots.

python experiments/solver_orders.py            # some minutes on two cores
python experiments/solver_orders.py --solvers="Heun;my_lab.solvers:Mine()" --out=/tmp/solvers.md
"""

import datetime
import os
import shlex
import sys
import time
from pathlib import Path

# Compiling takes longer than running here.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import cli
import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from matplotlib.figure import Figure
from tqdm import tqdm

from jaxdiff import random
from jaxdiff.build import build
from jaxdiff.diffusion import convergence, oracles, schedules, solvers
from jaxdiff.diffusion.process import Process
from jaxdiff.diffusion.sampling import prior, sample
from jaxdiff.diffusion.timesteps import LogSNR

PROCESSES = {
    "cosine": Process(schedules.Cosine()),
    "rectified flow": Process(schedules.RectifiedFlow()),
    "EDM": Process(schedules.EDM(sigma_max=20.0)),
}
THEORY = {
    "Euler": "1",
    "DDIM": "1",
    "Heun": "2",
    "Midpoint": "2",
    "RK4": "4",
    "DPMSolver2": "2",
    "DPMSolver3": "3",
    "DPMpp2S": "2",
    "LMS(order=2)": "2",
    "LMS(order=3)": "3",
    "LMS(order=4)": "4",
    "DEIS(order=2)": "2",
    "DEIS(order=3)": "3",
    "IPNDM": "2 ¹",
    "PLMS": "2 ¹",
    "PNDM": "2 ¹",
    "DPMpp2M": "2",
    "DPMpp3M": "3",
    "UniPC(order=1)": "2 ²",
    "UniPC(order=2)": "3 ²",
    "UniPC(order=2, variant='bh1')": "3 ²",
    "UniPC(order=3)": "4 ²",
    "SASolver(predictor=2, corrector=0, tau=0.0)": "2",
}
STOCHASTIC = (
    "DDPM",
    "DPM2Ancestral",
    "DPMpp2SAncestral",
    "EulerMaruyama",
    "DPMppSDE",
    "DPMpp2MSDE",
    "DPMpp3MSDE",
    "SASolver",
    "EDMStochastic",
    "PredictorCorrector",
    "AnnealedLangevin",
)
BUDGETS = (5, 10, 20, 50)
ORDER_STEPS = (128, 256)

SOLVERS = flags.DEFINE_string("solvers", None, "Deterministic solvers, by ';'; all by default.")
OUT = flags.DEFINE_string("out", "docs/solvers.md", "Where to write the tables.")


def deterministic_row(spec: str, process: Process) -> dict:
    """Measures one solver on one process, in float64."""
    solver = build(solvers, spec, process=process)
    asked = convergence.evaluations(solver, process)
    grid = LogSNR(-8.0, 8.0)
    sampling = [grid(process, max(round(n / asked), 1)) for n in BUDGETS]
    orders = [convergence.interior(process, n) for n in ORDER_STEPS] * 2
    starts = [4, 4, 0, 0] + [0] * len(BUDGETS)
    found = convergence.errors(solver, process, orders + sampling, exact_starts=starts)
    slope = lambda coarse, fine: np.log(coarse / fine) / np.log(ORDER_STEPS[1] / ORDER_STEPS[0])
    return {
        "evaluations": asked,
        "order": slope(*found[:2]),
        "cold": slope(*found[2:4]),
        "errors": found[4:],
    }


def sliced_distance(a: np.ndarray, b: np.ndarray, directions: int = 64) -> float:
    """Returns the sliced Wasserstein-1 distance of two equally large sets of points [n, 2]."""
    angle = np.pi * np.arange(directions) / directions
    project = lambda x: np.sort(x @ np.stack([np.cos(angle), np.sin(angle)]), axis=0)
    return float(np.abs(project(a) - project(b)).mean())


def plane(process: Process) -> oracles.GaussianMixture:
    """Returns four Gaussians in the plane."""
    means = jnp.array([[1.0, 1.0], [-1.0, 1.0], [-1.0, -0.5], [0.5, -1.0]])
    return oracles.GaussianMixture(
        process, jnp.array([0.4, 0.3, 0.2, 0.1]), means, jnp.array([0.15, 0.2, 0.3, 0.25])
    )


def stochastic_row(spec: str, process: Process, count: int = 4096) -> dict:
    """Measures one stochastic solver: its weak order, and its samples after 1,000 steps."""
    solver = build(solvers, spec, process=process)
    line = oracles.Gaussian(process, jnp.array([0.5]), 0.4)
    many = random.example_keys(jax.random.key(1), jnp.arange(2**14))

    def variance_error(steps):
        times = convergence.interior(process, steps)
        at = lambda t: jnp.full(len(many), t)
        z = random.normal(random.stream(many, "start"), jnp.zeros((len(many), 1)))
        alpha, sigma = process.at(times[0], z)
        x = alpha * 0.5 + jnp.sqrt((alpha * 0.4) ** 2 + sigma**2) * z
        x = jax.jit(lambda x: sample(solver, line, x, times, {}, many))(x)
        alpha, sigma = process.at(at(times[-1])[:1], z[:1])
        truth = float(((alpha * 0.4) ** 2 + sigma**2)[0, 0])
        return abs(float(x.var()) / truth - 1)

    coarse, fine = variance_error(16), variance_error(64)
    noise = np.sqrt(2 / len(many))  # of a variance estimated from so many samples
    keys = random.example_keys(jax.random.key(0), jnp.arange(count))
    times, oracle = LogSNR(-8.0, 8.0)(process, 1000), plane(process)
    x = prior(process, keys, jnp.zeros((count, 2)), times[0])
    x = jax.jit(lambda x: sample(solver, oracle, x, times, {}, keys))(x)
    real = lambda seed: np.asarray(
        oracle.sample(random.example_keys(jax.random.key(seed), jnp.arange(count)))
    )
    return {
        "order": np.log(coarse / fine) / np.log(4) if fine > 3 * noise else None,
        "errors": (coarse, fine),
        "distance": sliced_distance(np.asarray(x), real(7)),
        "floor": sliced_distance(real(8), real(7)),
    }


def deterministic_table(rows: dict) -> list[str]:
    """Formats the rows of the deterministic solvers."""
    errors = " | ".join(f"{n} evaluations" for n in BUDGETS)
    lines = [
        f"| solver | process | per step | theory | measured | cold start | {errors} |",
        "|---|---|---|---|---|---|" + "---|" * len(BUDGETS),
    ]
    for (spec, process), row in rows.items():
        numbers = " | ".join(f"{e:.1e}" for e in row["errors"])
        lines.append(
            f"| `{spec}` | {process} | {row['evaluations']:g} | {THEORY.get(spec, '?')} | "
            f"{row['order']:.2f} | {row['cold']:.2f} | {numbers} |"
        )
    return lines


def stochastic_table(rows: dict) -> list[str]:
    """Formats the rows of the stochastic solvers."""
    lines = [
        "| solver | process | weak order | variance error, 16 steps | 64 steps | "
        "sliced Wasserstein, 1,000 steps | floor |",
        "|---|---|---|---|---|---|---|",
    ]
    for (spec, process), row in rows.items():
        order = "below the noise" if row["order"] is None else f"{row['order']:.2f}"
        coarse, fine = row["errors"]
        lines.append(
            f"| `{spec}` | {process} | {order} | {coarse:.1e} | {fine:.1e} | "
            f"{row['distance']:.3f} | {row['floor']:.3f} |"
        )
    return lines


def plot(rows: dict, path: Path) -> None:
    """Draws error against evaluations, a panel a process."""
    figure = Figure(figsize=(16, 6), layout="constrained")
    panels = figure.subplots(1, len(PROCESSES), sharey=True)
    for panel, process in zip(panels, PROCESSES, strict=True):
        chosen = [(spec, row) for (spec, name), row in rows.items() if name == process]
        for i, (spec, row) in enumerate(chosen):
            style = ("-", "--", ":")[i // 8 % 3]
            panel.loglog(BUDGETS, row["errors"], style, marker=".", color=f"C{i % 8}", label=spec)
        panel.set_title(process)
        panel.set_xlabel("function evaluations")
        panel.set_xticks(BUDGETS, [str(n) for n in BUDGETS])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("mean distance to the exact solution")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    figure.savefig(path, dpi=90)


TEXT = """# Solvers, measured

The denoiser is exact: a mixture of three Gaussians on a line, whose probability flow is known in
closed form. `experiments/solver_orders.py` writes this page.

**Deterministic solvers**, in float64. The order is measured between log-SNR -4 and 6, on even
steps, from {coarse} to {fine} of them. "measured" begins with four steps from points of the exact
solution: the history that a multistep method wants. Without ("cold start") its first steps are of
order 1, and the error that they leave is of order 2, whatever the method. The last columns are
whole samples, from pure noise to data, at a number of function evaluations, on a grid even in
log-SNR.

{deterministic}

¹ The weights of Adams and Bashforth for even steps, on steps that are uneven in sigma/alpha: order
2 by nature, with a small constant.
² UniPC's corrector, which costs nothing, adds one to the order in its name.

![error against evaluations]({plot})

**Stochastic solvers**, in float32. The weak order is that of the variance of a Gaussian's samples,
from 16 to 64 steps between the same log-SNRs, with 16,384 samples; "below the noise" where the
error at 64 steps is less than three standard errors. Langevin steps of a fixed size leave a bias
that more noise levels do not remove. The distance is between 4,096 samples of a mixture in the
plane and as many of its own, the floor between two such sets of its own.

{stochastic}

{date}, jax {jax}, {seconds:.0f} s on {cores} CPU cores:

    {command}
"""


def main() -> None:
    """Measures and writes."""
    start = time.perf_counter()
    specs = SOLVERS.value.split(";") if SOLVERS.value else list(THEORY)
    noisy = () if SOLVERS.value else STOCHASTIC
    for spec in (*specs, *noisy):
        build(solvers, spec, process=PROCESSES["cosine"])
    out = Path(OUT.value)
    out.parent.mkdir(parents=True, exist_ok=True)
    todo = [(spec, name) for spec in specs for name in PROCESSES]
    with jax.enable_x64(True):
        rows = {
            (spec, name): deterministic_row(spec, PROCESSES[name])
            for spec, name in tqdm(todo, unit="solver", mininterval=10)
        }
    todo = [(spec, name) for spec in noisy for name in ("cosine",)]
    random_rows = {
        (spec, name): stochastic_row(spec, PROCESSES[name])
        for spec, name in tqdm(todo, unit="solver", mininterval=10)
    }
    picture = out.with_suffix(".png")
    plot(rows, picture)
    out.write_text(
        TEXT.format(
            coarse=ORDER_STEPS[0],
            fine=ORDER_STEPS[1],
            deterministic="\n".join(deterministic_table(rows)),
            stochastic="\n".join(stochastic_table(random_rows)),
            plot=picture.name,
            date=datetime.date.today(),
            jax=jax.__version__,
            seconds=time.perf_counter() - start,
            cores=len(os.sched_getaffinity(0)),
            command=shlex.join(["python", *sys.argv]),
        )
    )
    print(out, picture, sep="\n")


if __name__ == "__main__":
    cli.run(main)
