"""Trust: a config that was read from a file may name only parts of this package.

Building a part imports its module and calls its class. Where a person wrote the name, in a recipe,
a flag or Python, this is what she asked for. A run's folder may come from anywhere: its config.json
may name modules only that she allowed, by `--trust=my_lab` or `jaxdiff.load(..., trust=...)`.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from typing import Any

REFERENCE = re.compile(r"\s*(?P<module>[\w.]+)\s*:\s*[^\W\d]\w*\s*(\(.*)?", re.DOTALL)
"""A text that names a part of a module: "my_lab.parts:Name(option=1)"."""

_trusted = {"jaxdiff"}


def trust(*modules: str) -> None:
    """Allows config files to name parts of modules, and of modules below them, from now on.

    Raises:
        ValueError: a name is no module's.
    """
    for module in modules:
        if not all(part.isidentifier() for part in module.split(".")):
            raise ValueError(f"trust={module!r} is no name of a module, such as 'my_lab'")
        _trusted.add(module)


def check_trusted(config: Any, where: str) -> None:
    """Checks that a config from a file names no module that nobody allowed; imports nothing.

    Raises:
        ValueError: it does; says which, and how to allow it.
    """
    for text in _texts(config):
        match = REFERENCE.fullmatch(text)
        module = match["module"] if match else "jaxdiff"
        if not any(module == known or module.startswith(f"{known}.") for known in _trusted):
            raise ValueError(
                f"{where} names {text[:120]!r}, of a module that is not jaxdiff's; if you know what"
                f" it does, allow it: --trust={module.split('.')[0]}, or"
                f" jaxdiff.load(..., trust=({module.split('.')[0]!r},))"
            )


def _texts(value: Any) -> Iterator[str]:
    """Yields all texts in a tree, and those inside of texts that are calls."""
    if isinstance(value, str):
        yield value
        if "(" in value:
            yield from _inside(value)
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)


def _inside(call: str) -> Iterator[str]:
    """Yields the texts in a call's options: "Name(option='my_lab:Other')"."""
    try:
        tree = ast.parse(f"call({call.partition('(')[2]}", mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return  # no call, so nothing that can be built
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from _texts(node.value)
