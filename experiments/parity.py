"""Compares our networks with their peers on PyTorch, and writes docs/parity.md.

python experiments/parity.py                  # all cases of tests/parity/cases
python experiments/parity.py --only=CLIP      # those with CLIP in their title, printed only
python experiments/parity.py --record         # writes the fixtures of the quick tests as well

Needs the extra `parity`.
"""

import datetime
import os
import shlex
import sys

# Compiling takes longer than running here.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import cli
import jax
import numpy as np
from absl import flags

from jaxdiff.files import atomic_write
from tests.parity.cases import Case, Comparison, all_cases, compare, run_peer

OUT = flags.DEFINE_string("out", "docs/parity.md", "Where to write the table.")
ONLY = flags.DEFINE_string("only", None, "Cases with this in their title; prints, writes nothing.")
RECORD = flags.DEFINE_bool("record", False, "Also record the peers' outputs for the quick tests.")

TEXT = """# Parity with other implementations

The same weights and the same inputs in a peer's network and in ours, both in float32 on a CPU.
`experiments/parity.py` writes this page from the cases that `make parity` tests. Weights are drawn
from a seeded generator unless a row names a checkpoint; both sides get them through the tables of
`jaxdiff/pretrained/tables/`. Differences are the largest of any output, beside the largest output;
and of any gradient of a random linear function of the outputs with regard to the weights, in parts
of the largest gradient.

| network | case | peer | parameters | outputs: difference | largest | gradients: difference |
|---|---|---|---:|---:|---:|---:|
{rows}

{date}, jax {jax}:

    {command}
"""


def row(case: Case, found: Comparison) -> str:
    """Returns a line of the table."""
    gradients = "" if found.gradients is None else f"{found.gradients:.1e}"
    cells = (
        case.family, case.name, case.versions, f"{found.parameters:,}", f"{found.outputs:.1e}",
        f"{found.size:.1f}", gradients,
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Compares and writes."""
    cases = [case for case in all_cases() if (ONLY.value or "") in case.title]
    if not cases:
        titles = "; ".join(case.title for case in all_cases())
        raise ValueError(f"--only={ONLY.value!r} is in no title: {titles}")
    rows = []
    for case in cases:
        if RECORD.value and case.recorded:
            with atomic_write(case.fixture) as draft:
                np.savez_compressed(draft, **run_peer(case))
        rows.append(row(case, compare(case)))
        print(rows[-1], flush=True)
    if ONLY.value is None:
        text = TEXT.format(
            rows="\n".join(rows),
            date=datetime.date.today(),
            jax=jax.__version__,
            command=shlex.join(["python", *sys.argv]),
        )
        with atomic_write(OUT.value) as draft:
            draft.write_text(text)
        print(OUT.value)


if __name__ == "__main__":
    cli.run(main)
