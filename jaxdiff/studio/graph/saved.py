"""The saved form of a workflow, made flat: subgraphs opened, nodes that only pass on left out.

A node's `mode` is 0 (runs), 2 (muted: it is not there) or 4 (bypassed: each output is the input of
the same type). `Reroute` passes on, `PrimitiveNode` is a value, notes are text. An inner node of a
subgraph has the id "outer:inner".
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from jaxdiff.studio.graph.graph import Graph, Link, Node

MUTED, BYPASSED = 2, 4
INPUT, OUTPUT = -10, -20
"""The ids that stand for the inputs and the outputs of a subgraph within it."""
NOTES = ("Note", "MarkdownNote")
MOST_NODES = 10_000
DEEPEST = 100


class _Wire(NamedTuple):
    """A link: from where it comes."""

    node: int | str
    slot: int


@dataclass(frozen=True)
class _Level:
    """The workflow, or a subgraph within a node of the level above."""

    nodes: Mapping[Any, Mapping[str, Any]]
    wires: Mapping[Any, _Wire]
    """Links by id."""
    ends: Mapping[int, Any]
    """The links that reach the outputs of a subgraph, by slot."""
    prefix: str = ""
    above: "_Level | None" = None
    host: Mapping[str, Any] = field(default_factory=dict)
    definition: Mapping[str, Any] = field(default_factory=dict)


def flattened(workflow: Mapping[str, Any]) -> Graph:
    """Returns the graph of a saved workflow, its widgets still by position.

    Raises:
        ValueError: a node or a link is damaged; a subgraph holds itself; nodes pass on in a circle.
    """
    try:
        given = (workflow.get("definitions") or {}).get("subgraphs") or []
        subgraphs = {each["id"]: each for each in given}
        top = _level(workflow)
        found: dict[str, Node] = {}
        for level, node in _running(top, subgraphs, 0):
            inputs = {}
            for port in node.get("inputs") or []:
                value = _source(level, port.get("link"), subgraphs, 0)
                if value is not None:
                    inputs[port["name"]] = value
            found[f"{level.prefix}{node['id']}"] = _node(node, inputs)
            if len(found) > MOST_NODES:
                raise ValueError(f"a workflow of more than {MOST_NODES} nodes")
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        kind = type(error).__name__
        raise ValueError(f"the workflow is damaged: {kind} {error}") from error
    return Graph(found)


def _node(node: Mapping[str, Any], linked: Mapping[str, Any]) -> Node:
    """Returns a node: widgets by name where the file says the names, else by position."""
    named, places = _widgets(node)
    return Node(node["type"], {**named, **linked}, str(node.get("title") or ""), places)


def _widgets(node: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[Any, ...]]:
    """Returns the values that have names, and the others by position.

    Values by name beside those by position may be older: these say the names, those the values.
    """
    values, named = node.get("widgets_values") or [], node.get("widgets_values_named") or {}
    if isinstance(values, Mapping):
        return dict(values), ()
    if len(named) == len(values):
        return dict(zip(named, values, strict=True)), ()
    return ({}, tuple(values)) if values else (dict(named), ())


def _level(content: Mapping[str, Any], **of_subgraph: Any) -> _Level:
    nodes = {node["id"]: node for node in content["nodes"]}
    wires, ends = {}, {}
    for link in content.get("links") or []:
        if isinstance(link, Mapping):
            key, *ways = (link[name] for name in ("id", *WAYS))
        else:
            key, *ways = link[:5]
        origin, slot, target, place = ways
        wires[key] = _Wire(origin, int(slot))
        if target == OUTPUT:
            ends[int(place)] = key
    return _Level(nodes, wires, ends, **of_subgraph)


WAYS = ("origin_id", "origin_slot", "target_id", "target_slot")


def _inside(level: _Level, host: Mapping[str, Any], definition: Mapping[str, Any]) -> _Level:
    return _level(
        definition,
        prefix=f"{level.prefix}{host['id']}:",
        above=level,
        host=host,
        definition=definition,
    )


def _running(
    level: _Level, subgraphs: Mapping[Any, Any], depth: int
) -> Iterator[tuple[_Level, Mapping[str, Any]]]:
    """Yields the nodes that run, with their level."""
    _check_depth(depth)
    for node in level.nodes.values():
        kind = node["type"]
        if node.get("mode", 0) in (MUTED, BYPASSED) or kind in (*NOTES, "Reroute", "PrimitiveNode"):
            continue
        if kind in subgraphs:
            yield from _running(_inside(level, node, subgraphs[kind]), subgraphs, depth + 1)
        else:
            yield level, node


def _source(level: _Level, link: Any, subgraphs: Mapping[Any, Any], depth: int) -> Any:
    """Returns from where a link comes: a `Link`, a value, or None if nothing is there."""
    _check_depth(depth)
    if link is None or link not in level.wires:
        return None
    origin, slot = level.wires[link]
    if origin == INPUT:
        return _from_above(level, slot, subgraphs, depth + 1)
    node = level.nodes.get(origin)
    if node is None or node.get("mode", 0) == MUTED:
        return None
    follow = lambda where, key: _source(where, key, subgraphs, depth + 1)
    if node.get("mode", 0) == BYPASSED:
        return follow(level, _passed_on(node, slot))
    match node["type"]:
        case "Reroute":
            found = follow(level, node["inputs"][0].get("link"))
        case "PrimitiveNode":
            found = (node.get("widgets_values") or [None])[0]
        case kind if kind in subgraphs:
            inner = _inside(level, node, subgraphs[kind])
            found = follow(inner, inner.ends.get(slot))
        case _:
            found = Link(f"{level.prefix}{origin}", slot)
    return found


def _from_above(level: _Level, slot: int, subgraphs: Mapping[Any, Any], depth: int) -> Any:
    """Returns from where an input of a subgraph comes: a link of the level above, or a value."""
    name = level.definition["inputs"][slot]["name"]
    outer = {each["name"]: each for each in level.host.get("inputs") or []}
    above = outer.get(name, {}).get("link")
    if above is not None and level.above is not None:
        return _source(level.above, above, subgraphs, depth)
    return _promoted(level.host, level.definition).get(name)


def _promoted(host: Mapping[str, Any], definition: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values that a subgraph's node has for the widgets within it."""
    named, values = _widgets(host)
    if named:
        return named
    ports = [each["name"] for each in host.get("inputs") or [] if each.get("widget")]
    names = ports or [each["name"] for each in definition["inputs"] if _is_widget(each)]
    # Another number of values belongs to widgets that are no inputs; the inner nodes have these.
    return dict(zip(names, values, strict=True)) if len(names) == len(values) else {}


def _is_widget(port: Mapping[str, Any]) -> bool:
    return port.get("type") in ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")


def _passed_on(node: Mapping[str, Any], slot: int) -> Any:
    """Returns the link of the input that a bypassed node passes on as an output."""
    inputs, outputs = node.get("inputs") or [], node.get("outputs") or []
    kind = outputs[slot]["type"]
    ordered = [*inputs[slot : slot + 1], *inputs]
    linked = [each for each in ordered if each.get("link") is not None]
    same = [each for each in linked if each["type"] == kind or "*" in (each["type"], kind)]
    return same[0]["link"] if same else None


def _check_depth(depth: int) -> None:
    if depth > DEEPEST:
        raise ValueError(
            f"subgraphs, or nodes that pass on, are more than {DEEPEST} deep: is one in itself?"
        )
