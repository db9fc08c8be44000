"""Accelerators by their published peaks, and what an hour of them costs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxdiff.config.kinds import suggest
from jaxdiff.files import read_json

GIB = 2**30


@dataclass(frozen=True)
class Chip:
    """One accelerator.

    Attributes:
        name: as in `CHIPS`.
        flops: operations a second in bfloat16, at most.
        memory: bytes that a program may use.
        bandwidth: bytes a second of its memory.
        link: bytes a second to the other chips of a slice or server, over all links, one way.
        watts: its published power; 0 where there is none.
        kinds: beginnings of JAX's names for the device.
    """

    name: str
    flops: float
    memory: float
    bandwidth: float
    link: float
    watts: float = 0.0
    kinds: tuple[str, ...] = ()


CHIPS = {
    chip.name: chip
    for chip in (
        Chip("v4", 275e12, 31.0 * GIB, 1228e9, 300e9, 170.0, ("TPU v4",)),
        Chip("v5e", 197e12, 15.75 * GIB, 819e9, 200e9, 0.0, ("TPU v5 lite", "TPU v5e")),
        Chip("v5p", 459e12, 95.74 * GIB, 2765e9, 600e9, 0.0, ("TPU v5",)),
        Chip("v6e", 918e12, 31.25 * GIB, 1640e9, 448e9, 0.0, ("TPU v6",)),
        Chip("a100", 312e12, 79.0 * GIB, 2039e9, 600e9, 400.0, ("NVIDIA A100",)),
        Chip("h100", 989e12, 79.0 * GIB, 3350e9, 900e9, 700.0, ("NVIDIA H100",)),
        Chip("h200", 989e12, 139.0 * GIB, 4800e9, 900e9, 700.0, ("NVIDIA H200",)),
    )
}
"""By name; published by Google (TPU system architecture) and NVIDIA (data sheets, dense bfloat16).
v4's watts are the mean of Jouppi et al. 2023. The memory of v5e is what its compiler allows; of the
others it is somewhat less than the published size."""


def chip_of(kind: str) -> Chip | None:
    """Returns the chip of a JAX device kind, such as "TPU v5 lite"; None for others, as CPUs."""
    for chip in CHIPS.values():
        if any(kind.startswith(beginning) for beginning in chip.kinds):
            return chip
    return None


def chip(name: str) -> Chip:
    """Returns a chip by name.

    Raises:
        ValueError: the name is unknown.
    """
    if name not in CHIPS:
        raise ValueError(f"no chip {name!r}{suggest(name, list(CHIPS))}")
    return CHIPS[name]


def prices(path: str | Path) -> Mapping[str, Any]:
    """Reads a price file: {"date": ..., "currency": ..., "chip_hour": {"v5e": 1.2}}.

    Raises:
        ValueError: it has no such fields, or a price is no number above 0.
    """
    table: Any = read_json(path, dict)
    if missing := [name for name in ("date", "currency", "chip_hour") if name not in table]:
        raise ValueError(f"{path} has no {missing[0]!r}")
    for name, price in table["chip_hour"].items():
        if not isinstance(price, int | float) or not price > 0:
            raise ValueError(f"{path}: chip_hour.{name}={price!r} is no number above 0")
    return table
