"""Messages between the devices of a compiled program, read from its text."""

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
SIZES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4}
SIZES |= {"f64": 8, "s64": 8, "u64": 8, "s16": 2, "u16": 2}

_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) .*\{$")
_CALL = re.compile(rf"= (.*?) ({'|'.join(KINDS)})(-start)?\(")
_ARRAY = re.compile(r"\b([a-z]+\d+|pred)\[([\d,]*)\]")
_WHILE = re.compile(r"\bwhile\(.*body=%?([\w.\-]+)")
_TURNS = re.compile(r'known_trip_count"?\s*:\s*\{\s*"?n"?\s*:\s*"?(\d+)')
_CALLED = re.compile(r"(?:calls|to_apply|body)=%?([\w.\-]+)|branch_computations=\{([^}]*)\}")


class Sent(NamedTuple):
    """Collectives of one kind: how many a step, and the bytes of their results on one device."""

    count: int
    bytes: int


class Message(NamedTuple):
    """One collective of a program: its kind, the bytes of its result, and how often it runs."""

    kind: str
    bytes: int
    times: int


def collectives(text: str) -> dict[str, Sent]:
    """Returns the collectives of a compiled program by kind.

    `text` is that of `compiled.as_text()`. A loop counts as often as its turns, where the compiler
    knows them.
    """
    totals: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for kind, size, times in messages(text):
        totals[kind][0] += times
        totals[kind][1] += times * size
    return {kind: Sent(*total) for kind, total in sorted(totals.items())}


def messages(text: str) -> list[Message]:
    """Returns each collective of a compiled program, from its text."""
    computations, entry = _computations(text)
    found = []

    def visit(name: str, times: int) -> None:
        for line in computations.get(name, ()):
            if match := _CALL.search(line):
                shapes, kind, start = match.groups()
                found.append(Message(kind, _bytes(shapes, started=bool(start)), times))
            turns = _TURNS.search(line) if _WHILE.search(line) else None
            for inner in _called(line):
                visit(inner, times * (int(turns.group(1)) if turns else 1))

    visit(entry, 1)
    return found


def _computations(text: str) -> tuple[dict[str, list[str]], str]:
    """Returns the lines of each computation by name, and the name of the entry."""
    found: dict[str, list[str]] = {}
    entry = current = ""
    for line in text.splitlines():
        if match := _COMPUTATION.match(line):
            current = match.group(1)
            found[current] = []
            entry = current if line.startswith("ENTRY") else entry
        elif current:
            found[current].append(line)
    return found, entry


def _called(line: str) -> Iterator[str]:
    for one, several in _CALLED.findall(line):
        yield from [one] if one else re.findall(r"[\w.\-]+", several)


def _bytes(shapes: str, *, started: bool) -> int:
    """Returns the bytes of a result; of an asynchronous start, the larger half of its tuple."""
    sizes = [
        SIZES.get(kind, 4) * _product(dimensions) for kind, dimensions in _ARRAY.findall(shapes)
    ]
    return max(sizes, default=0) if started else sum(sizes)


def _product(dimensions: str) -> int:
    total = 1
    for each in filter(None, dimensions.split(",")):
        total *= int(each)
    return total
