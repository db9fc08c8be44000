"""Tables: which name in our tree is which key of a checkpoint, and the layout of its array.

A table is a plain sequence of rules. A pattern must match the entire name; `{i}` stands for a
number, the same on both sides:

    (*affine("layer_{i}/attention/query", "encoder.layer.{i}.attention.self.query"),
     *norm("layer_{i}/norm", "encoder.layer.{i}.LayerNorm"))

`blocks[{i}]/...` is layer i along the first axis of our `blocks/...`, as a scan over layers has it.
In a key, `{i+3}` stands for a number that is larger by 3.
A function makes each table, with loops where patterns do not suffice.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from jaxdiff.pretrained.layouts import AS_IS, KERNEL, Layout

Names = str | Sequence[str]


@dataclass(frozen=True)
class Rule:
    """Names in our tree, keys in the checkpoint, and the layout.

    Several names on one side are parts of one array on the other, joined along its output axis:
    ours ("query", "key") <-> theirs "in_proj" has the sizes of our parts, ours "in" <-> theirs
    ("value", "gate") has equal parts. With `tied`, all keys hold copies of one array of ours, such
    as an embedding that each block repeats. A rule with one side empty names parameters without a
    counterpart; its patterns may contain `*` for anything. In one array of the checkpoint our parts
    may alternate, in so many `groups`: query, key and value of the first head, then of the second.

    Raises:
        ValueError: the rule could not be inverted.
    """

    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    layout: Layout = AS_IS
    tied: bool = False
    groups: int = 1

    def __post_init__(self):
        found = [_WILDCARD.findall(pattern) for pattern in (*self.ours, *self.theirs)]
        names = {frozenset(name for name, _ in each) for each in found}
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
        """The numbers of our names and of keys."""
        return len(self.ours), len(self.theirs)


Table = Sequence[Rule]


def rule(ours: Names, theirs: Names, layout: Layout = AS_IS, groups: int = 1) -> tuple[Rule]:
    """Returns a table of one rule; several names are parts of one array on the other side."""
    return (Rule(_several(ours), _several(theirs), layout, groups=groups),)


def affine(
    ours: Names, theirs: Names, layout: Layout = KERNEL, bias: Layout = AS_IS, groups: int = 1
) -> Table:
    """Returns the rules of linear maps and convolutions, with or without a bias."""
    return (
        *rule(_below(ours, "/kernel"), _below(theirs, ".weight"), layout, groups),
        *rule(_below(ours, "/bias"), _below(theirs, ".bias"), bias, groups),
    )


def norm(ours: str, theirs: str) -> Table:
    """Returns the rules of a norm, with or without a bias."""
    return (
        *rule(f"{ours}/scale", f"{theirs}.weight"),
        *rule(f"{ours}/bias", f"{theirs}.bias"),
    )


def embedding(ours: str, theirs: str) -> Table:
    """Returns the rule of a table of vectors."""
    return rule(f"{ours}/embedding", f"{theirs}.weight")


def tied(table: Table, theirs: Sequence[str]) -> Table:
    """Returns the rules of a part that the checkpoint repeats at several places."""
    return tuple(
        replace(
            entry,
            theirs=tuple(f"{place}.{key}" for place in theirs for key in entry.theirs),
            tied=True,
        )
        for entry in table
    )


def within(ours: str, theirs: str, *tables: Table) -> Table:
    """Returns the rules of a part at `ours` in our tree and at `theirs` in the checkpoint.

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
    """Returns rules for keys of a checkpoint that are not used; `*` stands for anything."""
    return tuple(Rule((), (pattern,)) for pattern in theirs)


def ours_only(*ours: str) -> Table:
    """Returns rules for parameters that no checkpoint has; `*` stands for anything.

    Such parameters keep the values of the target, which must hold arrays there.
    """
    return tuple(Rule((pattern,), ()) for pattern in ours)


_WILDCARD = re.compile(r"\{(\w+)(?:\+(\d+))?\}")


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


def filled(pattern: str, numbers: Mapping[str, str]) -> str:
    """Returns the name that a pattern stands for with these numbers."""
    return _WILDCARD.sub(lambda found: str(int(numbers[found[1]]) + int(found[2] or 0)), pattern)


def _several(names: Names) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _below(names: Names, suffix: str) -> tuple[str, ...]:
    return tuple(name + suffix for name in _several(names))
