"""The page docs/solvers.md and its plots, from what `solver_orders.py` measures."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

PLOTTED = ("Euler", "Heun", "DPMSolver3", "RK4", "DEIS(order=3)", "IPNDM(order=4)", "DPMpp2M")
PLOTTED += ("UniPC(order=2)",)
"""Of the deterministic solvers; all are in the table."""

INTRODUCTION = """# Solvers, measured

The denoisers are exact, those of Gaussians and of mixtures of them, whose flow and whose moments
are known in closed form. `experiments/solver_orders.py` writes this page.

In every solver's coordinates all processes are one equation (`jaxdiff/diffusion/solvers`), and the
grids here stop at the same noise levels sigma/alpha on each. Where the three differ, it is by their
ends: alpha is 0 at t = 1 on the VP cosine and the rectified flow, and 1 on EDM, whose noise level
ends at 80. Evaluations are counted as the denoiser is asked.
"""

DETERMINISTIC = """## Deterministic solvers: order

The data are a mixture of three Gaussians on a line; the error is the mean distance to the exact
flow of {starts} points, in float64, from {coarse} to {fine} steps that are even in log-SNR from -4
to 6. "Exact starts" are four steps from points of the exact flow, the history that a multistep
method wants; the x that a corrector keeps is such a point as well. Without, from a "cold start",
the first steps are of order 1, and the error that they leave is of order 2 whatever the method.

{orders}

¹ The weights of Adams and Bashforth for even steps, on steps that are not even in sigma/alpha: what
three or four of them would cancel beyond order 2, they do not cancel there.
² UniPC's corrector costs no evaluation, and adds one to the order in its name.

`DPMSolver1` and `DPMpp1` are `Euler`, and `DPM2` is `DPMSolver2`. Without noise, `Ancestral` is the
solver inside, `DPMppSDE` is `DPMpp2S`, `EDMStochastic` is `Heun`, and `DPMpp2MSDE` and `DPMpp3MSDE`
are `SASolver`s without a corrector.

## Deterministic solvers: error

Whole samples, from sigma/alpha = 80 to the data on the grid `Karras`, with as many steps as so many
evaluations are enough for. The error is as above; the last step, to sigma = 0, is Euler's for all
but the methods with data prediction, for which that is the same.

{errors}

![Error against evaluations, a panel a process]({plot})
"""

ADAPTIVE = """`Adaptive` has a tolerance in the place of steps. From pure noise to the data in one
span on the VP cosine:

{adaptive}
"""

STOCHASTIC = """## Stochastic solvers

The weak error is the relative error of the samples' deviation plus that of their mean, for Gaussian
data, between the same log-SNRs as above. It is computed without sampling: where the denoiser is
linear, a sample is a sum of draws of noise, each times a number, and the numbers are followed. The
order is from {coarse} to {fine} steps.

The distance is the sliced Wasserstein-1 distance between {points} samples after 1,000 steps (grid
`Karras`, float32) and as many points of the data, four Gaussians in the plane. Between two such
sets of the data themselves it is {floor:.4f} on average, and {most:.4f} at most in 16 pairs: the
floor.

{table}

³ With s_noise = 1.003 it adds more noise than it takes away, which steps do not cure, and its churn
grows with their number up to a limit at 97 steps; the row above has neither.
⁴ Langevin steps of a fixed size have a bias that more noise levels do not cure.
`EulerAncestral` is `DDIM(eta=1.0)`.

![Weak error against steps; distance of samples from the data]({plot})
"""

FOOTER = """Written on {date} with jax {jax}, in {seconds:.0f} s on {cores} CPU cores:

    {command}
"""


def write(
    out: Path, orders: dict, adaptive: dict, weak: dict, far: dict, facts: dict
) -> list[Path]:
    """Writes the page and its plots, and returns their paths."""
    plot = out.with_suffix(".png")
    draw_errors(plot, orders, facts)
    coarse, fine = facts["order_steps"]
    deterministic = DETERMINISTIC.format(
        starts=facts["starts"],
        coarse=coarse,
        fine=fine,
        orders=order_table(orders, facts),
        errors=error_table(orders, facts),
        plot=plot.name,
    )
    parts, paths = [INTRODUCTION, deterministic], [out, plot]
    if adaptive:
        rows = [[f"{t:.0e}", f"{n:.0f}", f"{e:.1e}"] for t, (n, e) in adaptive.items()]
        head = ["rtol = atol", "evaluations", "error"]
        parts.append(ADAPTIVE.format(adaptive=table(head, rows)))
    if weak:
        plot = out.with_name(f"{out.stem}_stochastic.png")
        draw_stochastic(plot, weak, far, facts)
        *_, coarse, fine = facts["weak_steps"]
        mean, most = facts["floor"]
        text = STOCHASTIC.format(
            coarse=coarse,
            fine=fine,
            points=f"{facts['points']:,}",
            floor=mean,
            most=most,
            table=stochastic_table(weak, far, facts),
            plot=plot.name,
        )
        parts.append(text)
        paths.append(plot)
    out.write_text("\n".join([*parts, FOOTER.format(**facts)]))
    return paths


def table(head: list[str], rows: list[list[str]]) -> str:
    """Formats a table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def order_table(orders: dict, facts: dict) -> str:
    """Formats theory and measurement."""
    head = ["solver", "evaluations per step", "order in theory"]
    head += [
        f"{name}, {starts}" for starts in ("exact starts", "cold start") for name in _short(facts)
    ]
    rows = [
        [f"`{spec}`", per_step(row["asked"]), facts["theory"][spec]]
        + [f"{order:.2f}" for order in (*row["order"], *row["cold"])]
        for spec, row in orders.items()
    ]
    return table(head, rows)


def error_table(orders: dict, facts: dict) -> str:
    """Formats errors at a number of evaluations."""
    budgets = facts["budgets"]
    head = ["solver"] + [f"{name}: {n}" for name in _short(facts) for n in budgets]
    rows = [
        [f"`{spec}`"] + [f"{error:.1e}" for error in row["errors"].T.flat]
        for spec, row in orders.items()
    ]
    return table(head, rows)


def stochastic_table(weak: dict, far: dict, facts: dict) -> str:
    """Formats weak orders and distances."""
    names = _short(facts)
    head = ["solver", "evaluations per step", "weak order in theory"]
    head += [f"{name}, measured" for name in names]
    head += [f"weak error, {facts['weak_steps'][-1]} steps"]
    head += [f"{name}, distance" for name in names]
    rows = [
        [f"`{spec}`", per_step(row["asked"]), facts["theory"][spec]]
        + [f"{order:.2f}" for order in row["order"]]
        + [f"{row['errors'][-1].max():.1e}"]
        + [f"{distance:.4f}" for distance in far[spec]]
        for spec, row in weak.items()
    ]
    return table(head, rows)


def per_step(asked: list[int]) -> str:
    """Says how many evaluations a step takes, and what the first steps take if it is more."""
    each = np.diff([0, *asked])
    more = int((each != each[-1]).sum())
    return f"{each[-1]}" + (f" (the first {more}: {each[0]})" if more else "")


def _short(facts):
    return [name.removeprefix("VP ") for name in facts["processes"]]


def draw_errors(path: Path, orders: dict, facts: dict) -> None:
    """Draws error against evaluations, a panel a process."""
    chosen = [spec for spec in orders if spec in PLOTTED] or list(orders)
    budgets = facts["budgets"]
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    panels = figure.subplots(1, len(facts["processes"]), sharey=True)
    for i, (panel, process) in enumerate(zip(panels, facts["processes"], strict=True)):
        for j, spec in enumerate(chosen):
            style = {"marker": "osD^v<>P"[j % 8], "color": f"C{j % 10}", "markersize": 4}
            panel.loglog(budgets, orders[spec]["errors"][:, i], label=spec, **style)
        panel.set_title(process)
        panel.set_xlabel("function evaluations")
        panel.set_xticks(budgets, [str(n) for n in budgets])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("mean distance to the exact solution")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    figure.savefig(path, dpi=100)


def draw_stochastic(path: Path, weak: dict, far: dict, facts: dict) -> None:
    """Draws weak errors against steps, and distances beside the floor."""
    figure = Figure(figsize=(12, 5), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.1, 1])
    steps = facts["weak_steps"]
    for i, (spec, row) in enumerate(weak.items()):
        style = {"marker": ".", "color": f"C{i % 10}", "linestyle": "-" if i < 10 else "--"}
        left.loglog(steps, row["errors"][:, 0], label=spec, **style)
    left.set_xticks(steps, [str(n) for n in steps])
    left.minorticks_off()
    left.grid(alpha=0.3)
    left.set(xlabel="steps", ylabel="weak error", title=f"Gaussian data, {facts['processes'][0]}")
    mean, most = facts["floor"]
    right.axvspan(0, most, color="0.88")
    right.axvline(mean, color="0.6", label="two sets of the data")
    places = np.arange(len(far))[::-1]
    for i, process in enumerate(facts["processes"]):
        values = [distances[i] for distances in far.values()]
        right.plot(values, places, "osD"[i % 3], markersize=4, label=process, alpha=0.8)
    right.set_yticks(places, list(far))
    right.set(xlabel="sliced Wasserstein distance, 1,000 steps", xlim=(0, None))
    right.grid(alpha=0.3, axis="x")
    right.legend(frameon=False, loc="lower right")
    figure.legend(*left.get_legend_handles_labels(), loc="outside left center", frameon=False)
    figure.savefig(path, dpi=100)
