"""Times our U-Net beside that of diffusers on PyTorch, and writes docs/benchmark.md.

python experiments/benchmark.py --rounds=5 --batch=32

Each task runs in a process of its own on either side; the two take turns, so that what else the
machine does meets both, and medians are compared. Needs the extra `benchmark`.
"""

# ruff: noqa: PLC0415 - a process imports only what it times

import dataclasses
import datetime
import importlib.metadata
import json
import os
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from absl import app, flags

TASKS = {
    "forward": "Forward pass",
    "train": "Training step (forward, backward, AdamW)",
    "sample": "DDIM sampling",
}
PEER, OURS = "diffusers", "jaxdiff"
WIDTHS, LAYERS, HEAD_CHANNELS, SIZE = (64, 128, 128), 2, 8, 32

BATCH = flags.DEFINE_integer("batch", 32, "Images in a forward pass and in a training step.")
SAMPLE_BATCH = flags.DEFINE_integer("sample_batch", 4, "Images that are sampled at a time.")
STEPS = flags.DEFINE_integer("steps", 50, "DDIM steps.")
ROUNDS = flags.DEFINE_integer("rounds", 5, "Timed runs of each task on each side.", lower_bound=1)
THREADS = flags.DEFINE_integer(
    "threads", len(os.sched_getaffinity(0)), "Processor cores that a side may use.", lower_bound=1
)
OUT = flags.DEFINE_string("out", "docs/benchmark.md", "Where to write the table.")
CHILD = flags.DEFINE_string("child", None, "For the script's own use: <side>:<task> to be timed.")


@dataclasses.dataclass(frozen=True)
class Job:
    """One task, ready to be run again and again; `parameters` says that both sides are alike."""

    run: Callable[[], None]
    parameters: int
    compile_seconds: float = 0.0


def diffusers_job(task: str) -> Job:
    """Prepares a task with diffusers' network on PyTorch."""
    import diffusers
    import torch

    torch.set_num_threads(THREADS.value)
    net = diffusers.UNet2DModel(
        sample_size=SIZE,
        block_out_channels=WIDTHS,
        layers_per_block=LAYERS,
        attention_head_dim=HEAD_CHANNELS,
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    )
    batch = SAMPLE_BATCH.value if task == "sample" else BATCH.value
    x, t = torch.randn(batch, 3, SIZE, SIZE), torch.arange(batch)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4)
    scheduler = diffusers.DDIMScheduler(clip_sample=False)
    scheduler.set_timesteps(STEPS.value)

    @torch.no_grad()
    def forward():
        net(x, t)

    def train():
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(net(x, t).sample, x).backward()
        optimizer.step()

    @torch.no_grad()
    def sample():
        z = x
        for step in scheduler.timesteps:
            z = scheduler.step(net(z, step).sample, step, z).prev_sample

    run = {"forward": forward, "train": train, "sample": sample}[task]
    return Job(run, sum(p.numel() for p in net.parameters()))


def jaxdiff_job(task: str) -> Job:
    """Prepares a task with our network."""
    import jax
    import jax.numpy as jnp
    import optax

    from jaxdiff.diffusion import parameterizations, sampling, schedules, solvers, timesteps
    from jaxdiff.diffusion.process import Process
    from jaxdiff.networks.model import Model
    from jaxdiff.networks.unet import UNet

    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    net = UNet(WIDTHS, LAYERS, attention_at=(SIZE // 2,), head_channels=HEAD_CHANNELS)
    process = Process(schedules.LinearBeta())
    model = Model(net, process, parameterizations.noise, lambda _, x, t: x, lambda _, t: 1000 * t)
    batch = SAMPLE_BATCH.value if task == "sample" else BATCH.value
    x = jax.random.normal(jax.random.key(0), (batch, SIZE, SIZE, 3))
    t, keys = jnp.arange(batch) / 1000, jax.random.split(jax.random.key(1), batch)
    params = jax.jit(model.init)(jax.random.key(2), x[:1], {})
    optimizer = optax.adamw(1e-4)

    def forward(params):
        return net.apply({"params": params}, x, 1000 * t, {})

    def train(state):
        params, moments = state
        gradient = jax.grad(lambda params: jnp.mean(jnp.square(forward(params) - x)))(params)
        updates, moments = optimizer.update(gradient, moments, params)
        return optax.apply_updates(params, updates), moments

    def sample(params):
        times = timesteps.Trailing()(process, STEPS.value)
        return sampling.sample(solvers.DDIM(process), model.bind(params), x, times, {}, keys)

    state = (params, optimizer.init(params)) if task == "train" else params
    function = {"forward": forward, "train": train, "sample": sample}[task]
    donated = (0,) if task == "train" else ()
    start = time.perf_counter()
    compiled = jax.jit(function, donate_argnums=donated).lower(state).compile()
    compile_seconds = time.perf_counter() - start
    parameters = sum(a.size for a in jax.tree.leaves(params))

    def run():
        nonlocal state
        result = jax.block_until_ready(compiled(state))
        state = result if task == "train" else state

    return Job(run, parameters, compile_seconds)


def serve(side: str, task: str) -> None:
    """Runs once per line of standard input and answers with the seconds; ends with the input."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: THREADS.value])
    job = {PEER: diffusers_job, OURS: jaxdiff_job}[side](task)
    job.run()
    answer({"parameters": job.parameters, "compile_seconds": job.compile_seconds})
    for _ in sys.stdin:
        start = time.perf_counter()
        job.run()
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        answer({"seconds": seconds, "peak_mib": peak})


def answer(report: dict) -> None:
    """Sends one report to the parent."""
    print(json.dumps(report), flush=True)


class Child:
    """The process of one side and task."""

    def __init__(self, side: str, task: str, cache: str):
        names = ("batch", "sample_batch", "steps", "threads")
        options = [f"--{name}={flags.FLAGS[name].value}" for name in names]
        self.process = subprocess.Popen(
            [sys.executable, __file__, f"--child={side}:{task}", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "JAX_COMPILATION_CACHE_DIR": cache},
        )
        self.ready = self._read()

    def time(self) -> dict:
        """Lets the child run once."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self._read()

    def close(self) -> None:
        """Ends the process."""
        self.process.stdin.close()
        self.process.wait()

    def _read(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process ended early: {shlex.join(self.process.args)}")
        return json.loads(line)


def measure(task: str, cache: str) -> tuple[str, dict]:
    """Returns a row of the table, and what our side said when it was ready."""
    sides = {side: Child(side, task, cache) for side in (PEER, OURS)}
    counts = {side: child.ready["parameters"] for side, child in sides.items()}
    if len(set(counts.values())) > 1:
        raise RuntimeError(f"the networks are not alike; parameters: {counts}")
    seconds = {side: [] for side in sides}
    peak = {}
    for _ in range(ROUNDS.value):
        for side, child in sides.items():
            report = child.time()
            seconds[side].append(report["seconds"])
            peak[side] = f"{report['peak_mib']:.0f} MiB"
    for child in sides.values():
        child.close()
    typical = {side: statistics.median(seconds[side]) for side in sides}
    cells = [f"{typical[side]:.2f} s ({min(seconds[side]):.2f})" for side in sides]
    ratios = f"{typical[OURS] / typical[PEER]:.2f} ({min(seconds[OURS]) / min(seconds[PEER]):.2f})"
    return f"| {' | '.join([TASKS[task], *cells, ratios, *peak.values()])} |", sides[OURS].ready


def page() -> str:
    """Measures everything; returns the page."""
    rows, ready, load = {}, {}, os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as cache:
        for task in TASKS:
            rows[task], ready[task] = measure(task, cache)
            print(rows[task], flush=True)
        again = Child(OURS, "train", cache)
        again.close()
    parameters = ready["train"]["parameters"] / 1e6
    cold, cached = (r["compile_seconds"] for r in (ready["train"], again.ready))
    packages = ("jaxdiff", "jax", "flax", "diffusers", "torch")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    quiet = "quiet" if load < 0.5 else "busy with other work, which disturbs these figures"
    command = shlex.join(["python", "experiments/benchmark.py", *sys.argv[1:]])
    return f"""# Benchmark

The same U-Net on both sides: {parameters:.1f} M parameters in float32, widths {WIDTHS},
{LAYERS} layers a block, attention at {SIZE // 2} pixels with heads of {HEAD_CHANNELS} channels,
images of {SIZE} by {SIZE}. {BATCH.value} images at a time, {SAMPLE_BATCH.value} in sampling,
which takes {STEPS.value} steps. {THREADS.value} CPU cores.
Medians of {ROUNDS.value} rounds, the fastest in parentheses; the two sides take turns.
The machine was {quiet} (load average {load:.1f} before the start).

| | {PEER} | {OURS} | ratio | peak memory, {PEER} | {OURS} |
|---|---|---|---|---|---|
{chr(10).join(rows.values())}

Peak memory is that of the whole process, compilation included. jaxdiff compiles its training step
in {cold:.1f} s, or in {cached:.1f} s where JAX's persistent cache holds it.

{datetime.date.today()}, {versions}:

    {command}
"""


def main(argv: list[str]) -> None:
    """Measures and writes the page, or serves as one of the processes that are timed."""
    if len(argv) > 1:
        raise app.UsageError(f"unknown arguments: {argv[1:]}")
    if CHILD.value:
        serve(*CHILD.value.split(":"))
        return
    text = page()
    Path(OUT.value).write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    app.run(main)
