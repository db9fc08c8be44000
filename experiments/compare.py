"""Compares runs: a table of fields and figures, and pictures, into a folder.

python experiments/compare.py --workdir=runs/rates --metric=evaluation.held_out_loss

Writes compare.md (the best variations with bootstrap intervals over seeds, the effect of each
field, all runs), compare.csv, curves.png, effects.png, and samples.png: the newest sample grids.
"""

import csv

import cli

from jaxdiff.evaluation.comparison import save_curves, save_effects, save_side_by_side
from jaxdiff.files import as_path, atomic_write, check_writable
from jaxdiff.runs import compare

WORKDIR = cli.flag("workdir", cli.Text, None, "Folder of the runs.", required=True)
METRIC = cli.flag("metric", cli.Text, "loss", "Figure that runs are ordered by; lower is better.")
OUT = cli.flag("out", cli.Text, None, "Folder for the results; that of the runs by default.")


def main() -> None:
    """Gathers, prints the table, and writes."""
    out = as_path(OUT.value or WORKDIR.value)
    check_writable(out / "compare.md")
    found = compare.records(WORKDIR.value)
    best = compare.over_seeds(found, METRIC.value)
    effects = compare.effects(found, METRIC.value)
    by_value = [
        {"field": name, "value": value, METRIC.value: mean}
        for name, means in effects.items()
        for value, mean in means.items()
    ]
    parts = {"Best first": best, "Effect of each field": by_value}
    parts["Runs"] = [each.row() for each in found]
    text = "\n".join(f"## {title}\n\n{compare.markdown(rows)}" for title, rows in parts.items())
    with atomic_write(out / "compare.md") as draft:
        draft.write_text(f"# {len(found)} runs by {METRIC.value}\n\n{text}")
    with atomic_write(out / "compare.csv") as draft, draft.open("w", newline="") as file:
        names = list(dict.fromkeys(name for each in found for name in each.row()))
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(each.row() for each in found)
    save_curves(out / "curves.png", {each.name: each.curve for each in found if each.curve[0]})
    if effects:
        save_effects(out / "effects.png", effects, METRIC.value)
    grids = {each.name: sorted((each.workdir / "samples").glob("*.png")) for each in found}
    newest = {name: files[-1] for name, files in grids.items() if files}
    if newest:
        save_side_by_side(out / "samples.png", newest)
    print(compare.markdown(best), end="")
    for name in ("compare.md", "compare.csv", "curves.png", "effects.png", "samples.png"):
        if (out / name).exists():
            print(out / name)


if __name__ == "__main__":
    cli.run(main)
