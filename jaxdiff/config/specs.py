"""Specs: parts by name with their options, as a text or as a table.

A spec is a name (`"DDIM"`), a call with literal options (`"DDIM(eta=1)"`,
`"Stratified(of=LogitNormal(mean=0.5))"`), or a table (`{"name": "DDIM", "eta": 1}`). A name may
have a module in front: `"my_lab.solvers:MySolver(order=3)"`.
"""

import ast
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from jaxdiff.options import short

HEAD = re.compile(r"[\w.]+:[^\W\d]\w*|[^\s():,='\"\\]([^():,='\"\\]*[^\s():,='\"\\])?")
"""A name of a module's, or one of the package, in which spaces and signs are as papers print them.

A module is imported for a plain name only: no looser form than `trusted.REFERENCE` sees.
"""


class Call(NamedTuple):
    """A part by name, with its options; those that are calls themselves are `Call` too."""

    name: str
    options: Mapping[str, Any]

    @property
    def module(self) -> str:
        """Returns the module in front of the name; "" without one."""
        return self.name.rpartition(":")[0]

    @property
    def attribute(self) -> str:
        """Returns the name without its module."""
        return self.name.rpartition(":")[2]


def parse(spec: Any) -> Call:
    """Returns name and options of a spec.

    Raises:
        ValueError: it is no spec, or has options without a name, or that are no literal values.
    """
    spec = spec.to_dict() if isinstance(spec, ConfigDict) else spec
    if isinstance(spec, Mapping):
        if not isinstance(spec.get("name"), str):
            raise ValueError(f"{short(spec)} names no part: its 'name' must be a text")
        if not all(isinstance(key, str) for key in spec):
            raise ValueError(f"{short(spec)}: the names of options must be texts")
        inner = parse(spec["name"])
        rest = {key: value for key, value in spec.items() if key != "name"}
        return Call(inner.name, {**inner.options, **rest})
    if not isinstance(spec, str):
        raise ValueError(f"{short(spec)} is not a name, a call such as 'DDIM(eta=1)', or a table")
    head, bracket, options = spec.strip().partition("(")
    head = head.strip()
    if not HEAD.fullmatch(head):
        raise ValueError(f"{short(spec)} is not a name or a call such as 'DDIM(eta=1)'")
    return Call(head, _options(bracket + options, spec) if bracket else {})


def as_table(spec: Any) -> dict[str, Any]:
    """Returns a spec as a table, `{"name": "DDIM", "eta": 1}`, calls within as tables too.

    Raises:
        ValueError: it is no spec, or has an option "name", which a table cannot hold.
    """
    call = spec if isinstance(spec, Call) else parse(spec)
    if "name" in call.options:
        raise ValueError(f"{call.name} has an option 'name': write a call, not a table")
    options = {k: as_table(v) if isinstance(v, Call) else v for k, v in call.options.items()}
    return {"name": call.name, **options}


def _options(call: str, spec: str) -> dict[str, Any]:
    try:
        node = ast.parse(f"call{call}", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        node = None
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        raise ValueError(f"{short(spec)} is not a name or a call such as 'DDIM(eta=1)'")
    return _keywords(node, spec)


def _keywords(node: ast.Call, spec: str) -> dict[str, Any]:
    names = [keyword.arg for keyword in node.keywords]
    if node.args or None in names or len(set(names)) < len(names):
        raise ValueError(
            f"{short(spec)}: write a name, or a call with named options: 'Name(option=value)'"
        )
    return {str(keyword.arg): _value(keyword.value, spec) for keyword in node.keywords}


def _value(node: ast.expr, spec: str) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return Call(node.func.id, _keywords(node, spec))
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        raise ValueError(f"{short(spec)}: {ast.unparse(node)!r} is not a literal value") from None
