"""The graph editor: ComfyUI's own page, of PyPI's `comfyui-frontend-package`, on the same routes.

The package belongs to others, under the GPL 3; it is installed by who wants it, and is not a part
of this one. Its settings and workflows are files in `root/editor`.
"""

import importlib.util
import json
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, Response
from fastapi.staticfiles import StaticFiles

from jaxdiff.files import atomic_write, read_json, write_json
from jaxdiff.studio.folders import MODELS, Folders, inside
from jaxdiff.studio.graph import picture
from jaxdiff.studio.graph.graph import Graph
from jaxdiff.studio.graph.saving import saved_form
from jaxdiff.studio.graph.starters import STARTERS
from jaxdiff.studio.service import comfy
from jaxdiff.studio.service.prompts import Prompt, Prompts
from jaxdiff.studio.service.studio import Studio

PACKAGE = "comfyui_frontend_package"
PATH = "/editor"
MOST_BYTES = 4 * 2**20
"""The size of a workflow's file."""
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:;"
    " style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:;"
    " font-src 'self' data:; worker-src 'self' blob:; connect-src 'self' data: blob:"
)
"""What the page may ask for: nothing outside this service."""

STATES = {
    "waiting": "pending",
    "running": "in_progress",
    "done": "completed",
    "cancelled": "cancelled",
}
"""The states of jobs by ours; others have failed."""


async def _content(request: Request) -> Any:
    """Returns the JSON of a body: the editor does not say what it sends."""
    try:
        return json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"the body is not JSON: {error}") from None


Content = Annotated[Any, Depends(_content)]


def installed() -> bool:
    """Returns whether the editor's package is there."""
    return importlib.util.find_spec(PACKAGE) is not None


def add_editor(app: FastAPI, studio: Studio, prompts: Prompts) -> None:
    """Adds the editor at /editor, where its package is installed."""
    if not installed():
        return
    root = Path(studio.folders.root) / "editor"
    for routes in (comfy.router(studio, prompts), user_router(root), job_router(studio, prompts)):
        app.include_router(routes, prefix=f"{PATH}/api")
    app.include_router(comfy.news_router(prompts), prefix=PATH)

    @app.get(f"{PATH}/api/experiment/models")
    def folders() -> list[dict[str, Any]]:
        return [{"name": name, "folders": []} for name in MODELS]

    @app.get(f"{PATH}/api/experiment/models/{{folder}}")
    def models(folder: str) -> list[dict[str, Any]]:
        if folder not in MODELS:
            raise HTTPException(404, f"there is no folder {folder!r}")
        return [{"name": name, "pathIndex": 0} for name in studio.folders.listed(folder)]

    # Of things that this service does not have.
    @app.get(f"{PATH}/api/features")
    @app.get(f"{PATH}/api/i18n")
    @app.get(f"{PATH}/api/global_subgraphs")
    @app.get(f"{PATH}/api/workflow_templates")
    def nothing() -> dict[str, Any]:
        return {}

    app.include_router(starter_router(studio.folders), prefix=f"{PATH}/templates")
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None and spec.origin is not None
    app.mount(PATH, _Page(directory=Path(spec.origin).parent / "static", html=True))


class _Page(StaticFiles):
    """The editor's files, with the policy that keeps the page on this service."""

    def file_response(self, *args: Any, **kwargs: Any) -> Any:
        response = super().file_response(*args, **kwargs)
        response.headers["content-security-policy"] = POLICY
        return response


def user_router(root: Path) -> APIRouter:
    """Returns the routes of a person's settings and workflows, files of JSON in a folder."""
    routes = APIRouter(tags=["editor"])
    settings, files = root / "settings.json", root / "files"

    def chosen() -> dict[str, Any]:
        return read_json(settings, dict) if settings.exists() else {}

    def path_of(name: str) -> Path:
        try:
            path = inside(files, name)
        except ValueError as error:
            raise HTTPException(400, str(error)) from None
        if path.suffix != ".json":
            raise HTTPException(404, f"{name!r} is no file of JSON")
        return path

    def there(name: str) -> Path:
        path = path_of(name)
        if not path.is_file():
            raise HTTPException(404, f"there is no file {name!r}")
        return path

    @routes.get("/users")
    def users() -> dict[str, Any]:
        return {"storage": "server", "migrated": True}

    @routes.get("/settings")
    def all_settings() -> dict[str, Any]:
        return chosen()

    @routes.get("/settings/{name}")
    def setting(name: str) -> Any:
        return chosen().get(name)

    @routes.post("/settings")
    def change_settings(payload: Content) -> None:
        if not isinstance(payload, dict):
            raise HTTPException(400, "settings must be an object")
        write_json(settings, {**chosen(), **payload})

    @routes.post("/settings/{name}")
    def change_setting(name: str, payload: Content) -> None:
        write_json(settings, {**chosen(), name: payload})

    @routes.get("/userdata")
    def listed(dir: str) -> list[dict[str, Any]]:
        try:
            folder = inside(files, dir)
        except ValueError as error:
            raise HTTPException(400, str(error)) from None
        return [_about(path, folder) for path in sorted(folder.rglob("*.json"))]

    @routes.get("/userdata/{name:path}")
    def read(name: str) -> FileResponse:
        return FileResponse(there(name), media_type="application/json")

    @routes.post("/userdata/{source:path}/move/{name:path}")
    def move(source: str, name: str, overwrite: bool = False) -> dict[str, Any]:
        found, path = there(source), path_of(name)
        if path.exists() and not overwrite:
            raise HTTPException(409, f"there is a file {name!r}")
        path.parent.mkdir(parents=True, exist_ok=True)
        found.replace(path)
        return _about(path, files)

    @routes.post("/userdata/{name:path}")
    def write(name: str, payload: Content, overwrite: bool = True) -> dict[str, Any]:
        path, content = path_of(name), json.dumps(payload)
        if path.exists() and not overwrite:
            raise HTTPException(409, f"there is a file {name!r}")
        if len(content) > MOST_BYTES:
            raise HTTPException(413, f"{name!r} is larger than {MOST_BYTES} bytes")
        with atomic_write(path) as temporary:
            temporary.write_text(content)
        return _about(path, files)

    @routes.delete("/userdata/{name:path}", status_code=204)
    def delete(name: str) -> None:
        there(name).unlink()

    return routes


def _about(path: Path, folder: Path) -> dict[str, Any]:
    found, name = path.stat(), path.relative_to(folder.resolve()).as_posix()
    changed = int(found.st_mtime * 1000)
    return {"path": name, "size": found.st_size, "modified": changed, "created": changed}


def starter_router(folders: Folders) -> APIRouter:
    """Returns the routes of graphs to begin with, which the editor has as templates."""
    routes = APIRouter(tags=["editor"])

    def found(name: str) -> Graph:
        if name not in STARTERS:
            raise HTTPException(404, f"there is no template {name!r}")
        return STARTERS[name](folders)

    @routes.get("/index.json")
    def index() -> list[dict[str, Any]]:
        about = {"mediaType": "image", "mediaSubtype": "svg"}
        listed = []
        for name, graph in STARTERS.items():
            title, _, words = (graph.__doc__ or "").partition(": ")
            listed.append({"name": name, "title": title, "description": words, **about})
        return [{"moduleName": "default", "title": "jaxdiff", "templates": listed}]

    @routes.get("/index_logo.json")
    def logos() -> dict[str, Any]:
        return {}

    @routes.get("/{name}-1.svg")
    def picture_of(name: str) -> Response:
        return Response(picture.svg(found(name)), media_type="image/svg+xml")

    @routes.get("/{name}.json")
    def template(name: str) -> dict[str, Any]:
        return saved_form(found(name))

    return routes


def job_router(studio: Studio, prompts: Prompts) -> APIRouter:
    """Returns the routes of graphs that wait, run and ran, as the editor lists them."""
    routes = APIRouter(tags=["editor"])

    def every() -> list[Prompt]:
        running, pending = prompts.queued()
        return [*pending[::-1], *running, *prompts.over()[::-1]]

    def found(key: str) -> Prompt:
        for prompt in every():
            if prompt.key == key:
                return prompt
        raise HTTPException(404, f"there is no job {key!r}")

    @routes.get("/jobs")
    def jobs(status: str = "", limit: int = 200, offset: int = 0) -> dict[str, Any]:
        wanted = set(filter(None, status.split(",")))
        listed = [job_of(prompt) for prompt in every()]
        listed = [job for job in listed if not wanted or job["status"] in wanted]
        page = listed[offset : offset + limit]
        more = offset + limit < len(listed)
        about = {"offset": offset, "limit": limit, "total": len(listed), "has_more": more}
        return {"jobs": page, "pagination": about}

    @routes.post("/jobs/cancel")
    def cancel_jobs(payload: Annotated[dict[str, Any], Body()]) -> None:
        for key in payload.get("job_ids") or []:
            cancel(str(key))

    @routes.get("/jobs/{key}")
    def job(key: str) -> dict[str, Any]:
        prompt = found(key)
        workflow = {"prompt": prompt.content, "extra_data": prompt.extra}
        return {**job_of(prompt), "outputs": prompt.outputs, "workflow": workflow}

    @routes.post("/jobs/{key}/cancel")
    def cancel(key: str) -> None:
        studio.worker.cancel(key)

    return routes


def job_of(prompt: Prompt) -> dict[str, Any]:
    """Returns a graph as the editor lists it, with its last picture."""
    node = next(reversed(prompt.outputs), None)
    images = prompt.outputs[node].get("images", []) if node is not None else []
    preview = {**images[-1], "nodeId": node, "mediaType": "images"} if images else None
    error = {"exception_message": prompt.error, "exception_type": "", "traceback": []}
    error |= {"node_id": "", "node_type": ""}
    return {
        "id": prompt.key,
        "status": STATES.get(prompt.state, "failed"),
        "create_time": prompt.created,
        "priority": prompt.number,
        "preview_output": preview,
        "outputs_count": sum(len(each.get("images", [])) for each in prompt.outputs.values()),
        "execution_error": error if prompt.error else None,
    }
