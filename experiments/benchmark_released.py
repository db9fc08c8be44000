"""Times a released model here beside diffusers: load, picture, first picture of a new process.

python experiments/benchmark_released.py --rounds=3

A random Stable Diffusion 1 of a tenth of the width draws a picture from a prompt. Each side is a
process of its own, and the two take turns. Both the clock and the processor's time are measured:
other work on the same core disturbs the latter less. Needs the extra `benchmark`.
"""

# ruff: noqa: PLC0415 - a process imports only what it times

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cli
from absl import flags

OURS, PEER = "jaxdiff", "diffusers"
SIDE, PROMPT, NEGATIVE = 256, "a red cat", "blue"

ROUNDS = flags.DEFINE_integer("rounds", 3, "Timed pictures on each side.", lower_bound=1)
STEPS = flags.DEFINE_integer("steps", 20, "Steps of a picture, each of two predictions.")
OUT = flags.DEFINE_string("out", "released.md", "Where to write the part of the page.")
CHILD = flags.DEFINE_string("child", None, "For the script's own use: <side>:<folder>.")

UNET = {
    "_class_name": "UNet2DConditionModel", "block_out_channels": [32, 64, 128, 128],
    "layers_per_block": 2, "in_channels": 4, "out_channels": 4, "norm_num_groups": 16,
    "sample_size": SIDE // 8, "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3, "cross_attention_dim": 80,
    "attention_head_dim": 8,
}  # fmt: skip
VAE = {
    "_class_name": "AutoencoderKL", "block_out_channels": [16, 32, 64, 64], "layers_per_block": 2,
    "in_channels": 3, "out_channels": 3, "norm_num_groups": 8, "latent_channels": 4,
    "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4,
    "sample_size": SIDE, "scaling_factor": 0.18215,
}  # fmt: skip
CLIP = {
    "num_hidden_layers": 12, "num_attention_heads": 4, "intermediate_size": 320,
    "max_position_embeddings": 77,
}  # fmt: skip


def write(folder: Path) -> None:
    """Writes the model as diffusers would."""
    from tests.support import released as files

    size = files.write_words(folder / "tokenizer")
    files.write_encoder(folder / "text_encoder", files.clip(80, size, **CLIP), seed=1)
    files.write_network(folder / "unet", UNET, seed=2)
    files.write_network(folder / "vae", VAE, seed=3)
    files.write_scheduler(folder, files.DDIM)
    files.write_index(
        folder,
        "StableDiffusionPipeline",
        scheduler=["diffusers", "DDIMScheduler"],
        text_encoder=["transformers", "CLIPTextModel"],
        tokenizer=["transformers", "CLIPTokenizer"],
        unet=["diffusers", "UNet2DConditionModel"],
        vae=["diffusers", "AutoencoderKL"],
        safety_checker=[None, None],
        feature_extractor=[None, None],
        image_encoder=[None, None],
        requires_safety_checker=False,
    )


def opened(side: str, folder: str) -> Any:
    """Returns a function that draws a picture."""
    options = {"guidance_scale": 7.5}
    if side == OURS:
        import jaxdiff

        model = jaxdiff.released(folder)
        return lambda: model.sample(1, PROMPT, negative=NEGATIVE, steps=STEPS.value, **options)
    import diffusers
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    peer = diffusers.DiffusionPipeline.from_pretrained(folder)
    peer.set_progress_bar_config(disable=True)
    options |= {"negative_prompt": NEGATIVE, "num_inference_steps": STEPS.value}
    return lambda: peer(PROMPT, output_type="np", **options)


@contextlib.contextmanager
def timed(report: dict[str, float], name: str) -> Iterator[None]:
    """Adds the seconds of the clock and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    yield
    report[name] = time.perf_counter() - clock
    report[f"{name}_cpu"] = time.process_time() - processor


def serve(side: str, folder: str) -> None:
    """Opens the model, draws a picture, then one per line of standard input; answers with times."""
    report: dict[str, float] = {}
    with timed(report, "load"):
        draw = opened(side, folder)
    draw()
    report["first_cpu"] = time.process_time()
    print(json.dumps(report), flush=True)
    for _ in sys.stdin:
        report = {}
        with timed(report, "picture"):
            draw()
        print(json.dumps(report), flush=True)


class Child:
    """The process of one side; `first` are its seconds from the start to the first picture."""

    def __init__(self, side: str, folder: Path, cache: Path):
        options = [f"--child={side}:{folder}", f"--steps={STEPS.value}"]
        start = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, __file__, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "XDG_CACHE_HOME": str(cache), "JAX_NUM_CPU_DEVICES": "1"},
        )
        self.ready = self._read()
        self.ready["first"] = time.perf_counter() - start

    def time(self) -> dict[str, float]:
        """Lets the child draw a picture."""
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self._read()

    def close(self) -> None:
        """Ends the process."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()

    def _read(self) -> dict[str, float]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("a process that is timed ended early")
        return json.loads(line)


def measure(folder: Path, cache: Path) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """Returns the times of both sides, and those of our process with an empty cache."""
    empty = Child(OURS, folder, cache)
    empty.close()
    sides = {side: Child(side, folder, cache) for side in (PEER, OURS)}
    pictures = {side: [] for side in sides}
    for _ in range(ROUNDS.value):
        for side, child in sides.items():
            pictures[side].append(child.time())
    for side, child in sides.items():
        child.close()
        typical = lambda name, of=pictures[side]: statistics.median(one[name] for one in of)
        child.ready |= {name: typical(name) for name in ("picture", "picture_cpu")}
    return {side: child.ready for side, child in sides.items()}, empty.ready


ROWS = {
    "picture": "A picture",
    "load": "The model opened, from a folder",
    "first": "The first picture of a new process",
}


def section() -> str:
    """Measures; returns a part of the page."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "model"
        folder.mkdir()
        write(folder)
        sides, empty = measure(folder, Path(place) / "cache")
    cell = lambda side, name: f"{sides[side][name]:.2f} s ({sides[side][f'{name}_cpu']:.2f})"
    ratio = lambda name: sides[OURS][name] / sides[PEER][name]
    rows = "\n".join(
        f"| {words} | {cell(PEER, name)} | {cell(OURS, name)} |"
        f" {ratio(name):.2f} ({ratio(f'{name}_cpu'):.2f}) |"
        for name, words in ROWS.items()
    )
    cores = len(os.sched_getaffinity(0))
    shared = "alone" if load < 0.5 else f"shared with other work (load average {load:.1f})"
    words = f"""Random weights in a folder of diffusers, widths (32, 64, 128, 128), a text encoder
    of 12 layers of 80; from the prompt to {SIDE} by {SIDE} pixels in {STEPS.value} steps of DDIM
    with guidance, one at a time, on {cores} of the machine's cores, {shared}. Seconds of the
    clock, and of the processor in parentheses, the median of {ROUNDS.value} pictures. The
    compilation cache is warm; without it, jaxdiff's first picture takes {empty["first"]:.1f} s
    ({empty["first_cpu"]:.1f})."""
    return f"""## A released model: Stable Diffusion 1 at a tenth of the width

{textwrap.fill(" ".join(words.split()), 100)}

| | {PEER} | {OURS} | ratio |
|---|---|---|---|
{rows}
"""


def main() -> None:
    """Measures and writes, or serves as one of the processes that are timed."""
    if CHILD.value:
        side, _, folder = CHILD.value.partition(":")
        serve(side, folder)
        return
    Path(OUT.value).write_text(text := section(), encoding="utf-8")
    print(text)


if __name__ == "__main__":
    cli.run(main)
