"""Times our networks and a released model beside diffusers, and few-step objectives; writes a page.

python experiments/benchmark.py --rounds=5

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
from benchmark_networks import NETWORKS, SIZE, Network

TASKS = {
    "forward": "Forward pass",
    "train": "Training step (forward, backward, AdamW)",
    "sample": "DDIM sampling",
}
PEER, OURS = "diffusers", "jaxdiff"

ONLY = flags.DEFINE_list("networks", list(NETWORKS), "Networks to be timed.")
SAMPLE_BATCH = flags.DEFINE_integer("sample_batch", 4, "Images that are sampled at a time.")
STEPS = flags.DEFINE_integer("steps", 50, "DDIM steps.")
ROUNDS = flags.DEFINE_integer("rounds", 5, "Timed runs of each task on each side.", lower_bound=1)
THREADS = flags.DEFINE_integer(
    "threads", len(os.sched_getaffinity(0)), "Processor cores that a side may use.", lower_bound=1
)
OBJECTIVES = flags.DEFINE_bool("objectives", True, "Whether few-step objectives are timed, too.")
RELEASED = flags.DEFINE_bool("released", True, "Whether a released model is timed, too.")
OUT = flags.DEFINE_string("out", "docs/benchmark.md", "Where to write the table.")
CHILD = flags.DEFINE_string("child", None, "For the script's own use: <side>:<task> to be timed.")


@dataclasses.dataclass(frozen=True)
class Job:
    """One task, ready to be run again and again; `parameters` says that both sides are alike."""

    run: Callable[[], None]
    parameters: int
    compile_seconds: float = 0.0


def diffusers_job(network: Network, task: str) -> Job:
    """Prepares a task with diffusers' network on PyTorch."""
    import diffusers
    import torch

    torch.set_num_threads(THREADS.value)
    net = network.peer()
    batch = SAMPLE_BATCH.value if task == "sample" else network.batch
    x, t = torch.randn(batch, network.channels, SIZE, SIZE), torch.arange(batch)
    cond = {name: torch.tensor(value) for name, value in network.cond(batch).items()}
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4)
    scheduler = diffusers.DDIMScheduler(clip_sample=False)
    scheduler.set_timesteps(STEPS.value)

    @torch.no_grad()
    def forward():
        network.call(net, x, t, cond)

    def train():
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(network.call(net, x, t, cond), x).backward()
        optimizer.step()

    @torch.no_grad()
    def sample():
        z = x
        for step in scheduler.timesteps:
            z = scheduler.step(network.call(net, z, step, cond), step, z).prev_sample

    run = {"forward": forward, "train": train, "sample": sample}[task]
    # Diffusers' DiT has a copy of its embeddings in every block.
    copies = [name for name, _ in net.named_parameters() if ".norm1.emb." in name]
    copies = {name for name in copies if not name.startswith("transformer_blocks.0.")}
    counted = [p.numel() for name, p in net.named_parameters() if name not in copies]
    return Job(run, sum(counted))


def jaxdiff_job(network: Network, task: str) -> Job:
    """Prepares a task with our network."""
    import jax
    import jax.numpy as jnp
    import optax

    from jaxdiff.diffusion import parameterizations, sampling, schedules, solvers, timesteps
    from jaxdiff.diffusion.process import Process
    from jaxdiff.tasks.model import Model

    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    net, process = network.ours(), Process(schedules.LinearBeta())
    model = Model(net, process, parameterizations.noise, lambda _, x, t: x, lambda _, t: 1000 * t)
    batch = SAMPLE_BATCH.value if task == "sample" else network.batch
    x = jax.random.normal(jax.random.key(0), (batch, SIZE, SIZE, network.channels))
    t, keys = jnp.arange(batch) / 1000, jax.random.split(jax.random.key(1), batch)
    cond = jax.tree.map(jnp.asarray, network.cond(batch))
    params = jax.jit(model.init)(jax.random.key(2, impl="rbg"), x, cond)
    optimizer = optax.adamw(1e-4)

    def forward(params):
        out = net.apply({"params": params["network"]}, x, 1000 * t, cond)
        return out[..., : network.channels]

    def train(state):
        params, moments = state
        gradient = jax.grad(lambda params: jnp.mean(jnp.square(forward(params) - x)))(params)
        updates, moments = optimizer.update(gradient, moments, params)
        return optax.apply_updates(params, updates), moments

    def sample(params):
        times = timesteps.Trailing()(process, STEPS.value)
        return sampling.sample(solvers.DDIM(process), model.bind(params), x, times, cond, keys)

    state = (params, optimizer.init(params)) if task == "train" else params
    function = {"forward": forward, "train": train, "sample": sample}[task]
    donated = (0,) if task == "train" else ()
    start = time.perf_counter()
    compiled = jax.jit(function, donate_argnums=donated).lower(state).compile()
    compile_seconds = time.perf_counter() - start
    # What only we have: the embedding of a text that is absent.
    named = jax.tree_util.tree_leaves_with_path(params)
    parameters = sum(a.size for path, a in named if path[-1].key != "null")

    def run():
        nonlocal state
        result = jax.block_until_ready(compiled(state))
        state = result if task == "train" else state

    return Job(run, parameters, compile_seconds)


def serve(side: str, name: str, task: str) -> None:
    """Runs once per line of standard input and answers with the seconds; ends with the input."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: THREADS.value])
    job = {PEER: diffusers_job, OURS: jaxdiff_job}[side](NETWORKS[name], task)
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
    """The process of one side, network and task."""

    def __init__(self, side: str, name: str, task: str, cache: str):
        names = ("sample_batch", "steps", "threads")
        options = [f"--{name}={flags.FLAGS[name].value}" for name in names]
        self.process = subprocess.Popen(
            [sys.executable, __file__, f"--child={side}:{name}:{task}", *options],
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


def measure(name: str, task: str, cache: str) -> tuple[str, dict]:
    """Returns a row of the table, and what our side said when it was ready."""
    sides = {side: Child(side, name, task, cache) for side in (PEER, OURS)}
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


def section(name: str, cache: str) -> str:
    """Measures one network; returns its part of the page."""
    network, rows, ready = NETWORKS[name], [], {}
    for task in network.tasks:
        row, ready[task] = measure(name, task, cache)
        rows.append(row)
        print(name, row, flush=True)
    again = Child(OURS, name, "train", cache)
    again.close()
    cold, cached = (r["compile_seconds"] for r in (ready["train"], again.ready))
    parameters = ready["train"]["parameters"] / 1e6
    sampling = ""
    if "sample" in network.tasks:
        sampling = f", {SAMPLE_BATCH.value} in sampling, which takes {STEPS.value} steps"
    return f"""## {network.words}

{parameters:.1f} M parameters, images of {SIZE} by {SIZE} with {network.channels} channels,
{network.batch} at a time{sampling}. jaxdiff compiles its training step in {cold:.1f} s, or in
{cached:.1f} s where JAX's persistent cache holds it.

| | {PEER} | {OURS} | ratio | peak memory, {PEER} | {OURS} |
|---|---|---|---|---|---|
{chr(10).join(rows)}
"""


def part_of(name: str) -> str:
    """Measures by another script, in a process of its own; returns its part of the page."""
    script = Path(__file__).with_name(name)
    with tempfile.NamedTemporaryFile(suffix=".md") as part:
        options = [f"--rounds={ROUNDS.value}", f"--out={part.name}"]
        subprocess.run([sys.executable, str(script), *options], check=True)
        return Path(part.name).read_text(encoding="utf-8")


def page() -> str:
    """Measures everything; returns the page."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as cache:
        sections = [section(name, cache) for name in ONLY.value]
    if OBJECTIVES.value:
        sections.append(part_of("benchmark_objectives.py"))
    if RELEASED.value:
        sections.append(part_of("benchmark_released.py"))
    packages = ("jaxdiff", "jax", "flax", "diffusers", "torch")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    quiet = "quiet" if load < 0.5 else "busy with other work, which disturbs these figures"
    command = shlex.join(["python", "experiments/benchmark.py", *sys.argv[1:]])
    return f"""# Benchmark

The same networks on both sides, in float32, on {THREADS.value} CPU cores. Medians of {ROUNDS.value}
rounds, the fastest in parentheses; the two sides take turns. Peak memory is that of the whole
process, compilation included. The machine was {quiet} (load average {load:.1f} before the start).

{chr(10).join(sections)}
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
    if unknown := set(ONLY.value) - set(NETWORKS):
        raise app.UsageError(f"--networks has {sorted(unknown)}; known: {', '.join(NETWORKS)}")
    text = page()
    Path(OUT.value).write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    app.run(main)
