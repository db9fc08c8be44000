"""Compiles a recipe's training step for hardware that need not be here, and says what it costs.

python experiments/compile_report.py --config=configs/imagenet256_dit_xl2.py --topology=v5e:4x4
python experiments/compile_report.py --config=configs/digits.py --topology=cpu:8

Memory on each chip by kind, operations, what the chips send to each other, and a range for the
time, energy and price of the whole run. A program that does not fit is compiled again with half the
batch, until it fits. Topologies: "v5e:4x4", "v5p:2x2x4", ... (pip install "jaxdiff[tpu]"), "cpu:8",
"here". Nothing is run, and no weights are read.
"""

import json
from pathlib import Path
from typing import Any

import cli
from absl import flags

from jaxdiff.cost import hardware
from jaxdiff.cost.hardware import GIB, Chip
from jaxdiff.cost.step import Cost, experiment_on, of_experiment, target
from jaxdiff.files import atomic_write, check_writable

TERA, GIGA = 1e12, 1e9
LEAST_SHARE = 0.35
"""Of the roofline's speed: most public trainings reach between this and all of it."""

cli.flag("config", cli.Text, None, "Recipe, such as configs/digits.py:edm.", required=True)
TOPOLOGY = cli.flag("topology", cli.Text, "here", "Devices: v5e:4x4, 2*v5e:4x4, cpu:8, here.")
PRICES = flags.DEFINE_string(
    "prices", str(Path(__file__).with_name("prices.json")), "File of prices; edit a copy."
)
HALVE = flags.DEFINE_bool("halve", True, "Halve the batch until the program fits.")
OUT = cli.flag("out", cli.Text, None, "A .json file for the figures.")


def main() -> None:
    """Compiles, prints, writes."""
    if OUT.value:
        check_writable(OUT.value)
    where = target(TOPOLOGY.value)
    prices = hardware.prices(PRICES.value)
    config = cli.config()
    cost = of_experiment(experiment_on(config, where))
    print(described(cost, where.chip))
    found = {"asked": figures(cost, where.chip, config, prices)}
    while HALVE.value and where.chip and cost.peak > where.chip.memory:
        smaller = cost.batch_size // 2
        if smaller % cost.chips:
            print("Not even the smallest batch fits: divide the state (--config.parallel=fsdp).")
            break
        config.batch_size = smaller
        cost = of_experiment(experiment_on(config, where))
        print(f"\nWith batch_size={smaller}:\n{described(cost, where.chip)}")
        found["fits"] = figures(cost, where.chip, config, prices)
    print(bill(found.get("fits", found["asked"]), prices))
    if OUT.value:
        with atomic_write(OUT.value) as draft:
            draft.write_text(json.dumps(found, indent=1) + "\n")


def described(cost: Cost, chip: Chip | None) -> str:
    """Returns the figures of one step as text."""
    kinds = ", ".join(f"{name} {size / GIB:.2f}" for name, size in cost.memory.items())
    sent = [
        f"  {kind}: {each.count} a step, {each.bytes / GIB:.3f} GiB on a chip"
        for kind, each in cost.sent.items()
    ]
    lines = [
        f"{cost.chips} chips, batch_size {cost.batch_size}; compiled in {cost.seconds:.0f} s",
        f"memory on a chip: {cost.peak / GIB:.2f} GiB ({kinds})",
        f"operations: {cost.flops / TERA:.4g} TFLOP a step, {cost.flops / cost.chips / TERA:.4g} a"
        f" chip (the compiler, loops once: {cost.compiler_flops / TERA:.4g})",
        f"accessed: {cost.accessed / GIB:.2f} GiB a chip",
        "sent:" if sent else "sent: nothing",
        *sent,
    ]
    if chip is not None:
        verdict = "fits" if cost.peak <= chip.memory else "DOES NOT FIT"
        lines.insert(2, f"{chip.name} has {chip.memory / GIB:.2f} GiB: {verdict}")
        bounds = cost.bounds(chip)
        bound = max(bounds, key=lambda name: bounds[name])
        each = ", ".join(f"{name} {1000 * value:.1f}" for name, value in bounds.items())
        lines.append(f"milliseconds if bound by one thing alone: {each}; so by {bound}")
    return "\n".join(lines)


def figures(cost: Cost, chip: Chip | None, config: Any, prices: Any) -> dict[str, Any]:
    """Returns all figures; times, energy and price as [at best, at `LEAST_SHARE` of the speed]."""
    found = {
        "config": cli.FLAGS.config,
        "topology": TOPOLOGY.value,
        "chips": cost.chips,
        "batch_size": cost.batch_size,
        "parallel": config.parallel,
        "peak_gib": cost.peak / GIB,
        "memory_gib": {name: size / GIB for name, size in cost.memory.items()},
        "flops": cost.flops,
        "compiler_flops": cost.compiler_flops,
        "accessed_gib": cost.accessed / GIB,
        "sent": {k: {"count": s.count, "gib": s.bytes / GIB} for k, s in cost.sent.items()},
        "compile_seconds": cost.seconds,
    }
    if chip is None:
        return found
    best = max(cost.bounds(chip).values())
    seconds = [best, best / LEAST_SHARE]
    hours = [config.train.steps * each / 3600 for each in seconds]
    found |= {
        "fits": cost.peak <= chip.memory,
        "step_seconds": seconds,
        "mfu": [cost.flops / cost.chips / chip.flops / each for each in seconds],
        "hours": hours,
    }
    if price := prices["chip_hour"].get(chip.name):
        found["price"] = [each * cost.chips * price for each in hours]
    if chip.watts:
        found["kilowatt_hours"] = [each * cost.chips * chip.watts / 1000 for each in hours]
    return found


def bill(found: dict[str, Any], prices: Any) -> str:
    """Returns the range of time and price of the whole run as text."""
    if "hours" not in found:
        return "No published peaks for these devices: no time, no price."
    span = lambda name, scale=1.0: "{:.3g} to {:.3g}".format(*(scale * x for x in found[name]))
    text = (
        f"\nWhole run: {span('hours')} hours ({span('step_seconds', 1000)} ms a step, MFU"
        f" {found['mfu'][1]:.0%} to {found['mfu'][0]:.0%}): from the roofline's speed down to"
        f" {LEAST_SHARE:.0%} of it."
    )
    if "price" in found:
        source = prices.get("source", "")
        text += f" {span('price')} {prices['currency']} by prices of {prices['date']} ({source})."
    if "kilowatt_hours" in found:
        text += f" {span('kilowatt_hours')} kWh."
    return text


if __name__ == "__main__":
    cli.run(main)
