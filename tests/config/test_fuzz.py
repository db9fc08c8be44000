"""Random wrong values of all options, fields and flags: a named error or a sound build, no other.

The quick suite draws some; the slow suite many more, and builds experiments. Mutations that make it
fail: `options.fits` returns True, `trees.pytree` checks nothing, or a range is taken from a field.
"""

import importlib
import math
import random
from pathlib import Path

import cli
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff import Experiment, options
from jaxdiff import config as configs
from jaxdiff.config import listing
from jaxdiff.config.build import build, options_of
from jaxdiff.config.flags import changed, known_fields
from jaxdiff.diffusion import parameterizations, schedules, solvers, time_sampling, weighting
from jaxdiff.diffusion.process import Process
from jaxdiff.typing import Draw, Prediction, Span
from jaxdiff.weights.devices import Devices, make_mesh
from tests.support.tiny import points_config

NUMBERS = [-1, 0, 1, 3, -0.5, 0.5, 1.5, math.nan, math.inf, -math.inf, 1e300, 1e-300]
NUMBERS += [10**9, 2**31, 2**63, 2**64, -(2**70), 1j, True, False]
TEXTS = ["", "a", "é" * 200, "DDIM(", ":x", "os:system", "../..", "Cosine", "'", "\x00", "None"]
TREES = [None, [], (), {}, [0], [-1], ["a"], [math.nan], [[1], [2, 3]], {"a": 1}, {1: 2}, {1}]
TREES += [{"name": "x"}, {"name": 3}, {"name": "os:system", "command": "ls"}, b"b", [None], (1, 2)]
VALUES = NUMBERS + TEXTS + TREES

PROCESS = Process(schedules.Cosine())
GIVEN = {
    "process": PROCESS,
    "parameterization": parameterizations.v,
    "time_sampling": time_sampling.Uniform(),
    "weighting": weighting.Simple(),
    "guidance_scale": 2.0,
    "num_classes": 3,
    "dtype": jnp.dtype("float32"),
    "draw": print,
    "reference": print,
    "held_out": print,
    "embedder": print,
    "encoder": "runs/none",
    "folder": Path(),
    "shape": (8, 8, 1),
    "num": 10,
    "peak": 1e-3,
    "steps": 100,
    "class_names": ("a", "b"),
    "mask": np.ones((1, 2)),
    "known": np.zeros((1, 2)),
    "measurement": np.zeros((1, 2)),
    "operator": lambda x: x,
    "solver": solvers.Euler(PROCESS),
}
SMALL = {
    "UNet": {"channels": (8,), "layers_per_block": 1, "num_groups": 4},
    "DiT": {"features": 8, "depth": 1, "num_heads": 2},
    "MMDiT": {"features": 8, "depth": 1, "num_heads": 2},
    "MLP": {"features": 8, "num_blocks": 1},
}
NOT_BUILT = ("data", "optimizers", "tasks")
X, T, KEYS = jnp.zeros((2, 4)), jnp.full(2, 0.5), jax.random.split(jax.random.key(0), 2)


def every_option():
    """Lists family, name and option of all parts that specs name."""
    return [
        (family, name, option)
        for family in listing.FAMILIES
        if family not in NOT_BUILT
        for name, target in listing.members(family)
        for option in options_of(target)
        if option not in ("process", "name")
    ]


def use(family, part):
    """Traces what a part computes; compiles nothing."""
    denoiser = lambda x, t, cond: Prediction(x, x)
    span = Span(T, T / 2, KEYS, 4)
    traced = {
        "schedules": lambda: (part.alpha(T), part.sigma(T)),
        "parameterizations": lambda: part(PROCESS.schedule, T),
        "time_sampling": lambda: part(PROCESS, Draw(KEYS, T)),
        "weighting": lambda: part(PROCESS, parameterizations.v, T),
        "ema": lambda: part(jnp.zeros((), int), 8),
        "solvers": lambda: part.step(denoiser, X, span, {}, part.init(X))[0],
        "learning_rate": lambda: jnp.asarray(part(jnp.int32(3))),
    }
    if family in traced:
        jax.eval_shape(traced[family])


def try_option(family, name, option, value):
    """Builds a part with a value; the error, if there is one, names the part or its option."""
    module = importlib.import_module(listing.FAMILIES[family])
    spec = {"name": name, **SMALL.get(name, {}), option: value}
    given = {key: each for key, each in GIVEN.items() if key != option}
    try:
        use(family, build(module, spec, **given))
    except (ValueError, OSError) as error:
        known = [name, *options_of(dict(listing.members(family))[name])]
        assert any(each in str(error) for each in known), f"{spec}: {error}"
    except Exception as error:
        raise AssertionError(f"{family}: {spec}: {type(error).__name__}: {error}") from error


def try_field(path, value):
    """Checks a config with a value; the error, if there is one, names the field."""
    table = points_config().to_dict()
    *sections, last = path.split(".")
    inner = table
    for section in sections:
        inner = inner[section]
    inner[last] = value
    try:
        configs.check(table)
    except ValueError as error:
        assert path in str(error), f"{path}={value!r}: {error}"
        return None
    except Exception as error:
        raise AssertionError(f"{path}={value!r}: {type(error).__name__}: {error}") from error
    return table


def draws(count, seed):
    """Draws pairs of an option and a value, every option as often as the others."""
    rng = random.Random(seed)
    every = every_option()
    rng.shuffle(every)
    return [(*every[i % len(every)], rng.choice(VALUES)) for i in range(count)]


def test_wrong_options_are_named_or_built():
    """Some of them: the slow suite takes every option."""
    for case in draws(60, seed=0):
        try_option(*case)


def test_wrong_fields_are_named():
    rng = random.Random(1)
    for path in known_fields():
        for value in rng.sample(VALUES, 4):
            try_field(path, value)


def test_wrong_flags_are_named():
    """Of every field and of every script: a message, or a value of the flag's kind."""
    rng = random.Random(2)
    for path in known_fields():
        for value in rng.sample(VALUES, 3):
            for text in (str(value), repr(value)):
                try:
                    configs.check(changed(points_config(), [(path, text)]))
                except ValueError as error:
                    assert path.split(".")[0] in str(error), f"{path}={text}: {error}"
    for kind in cli.KINDS.values():
        if not hasattr(kind, "__metadata__"):
            continue
        for value in VALUES:
            try:
                found = cli._Parser(kind).parse(str(value))
            except ValueError as error:
                assert options.describe(kind) in str(error)
            else:
                assert options.fits(kind, found)


@pytest.mark.slow
def test_every_wrong_option_is_named_or_built():
    rng = random.Random(3)
    for family, name, option in every_option():
        for value in rng.sample(VALUES, 12):
            try_option(family, name, option, value)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_wrong_fields_end_an_experiment_before_it_begins(seed, tmp_path):
    """50 of each seed: an experiment is built and traced, or an error says why not."""
    rng, paths = random.Random(seed), known_fields()
    nested = ["network.features", "network.num_blocks", "network.dropout", "network.inputs"]
    nested += ["optimizer.b1", "optimizer.weight_decay", "data.std", "weights.network"]
    for _ in range(50):
        path, value = rng.choice(paths + nested), rng.choice(VALUES)
        table = try_field(path, value) if path in paths else points_config().to_dict()
        if table is None:
            continue
        if path in nested:
            section, last = path.split(".")
            table[section][last] = value
        try:
            experiment = Experiment(table, Devices(make_mesh(jax.devices()[:1])))
            experiment.source()
        except (ValueError, OSError) as error:
            assert str(error)
        except Exception as error:
            raise AssertionError(f"{path}={value!r}: {type(error).__name__}: {error}") from error
