"""The page docs/scale.md, from what `scale.py` finds."""

from collections.abc import Mapping, Sequence
from typing import Any

MFU = (0.35, 0.6)
"""The share of the peak that the analytic hours assume, at least and at most."""

OF_NETWORK = 0.72
"""The share of the operations of DiT-XL/2's step that are not its frozen autoencoder's."""

HEAD = """# At scale

What paper-scale recipes of `configs/` need, found on a machine that has none of these chips.
`experiments/scale.py` writes this page; `experiments/compile_report.py` does the same for one
recipe, with a price.
"""

COMPILED = """
## Compiled for TPU v5e

The whole training step, frozen encoders included, as XLA's TPU compiler makes it for {topologies}.
Memory is the compiler's figure for one chip; v5e's compiler allows 15.75 GiB. "Sent" is the sum of
the results of all collectives on one chip and step, loops counted as often as they turn. The times
are bounds by arithmetic, memory and links alone, from published peaks: the step takes at least the
largest, and nothing here was run. It was compiled on one core that had other work besides.

{compiled}

Stable Diffusion 3 passes 16 micro-batches through a step, an image of a chip at a time, and sends
its weights as often; its links still wait for its arithmetic. Two rows of `ROWS` are missing: ECM
and Stable Diffusion 1.5 are U-Nets, whose blocks are unrolled, and the compiler did not finish
them in half an hour of a core.
"""

FREE = """
Under `fsdp` each layer's inputs and outputs are said to be divided by example
(`networks/layout.py`). "Activations left to the compiler" is the same without: weights that are
divided along the hidden axis make the perceptron tensor-parallel, and activations are sent.
"""

COUNTED = """
## Counted

Not compiled: operations of the whole step are counted in its jaxpr, forward, backward and frozen
parts; bytes are those of the state under `fsdp`, by the rules that place it. Activations come on
top, so a state that fits need not be a step that fits. Days of the whole run assume {low:.0%} to
{high:.0%} of the chips' peak in bfloat16; the frozen autoencoder of most recipes computes in
float32 and is slower than that. A recipe that is not here has not been counted yet:
`experiments/scale.py --count=NAME --compile=` adds it, and without flags the script compiles the
steps of `ROWS` for TPU topologies, which takes minutes each.

{states}

Days of the whole run:

{days}

Of public trainings, fast-DiT's README reports 0.84 steps a second for DiT-XL/2 at batch 256 on one
A100 (312 TFLOP/s), from latents that were computed before; {dit}. The
model card of Stable Diffusion 1 reports 150,000 hours of A100 for its runs together, at lower
resolutions as well.
"""


def page(
    compiled: Mapping[str, Any],
    counted: Mapping[str, Any],
    fleets: Sequence[tuple[str, int]],
    chips: Mapping[str, Any],
) -> str:
    """Returns the page as Markdown."""
    text = HEAD
    if compiled:
        topologies = sorted({each["topology"] for each in compiled.values()})
        text += COMPILED.format(
            topologies=" and ".join(f"`{each}`" for each in topologies),
            compiled=_compiled(compiled),
        )
    if any("compiler" in name for name in compiled):
        text += FREE
    known = counted.get("imagenet256_dit_xl2")
    share = "its operations are not counted here"
    if known:
        used = 0.84 * known["tflop"] * OF_NETWORK / 312
        share = (
            f"by the operations above, less the autoencoder's 28 %, that is an MFU of {used:.0%}"
        )
    return text + COUNTED.format(
        low=MFU[0],
        high=MFU[1],
        states=_states(counted, fleets),
        days=_days(counted, fleets, chips),
        dit=share,
    )


def _compiled(compiled: Mapping[str, Any]) -> str:
    rows = []
    for name, each in compiled.items():
        if "error" in each:
            row = (name, each["topology"], each["batch_size"], "refused", "", "", "", "")
            rows.append((*row[:3], f"the compiler refuses it: {each['error']}", *row[4:]))
            continue
        sent = sum(gib for _, gib in each["sent"].values())
        kinds = ", ".join(f"{kind} {gib:.1f}" for kind, (_, gib) in each["sent"].items())
        fits = "" if each["peak_gib"] <= each["chip_gib"] else ", **does not fit**"
        bounds = each["milliseconds"]
        rows.append(
            (
                name,
                each["topology"],
                each["batch_size"],
                f"{each['peak_gib']:.1f}{fits}",
                f"{sent:.1f} ({kinds})",
                f"{each['tflop']:.0f}",
                " / ".join(f"{bounds[k]:.0f}" for k in ("arithmetic", "memory", "links")),
                f"{each['seconds']:.0f}",
            )
        )
    head = ("step", "chips", "batch", "GiB on a chip", "GiB sent", "TFLOP")
    return _table((*head, "ms by arithmetic / memory / links", "s to compile"), rows)


def _states(counted: Mapping[str, Any], fleets: Sequence[tuple[str, int]]) -> str:
    numbers = sorted({number for _, number in fleets})
    rows = []
    for name, each in counted.items():
        of = lambda n, each=each: sum(each["state_gib"][str(n)].values())
        rows.append(
            (
                f"`{name}`",
                f"{each['parameters'] / 1e6:,.0f} M",
                f"{each['frozen'] / 1e6:,.0f} M",
                f"{each['batch_size']:,}",
                f"{each['tflop']:,.0f}",
                *(f"{of(n):.1f}" for n in numbers),
            )
        )
    head = ("recipe", "trained", "frozen", "batch", "TFLOP a step")
    return _table((*head, *(f"GiB of state, {n} chips" for n in numbers)), rows)


def _days(
    counted: Mapping[str, Any], fleets: Sequence[tuple[str, int]], chips: Mapping[str, Any]
) -> str:
    rows = []
    for name, each in counted.items():
        cells = []
        for chip, number in fleets:
            best = each["steps"] * each["tflop"] * 1e12 / (number * chips[chip].flops) / 86400
            state = sum(each["state_gib"][str(number)].values())
            fits = state < chips[chip].memory / 2**30
            days = f"{best / MFU[1]:,.2g} to {best / MFU[0]:,.2g}"
            cells.append(_plain(days) if fits else "the state does not fit")
        rows.append((f"`{name}`", f"{each['steps']:,}", *cells))
    return _table(("recipe", "steps", *(f"{number} {chip}" for chip, number in fleets)), rows)


def _plain(text: str) -> str:
    """Writes numbers such as 1.2e+03 out."""
    words = [f"{float(word):,.0f}" if "e" in word else word for word in text.split()]
    return " ".join(words)


def _table(head: Sequence[Any], rows: Sequence[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
