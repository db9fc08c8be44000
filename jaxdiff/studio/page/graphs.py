"""The panel of graphs: a workflow as a picture, its values to be edited, and its results."""

import json
from collections.abc import Iterator
from typing import Any

import gradio

from jaxdiff.studio import pixels
from jaxdiff.studio.graph import picture
from jaxdiff.studio.graph.checking import problems
from jaxdiff.studio.graph.graph import Graph, Link, read, value_of
from jaxdiff.studio.page.parts import buttons, sheet, visitor
from jaxdiff.studio.service import editor
from jaxdiff.studio.service.jobs import Job
from jaxdiff.studio.service.studio import Studio

EDITOR = f"[Open the graph editor]({editor.PATH}/) to build one by hand."
NO_EDITOR = "With `pip install comfyui-frontend-package`, graphs are built by hand in its editor."


def panel(studio: Studio) -> None:
    """Graph: a workflow of ComfyUI."""
    state = gradio.State(None)
    gradio.Markdown(EDITOR if editor.installed() else NO_EDITOR)
    with gradio.Row():
        with gradio.Column():
            file = gradio.File(label="Workflow (.json)", file_types=[".json"], type="binary")
            words = gradio.Markdown("A workflow as ComfyUI saves or exports it.")
            values = gradio.Dataframe(
                headers=["node", "input", "value"], label="Values", interactive=True, wrap=True
            )
            draw = buttons(studio)
        with gradio.Column():
            results = sheet("Pictures", 3)
            line = gradio.Markdown("")
            command = gradio.Code(label="Command", language="shell", interactive=False)
    shown = gradio.HTML("")

    def load(content: bytes | None) -> tuple[Any, ...]:
        if content is None:
            return None, "", [], ""
        try:
            graph = read(json.loads(content))
        except (ValueError, RecursionError) as error:
            raise gradio.Error(f"no workflow: {error}") from None
        return graph, lacks(studio, graph), table(graph), view(graph)

    file.upload(load, file, [state, words, values, shown])

    def run(graph: Graph | None, rows: Any) -> Iterator[tuple[Any, ...]]:
        if graph is None:
            raise gradio.Error("give a workflow")
        yield from ran(studio, graph, rows)

    draw.click(run, [state, values], [results, line, command])


def lacks(studio: Studio, graph: Graph) -> str:
    """Returns the words for what keeps a graph from running, as Markdown without markup."""
    found = [str(each) for each in problems(graph, studio.folders)]
    lines = "\n".join(f"    {each}" for each in found[:20])
    return f"{len(found)} problems:\n\n{lines}" if found else f"{len(graph.nodes)} nodes, complete."


def view(graph: Graph) -> str:
    """Returns a graph's picture within a box that scrolls."""
    return f'<div style="overflow:auto;max-height:70vh;background:#fff">{picture.svg(graph)}</div>'


def table(graph: Graph) -> list[list[str]]:
    """Returns a row for each value of a graph."""
    return [
        [key, name, value if isinstance(value, str) else json.dumps(value)]
        for key, node in graph.nodes.items()
        for name, value in node.inputs.items()
        if not isinstance(value, Link)
    ]


def changes_of(graph: Graph, rows: Any) -> dict[str, Any]:
    """Returns the values of a table that are others than the graph's, {"3.seed": 7}."""
    rows = rows.values.tolist() if hasattr(rows, "values") else rows
    before = {f"{key}.{name}": text for key, name, text in table(graph)}
    found = {}
    for key, name, text in rows:
        place = f"{key}.{name}"
        if str(text) != before.get(place):
            was = graph.nodes[str(key)].inputs[str(name)]
            found[place] = str(text) if isinstance(was, str) else value_of(str(text))
    return found


def ran(studio: Studio, graph: Graph, rows: Any) -> Iterator[tuple[Any, ...]]:
    """Runs a graph with the values of a table; yields pictures, a line of text, and the command.

    Raises:
        gradio.Error: the graph cannot run.
    """
    try:
        changes = changes_of(graph, rows)
        changed = graph.changed(changes)
        flags = "".join(f" --set {json.dumps(f'{p}={v}')}" for p, v in changes.items())
        command = f"python -m jaxdiff graph workflow.json{flags}"
        work = lambda job: studio.engine.run(changed, watch=job.report)
        job = studio.worker.submit(Job(work, visitor(), limit=studio.limits.seconds))
        while not job.finished.wait(0.2):
            yield gradio.skip(), f"step {job.step} of {job.steps}", command
        ends = job.wait()
    except (ValueError, RuntimeError, OSError, KeyError) as error:
        raise gradio.Error(str(error)) from None
    files = [(saved.folder, name) for saved in ends.values() for name in saved.names]
    paths = [studio.folders.folder(folder) / name for folder, name in files]
    images = [pixels.opened(path, path.name) for path in paths if path.suffix == ".png"]
    yield images, ", ".join(name for _, name in files), command
