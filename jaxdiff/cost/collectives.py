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
_WHILE = re.compile(r"\bwhile\(.*condition=%?([\w.\-]+)")
_TURNS = re.compile(r'known_trip_count"?\s*:\s*\{\s*"?n"?\s*:\s*"?(\d+)')
_CHANNEL = re.compile(r"\bchannel_id=(\d+)")
_CONSTANT = re.compile(r"%?([\w.\-]+) = s(?:32|64)\[\]\S* constant\((\d+)\)")
_BELOW = re.compile(r"^\s*ROOT .* compare\(%?[\w.\-]+, %?([\w.\-]+)\), direction=LT")
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
    found, channels = [], set()

    def visit(name: str, times: int) -> None:
        for line in computations.get(name, ()):
            if (match := _CALL.search(line)) and _is_new(line, channels):
                shapes, kind, start = match.groups()
                found.append(Message(kind, _bytes(shapes, started=bool(start)), times))
            for inner in _called(line):
                visit(inner, times * _turns(line, computations))

    visit(entry, 1)
    return found


def _is_new(line: str, channels: set[str]) -> bool:
    """Returns whether a collective's channel was not met: TPUs' compiler writes one in parts."""
    channel = _CHANNEL.search(line)
    if channel is None:
        return True
    new = channel.group(1) not in channels
    channels.add(channel.group(1))
    return new


def _turns(line: str, computations: dict[str, list[str]]) -> int:
    """Returns how often a loop turns; 1 for what is no loop, and where it is not known.

    The compiler says it, or the loop's condition is "counter < constant", from 0 as a scan has it.
    """
    loop = _WHILE.search(line)
    if loop is None:
        return 1
    if said := _TURNS.search(line):
        return int(said.group(1))
    condition = computations.get(loop.group(1), ())
    constants = dict(match.groups() for each in condition for match in _CONSTANT.finditer(each))
    bounds = [match.group(1) for each in condition for match in [_BELOW.search(each)] if match]
    return int(constants.get(bounds[0], 1)) if bounds else 1


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
