"""The studio's application: services, page, and the guard before them."""

from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from jaxdiff.studio.service import a1111, comfy, editor, metrics, running
from jaxdiff.studio.service.guard import Guard, is_loopback
from jaxdiff.studio.service.prompts import Prompts
from jaxdiff.studio.service.studio import Studio


def application(studio: Studio, token: str = "", *, page: bool = True) -> Guard:
    """Returns the ASGI application of a studio.

    Args:
        studio: draws.
        token: which every request must have; "" for none, on loopback only.
        page: whether the web page is there, which needs Gradio.
    """

    @asynccontextmanager
    async def life(app: FastAPI) -> Any:
        yield
        studio.close()

    app = FastAPI(title="jaxdiff studio", lifespan=life, docs_url=None, redoc_url=None)
    prompts = Prompts(studio, running.run)
    app.include_router(a1111.router(studio))
    app.include_router(comfy.router(studio, prompts))
    app.include_router(comfy.news_router(prompts))
    app.include_router(metrics.router(studio))

    editor.add_editor(app, studio, prompts)

    @app.exception_handler(ValueError)
    async def wrong(request: Request, error: ValueError) -> JSONResponse:
        return JSONResponse({"error": type(error).__name__, "detail": str(error)}, 422)

    inner: Any = app
    if page:
        from jaxdiff.studio.page import mounted  # noqa: PLC0415 - takes seconds

        inner = mounted(app, studio)
    return Guard(inner, token)


def serve(app: Guard, host: str, port: int) -> None:
    """Answers until the process is ended.

    Raises:
        ValueError: the address is not this machine's own, and there is no token.
    """
    import uvicorn  # noqa: PLC0415

    check_host(host, app.token)
    uvicorn.run(app, host=host, port=port, log_level="warning", server_header=False)


def check_host(host: str, token: str) -> None:
    """Checks that an address which others reach has a token.

    Raises:
        ValueError: it has none.
    """
    if not is_loopback(host) and len(token) < SHORTEST:
        raise ValueError(
            f"host={host!r} is reached by others: give a token of at least {SHORTEST} characters,"
            " --token_file=FILE, or listen on 127.0.0.1"
        )


SHORTEST = 16
