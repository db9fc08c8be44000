"""A graph as a picture: an SVG of its nodes in columns, with their values and links."""

from collections.abc import Mapping
from html import escape
from typing import Any

from jaxdiff.studio.graph import ports
from jaxdiff.studio.graph.checking import lacking
from jaxdiff.studio.graph.graph import Graph, Link

WIDTH, GAP, LINE = 230, 70, 17
"""Of a node, between columns, and of a line of text, in pixels."""
LONGEST = 30
COLOURS = {
    "MODEL": "#8d6ccf",
    "CLIP": "#c9a227",
    "VAE": "#c0504d",
    "CONDITIONING": "#d98032",
    "LATENT": "#c55a9d",
    "IMAGE": "#3f7fbf",
    "MASK": "#4f9d69",
}
"""Of links, by their types."""


def columns_of(graph: Graph) -> dict[str, int]:
    """Returns each node's column: one more than the last of those that it needs.

    Nodes in a circle stay in the columns that they have after as many rounds as there are nodes.
    """
    found = dict.fromkeys(graph.nodes, 0)
    for _ in range(len(graph.nodes)):
        before = dict(found)
        for key, node in graph.nodes.items():
            sources = [before[each.node] for each in node.links().values() if each.node in before]
            found[key] = min(max([0, *(n + 1 for n in sources)]), len(graph.nodes))
        if found == before:
            break
    return found


def svg(graph: Graph) -> str:
    """Returns the picture; texts are escaped, and it names nothing outside of itself."""
    columns, missing = columns_of(graph), lacking(graph)
    places, heights = {}, {}
    tops: dict[int, int] = {}
    for key in sorted(graph.nodes, key=lambda each: columns[each]):
        column = columns[key]
        lines = 1 + max(len(graph.nodes[key].inputs), 1)
        top = tops.get(column, 10)
        places[key] = (10 + column * (WIDTH + GAP), top)
        heights[key] = lines * LINE + 12
        tops[column] = top + heights[key] + 24
    width = 20 + (max(columns.values(), default=0) + 1) * (WIDTH + GAP)
    height = max(tops.values(), default=10) + 10
    body = [_links(graph, key, places) for key in graph.nodes]
    body += [_node(graph, key, places[key], heights[key], missing) for key in graph.nodes]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"'
        f' width="{width}" height="{height}" font-family="sans-serif" font-size="12">'
        f"<title>A graph of {len(graph.nodes)} nodes</title>{''.join(body)}</svg>"
    )


def _node(
    graph: Graph,
    key: str,
    place: tuple[int, int],
    height: int,
    missing: Mapping[str, str],
) -> str:
    node, (left, top) = graph.nodes[key], place
    edge = "#c00" if node.kind in missing else "#888"
    parts = [
        f'<rect x="{left}" y="{top}" width="{WIDTH}" height="{height}" rx="6" fill="#f7f7f9"'
        f' stroke="{edge}"/>',
        _text(left + 8, top + LINE, f"{key}  {node.title or node.kind}", weight="bold"),
    ]
    for line, (name, value) in enumerate(node.inputs.items(), 2):
        shown = "" if isinstance(value, Link) else f": {value}"
        parts.append(_text(left + 8, top + line * LINE, name + shown))
    return "".join(parts)


def _text(x: int, y: int, text: str, weight: str = "normal") -> str:
    short = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    short = "".join(letter if letter.isprintable() else " " for letter in short)
    return f'<text x="{x}" y="{y}" font-weight="{weight}" fill="#222">{escape(short)}</text>'


def _links(graph: Graph, key: str, places: Mapping[str, tuple[int, int]]) -> str:
    parts = []
    for line, (_, value) in enumerate(graph.nodes[key].inputs.items(), 2):
        if not isinstance(value, Link) or value.node not in places:
            continue
        left, top = places[value.node]
        x1, y1 = left + WIDTH, top + LINE - 4
        x2, y2 = places[key][0], places[key][1] + line * LINE - 4
        colour = COLOURS.get(_type(graph, value), "#777")
        parts.append(
            f'<path d="M{x1} {y1} C{x1 + 40} {y1} {x2 - 40} {y2} {x2} {y2}" fill="none"'
            f' stroke="{colour}" stroke-width="2"/>'
        )
    return "".join(parts)


def _type(graph: Graph, link: Link) -> Any:
    try:
        return ports.find(graph.nodes[link.node].kind).outputs[link.slot]
    except (ValueError, IndexError):
        return ""
