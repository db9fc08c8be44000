"""The saved form of a graph, which the editor opens: nodes with places, links, widgets in order."""

import itertools
from typing import Any

from jaxdiff.studio.graph import ports
from jaxdiff.studio.graph.graph import Graph, Link, Node
from jaxdiff.studio.graph.picture import columns_of

WIDTH, GAP, LINE, HEAD = 300, 60, 26, 60
"""Of a node, between nodes, and of a port or a widget, in the editor's pixels."""


def saved_form(graph: Graph) -> dict[str, Any]:
    """Returns a workflow in the form in which it is saved; `read` returns the graph again.

    Nodes stand in columns, each after those that it needs.

    Raises:
        ValueError: a node is not known.
    """
    numbers = {key: number for number, key in enumerate(graph.nodes, 1)}
    links = _links(graph, numbers)
    columns, tops, nodes = columns_of(graph), {}, []
    for key, node in graph.nodes.items():
        saved = _node(node, numbers[key], links)
        top = tops.get(columns[key], 0)
        saved["pos"] = [columns[key] * (WIDTH + GAP), top]
        tops[columns[key]] = top + saved["size"][1] + GAP
        nodes.append(saved)
    return {
        "last_node_id": len(nodes),
        "last_link_id": len(links),
        "nodes": nodes,
        "links": links,
        "groups": [],
        "config": {},
        "extra": {},
        "version": 0.4,
    }


def _links(graph: Graph, numbers: dict[str, int]) -> list[list[Any]]:
    """Returns links: id, from which node and slot, to which node and slot, and the type."""
    count, found = itertools.count(1), []
    for key, node in graph.nodes.items():
        for slot, name in enumerate(_inputs(node)):
            value = node.inputs.get(name)
            if isinstance(value, Link):
                kind = ports.find(graph.nodes[value.node].kind).outputs[value.slot]
                found.append(
                    [next(count), numbers[value.node], value.slot, numbers[key], slot, kind]
                )
    return found


def _inputs(node: Node) -> list[str]:
    """Returns the names of a node's inputs: its links, and widgets that a link stands for."""
    every = ports.find(node.kind).ports.values()
    linked = lambda port: isinstance(node.inputs.get(port.name), Link)
    return [port.name for port in every if not port.widget or linked(port)]


def _node(node: Node, number: int, links: list[list[Any]]) -> dict[str, Any]:
    definition, names = ports.find(node.kind), _inputs(node)
    into = {link[4]: link[0] for link in links if link[3] == number}
    out = lambda slot: [link[0] for link in links if link[1:3] == [number, slot]]
    inputs = []
    for slot, name in enumerate(names):
        port = definition.ports[name]
        widget = {"widget": {"name": name}} if port.widget else {}
        inputs.append({"name": name, "type": port.type, "link": into.get(slot), **widget})
    values = _values(node, definition)
    lines = max(len(names), len(definition.outputs)) + len(values)
    return {
        "id": number,
        "type": node.kind,
        "size": [WIDTH, HEAD + LINE * lines],
        "mode": 0,
        **({"title": node.title} if node.title else {}),
        "inputs": inputs,
        "outputs": [
            {"name": kind, "type": kind, "links": out(slot), "slot_index": slot}
            for slot, kind in enumerate(definition.outputs)
        ],
        "properties": {},
        "widgets_values": values,
    }


def _values(node: Node, definition: ports.Definition) -> list[Any]:
    """Returns the values of widgets by position, and those that only the editor reads."""
    values: list[Any] = []
    for port in definition.ports.values():
        if port.widget:
            value = node.inputs.get(port.name)
            value = None if isinstance(value, Link) else value
            missing = None if port.required else port.default
            values.append(missing if value is None else value)
            values += ["fixed"] * (port.places - 1)
    return values
