"""The ports of a node, read from the signature of its function.

    def KSampler(model: Model, seed: Seed, steps: Steps = 20, ...) -> Latent: ...

An annotation with a `Kind` is a link of this type; any other is a widget: a number with its range,
a text, a choice (`Literal`), a file of a folder (`File`). Options are checked by `jaxdiff.options`.
"""

import functools
import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from jaxdiff.config import trusted
from jaxdiff.config.kinds import nearest
from jaxdiff.studio.graph.graph import Graph, Node

ANY = "*"
MODULE = "jaxdiff.studio.graph.nodes"


@dataclass(frozen=True)
class Kind:
    """Marks the values of links: "MODEL", "LATENT"; "*" is any."""

    name: str


@dataclass(frozen=True)
class File:
    """Marks the name of a file in a folder of models, "checkpoints", or of pictures, "input"."""

    folder: str


@dataclass(frozen=True)
class Beside:
    """Marks a widget after which saved workflows have one more value, which only the page reads."""


@dataclass(frozen=True)
class Given:
    """Marks a parameter that the engine gives, and no workflow: the folders and the watcher."""


@dataclass(frozen=True)
class Prepared:
    """Marks a widget that is an argument of a compiled graph: another value compiles nothing.

    `prepare(inputs, value)` returns its arrays, on the host, from the node's other inputs; the
    function of the node takes these as well as the plain value.
    """

    type: str
    prepare: Callable[[Mapping[str, Any], Any], Any]

    def admits(self, value: Any) -> bool:
        """Returns whether it is a text, where one is wanted."""
        return self.type != "STRING" or isinstance(value, str)

    def describe(self, noun: str) -> str:
        """Returns the words for such a value."""
        return "a text" if self.type == "STRING" else noun


@dataclass(frozen=True)
class Port:
    """An input: its name, its annotation, its type's name there, and its default."""

    name: str
    annotation: Any
    type: str
    default: Any = inspect.Parameter.empty

    @property
    def required(self) -> bool:
        """Whether it must be given."""
        return self.default is inspect.Parameter.empty

    @property
    def widget(self) -> bool:
        """Whether its value may be written into the workflow."""
        return mark_of(self.annotation, Kind) is None

    @property
    def folder(self) -> str | None:
        """Returns the folder whose files are its values."""
        mark = mark_of(self.annotation, File)
        return mark.folder if mark else None

    @property
    def choices(self) -> tuple[str, ...]:
        """Returns the values of a choice."""
        plain = bare(self.annotation)
        return get_args(plain) if get_origin(plain) is Literal else ()

    @property
    def places(self) -> int:
        """Returns the number of values that it has in a saved workflow."""
        return self.widget + (mark_of(self.annotation, Beside) is not None)


@dataclass(frozen=True)
class Definition:
    """A node's function with its ports.

    Attributes:
        function: from inputs by name to an output, or a tuple of outputs.
        ports: its inputs, in the order of its parameters.
        given: the parameter that the engine gives.
        outputs: the types of its outputs, without what it leaves behind.
        ends: whether the first of what it returns is what it leaves behind, such as a file.
        several: whether it returns a tuple.
    """

    function: Callable[..., Any]
    ports: Mapping[str, Port]
    given: str | None
    outputs: tuple[str, ...]
    ends: bool
    several: bool


def known() -> list[str]:
    """Returns the names of the package's nodes."""
    return list(importlib.import_module(MODULE).__all__)


def find(kind: str) -> Definition:
    """Returns the definition of a node; "module:function" is one of a module that is trusted.

    Raises:
        ValueError: there is none of this name; says which are close.
    """
    if ":" in kind:
        trusted.check_trusted(kind, "the workflow")
        module, _, name = kind.partition(":")
        try:
            function = getattr(importlib.import_module(module.strip()), name.strip())
        except (ImportError, AttributeError) as error:
            raise ValueError(f"there is no node {kind!r}: {error}") from None
        return definition(function)
    if kind not in known():
        raise ValueError(_unknown(kind))
    return definition(getattr(importlib.import_module(MODULE), kind))


@functools.lru_cache(maxsize=4096)
def _unknown(kind: str) -> str:
    closest = nearest(kind, known()) or f"; {len(known())} others are"
    return f"there is no node {kind!r} here{closest}"


@functools.cache
def definition(function: Callable[..., Any]) -> Definition:
    """Returns the ports of a function."""
    hints = get_type_hints(function, include_extras=True)
    ports, given = {}, None
    for name, parameter in inspect.signature(function).parameters.items():
        annotation = hints.get(name, Any)
        if mark_of(annotation, Given):
            given = name
        else:
            ports[name] = Port(name, annotation, type_of(annotation), parameter.default)
    result = hints.get("return", Any)
    several = get_origin(result) is tuple
    outputs = tuple(type_of(each) for each in (get_args(result) if several else (result,)))
    ends = outputs[0] == ENDS
    return Definition(function, ports, given, outputs[ends:], ends, several)


ENDS = "OUTPUT"
"""The type of what a node leaves behind."""


def named(graph: Graph) -> Graph:
    """Returns the graph with its widgets by name; nodes that are unknown stay as they are."""
    available = set(known())
    nodes = {}
    for key, node in graph.nodes.items():
        nodes[key] = _named(node) if node.kind in available or ":" in node.kind else node
    return Graph(nodes)


def _named(node: Node) -> Node:
    values, inputs = list(node.by_place), {}
    try:
        ports = find(node.kind).ports
    except ValueError:
        return node
    for port in ports.values():
        if port.widget and values:
            inputs[port.name] = values.pop(0)
            # An old file lacks the value beside; a number there belongs to the next widget.
            beside = bool(values) and not _is_number(values[0])
            if port.places > 1 and beside:
                values.pop(0)
    return replace(node, inputs={**inputs, **node.inputs}, by_place=())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def mark_of(annotation: Any, kind: type) -> Any:
    """Returns the mark of a class beside an annotation, also of one that may be None."""
    if get_origin(annotation) in (Union, UnionType):
        found = (mark_of(each, kind) for each in get_args(annotation))
        return next((mark for mark in found if mark is not None), None)
    if get_origin(annotation) is not Annotated:
        return None
    return next((mark for mark in annotation.__metadata__ if isinstance(mark, kind)), None)


def bare(annotation: Any) -> Any:
    """Returns the type in an annotation, without marks and None."""
    if get_origin(annotation) is Annotated:
        return bare(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return next(bare(each) for each in get_args(annotation) if each is not type(None))
    return annotation


def type_of(annotation: Any) -> str:
    """Returns the name of a type in workflows: "MODEL", "INT", "COMBO"."""
    if mark := mark_of(annotation, Kind):
        return mark.name
    if mark := mark_of(annotation, Prepared):
        return mark.type
    if mark_of(annotation, File) or get_origin(bare(annotation)) is Literal:
        return "COMBO"
    return TYPES.get(bare(annotation), ANY)


TYPES = {bool: "BOOLEAN", int: "INT", float: "FLOAT", str: "STRING", type(None): ENDS}
