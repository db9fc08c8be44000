"""Nodes as ComfyUI's /object_info describes them."""

from typing import Any

from jaxdiff.studio.graph import ports
from jaxdiff.studio.service.studio import Studio


def described(studio: Studio, kind: str) -> dict[str, Any]:
    """Returns a node as ComfyUI's /object_info describes it."""
    definition = ports.find(kind)
    required, optional = {}, {}
    for port in definition.ports.values():
        (required if port.required or port.widget else optional)[port.name] = _port(studio, port)
    names = list(definition.outputs)
    return {
        "input": {"required": required, "optional": optional},
        "input_order": {"required": list(required), "optional": list(optional)},
        "output": names,
        "output_is_list": [False] * len(names),
        "output_name": names,
        "name": kind,
        "display_name": kind,
        "description": (definition.function.__doc__ or "").strip(),
        "python_module": definition.function.__module__,
        "category": definition.function.__module__.rpartition(".")[2],
        "output_node": definition.ends,
    }


def _port(studio: Studio, port: ports.Port) -> list[Any]:
    options: dict[str, Any] = {} if port.required else {"default": port.default}
    if port.folder == "input":
        options["image_upload"] = True
    if port.type == "STRING" and ports.mark_of(port.annotation, ports.Prepared):
        options["multiline"] = True
    if port.folder is not None:
        return [studio.folders.listed(port.folder), options]
    if port.choices:
        return [list(port.choices), options]
    marks = getattr(port.annotation, "__metadata__", ())
    low = next((m.ge for m in marks if getattr(m, "ge", None) is not None), None)
    high = next((m.le for m in marks if getattr(m, "le", None) is not None), None)
    options |= {name: value for name, value in (("min", low), ("max", high)) if value is not None}
    return [port.type, options] if options else [port.type]
