"""Measures every solver against the closed form, and writes docs/solvers.md with its plots.

python experiments/solver_orders.py            # some minutes on two cores
python experiments/solver_orders.py --solvers="Heun;my_lab.solvers:Mine()" --out=/tmp/solvers.md
"""

import datetime
import functools
import os
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

# Compiling takes longer than running here.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import cli
import jax
import jax.numpy as jnp
import numpy as np
import solver_page
from absl import flags
from jaxtyping import Array, Float

from jaxdiff import random
from jaxdiff.config.build import build
from jaxdiff.diffusion import oracles, schedules, solvers, timesteps
from jaxdiff.diffusion.analysis import convergence
from jaxdiff.diffusion.process import Process
from jaxdiff.diffusion.sampling import prior, sample
from jaxdiff.progress import progress

PROCESSES = {
    "VP cosine": schedules.Cosine(),
    "rectified flow": schedules.RectifiedFlow(),
    "EDM": schedules.EDM(),
}
DETERMINISTIC = {
    "Euler": "1",
    "DDIM": "1",
    "Heun": "2",
    "Midpoint": "2",
    "DPMSolver2": "2",
    "DPMpp2S": "2",
    "DPMSolver3": "3",
    "RK4": "4",
    "LMS(order=2)": "2",
    "LMS(order=3)": "3",
    "LMS(order=4)": "4",
    "DEIS(order=2)": "2",
    "DEIS(order=3)": "3",
    "IPNDM(order=2)": "2 ¹",
    "IPNDM(order=3)": "2 ¹",
    "IPNDM(order=4)": "2 ¹",
    "PLMS": "2 ¹",
    "PNDM": "2 ¹",
    "DPMpp2M": "2",
    "DPMpp3M": "3",
    "UniPC(order=1)": "2 ²",
    "UniPC(order=2)": "3 ²",
    "UniPC(order=2, variant='bh1')": "3 ²",
    "UniPC(order=3)": "4 ²",
    "UniPC(order=3, variant='bh1')": "4 ²",
    "SASolver(predictor=2, corrector=0, tau=0.0)": "2",
    "SASolver(predictor=3, corrector=3, tau=0.0)": "3",
}
"""Each with its order in theory, and a footnote of the page."""
STOCHASTIC = {
    "DDPM": "1",
    "DDPM(variance='large')": "1",
    "DDIM(eta=1.0)": "1",
    "EulerMaruyama": "1",
    "DPM2Ancestral": "2",
    "DPMpp2SAncestral": "2",
    "Ancestral(solver=Heun())": "2",
    "DPMppSDE": "2",
    "DPMpp2MSDE": "2",
    "DPMpp3MSDE": "2",
    "SASolver": "2",
    "Restart(of=Heun())": "2",
    "EDMStochastic(s_churn=4.0, s_noise=1.0)": "2",
    "EDMStochastic": "0 ³",
    "PredictorCorrector": "none ⁴",
    "AnnealedLangevin": "none ⁴",
}
"""Each with its weak order in theory."""
BUDGETS = (5, 10, 20, 50)
ORDER_STEPS = (128, 256)
WEAK_STEPS = (16, 32, 64, 128)
TOLERANCES = (1e-2, 1e-4, 1e-6, 1e-8)
POINTS = 4096
GRIDS = {
    "interior": convergence.interior,
    "interior, restarting": lambda process, steps: timesteps.Restarting(
        convergence.interior, low=0.2, high=2.0, steps=steps // 4
    )(process, steps),
    "Karras": timesteps.Karras(),
    "Karras, restarting": timesteps.Restarting(steps=100),
}

SOLVERS = flags.DEFINE_string("solvers", None, "Deterministic solvers, by ';'; all by default.")
OUT = flags.DEFINE_string("out", "docs/solvers.md", "Where to write the tables.")


def main() -> None:
    """Measures and writes."""
    start = time.perf_counter()
    chosen = dict.fromkeys(SOLVERS.value.split(";"), "?") if SOLVERS.value else None
    exact, noisy = (chosen, {}) if chosen else (DETERMINISTIC, STOCHASTIC)
    for spec in (*exact, *noisy):
        build(solvers, spec, process=Process(schedules.Cosine()))
    jax.config.update("jax_enable_x64", True)
    orders = {spec: deterministic(spec) for spec in progress(exact, "orders")}
    adaptive = {t: tolerance(t) for t in progress([] if chosen else TOLERANCES, "tolerances")}
    weak = {spec: weak_error(spec) for spec in progress(noisy, "weak orders")}
    # From here on, running takes longer.
    jax.config.update("jax_enable_x64", False)
    jax.config.update("jax_disable_most_optimizations", False)
    far = {spec: sampled(spec) for spec in progress(noisy, "solvers sampled")}
    out = Path(OUT.value)
    out.parent.mkdir(parents=True, exist_ok=True)
    facts = {
        "processes": list(PROCESSES),
        "theory": {**exact, **noisy},
        "budgets": BUDGETS,
        "order_steps": ORDER_STEPS,
        "weak_steps": WEAK_STEPS,
        "points": POINTS,
        "starts": convergence.STARTS,
        "floor": floor() if noisy else None,
        "date": datetime.date.today(),
        "jax": jax.__version__,
        "seconds": time.perf_counter() - start,
        "cores": len(os.sched_getaffinity(0)),
        "command": shlex.join(["python", *sys.argv]),
    }
    for path in solver_page.write(out, orders, adaptive, weak, far, facts):
        print(path)


@functools.cache
def grids(rule: str, steps: int) -> list[Array]:
    """Returns a grid on each process."""
    return [GRIDS[rule](Process(schedule), steps) for schedule in PROCESSES.values()]


def on_every_process(
    measure: Callable[..., Array], spec: str, columns: list[list[Array]], *others: Array
) -> Float[np.ndarray, "columns processes *shape"]:
    """Measures one solver on all processes, in one program; a column holds a grid for each."""

    def one(index, *inputs):
        process = Process(convergence.OneOf(tuple(PROCESSES.values()), index))
        return measure(build(solvers, spec, process=process), process, *inputs)

    count = len(PROCESSES)
    times = convergence.padded([times for column in columns for times in column])
    index = jnp.arange(len(times)) % count
    found = jax.jit(jax.vmap(one))(index, times, *(jnp.repeat(o, count) for o in others))
    return np.asarray(found).reshape(len(columns), count, *found.shape[1:])


def asked(spec: str) -> list[int]:
    """Returns how often the denoiser is asked after each of the first steps."""
    process = Process(schedules.Cosine())
    return convergence.evaluations(build(solvers, spec, process=process), process)


def deterministic(spec: str) -> dict:
    """Measures one solver in float64."""
    counts = asked(spec)
    columns = [grids("interior", n) for n in ORDER_STEPS] * 2
    columns += [grids("Karras", convergence.steps_within(counts, n)) for n in BUDGETS]
    starts = jnp.array([convergence.EXACT_STARTS] * 2 + [0] * (len(columns) - 2))
    found = on_every_process(convergence.distance, spec, columns, starts)
    order = lambda coarse, fine: np.log(coarse / fine) / np.log(ORDER_STEPS[1] / ORDER_STEPS[0])
    orders = {"order": order(*found[:2]), "cold": order(*found[2:4])}
    return {"asked": counts, "errors": found[4:], **orders}


def tolerance(value: float) -> tuple[float, float]:
    """Returns how often `Adaptive` asks, and its error, in one step from pure noise to data."""
    process, count = Process(schedules.Cosine()), 0
    solver = solvers.Adaptive(process, rtol=value, atol=value)

    def tick(_):
        nonlocal count
        count += 1

    class Counted:
        init = solver.init

        def step(self, denoiser, x, *others):
            def counting(x, t, cond):
                jax.debug.callback(tick, t[0])
                return denoiser(x, t, cond)

            return solver.step(counting, x, *others)

    times = jnp.array([1.0, 0.0])
    error = jax.jit(lambda times: convergence.distance(Counted(), process, times))(times)
    error.block_until_ready()
    jax.effects_barrier()
    return count / convergence.STARTS, float(error)


def weak_error(spec: str) -> dict:
    """Measures one stochastic solver's weak error in float64."""
    rule = "interior, restarting" if spec.startswith("Restart") else "interior"
    columns = [grids(rule, n) for n in WEAK_STEPS]
    found = on_every_process(convergence.weak_error, spec, columns)
    order = np.log(found[-2] / found[-1]) / np.log(WEAK_STEPS[-1] / WEAK_STEPS[-2])
    return {"asked": asked(spec), "errors": found, "order": order}


def plane(process: Process) -> oracles.GaussianMixture:
    """Returns four Gaussians in the plane."""
    means = jnp.array([[1.0, 1.0], [-1.0, 1.0], [-1.0, -0.5], [0.5, -1.0]])
    return oracles.GaussianMixture(
        process, jnp.array([0.4, 0.3, 0.2, 0.1]), means, jnp.array([0.15, 0.2, 0.3, 0.25])
    )


def sampled(spec: str) -> list[float]:
    """Returns the distance of samples after 1,000 steps from the mixture, on each process.

    All points are one example, at one time: the solver's own arithmetic costs nothing.
    """

    def draw(solver, process, times):
        def denoiser(x, t, cond):
            found = plane(process)(x[0], t, cond)
            return jax.tree.map(lambda a: a[None], found)

        keys = random.example_keys(jax.random.key(0), jnp.arange(1))
        x = prior(process, keys, jnp.zeros((1, POINTS, 2)), times[0])
        return sample(solver, denoiser, x, times, {}, keys)[0]

    column = grids("Karras, restarting", 800) if "Restart" in spec else grids("Karras", 1000)
    return [sliced_distance(x, real(0)) for x in on_every_process(draw, spec, [column])[0]]


def real(seed: int) -> Float[np.ndarray, "n 2"]:
    """Draws the mixture itself."""
    keys = random.example_keys(jax.random.key(seed), jnp.arange(POINTS))
    return np.asarray(plane(Process(schedules.Cosine())).sample(keys))


def floor() -> tuple[float, float]:
    """Returns the mean and the largest distance between sets drawn from the mixture itself."""
    found = [sliced_distance(real(0), real(seed)) for seed in range(1, 17)]
    return float(np.mean(found)), float(np.max(found))


def sliced_distance(a: Float[np.ndarray, "n 2"], b: Float[np.ndarray, "n 2"]) -> float:
    """Returns the sliced Wasserstein-1 distance, over 64 directions."""
    angle = np.pi * np.arange(64) / 64
    project = lambda x: np.sort(x @ np.stack([np.cos(angle), np.sin(angle)]), axis=0)
    return float(np.abs(project(a) - project(b)).mean())


if __name__ == "__main__":
    cli.run(main)
