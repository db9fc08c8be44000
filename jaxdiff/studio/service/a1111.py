"""The routes of AUTOMATIC1111's web interface, /sdapi/v1/..., for its clients."""

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Body, HTTPException, Request
from PIL import Image

from jaxdiff.pipelines import infotext
from jaxdiff.studio import pixels
from jaxdiff.studio.graph.names import OWN
from jaxdiff.studio.requests import Request as Wish
from jaxdiff.studio.service import previews
from jaxdiff.studio.service.jobs import CancelledError, FullError, Job
from jaxdiff.studio.service.payloads import SCHEDULES, image_of, number_of, requests_of
from jaxdiff.studio.service.studio import Studio

Payload = Annotated[dict[str, Any], Body()]

POLL = 0.02
"""Seconds between looks at whether a job is over."""
LABELS = {"sgm_uniform": "SGM Uniform", "ddim": "DDIM"}
UPSCALERS = {"None": None, "Nearest": Image.Resampling.NEAREST, "Lanczos": Image.Resampling.LANCZOS}


def router(studio: Studio) -> APIRouter:
    """Returns the routes."""
    routes = APIRouter(prefix="/sdapi/v1", tags=["AUTOMATIC1111"])

    @routes.post("/txt2img")
    async def txt2img(asked: Request, payload: Payload) -> dict[str, Any]:
        return await _drawn(studio, client_of(asked), payload, None)

    @routes.post("/img2img")
    async def img2img(asked: Request, payload: Payload) -> dict[str, Any]:
        images = payload.get("init_images") or []
        if not images:
            raise HTTPException(404, "Init image not found")
        return await _drawn(studio, client_of(asked), payload, images[0])

    @routes.get("/progress")
    def progress(skip_current_image: bool = False) -> dict[str, Any]:
        job = studio.worker.running
        image = None if job is None or skip_current_image else previews.encoded(studio, job)
        done = job.progress if job else 0.0
        passed = time.time() - job.started if job and job.started else 0.0
        return {
            "progress": done,
            "eta_relative": passed * (1 - done) / done if done else 0.0,
            "state": {
                "skipped": False,
                "interrupted": bool(job and job.stopped),
                "stopping_generation": False,
                "job": job.key if job else "",
                "job_count": len(studio.worker.waiting()) + (job is not None),
                "job_timestamp": time.strftime("%Y%m%d%H%M%S"),
                "job_no": job.number if job else 0,
                "sampling_step": job.step if job else 0,
                "sampling_steps": job.steps if job else 0,
            },
            "current_image": image,
            "textinfo": None,
        }

    @routes.post("/interrupt")
    @routes.post("/skip")
    def interrupt(asked: Request) -> dict[str, Any]:
        studio.worker.interrupt(client_of(asked))
        return {}

    @routes.get("/options")
    def options() -> dict[str, Any]:
        return {
            "sd_model_checkpoint": studio.chosen,
            "sd_checkpoint_hash": "",
            "samples_save": True,
        }

    @routes.post("/options")
    def set_options(payload: Payload) -> None:
        if name := payload.get("sd_model_checkpoint"):
            _or_422(studio.choose, str(name))

    @routes.get("/sd-models")
    def models() -> list[dict[str, Any]]:
        return [
            {
                "title": name, "model_name": Path(name).stem, "hash": None, "sha256": None,
                "filename": name, "config": None,
            }
            for name in studio.names()
        ]  # fmt: skip

    @routes.get("/samplers")
    def samplers() -> list[dict[str, Any]]:
        own = [(name, infotext.SAMPLERS.get(name, name)) for name in OWN]
        return [{"name": label, "aliases": [name], "options": {}} for name, label in own]

    @routes.get("/schedulers")
    def schedulers() -> list[dict[str, Any]]:
        return [
            {
                "name": name, "label": LABELS.get(name, name.title()), "aliases": None,
                "default_rho": -1.0, "need_inner_model": False,
            }
            for name in SCHEDULES
        ]  # fmt: skip

    @routes.get("/loras")
    def loras() -> list[dict[str, Any]]:
        return [
            {"name": Path(name).stem, "alias": Path(name).stem, "path": name, "metadata": {}}
            for name in studio.folders.listed("loras")
        ]

    @routes.get("/upscalers")
    def upscalers() -> list[dict[str, Any]]:
        blank = {"model_name": None, "model_path": None, "model_url": None, "scale": 4.0}
        return [{"name": name, **blank} for name in UPSCALERS]

    @routes.get("/embeddings")
    def embeddings() -> dict[str, Any]:
        return {"loaded": {}, "skipped": {}}

    @routes.get("/cmd-flags")
    @routes.get("/memory")
    def nothing() -> dict[str, Any]:
        return {}

    @routes.get("/sd-vae")
    @routes.get("/hypernetworks")
    @routes.get("/face-restorers")
    @routes.get("/realesrgan-models")
    @routes.get("/prompt-styles")
    @routes.get("/latent-upscale-modes")
    @routes.get("/scripts")
    def none() -> list[Any]:
        return []

    @routes.post("/refresh-checkpoints")
    @routes.post("/refresh-loras")
    def refresh() -> None:
        """Folders are read at every question."""

    @routes.post("/png-info")
    def png_info(payload: Payload) -> dict[str, Any]:
        image = _or_422(image_of, str(payload.get("image", "")), "image")
        text = image.info.get("parameters", "")
        items = {k: v for k, v in image.info.items() if isinstance(v, str)}
        found = infotext.parsed(text) if text else infotext.Infotext("", "", {})
        parameters = {"Prompt": found.prompt, "Negative prompt": found.negative, **found.fields}
        return {"info": text, "items": items, "parameters": parameters if text else {}}

    @routes.post("/extra-single-image")
    def extra(payload: Payload) -> dict[str, Any]:
        image = _or_422(image_of, str(payload.get("image", "")), "image").convert("RGB")
        return {"html_info": "", "image": _base64(_or_422(_upscaled, studio, image, payload))}

    return routes


def client_of(asked: Request) -> str:
    """Returns who asks, for the turns of the queue: an address, and the user's name if given."""
    user = ""
    scheme, _, value = asked.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        with contextlib.suppress(ValueError):
            user = base64.b64decode(value).partition(b":")[0].decode(errors="replace")
    return f"a1111 {user}@{asked.client.host if asked.client else ''}"


async def _drawn(
    studio: Studio, client: str, payload: Mapping[str, Any], start: str | None
) -> dict[str, Any]:
    """Draws what a payload asks for, and answers as clients expect."""
    save = bool(payload.get("save_images", False))
    jobs: list[Job] = []
    try:
        model = (payload.get("override_settings") or {}).get("sd_model_checkpoint")
        requests = requests_of(payload, start, studio.limits.pictures)
        for request in requests:
            jobs.append(studio.submit(request, model=model, save=save, client=client))
    except (FullError, ValueError, FileNotFoundError) as error:
        for job in jobs:
            studio.worker.cancel(job.key)
        raise HTTPException(503 if isinstance(error, FullError) else 422, str(error)) from None
    drawn = [picture for job in jobs for picture in await _result(job)]
    if payload.get("enable_hr") and start is None:
        drawn = await _larger(studio, client, payload, requests, drawn)
    texts = [picture.text for picture in drawn]
    first = requests[0]
    info = {
        "prompt": first.prompt,
        "all_prompts": [first.prompt] * len(drawn),
        "negative_prompt": first.negative,
        "all_negative_prompts": [first.negative] * len(drawn),
        "seed": first.seed,
        "all_seeds": [each.seed for each in requests],
        "subseed": 0,
        "all_subseeds": [0] * len(drawn),
        "width": drawn[0].pixels.shape[1],
        "height": drawn[0].pixels.shape[0],
        "sampler_name": str(payload.get("sampler_name") or ""),
        "cfg_scale": first.guidance_scale,
        "steps": first.steps,
        "batch_size": payload.get("batch_size") or 1,
        "sd_model_name": studio.chosen,
        "denoising_strength": first.strength,
        "infotexts": texts,
        "index_of_first_image": 0,
    }
    images = [base64.b64encode(picture.content).decode() for picture in drawn]
    sent = images if payload.get("send_images", True) else []
    kept = {k: v for k, v in payload.items() if k not in ("init_images", "mask")}
    return {"images": sent, "parameters": kept, "info": json.dumps(info)}


async def _result(job: Job) -> Any:
    # No thread waits: those of the pool answer who asks for progress, or interrupts.
    while not job.finished.is_set():
        await asyncio.sleep(POLL)
    try:
        return job.wait()
    except CancelledError as error:
        raise HTTPException(409, str(error)) from None
    except (ValueError, FileNotFoundError) as error:
        raise HTTPException(422, str(error)) from None


async def _larger(
    studio: Studio,
    client: str,
    payload: Mapping[str, Any],
    requests: list[Wish],
    drawn: list[Any],
) -> list[Any]:
    """Returns pictures made larger, and drawn on from there: "hires fix"."""
    found = []
    for request, picture in zip(requests, drawn, strict=True):
        small = pixels.picture_of(picture.pixels)
        wide, high = (number_of(payload, f"hr_resize_{side}", 0) for side in "xy")
        if not (wide and high):
            scale = float(payload.get("hr_scale", 2.0))
            wide, high = (round(n * scale) for n in small.size)
        image = small.resize((wide, high), Image.Resampling.LANCZOS)
        steps = number_of(payload, "hr_second_pass_steps", 0) or request.steps
        job = studio.submit(
            replace(
                request,
                image=pixels.array_of(image),
                size=(high, wide),
                steps=steps,
                strength=float(payload.get("denoising_strength", 0.75)),
            ),
            save=bool(payload.get("save_images", False)),
            client=client,
        )
        found += await _result(job)
    return found


def _upscaled(studio: Studio, image: Image.Image, payload: Mapping[str, Any]) -> Image.Image:
    name = str(payload.get("upscaler_1") or "None")
    if name not in UPSCALERS:
        raise ValueError(f"upscaler_1={name!r} is not here; known: {', '.join(UPSCALERS)}")
    scale = float(payload.get("upscaling_resize", 2))
    size = tuple(round(n * scale) for n in image.size)
    if number_of(payload, "resize_mode", 0) == 1:
        size = tuple(number_of(payload, f"upscaling_resize_{side}", 512) for side in "wh")
    if min(size) < 1 or size[0] * size[1] > studio.limits.pixels:
        raise ValueError(f"size {size}; from 1 to {studio.limits.pixels} pixels")
    method = UPSCALERS[name]
    return image if method is None else image.resize(size, method)


def _base64(image: Image.Image) -> str:
    return base64.b64encode(pixels.png_bytes(image, {})).decode()


def _or_422(function: Any, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except ValueError as error:
        raise HTTPException(422, str(error)) from None
