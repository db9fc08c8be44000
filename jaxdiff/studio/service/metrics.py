"""Numbers for Prometheus: jobs by their end, seconds, steps, and what waits."""

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from jaxdiff.studio.service.jobs import Job
from jaxdiff.studio.service.studio import Studio

SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)


def router(studio: Studio) -> APIRouter:
    """Returns the route /metrics, of numbers that are counted from now on."""
    registry = CollectorRegistry()
    jobs = Counter("jaxdiff_studio_jobs", "Jobs that are over.", ["state"], registry=registry)
    steps = Counter("jaxdiff_studio_steps", "Steps of sampling.", registry=registry)
    buckets = {"buckets": SECONDS, "registry": registry}
    drawing = Histogram("jaxdiff_studio_drawing_seconds", "From start to end.", **buckets)
    waiting = Histogram("jaxdiff_studio_waiting_seconds", "From arrival to start.", **buckets)
    length = Gauge("jaxdiff_studio_waiting_jobs", "Jobs in the queue.", registry=registry)
    length.set_function(lambda: len(studio.worker.waiting()))
    running = Gauge("jaxdiff_studio_running_jobs", "Jobs in progress.", registry=registry)
    running.set_function(lambda: studio.worker.running is not None)

    def changed(job: Job) -> None:
        if job.state == "running" and job.step and job.ended is None:
            steps.inc()
        if job.finished.is_set():
            jobs.labels(job.state).inc()
            if job.started and job.ended:
                drawing.observe(job.ended - job.started)
                waiting.observe(job.started - job.created)

    studio.listeners.append(changed)
    routes = APIRouter()

    @routes.get("/metrics", response_class=PlainTextResponse)
    def metrics() -> str:
        return generate_latest(registry).decode()

    @routes.get("/healthz", response_class=PlainTextResponse)
    def healthy() -> str:
        return "ok"

    return routes
