"""A graph checked whole, before anything runs: nodes, links, values and files."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxdiff import options
from jaxdiff.config.kinds import suggest
from jaxdiff.studio.graph import ports
from jaxdiff.studio.graph.graph import Graph, Link, Node
from jaxdiff.studio.graph.ports import ANY, Port, Prepared, mark_of

SHOWN = 20
"""The number of problems that a message lists."""


class Problem(NamedTuple):
    """Something that a graph lacks: the node's id and function, the input, and words."""

    node: str
    kind: str
    input: str
    words: str

    def __str__(self) -> str:
        place = f"node {self.node} ({self.kind})" if self.node else "the graph"
        return f"{place}: {self.input}{': ' if self.input else ''}{self.words}"


class GraphError(ValueError):
    """A graph that cannot run; `problems` has all of them."""

    def __init__(self, problems: Sequence[Problem]):
        self.problems = tuple(problems)
        lines = [f"  {each}" for each in self.problems[:SHOWN]]
        more = [f"  and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        super().__init__("\n".join(["the graph cannot run:", *lines, *more]))


@runtime_checkable
class Files(Protocol):
    """The files that a graph may name."""

    def listed(self, folder: str) -> list[str]:
        """Returns the names in a folder, "checkpoints"."""


def check(graph: Graph, files: Files | None = None) -> list[str]:
    """Returns the ids of the nodes that run, in an order in which they can.

    Without `files`, names of files are not looked up.

    Raises:
        GraphError: nodes are unknown; inputs are missing, unknown, of another type or range; links
            lead nowhere or in a circle; nothing is saved or shown. It has all problems.
    """
    if found := problems(graph, files):
        raise GraphError(found)
    return _ordered(graph.before(ends_of(graph)))


def ends_of(graph: Graph) -> list[str]:
    """Returns the ids of the nodes that leave something behind."""
    return [key for key, node in graph.nodes.items() if _known(node) and ports.find(node.kind).ends]


def problems(graph: Graph, files: Files | None = None) -> list[Problem]:
    """Returns everything that keeps a graph from running."""
    unknown = lacking(graph)
    found = [
        Problem(key, node.kind, "", unknown[node.kind])
        for key, node in graph.nodes.items()
        if node.kind in unknown
    ]
    # A node that no output needs does not run, and may be unfinished.
    needed = graph.before(ends_of(graph)) if not found else graph
    for key, node in needed.nodes.items():
        if _known(node):
            found += _of_node(graph, key, node, files)
    if not found and not needed.nodes:
        found.append(Problem("", "", "", "no node saves or shows anything, such as SaveImage"))
    if not found and (circle := _circle(needed)):
        words = " -> ".join(circle)
        found.append(Problem(circle[0], needed.nodes[circle[0]].kind, "", f"a circle: {words}"))
    return found


def _known(node: Node) -> bool:
    try:
        ports.find(node.kind)
    except ValueError:
        return False
    return True


def _of_node(graph: Graph, key: str, node: Node, files: Files | None) -> list[Problem]:
    definition = ports.find(node.kind)
    problem = lambda name, words: Problem(key, node.kind, name, words)
    found = []
    for name in node.inputs:
        if name not in definition.ports and isinstance(node.inputs[name], Link):
            found.append(problem(name, f"unknown input{suggest(name, list(definition.ports))}"))
    for port in definition.ports.values():
        if port.name not in node.inputs:
            if port.required:
                found.append(problem(port.name, f"is missing; it takes {port.type}"))
            continue
        value = node.inputs[port.name]
        words = _linked(graph, port, value) if isinstance(value, Link) else _value(port, value)
        words = words or _file(port, value, files)
        found += [problem(port.name, words)] if words else []
    return found


def _linked(graph: Graph, port: Port, link: Link) -> str:
    """Returns the words for a link that does not fit, or ""."""
    source = graph.nodes.get(link.node)
    if source is None:
        return f"links to node {link.node!r}, which is not there"
    if not _known(source):
        return ""  # named already
    outputs = ports.find(source.kind).outputs
    if not 0 <= link.slot < len(outputs):
        return f"links to output {link.slot} of {source.kind}, which has {len(outputs)}"
    return "" if fits(outputs[link.slot], port.type) else f"{outputs[link.slot]} is no {port.type}"


def fits(output: str, wanted: str) -> bool:
    """Returns whether an output of a type may be an input of a type."""
    alike = {("INT", "FLOAT"), ("STRING", "COMBO")}
    return output == wanted or ANY in (output, wanted) or (output, wanted) in alike


def _value(port: Port, value: Any) -> str:
    if not port.widget:
        return f"is {options.short(value)}, and takes a link of type {port.type}"
    try:
        taken(port, value)
    except ValueError as error:
        if port.choices:
            choices = [str(each) for each in port.choices]
            return f"is {options.short(value)}, which is not here{suggest(str(value), choices)}"
        return str(error).removeprefix(f"{port.name} ")
    return ""


def taken(port: Port, value: Any) -> Any:
    """Returns a widget's value as its function takes it: a whole float is an integer there.

    Raises:
        ValueError: it is of another type or range.
    """
    if port.type == "INT" and isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and 2**63 <= value < 2**64 and mark_of(port.annotation, Prepared):
        return value  # a seed of other tools; options have 63 bits
    return options.taken(port.name, port.annotation, value)


def _file(port: Port, value: Any, files: Files | None) -> str:
    if files is None or port.folder is None or isinstance(value, Link):
        return ""
    listed = files.listed(port.folder)
    if value in listed:
        return ""
    return f"there is no {value!r} in {port.folder}{suggest(str(value), listed) if listed else ''}"


def _circle(graph: Graph) -> list[str]:
    """Returns the ids of a circle of links, or nothing."""
    waiting = {key: {link.node for link in node.links().values()} for key, node in _items(graph)}
    while free := [key for key, sources in waiting.items() if not sources & set(waiting)]:
        for key in free:
            del waiting[key]
    if not waiting:
        return []
    path = [next(iter(waiting))]
    while path[-1] not in path[:-1]:
        path.append(next(key for key in waiting[path[-1]] if key in waiting))
    return path[path.index(path[-1]) :]


def _ordered(graph: Graph) -> list[str]:
    """Returns the ids, each after those that it needs."""
    waiting = {key: {link.node for link in node.links().values()} for key, node in _items(graph)}
    order = []
    while waiting:
        free = [key for key, sources in waiting.items() if not sources & set(waiting)]
        order += free
        for key in free:
            del waiting[key]
    return order


def _items(graph: Graph) -> Sequence[tuple[str, Node]]:
    return list(graph.nodes.items())


def lacking(graph: Graph) -> dict[str, str]:
    """Returns the functions of a graph that are not here, with the words that name the closest."""
    found: dict[str, str] = {}
    for kind in dict.fromkeys(node.kind for node in graph.nodes.values()):
        try:
            ports.find(kind)
        except ValueError as error:
            found[kind] = str(error)
    return found
