"""Computes the likelihood of data under a trained run, in bits per dimension.

python experiments/likelihood.py --workdir=runs/digits --levels=17 --num=200
python experiments/likelihood.py --workdir=runs/digits --levels=17 --method=bound --steps=1000

Methods: "flow" (the probability flow), "bound" (the variational bound of ancestral sampling) and
"continuous" (its limit of infinitely many steps). Of images all three are upper bounds, the flow
by its dequantization. Points have no levels: theirs are the bits of a density, which may be
negative. Writes likelihood_<method>.json and .png.
"""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

import cli
import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from jaxtyping import Float

from jaxdiff import Run, random
from jaxdiff.codecs import Pixels
from jaxdiff.config.build import build, names
from jaxdiff.diffusion import likelihood, schedules, solvers, timesteps
from jaxdiff.diffusion.likelihood import angle, bound, dequantization, integrators, quantization
from jaxdiff.diffusion.process import Process
from jaxdiff.evaluation import pictures
from jaxdiff.files import as_path, check_writable, write_json
from jaxdiff.progress import announced, full_batches, progress

cli.flag("workdir", cli.Text, None, "Folder of the run.", required=True)
NUM = cli.flag("num", cli.Size, 100, "Number of examples, chosen by the seed.")
METHOD = cli.flag("method", Literal["flow", "bound", "continuous"], "flow", "What is computed.")
SPLIT = cli.flag("split", cli.Text, None, "Of the data; the config's by default.")
STEPS = cli.flag("steps", cli.Steps, None, "Of the flow (50), of a bound (200).")
SOLVER = cli.flag("solver", cli.Text, "RK4", 'The flow\'s: "Heun", "Adaptive(rtol=1e-5)".')
PROBES = cli.flag("probes", cli.Count, None, "The flow's; 0: exact divergence. 4, 0 of points.")
GRID = cli.flag("timesteps", cli.Text, None, "The bound's; even in the noise angle by default.")
VARIANCE = cli.flag("variance", Literal["small", "large"], "small", "The bound's, as in DDPM.")
LEVELS = cli.flag("levels", cli.Levels, None, "Of images: 256 by default; digits have 17.")
RULE = cli.flag("dequantization", cli.Text, "Uniform", 'The flow\'s, or "TruncatedNormal".')
CONDITIONAL = flags.DEFINE_bool("conditional", False, "The likelihood given the label.")
BATCH_SIZE = cli.flag("batch_size", cli.Size, None, "Examples at a time; as sampling's.")
SEED = cli.flag("seed", cli.Seed, 0, "An example has the same noise in any batch.")
OUT = cli.flag("out", cli.Text, None, "Folder for the results; the workdir by default.")

Found = Mapping[str, Float[np.ndarray, "..."]]


def main() -> None:
    """Computes, prints and writes."""
    check_flags()
    run = cli.load_run()
    check_run(run)
    out = as_path(OUT.value or cli.FLAGS.workdir)
    check_writable(out / f"likelihood_{METHOD.value}.json")
    images, dimensions = len(run.shape) == 3, int(np.prod(run.shape))
    rule = build(dequantization, RULE.value, levels=LEVELS.value or 256)
    rule = rule if images else dequantization.Continuous()
    make = flow_program if METHOD.value == "flow" else bound_program
    compute, logsnr, how = make(run, rule, 4 if images else 0)
    batches = data(run, rule.levels)
    start = time.perf_counter()
    found = evaluate(run, compute, batches, dimensions)
    figures = {
        "step": run.step,
        "method": METHOD.value,
        "split": SPLIT.value or run.config.evaluation.split,
        "num": NUM.value,
        "conditional": CONDITIONAL.value,
        "dimensions": dimensions,
        "levels": rule.levels,
        **how,
        **summary(found, dimensions),
        "seconds": time.perf_counter() - start,
    }
    print(json.dumps(figures, indent=1))
    terms = found["steps"].mean(axis=0) if "steps" in found else None
    if terms is not None:
        figures["terms"] = {"logsnr": logsnr.tolist(), "bits_per_dimension": terms.tolist()}
    file = out / f"likelihood_{METHOD.value}.json"
    write_json(file, figures)
    picture = file.with_suffix(".png")
    pictures.save_likelihood(picture, found["bits"].mean(axis=1), logsnr, terms)
    print(file, picture, sep="\n")


def check_flags() -> None:
    """Raises ValueError if a flag is out of range, before anything is read."""
    theirs = {"flow": ("solver", "probes", "dequantization"), "bound": ("timesteps", "variance")}
    for method, options in theirs.items():
        for name in options:
            if cli.FLAGS[name].present and METHOD.value != method:
                raise ValueError(f"{name} is an option of method={method}, not of {METHOD.value}")
    name = SOLVER.value.partition("(")[0]
    ours = names(integrators)
    if name in names(solvers) and name not in ours:
        solver = build(solvers, SOLVER.value, process=Process(schedules.Cosine()))
        why = "is stochastic and has no likelihood" if solver.stochastic else "draws samples only"
        raise ValueError(
            f"solver={SOLVER.value!r} {why}; the probability flow is followed by {', '.join(ours)}"
        )
    if name == "Adaptive" and STEPS.value is not None:
        raise ValueError(f"steps={STEPS.value}: Adaptive chooses its steps; set its tolerances")


def check_run(run: Run) -> None:
    """Raises ValueError if the run has no likelihood of the kind that is asked for."""
    if run.codec != Pixels():
        raise ValueError(
            f"codec={run.config.codec.name}: the likelihood is that of unscaled pixels"
        )
    if len(run.shape) != 3 and LEVELS.value is not None:
        raise ValueError(f"levels={LEVELS.value}: {run.config.data.name} are points, not images")
    labelled = bool(run.num_classes)
    if CONDITIONAL.value and not labelled:
        raise ValueError("conditional: the run has no labels as a condition")
    if labelled and not CONDITIONAL.value and not run.config.condition_dropout:
        raise ValueError(
            "with condition_dropout=0 the run has learned no unconditional likelihood; "
            "ask for --conditional"
        )


Program = tuple[Callable[..., dict], Any, dict]


def flow_program(run: Run, rule: dequantization.Dequantization, probes: int) -> Program:
    """Returns `(denoiser, x, cond, keys) -> nats`, and what says how they were computed."""
    process = run.process
    steps = {"steps": STEPS.value} if STEPS.value else {}
    integrator = build(integrators, SOLVER.value, **steps)
    probes = probes if PROBES.value is None else PROBES.value
    divergence = likelihood.Hutchinson(probes) if probes else likelihood.Exact()

    def compute(denoiser, x, cond, keys):
        y, log_q = rule(random.stream(keys, "dequantization"), x)
        log_p = likelihood.log_density(
            process,
            denoiser,
            y,
            cond,
            keys,
            divergence,
            integrator=integrator,
            noise_level=rule.noise_level,
        )
        return {"total": log_q[:, None] - log_p}

    how = {"dequantization": rule, "solver": integrator, "divergence": divergence}
    return compute, None, {**{k: str(v) for k, v in how.items()}, "noise_level": rule.noise_level}


def bound_program(run: Run, rule: dequantization.Dequantization, probes: int) -> Program:
    """Returns `(denoiser, x, cond, keys) -> nats`, the terms' log-SNR, and the settings."""
    process, steps = run.process, STEPS.value or 200
    if METHOD.value == "continuous":
        options = {"strata": steps, "noise_level": rule.noise_level}
        angles = angle.nodes(*angle.span(process, rule.noise_level), steps)[:-1]
        ends = process.time_of_angle(angles)[::-1]
        terms_of, fixed = likelihood.continuous_bound, ()
    else:
        even = bound.even_times(process, rule.noise_level, steps)
        times = build(timesteps, GRID.value)(process, steps) if GRID.value else even
        run.process.check(run.parameterization, times[:-1])
        options = {"variance": VARIANCE.value}
        ends, terms_of, fixed = times[1:-1], likelihood.variational_bound, (times,)

    def compute(denoiser, x, cond, keys):
        terms = terms_of(process, denoiser, x, cond, *fixed, keys, levels=rule.levels, **options)
        parts = {"prior": terms.prior, "steps": terms.steps.T, "decoder": terms.decoder}
        return {"total": terms.total[:, None], **parts}

    how = {"steps": steps, "timesteps": GRID.value, **options}
    return compute, np.asarray(process.logsnr(ends)), how


def data(run: Run, count: int | None) -> list[dict]:
    """Returns batches of `num` examples of the split, all of one size: the last one is filled up.

    Raises:
        ValueError: the split has fewer, or other levels.
    """
    split = SPLIT.value or run.config.evaluation.split
    available = run.num_examples(split)
    if NUM.value > available:
        raise ValueError(f"num={NUM.value}: {split!r} has {available} examples")
    size = min(BATCH_SIZE.value or run.config.sampling.batch_size, NUM.value)
    once = {"epochs": 1, "seed": SEED.value, "process_index": 0, "process_count": 1}
    batches = run.batches(split, batch_size=size, **once)
    examples = [next(batches) for _ in range(-(-NUM.value // size))]
    quantization.check_levels(jnp.asarray(examples[0]["x"]), count)
    columns = {name: np.concatenate([e[name] for e in examples]) for name in examples[0]}
    return [
        {"kept": kept, **{name: column[index] for name, column in columns.items()}}
        for index, kept in full_batches(NUM.value, size)
    ]


def evaluate(run: Run, compute: Callable[..., dict], batches: list[dict], dimensions: int) -> Found:
    """Returns every example's numbers in bits per dimension, with "bits" [n, estimates] the total.

    Raises:
        ValueError: one is not finite.
    """
    compute, found, denoiser = jax.jit(compute), [], run.denoiser()
    key = random.stream(jax.random.key(SEED.value), "likelihood")
    for batch in progress(batches, "batches of examples"):
        cond = {"label": batch["label"]} if CONDITIONAL.value else {}
        inputs = batch["x"], cond, random.example_keys(key, jnp.asarray(batch["record"]))
        what = "likelihoods of other batches" if found else "compiling, and the first likelihoods"
        with announced(what):
            nats = run.devices.gather(compute(denoiser, *run.devices.spread(inputs)))
        found.append({k: v[: batch["kept"]] for k, v in nats.items()})
    joined = {k: np.concatenate([f[k] for f in found]) for k in found[0]}
    bad = int(np.sum(~np.isfinite(joined["total"]).all(axis=1)))
    if bad:
        raise ValueError(f"the likelihood of {bad} of {NUM.value} examples is not finite")
    bits = {k: v / (dimensions * np.log(2)) for k, v in joined.items()}
    return {"bits": bits.pop("total"), **bits}


def summary(found: Found, dimensions: int) -> dict[str, float]:
    """Returns means over the examples, with standard errors over them and over the probes."""
    bits, (num, estimates) = found["bits"].mean(axis=1), found["bits"].shape
    figures = {
        "bits_per_dimension": float(bits.mean()),
        "nats_per_example": float(bits.mean() * dimensions * np.log(2)),
    }
    if num > 1:
        figures["standard_error"] = float(bits.std(ddof=1) / num**0.5)
    if estimates > 1:
        variance = found["bits"].var(axis=1, ddof=1) / estimates
        figures["standard_error_of_probes"] = float((variance.mean() / num) ** 0.5)
    parts = {name: found[name] for name in ("prior", "steps", "decoder") if name in found}
    return figures | {f"bound_{k}": float(v.sum() / num) for k, v in parts.items()}


if __name__ == "__main__":
    cli.run(main)
