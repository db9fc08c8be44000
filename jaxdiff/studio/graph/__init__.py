"""Graphs of nodes, as ComfyUI writes them: read, checked whole, and run.

graph = read("workflow.json").changed({"3.seed": 7})
check(graph)
outputs = Engine(folders).run(graph)

A node is a function of `jaxdiff.studio.graph.nodes`, whose signature says its ports; one of your
own is named "module:function".
"""

from jaxdiff.studio.graph.checking import GraphError, check
from jaxdiff.studio.graph.engine import Engine
from jaxdiff.studio.graph.graph import Graph, Link, Node, read

__all__ = ["Engine", "Graph", "GraphError", "Link", "Node", "check", "read"]
