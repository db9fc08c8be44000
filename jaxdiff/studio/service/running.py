"""A graph that runs for a client of ComfyUI: the news that it is sent, and what was saved."""

import json
import struct
import time
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from jaxdiff.studio.graph.checking import GraphError
from jaxdiff.studio.graph.engine import InterruptedRunError, NodeError
from jaxdiff.studio.graph.graph import read
from jaxdiff.studio.graph.values import Saved
from jaxdiff.studio.service import previews
from jaxdiff.studio.service.jobs import Job
from jaxdiff.studio.service.prompts import Prompt
from jaxdiff.studio.service.studio import Studio

PREVIEW, JPEG = 1, 1
"""The kinds of binary news, and of pictures in them."""


def outputs_of(ends: Mapping[str, Saved]) -> dict[str, Any]:
    """Returns what nodes saved, as the history lists it."""
    found = {}
    for key, saved in ends.items():
        if saved.kind == "text":
            found[key] = {"text": list(saved.names)}
            continue
        paths = map(PurePosixPath, saved.names)
        files = [
            {
                "filename": path.name,
                "subfolder": "" if str(path.parent) == "." else str(path.parent),
                "type": saved.folder,
            }
            for path in paths
        ]
        found[key] = {"images": files, **({"animated": [True]} if saved.kind == "video" else {})}
    return found


def run(studio: Studio, prompt: Prompt, job: Job, tell: Any) -> dict[str, Any]:
    """Runs the graph of a prompt, and returns what its nodes saved; `tell` sends news."""
    graph = read({"prompt": prompt.content})
    about = {"prompt_id": prompt.key}
    current, kept = [""], []

    def started(key: str, is_kept: bool) -> None:
        current[0] = key
        if is_kept:
            kept.append(key)
            tell("execution_cached", {"nodes": [key], **about})
        else:
            tell("executing", {"node": key, "display_node": key, **about})

    def watch(step: int, steps: int, x0: Any) -> bool:
        if studio.finish.checks:
            x0 = None
        goes_on = job.report(step, steps, x0)
        tell("progress", {"value": step, "max": steps, "node": current[0], **about})
        content = b"" if x0 is None else previews.jpeg(x0, studio.preview_map(x0.shape[-1]))
        if content:
            tell(None, struct.pack(">II", PREVIEW, JPEG) + content)
        return goes_on

    tell("execution_start", {**about, "timestamp": int(time.time() * 1000)})
    workflow = (prompt.extra.get("extra_pnginfo") or {}).get("workflow")
    texts = {"prompt": json.dumps(prompt.content)}
    texts |= {"workflow": json.dumps(workflow)} if workflow else {}
    try:
        ends = studio.engine.run(graph, watch=watch, started=started, texts=texts)
    except InterruptedRunError:
        tell("execution_interrupted", {"node_id": current[0], "executed": kept, **about})
        raise
    except (NodeError, GraphError) as error:
        tell(
            "execution_error",
            {
                "node_id": getattr(error, "key", current[0]),
                "node_type": getattr(error, "kind", ""),
                "exception_message": str(error),
                "exception_type": type(error).__name__,
                "executed": kept,
                **about,
            },
        )
        raise
    outputs = outputs_of(ends)
    for key, output in outputs.items():
        tell("executed", {"node": key, "display_node": key, "output": output, **about})
    tell("execution_success", {**about, "timestamp": int(time.time() * 1000)})
    tell("executing", {"node": None, **about})
    return outputs
