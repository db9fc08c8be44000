"""Tables: which name of our tree is which key of a checkpoint, and how the arrays lie.

A table is a plain sequence of rules. Names are matched whole; `{i}` in a pattern stands for a
number, the same on both sides:

    (*affine("layer_{i}/attention/query", "encoder.layer.{i}.attention.self.query"),
     *norm("layer_{i}/norm", "encoder.layer.{i}.LayerNorm"))

`blocks[{i}]/...` is layer i along the first axis of our `blocks/...`, as a scan over layers has it.
What no pattern can say is Python: a table is made by a function, with loops where it needs them.
"""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from jaxdiff.pretrained.layouts import AS_IS, KERNEL, Layout

Names = str | Sequence[str]


@dataclass(frozen=True)
class Rule:
    """Our names, their keys, and the layout; several names on one side are fused on the other.

    Fused weights are joined along the output axis: in the sizes of our parts, or where the parts
    are theirs, in equal ones; with `tied` all of theirs are copies of ours. A rule with one side
    empty only says that these names of ours, or theirs, have no counterpart; there `*` stands for
    anything.

    Raises:
        ValueError: the rule could not be inverted.
    """

    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    layout: Layout = AS_IS
    tied: bool = False

    def __post_init__(self):
        names = {frozenset(_WILDCARD.findall(pattern)) for pattern in (*self.ours, *self.theirs)}
        fused_twice = min(self.sizes) > 1 and not self.tied
        one_sided = not self.ours or not self.theirs
        starred = any("*" in pattern for pattern in (*self.ours, *self.theirs))
        if not one_sided and (starred or len(names) > 1 or fused_twice):
            raise ValueError(
                f"rule {self.ours} <-> {self.theirs}: every pattern must have the same"
                " wildcards, none may be '*', and one side must be a single name"
            )

    @property
    def sizes(self) -> tuple[int, int]:
        """The numbers of names on our side and on theirs."""
        return len(self.ours), len(self.theirs)


Table = Sequence[Rule]


def rule(ours: Names, theirs: Names, layout: Layout = AS_IS) -> tuple[Rule]:
    """Returns a table of one rule; several names on one side are fused on the other."""
    return (Rule(_several(ours), _several(theirs), layout),)


def affine(ours: Names, theirs: Names, layout: Layout = KERNEL, bias: Layout = AS_IS) -> Table:
    """Returns the rules of linear maps and convolutions, with a bias where there is one."""
    return (
        *rule(_below(ours, "/kernel"), _below(theirs, ".weight"), layout),
        *rule(_below(ours, "/bias"), _below(theirs, ".bias"), bias),
    )


def norm(ours: str, theirs: str) -> Table:
    """Returns the rules of a norm, with a bias where there is one."""
    return (
        *rule(f"{ours}/scale", f"{theirs}.weight"),
        *rule(f"{ours}/bias", f"{theirs}.bias"),
    )


def embedding(ours: str, theirs: str) -> Table:
    """Returns the rule of a table of vectors."""
    return rule(f"{ours}/embedding", f"{theirs}.weight")


def tied(table: Table, theirs: Sequence[str]) -> Table:
    """Returns the rules of a part of ours that the peer keeps in several places, in full each."""
    return tuple(
        replace(
            entry,
            theirs=tuple(f"{place}.{key}" for place in theirs for key in entry.theirs),
            tied=True,
        )
        for entry in table
    )


def within(ours: str, theirs: str, *tables: Table) -> Table:
    """Returns the rules of a part that sits at `ours` in our tree, and at `theirs` in the peer's.

    Either may be empty.
    """
    here = f"{ours}/" if ours else ""
    there = f"{theirs}." if theirs else ""
    return tuple(
        replace(
            entry,
            ours=tuple(here + name for name in entry.ours),
            theirs=tuple(there + name for name in entry.theirs),
        )
        for table in tables
        for entry in table
    )


def skip(*theirs: str) -> Table:
    """Returns rules for keys of theirs that we have no use for; `*` stands for anything."""
    return tuple(Rule((), (pattern,)) for pattern in theirs)


def ours_only(*ours: str) -> Table:
    """Returns rules for names of ours that they do not have; `*` stands for anything.

    Such parameters stay as they are in the target, which must hold arrays there.
    """
    return tuple(Rule((pattern,), ()) for pattern in ours)


_WILDCARD = re.compile(r"\{(\w+)\}")


@functools.cache
def compiled(pattern: str) -> re.Pattern:
    """Returns the expression that matches a whole name and gives the numbers in it."""
    parts = re.split(r"(\{\w+\}|\*)", pattern)
    seen: set[str] = set()

    def part(text: str) -> str:
        if text == "*":
            return ".*"
        name = _WILDCARD.fullmatch(text)
        if not name:
            return re.escape(text)
        if name[1] in seen:
            return f"(?P={name[1]})"
        seen.add(name[1])
        return f"(?P<{name[1]}>\\d+)"

    return re.compile("".join(map(part, parts)))


def _several(names: Names) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _below(names: Names, suffix: str) -> tuple[str, ...]:
    return tuple(name + suffix for name in _several(names))
