"""The engine: runs a graph node by node, and keeps what did not change."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxdiff import released
from jaxdiff.pipelines.pipeline import Pipeline
from jaxdiff.studio.folders import Folders
from jaxdiff.studio.graph import ports
from jaxdiff.studio.graph.checking import check, taken
from jaxdiff.studio.graph.graph import Graph, Link, Node
from jaxdiff.studio.graph.values import Saved, Studio, Watch
from jaxdiff.studio.provenance import Finish

Started = Callable[[str, bool], None]
"""Called with a node's id before it runs, and with True if its outputs were kept instead."""


class NodeError(ValueError):
    """An error of a node; says which."""

    def __init__(self, key: str, node: Node, error: Exception):
        self.key, self.kind = key, node.kind
        super().__init__(f"node {key} ({node.kind}): {error}")


class InterruptedRunError(RuntimeError):
    """Sampling was ended by its watcher."""


class _Watcher:
    """The watcher of the run in progress: one object, so that nothing compiles for another."""

    def __init__(self):
        self.watch: Watch | None = None
        self.ended = False

    def __call__(self, step: int, steps: int, x0: Any) -> bool:
        """Returns whether to go on."""
        self.ended = self.ended or not (self.watch is None or self.watch(step, steps, x0))
        return not self.ended


@dataclass
class Engine:
    """Runs graphs; the outputs of the last one are kept for the next.

    Attributes:
        folders: the files that nodes may read and write.
        open: from a path to a model; by default `jaxdiff.released`.
        finish: makes files of pictures.
    """

    folders: Folders
    open: Callable[[Path], Pipeline] = released
    finish: Finish = field(default_factory=Finish)
    _kept: dict[str, tuple[Any, ...]] = field(default_factory=dict, init=False)
    _models: dict[str, Pipeline] = field(default_factory=dict, init=False)
    _watcher: _Watcher = field(default_factory=_Watcher, init=False)

    def opened(self, path: Path) -> Pipeline:
        """Returns the model of a path; the latest two are kept."""
        key = f"{path} {_stamp(path)}"
        if key not in self._models:
            while len(self._models) > 1:
                self._models.pop(next(iter(self._models)))
            self._models[key] = self.open(path)
        return self._models[key]

    def run(
        self,
        graph: Graph,
        *,
        watch: Watch | None = None,
        started: Started = lambda key, kept: None,
        texts: Mapping[str, str] | None = None,
    ) -> dict[str, Saved]:
        """Runs a graph, and returns what its nodes saved or showed, by their ids.

        Args:
            graph: is checked first.
            watch: called after every step of sampling; False ends it.
            started: called before every node.
            texts: chunks for the files that are saved; the graph itself by default.

        Raises:
            GraphError: the graph cannot run.
            NodeError: a node failed.
            InterruptedRunError: the watcher ended it.
        """
        order = check(graph, self.folders)
        texts = texts or {"prompt": json.dumps(graph.to_api())}
        self._watcher.watch, self._watcher.ended = watch, False
        watcher = self._watcher if watch else None
        studio = Studio(self.folders, self.opened, watcher, tuple(texts.items()), self.finish)
        outputs: dict[str, tuple[Any, ...]] = {}
        keys, ends = self.keys(graph, order), {}
        for key in order:
            node, definition = graph.nodes[key], ports.find(graph.nodes[key].kind)
            kept = None if definition.ends else self._kept.get(keys[key])
            started(key, kept is not None)
            if kept is None:
                kept = call(key, node, definition, outputs, studio)
                if self._watcher.ended:
                    raise InterruptedRunError(f"node {key} ({node.kind}): interrupted")
            if definition.ends:
                ends[key], *kept = kept
            outputs[key] = tuple(kept)
        self._kept = {keys[key]: outputs[key] for key in order if key not in ends}
        return ends

    def keys(self, graph: Graph, order: list[str]) -> dict[str, str]:
        """Returns a hash of each node: of its function, values, files and inputs."""
        found: dict[str, str] = {}
        for key in order:
            node, definition = graph.nodes[key], ports.find(graph.nodes[key].kind)
            parts: list[Any] = [node.kind]
            for name, value in sorted(node.inputs.items()):
                if isinstance(value, Link):
                    parts.append([name, found[value.node], value.slot])
                    continue
                parts.append([name, value])
                port = definition.ports.get(name)
                if port and port.folder:
                    parts.append(_stamp(self.folders.path(port.folder, value)))
            text = json.dumps(parts, sort_keys=True, default=str)
            found[key] = hashlib.sha256(text.encode()).hexdigest()
        return found


def inputs_of(
    node: Node, definition: ports.Definition, outputs: Mapping[str, tuple[Any, ...]]
) -> dict[str, Any]:
    """Returns the values of a node's inputs: widgets as its function takes them."""
    inputs = {}
    for name, port in definition.ports.items():
        if name not in node.inputs:
            continue
        value = node.inputs[name]
        linked = isinstance(value, Link)
        value = outputs[value.node][value.slot] if linked else value
        if linked and port.type == "FLOAT":
            value = float(value)
        inputs[name] = taken(port, value) if port.widget else value
    return inputs


def call(
    key: str,
    node: Node,
    definition: ports.Definition,
    outputs: Mapping[str, tuple[Any, ...]],
    studio: Studio,
) -> tuple[Any, ...]:
    """Calls a node's function with outputs of others, and returns its own.

    Raises:
        NodeError: it failed.
    """
    given = {definition.given: studio} if definition.given else {}
    try:
        result = definition.function(**inputs_of(node, definition, outputs), **given)
    except (ValueError, TypeError, OSError, ArithmeticError) as error:
        raise NodeError(key, node, error) from error
    return tuple(result) if definition.several else (result,)


def _stamp(path: Path) -> str:
    """Returns the size and the time of a file, or of a folder's files."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    stats = [(each.name, each.stat()) for each in files if each.is_file()]
    return str([(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats])
