"""ComfyUI's routes: graphs in a queue, their history, files, and news by WebSocket."""

import asyncio
import contextlib
import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any

from fastapi import APIRouter, Body, HTTPException, Request, WebSocket
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse
from starlette.datastructures import UploadFile
from starlette.websockets import WebSocketDisconnect

from jaxdiff.studio import pixels
from jaxdiff.studio.folders import MODELS, inside
from jaxdiff.studio.graph import ports
from jaxdiff.studio.graph.checking import check
from jaxdiff.studio.graph.graph import read
from jaxdiff.studio.service.described import described
from jaxdiff.studio.service.jobs import FullError
from jaxdiff.studio.service.prompts import Prompts
from jaxdiff.studio.service.studio import Studio

Payload = Annotated[dict[str, Any], Body()]


def router(studio: Studio, prompts: Prompts) -> APIRouter:
    """Returns the routes."""
    routes = APIRouter(tags=["ComfyUI"])

    @routes.post("/prompt")
    async def submit(request: Request) -> JSONResponse:
        # Clients of the standard library do not say that it is JSON.
        try:
            payload = json.loads(await request.body())
        except (ValueError, RecursionError) as error:
            return JSONResponse(_refused(error), 400)
        return await run_in_threadpool(_submitted, studio, prompts, payload)

    @routes.get("/prompt")
    def waiting() -> dict[str, Any]:
        return {"exec_info": {"queue_remaining": prompts.remaining()}}

    @routes.get("/queue")
    def queue() -> dict[str, Any]:
        running, pending = prompts.queued()
        return {
            "queue_running": [prompt.listed() for prompt in running],
            "queue_pending": [prompt.listed() for prompt in pending],
        }

    @routes.post("/queue")
    def change_queue(payload: Payload) -> None:
        if payload.get("clear"):
            studio.worker.cancel()
        for key in payload.get("delete") or []:
            studio.worker.cancel(str(key))

    @routes.post("/interrupt")
    def interrupt(payload: Annotated[dict[str, Any] | None, Body()] = None) -> None:
        # Clients do not say who they are here: what they mean are graphs.
        key = (payload or {}).get("prompt_id")
        for prompt in prompts.queued()[0]:
            if key in (None, prompt.key):
                studio.worker.interrupt(key=prompt.key)

    @routes.get("/history")
    def history(max_items: int = 200) -> dict[str, Any]:
        return {p.key: p.record() for p in prompts.over()[-max_items:]}

    @routes.get("/history/{key}")
    def one(key: str) -> dict[str, Any]:
        return {p.key: p.record() for p in prompts.over() if p.key == key}

    @routes.post("/history")
    def change_history(payload: Payload) -> None:
        keys = [None] if payload.get("clear") else payload.get("delete") or []
        for key in keys:
            prompts.forget(key)

    @routes.get("/view")
    def view(
        filename: str,
        subfolder: str = "",
        type: str = "output",
    ) -> FileResponse:
        if type not in ("input", "output", "temp"):
            raise HTTPException(400, "type must be input, output or temp")
        name = f"{subfolder}/{filename}" if subfolder else filename
        try:
            path = inside(studio.folders.folder(type), name)
        except ValueError as error:
            raise HTTPException(400, str(error)) from None
        if path.suffix.lower() not in SHOWN or not path.is_file():
            raise HTTPException(404, "there is no such file")
        return FileResponse(path, media_type=SHOWN[path.suffix.lower()])

    @routes.post("/upload/image")
    @routes.post("/upload/mask")
    async def upload(request: Request) -> dict[str, Any]:
        async with request.form(max_files=1, max_fields=10) as form:
            file = form.get("image")
            if not isinstance(file, UploadFile):
                raise HTTPException(400, "image: no file")
            content = await file.read(pixels.MOST_BYTES + 1)
            try:
                return _uploaded(studio, content, file.filename or "", form)
            except ValueError as error:
                raise HTTPException(400, str(error)) from None

    @routes.get("/object_info")
    def all_nodes() -> dict[str, Any]:
        return {kind: described(studio, kind) for kind in ports.known()}

    @routes.get("/object_info/{kind}")
    def one_node(kind: str) -> dict[str, Any]:
        return {kind: described(studio, kind)} if kind in ports.known() else {}

    @routes.get("/system_stats")
    def stats() -> dict[str, Any]:
        return {"system": {"os": "", "comfyui_version": "", "argv": []}, "devices": []}

    @routes.get("/models")
    def folders() -> list[str]:
        return list(MODELS)

    @routes.get("/models/{folder}")
    def models(folder: str) -> list[str]:
        if folder not in MODELS:
            raise HTTPException(404, f"there is no folder {folder!r}")
        return studio.folders.listed(folder)

    @routes.get("/embeddings")
    def embeddings() -> list[str]:
        return [PurePosixPath(each).stem for each in studio.folders.listed("embeddings")]

    @routes.get("/extensions")
    def extensions() -> list[str]:
        return []

    return routes


def news_router(prompts: Prompts) -> APIRouter:
    """Returns the route of news, a WebSocket for each client."""
    routes = APIRouter(tags=["ComfyUI"])

    @routes.websocket("/ws")
    async def news(socket: WebSocket) -> None:
        client = socket.query_params.get("clientId", "")
        await socket.accept()
        queue: asyncio.Queue[Any] = asyncio.Queue(maxsize=1000)
        loop = asyncio.get_running_loop()

        def put(message: Any) -> None:
            with contextlib.suppress(asyncio.QueueFull):
                queue.put_nowait(message)

        hear = lambda message: loop.call_soon_threadsafe(put, message)
        prompts.listen(client, hear)
        try:
            await socket.send_json(_status(prompts.remaining(), client))
            await asyncio.gather(_sent(socket, queue), _heard(socket))
        except (WebSocketDisconnect, RuntimeError, asyncio.CancelledError):
            pass
        finally:
            prompts.leave(client, hear)

    return routes


def _submitted(studio: Studio, prompts: Prompts, payload: Any) -> JSONResponse:
    """Checks a graph, and puts it into the queue."""
    try:
        check(read({"prompt": payload.get("prompt")}), studio.folders)
        prompt = prompts.submit(payload, front=bool(payload.get("front")))
    except FullError as error:
        raise HTTPException(503, str(error)) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return JSONResponse(_refused(error), 400)
    return JSONResponse({"prompt_id": prompt.key, "number": prompt.number, "node_errors": {}})


SHOWN = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".bmp": "image/bmp",
    ".mp4": "video/mp4",
    ".webm": "video/webm",
}
"""The files that are shown, with their types: none that a browser would run."""


async def _sent(socket: WebSocket, queue: "asyncio.Queue[Any]") -> None:
    while True:
        message = await queue.get()
        if isinstance(message, bytes):
            await socket.send_bytes(message)
        else:
            await socket.send_json(message)


async def _heard(socket: WebSocket) -> None:
    while True:
        await socket.receive_text()


def _status(remaining: int, client: str = "") -> dict[str, Any]:
    data: dict[str, Any] = {"status": {"exec_info": {"queue_remaining": remaining}}}
    return {"type": "status", "data": {**data, "sid": client} if client else data}


def _refused(error: Exception) -> dict[str, Any]:
    """Returns the answer for a graph that cannot run, with the problems by node."""
    nodes: dict[str, Any] = {}
    for problem in getattr(error, "problems", ()):
        entry = nodes.setdefault(
            problem.node, {"errors": [], "dependent_outputs": [], "class_type": problem.kind}
        )
        entry["errors"].append(
            {
                "type": "value_not_valid",
                "message": problem.words,
                "details": problem.input,
                "extra_info": {"input_name": problem.input},
            }
        )
    kind = "prompt_outputs_failed_validation" if nodes else "invalid_prompt"
    shown = {"type": kind, "message": str(error), "details": "", "extra_info": {}}
    return {"error": shown, "node_errors": nodes}


def _uploaded(studio: Studio, content: bytes, name: str, form: Mapping[str, Any]) -> dict[str, Any]:
    """Writes an upload into the input folder, decoded and encoded anew, and returns its name."""
    folder = str(form.get("type") or "input")
    if folder not in ("input", "temp"):
        raise ValueError("type must be input or temp")
    subfolder = str(form.get("subfolder") or "")
    image = pixels.opened(content, "image")
    stem = PurePosixPath(name.replace("\\", "/")).stem or "picture"
    prefix = f"{subfolder}/" if subfolder else ""
    path = inside(studio.folders.folder(folder), f"{prefix}{stem}.png")
    count = 0
    overwrite = str(form.get("overwrite", "")).lower() in ("true", "1")
    while path.exists() and not overwrite:
        count += 1
        path = path.with_name(f"{stem} ({count}).png")
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = {k: v for k, v in image.info.items() if isinstance(v, str)}
    pixels.save_png(path, image if image.mode in MODES else image.convert("RGBA"), texts)
    return {"name": path.name, "subfolder": subfolder, "type": folder}


MODES = ("L", "RGB", "RGBA")
