"""README's commands and blocks, run from a folder of one's own, with a network that is small."""

import ast
import inspect
import re
import shlex
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff import config as defaults
from jaxdiff import networks
from jaxdiff.config.build import build
from jaxdiff.diffusion.oracles import Gaussian
from jaxdiff.diffusion.process import Process
from jaxdiff.diffusion.sampling import sample
from jaxdiff.diffusion.solvers import DDIM
from jaxdiff.random import example_keys
from tests.support.forked import ROOT, SECONDS, environment
from tests.support.frozen_parts import write_autoencoder, write_text

README = (ROOT / "README.md").read_text()
BLOCKS = [textwrap.dedent(b) for b in re.findall(r"```python\n(.*?)```", README, re.DOTALL)]
COMMANDS = [
    shlex.split(indented or inline, comments=True)
    for indented, inline in re.findall(
        r"^    (python .*)$|`(python -m jaxdiff train [^`]*)`", README, re.MULTILINE
    )
]
SMALL = (
    "--config.train.steps=2",
    "--config.batch_size=8",
    "--config.network.channels=(24,)",
    "--config.network.layers_per_block=1",
    "--config.network.attention_at=()",
    "--config.sampling.steps=2",
)


def block(part: str) -> str:
    """Returns the block that has these words in it."""
    (found,) = [b for b in BLOCKS if part in b]
    return found


SHORT = {
    "evaluate": ("--num=40",),
    "likelihood": ("--num=4", "--steps=2"),
    "timesteps": ("--num=2", "--steps=4"),
}
"""What else would take minutes; the last of two equal flags counts."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A person's own folder: beside hers, the folders that README's commands name."""
    folder = tmp_path_factory.mktemp("own")
    for name in ("experiments", "configs"):
        (folder / name).symlink_to(ROOT / name)
    rng = np.random.default_rng(0)
    np.save(folder / "mine.npy", rng.uniform(-1, 1, (1, 8, 8, 1)).astype(np.float32))
    np.save(folder / "small.npy", rng.uniform(-1, 1, (2, 4, 4, 1)).astype(np.float32))
    np.save(folder / "known.npy", rng.uniform(size=(8, 8)) > 0.5)
    return folder


@pytest.mark.slow
def test_every_command_runs(folder):
    """In README's order; fails if a flag, a path or a name in it is out of date."""
    assert len(COMMANDS) > 10
    for _, *command in COMMANDS:
        if "experiments/benchmark.py" in command:
            continue  # minutes of two frameworks
        text = "runs/text" in " ".join(command)
        flags = with_text_encoder(folder, command) if text else command
        script = Path(next(word for word in flags if word[0] not in "-j")).stem
        run(folder, *flags, *(SMALL if script in ("train", "sweep") else SHORT.get(script, ())))
    for path in ("digits/threes_and_sevens.png", "digits/timesteps.json", "finetuned/config.json"):
        assert (folder / "runs" / path).exists()


def with_text_encoder(folder, command):
    """Puts a small encoder in the place of MiniLM, whose recipe has its size."""
    write_text(folder / "text")
    command = [flag.replace("path/to/all-MiniLM-L6-v2", str(folder / "text")) for flag in command]
    if "train" not in command[0]:
        return command
    settings = "BERTSettings(vocabulary=16, positions=6, width=8, layers=1, heads=2, mlp_width=8)"
    small = (
        f"--config.encoders.text.settings={settings}",
        "--config.encoders.text.window=6",
        "--config.network.inputs.text_features=8",
        "--config.network.inputs.pooled_features=8",
    )
    return [*command, *small, "--config.network.transformer_depth=(1,)"]


def run(folder, *command):
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment(),
        timeout=SECONDS,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"


@pytest.mark.slow
def test_the_python_block_trains_samples_and_decodes(folder, monkeypatch):
    """On two steps; fails if a name or an argument of the Python interface is out of date."""
    write_autoencoder(folder / "vae")
    code = block("import jaxdiff\n").replace("train.steps = 1000", "train.update(steps=2)")
    code = code.replace("path/to/vae", str(folder / "vae"))
    small = "config.batch_size = 8\nconfig.network.update(channels=(8,), attention_at=())\n"
    small += "config.network.head_channels = 8\n"
    code = code.replace("experiment =", small + "experiment =", 1)
    names = {
        "mask": np.eye(8, dtype=bool),
        "x": jnp.zeros((2, 8, 8, 1)),
        "t": jnp.full(2, 0.5),
        "labels": jnp.array([1, 2]),
        "images": jnp.zeros((2, 64, 64, 1)),
        "keys": example_keys(jax.random.key(0), jnp.arange(2)),
    }
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(ROOT))
    exec(code, names)
    assert names["digits"].shape == names["painted"].shape == (16, 8, 8, 1)
    assert names["images"].shape == (2, 64, 64, 1)


def test_blocks_of_the_config_build():
    """Fails if a field, a name or an option in README is unknown."""
    for part in ('"Latents"', '"DiT"'):
        config = defaults.default()
        exec(block(part), {"config": config})
        defaults.check(config)
        build(networks, config.network.to_dict())


def test_parts_of_one_s_own_work_as_they_are_written():
    """README's schedule and solver, against DDIM on the same process."""
    names = {"dataclass": dataclass, "Process": Process}
    exec(block("class Quadratic"), names)
    exec(block("class Mine"), names)
    process = Process(names["Quadratic"]())
    oracle = Gaussian(process, mean=jnp.array([1.0, 2.0]), std=0.5)
    x, keys = jnp.ones((3, 2)), example_keys(jax.random.key(0), jnp.arange(3))
    times = jnp.linspace(1.0, 0.0, 5)
    mine, ddim = (
        sample(s, oracle, x, times, {}, keys) for s in (names["Mine"](process), DDIM(process))
    )
    np.testing.assert_allclose(mine, ddim, rtol=1e-6)


def test_the_calls_of_public_checkpoints_have_the_arguments_that_there_are():
    """Its folders are not here; fails if a function or an argument is renamed."""
    tree, names, bound = ast.parse(block("load_text_encoder")), {}, 0
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            exec(ast.unparse(node), names)
    for call in [node for node in ast.walk(tree) if isinstance(node, ast.Call)]:
        name = ast.unparse(call.func)
        if name.partition(".")[0] in names:
            options = {keyword.arg: None for keyword in call.keywords}
            inspect.signature(eval(name, names)).bind(*call.args, **options)
            bound += 1
    assert bound == 3
