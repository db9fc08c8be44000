"""A graph as one compiled program, from prompts and seeds to pictures.

Nodes that open files run first, on the host; nodes that save run last. Everything between is one
function of arrays: weights, tokens, keys, scales. Another prompt, seed or scale compiles nothing.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax

from jaxdiff.studio.folders import Folders
from jaxdiff.studio.graph import ports
from jaxdiff.studio.graph.checking import check, taken
from jaxdiff.studio.graph.engine import Engine, call
from jaxdiff.studio.graph.graph import Graph, Link
from jaxdiff.studio.graph.ports import Prepared, mark_of
from jaxdiff.studio.graph.values import Saved, Studio
from jaxdiff.trees import as_argument, from_argument

Outputs = Mapping[str, tuple[Any, ...]]


@dataclass(frozen=True)
class Plan:
    """The nodes of a graph in three parts: before, within and after the program."""

    before: tuple[str, ...]
    within: tuple[str, ...]
    after: tuple[str, ...]


def planned(graph: Graph, folders: Folders | None = None) -> Plan:
    """Returns which nodes are within the program: those that need no file, and save none.

    A node before it needs files only, or what such a node gives; a sampler is within.

    Raises:
        GraphError: the graph cannot run.
    """
    before: list[str] = []
    within: list[str] = []
    after: list[str] = []
    for key in check(graph, folders):
        node = graph.nodes[key]
        definition = ports.find(node.kind)
        sources = {link.node for link in node.links().values()}
        files = any(port.folder for port in definition.ports.values())
        if definition.ends or sources & set(after):
            after.append(key)
        elif files and sources <= set(before):
            before.append(key)
        elif files:
            after.append(key)
        else:
            within.append(key)
    return Plan(tuple(before), tuple(within), tuple(after))


def run(graph: Graph, engine: Engine, texts: Mapping[str, str] | None = None) -> dict[str, Saved]:
    """Runs a graph by one program, and returns what its nodes saved, as `Engine.run` does.

    Raises:
        GraphError: the graph cannot run.
        NodeError: a node failed.
    """
    plan = planned(graph, engine.folders)
    studio = Studio(
        engine.folders, engine.opened, None, tuple((texts or {}).items()), engine.finish
    )
    outputs: dict[str, tuple[Any, ...]] = {}

    def run_on_host(key):
        node, definition = graph.nodes[key], ports.find(graph.nodes[key].kind)
        return call(key, node, definition, outputs, studio)

    for key in plan.before:
        outputs[key] = run_on_host(key)
    wanted = tuple(
        sorted({(link.node, link.slot) for key in plan.after for link in _links(graph, key)})
    )
    program = _Program(_frozen(graph, plan.within), plan.within, wanted)
    prepared = _prepared(graph, plan.within, outputs)
    needed = {key: _argument(outputs[key]) for key in plan.before}
    results = _run(program, needed, prepared)
    found: dict[str, dict[int, Any]] = {}
    for (key, slot), value in zip(wanted, results, strict=True):
        found.setdefault(key, {})[slot] = from_argument(value)
    ends: dict[str, Saved] = {}
    outputs |= {key: _Slots(slots) for key, slots in found.items() if key not in outputs}
    for key in plan.after:
        definition = ports.find(graph.nodes[key].kind)
        result = run_on_host(key)
        if definition.ends:
            ends[key], *result = result
        outputs[key] = tuple(result)
    return ends


class _Slots(dict):
    """Outputs by their slots, of which those that nothing reads are absent."""


@dataclass(frozen=True)
class _Program:
    """What a program is compiled for: the nodes with their values, and what is asked of them."""

    nodes: tuple[Any, ...]
    order: tuple[str, ...]
    wanted: tuple[tuple[str, int], ...]


def _frozen(graph: Graph, keys: tuple[str, ...]) -> tuple[Any, ...]:
    """Returns the nodes without the values that are arguments, as something hashable."""
    found = []
    for key in keys:
        node = graph.nodes[key]
        arguments = _arguments(node.kind)
        inputs = tuple(
            (name, value)
            for name, value in sorted(node.inputs.items())
            # A scale of 1 asks for another program: one without a second prediction.
            if name not in arguments or isinstance(value, Link) or is_off(arguments[name], value)
        )
        found.append((key, node.kind, inputs))
    return tuple(found)


def _arguments(kind: str) -> dict[str, Prepared]:
    marks = {n: mark_of(p.annotation, Prepared) for n, p in ports.find(kind).ports.items()}
    return {name: mark for name, mark in marks.items() if mark is not None}


def _prepared(graph: Graph, keys: tuple[str, ...], outputs: Outputs) -> dict[str, Any]:
    """Returns the arrays of values that are arguments: tokens, keys, scales."""
    found: dict[str, Any] = {}
    for key in keys:
        node, ported = graph.nodes[key], ports.find(graph.nodes[key].kind).ports
        inputs = {
            name: outputs[link.node][link.slot]
            for name, link in _resolved(graph, node.links()).items()
            if link.node in outputs
        }
        arguments = {
            name: mark.prepare(inputs, taken(ported[name], node.inputs[name]))
            for name, mark in _arguments(node.kind).items()
            if name in node.inputs and not isinstance(node.inputs[name], Link)
        }
        marks = _arguments(node.kind)
        found[key] = {n: value for n, value in arguments.items() if not is_off(marks[n], value)}
    return found


def _resolved(graph: Graph, links: Mapping[str, Link]) -> dict[str, Link]:
    """Returns links to where a text encoder was opened: nodes between change no tokenizer."""
    found = {}
    for name, link in links.items():
        while graph.nodes[link.node].kind == "CLIPSetLastLayer":
            link = graph.nodes[link.node].links()["clip"]  # noqa: PLW2901
        found[name] = link
    return found


def is_off(mark: Prepared, value: Any) -> bool:
    """Whether a value is a guidance scale of 1."""
    return mark.type == "FLOAT" and isinstance(value, int | float) and value == 1


def _argument(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(as_argument(value) for value in values)


def _links(graph: Graph, key: str) -> list[Link]:
    return list(graph.nodes[key].links().values())


@functools.partial(jax.jit, static_argnames="program")
def _run(program: _Program, needed: Any, prepared: Any) -> tuple[Any, ...]:
    outputs: dict[str, Any] = {
        key: tuple(from_argument(value) for value in values) for key, values in needed.items()
    }
    nodes = {key: (kind, dict(inputs)) for key, kind, inputs in program.nodes}
    for key in program.order:
        kind, inputs = nodes[key]
        definition = ports.find(kind)
        values = dict(prepared[key])
        for name, value in inputs.items():
            port = definition.ports.get(name)
            if isinstance(value, Link):
                values[name] = outputs[value.node][value.slot]
            elif port is not None and name not in values:
                values[name] = taken(port, value)
        given = {definition.given: None} if definition.given else {}
        result = definition.function(**values, **given)
        outputs[key] = tuple(result) if definition.several else (result,)
    return tuple(as_argument(outputs[key][slot]) for key, slot in program.wanted)
