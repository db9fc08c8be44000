"""Values of options, checked against annotations and the ranges declared in them.

    eta: Annotated[float, Between(0, 1)] = 0.0
    order: Annotated[int, Between(1, 4)] = 3
    channels: Annotated[tuple[Size, ...], Filled()]

A float is finite unless its range says otherwise, an integer has 64 bits and is no bool, a list may
stand for a tuple. Arrays and tracers are not looked into, so that objects can be made under `jit`.
"""

from jaxdiff.options.checks import (
    check,
    checked,
    describe,
    fits,
    plain,
    short,
    taken,
)
from jaxdiff.options.marks import (
    LARGEST,
    SMALLEST,
    Between,
    Count,
    Depth,
    DType,
    Filled,
    FloatType,
    FromTraining,
    Learned,
    Levels,
    Mark,
    NonNegativeFloat,
    NotNegative,
    Number,
    Numbers,
    Numeric,
    Positive,
    PositiveFloat,
    Range,
    Share,
    Size,
    Steps,
    TableSize,
    Width,
    is_array,
)

__all__ = [
    "LARGEST",
    "SMALLEST",
    "Between",
    "Count",
    "DType",
    "Depth",
    "Filled",
    "FloatType",
    "FromTraining",
    "Learned",
    "Levels",
    "Mark",
    "NonNegativeFloat",
    "NotNegative",
    "Number",
    "Numbers",
    "Numeric",
    "Positive",
    "PositiveFloat",
    "Range",
    "Share",
    "Size",
    "Steps",
    "TableSize",
    "Width",
    "check",
    "checked",
    "describe",
    "fits",
    "is_array",
    "plain",
    "short",
    "taken",
]
