"""A graph: nodes by their ids, each with values and links as inputs; read from both JSON forms.

API form:   {"3": {"class_type": "KSampler", "inputs": {"seed": 5, "model": ["4", 0], ...}}, ...}
saved form: {"nodes": [...], "links": [...], "definitions": {"subgraphs": [...]}}; see `saved`
"""

import ast
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jaxdiff.config.kinds import suggest

MOST_BYTES = 32 * 2**20
"""The size of a workflow's file beyond which it is not read."""


@dataclass(frozen=True)
class Link:
    """The output `slot`, counted from 0, of another node."""

    node: str
    slot: int = 0


@dataclass(frozen=True)
class Node:
    """A node: the name of its function, its inputs by name, and its title on the page.

    `by_place` are values of widgets by position, which get names from the function's signature.
    """

    kind: str
    inputs: Mapping[str, Any]
    title: str = ""
    by_place: tuple[Any, ...] = ()

    def links(self) -> dict[str, Link]:
        """Returns the inputs that are outputs of other nodes."""
        return {name: value for name, value in self.inputs.items() if isinstance(value, Link)}


@dataclass(frozen=True)
class Graph:
    """Nodes by id."""

    nodes: Mapping[str, Node] = field(default_factory=dict)

    def changed(self, changes: Mapping[str, Any]) -> "Graph":
        """Returns the graph with other values, {"3.seed": 7}.

        Raises:
            ValueError: there is no such node or input.
        """
        nodes = dict(self.nodes)
        for place, value in changes.items():
            key, _, name = place.rpartition(".")
            if key not in nodes:
                raise ValueError(f"{place!r}: there is no node {key!r}{suggest(key, list(nodes))}")
            node = nodes[key]
            if name not in node.inputs:
                known = suggest(name, list(node.inputs))
                raise ValueError(f"{place!r}: {node.kind} has no input {name!r}{known}")
            nodes[key] = replace(node, inputs={**node.inputs, name: value})
        return Graph(nodes)

    def before(self, ends: Any) -> "Graph":
        """Returns the nodes that these need, and these."""
        kept, waiting = {}, list(ends)
        while waiting:
            key = waiting.pop()
            if key not in kept and key in self.nodes:
                kept[key] = self.nodes[key]
                waiting += [link.node for link in kept[key].links().values()]
        return Graph({key: node for key, node in self.nodes.items() if key in kept})

    def to_api(self) -> dict[str, Any]:
        """Returns the API form."""
        plain = lambda v: [v.node, v.slot] if isinstance(v, Link) else v
        return {
            key: {
                "class_type": node.kind,
                "inputs": {name: plain(value) for name, value in node.inputs.items()},
                "_meta": {"title": node.title or node.kind},
            }
            for key, node in self.nodes.items()
        }


def read(source: str | os.PathLike | Mapping[str, Any]) -> Graph:
    """Returns the graph of a file, or of its JSON, in either form.

    Widgets that the saved form has by position get the names of the functions' signatures.

    Raises:
        ValueError: it is no workflow; says where it is not.
    """
    from jaxdiff.studio.graph import ports, saved  # noqa: PLC0415 - they build on this module

    content = source if isinstance(source, Mapping) else _content(Path(source))
    if "nodes" in content and isinstance(content["nodes"], list):
        return ports.named(saved.flattened(content))
    inner = content.get("prompt", content)
    if isinstance(inner, Mapping) and inner and all(map(_is_node, inner.values())):
        return from_api(inner)
    raise ValueError(
        "this is no workflow: it has neither a list of nodes, as a saved one, nor nodes with"
        " class_type and inputs, as one of the API"
    )


def from_api(content: Mapping[str, Any]) -> Graph:
    """Returns the graph of the API form."""
    nodes = {}
    for key, node in content.items():
        inputs = {
            str(name): Link(str(value[0]), value[1]) if _is_link(value) else value
            for name, value in node["inputs"].items()
        }
        title = (node.get("_meta") or {}).get("title", "")
        nodes[str(key)] = Node(node["class_type"], inputs, str(title))
    return Graph(nodes)


def value_of(text: str) -> Any:
    """Returns the value that a text of a command line stands for: a number, a list, or itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return {"true": True, "false": False}.get(text, text)


def _content(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise ValueError(f"workflow={str(path)!r}: there is no such file")
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"workflow={str(path)!r} has over {MOST_BYTES} bytes")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"workflow={str(path)!r} is no JSON: {error}") from None
    if not isinstance(content, Mapping):
        raise ValueError(f"workflow={str(path)!r} is no workflow: it holds no table")
    return content


def _is_node(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and isinstance(value.get("class_type"), str)
        and isinstance(value.get("inputs"), Mapping)
    )


def _is_link(value: Any) -> bool:
    if not isinstance(value, list) or len(value) != 2:
        return False
    node, slot = value
    return isinstance(node, str) and isinstance(slot, int) and not isinstance(slot, bool)
