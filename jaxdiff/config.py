"""What a run is made of: the default of every field, and checks of configs against it."""

import json
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxdiff.build import closest

Config = ConfigDict | Mapping[str, Any]

OPEN = ("data", "codec", "encoders", "network", "optimizer")
"""Sections whose further fields are options of what they name, checked when it is built."""

FREE = ("parallel", "train", "sampling", "evaluation")
"""Sections in which a resumed run may differ from its first launch: none changes the model."""

PLACES = ("weights", "tokenizer")
"""Fields that say where something is, not what: so may they; a fingerprint says what it is."""


def default() -> ConfigDict:
    """Returns a config with every field; recipes in `configs/` fill in and override."""
    return ConfigDict(
        {
            "seed": 0,
            # What is modelled: options of `jaxdiff.data.sources.open_source`, the shape of one
            # example after `transforms`, and the number of classes (0: unlabelled).
            "data": {"name": "digits", "shape": (8, 8, 1), "num_classes": 10},
            "transforms": (),
            "batch_size": 128,
            "codec": {"name": "Pixels"},
            # The forward process, and what the network predicts and is given.
            "process": "Cosine",
            "parameterization": "v",
            "input_scaling": "Unscaled",
            "time_input": "ScaledTime",
            "network": {"name": "UNet"},
            "compute_dtype": "float32",
            # The data's fields that condition the network, how often each is left out, and the
            # encoders (of `jaxdiff.encoders`) of those that the network does not read as they are.
            "conditions": (),
            "condition_dropout": 0.1,
            "encoders": {},
            # The loss; its parameterization is the model's where it is "".
            "objective": "Denoising",
            "loss_parameterization": "",
            "time_sampling": "Uniform",
            "weighting": "Simple",
            "optimizer": {
                "name": "adam",
                "learning_rate": 1e-3,
                "schedule": "constant",
                "clip_norm": 1.0,
            },
            "accumulate": 1,
            "ema": "Warmup(decay=0.9999)",
            "parallel": "jit",
            "train": {
                "steps": 10_000,
                "log_every": 100,
                "checkpoint_every": 1000,
                "keep_checkpoints": 3,
                "evaluate_every": 0,
                "workers": 0,
            },
            "sampling": {
                "solver": "DDIM",
                "timesteps": "Uniform",
                "steps": 50,
                "guidance": "ClassifierFree",
                "guidance_scale": 1.0,
                "batch_size": 64,
            },
            # Evaluators during training, and the number of samples that each looks at.
            "evaluation": {"evaluators": ("SampleGrid",), "num": 1000, "split": "test"},
        }
    )


def variant(config: ConfigDict, variants: Mapping[str, Mapping[str, Any]], name: str) -> ConfigDict:
    """Returns the config with the named variant's fields; how recipes serve `file.py:name`.

    Raises:
        ValueError: there is no such variant.
    """
    if name not in variants:
        raise ValueError(f"no variant {name!r}{closest(name, [v for v in variants if v])}")
    config.update_from_flattened_dict(variants[name])
    return config


def check(config: Config) -> None:
    """Raises ValueError if a field is unknown, with the closest name, or missing."""
    _check(as_dict(config), as_dict(default()), "")


def as_dict(config: Config) -> dict[str, Any]:
    """Returns the config as JSON would give it back: plain dicts and lists."""
    return json.loads(ConfigDict(config).to_json())


def differences(config: Config, other: Config) -> list[str]:
    """Returns "field: other's value -> config's value" wherever they contradict each other."""
    a, b = _flat(as_dict(config)), _flat(as_dict(other))
    return [
        f"{name}: {b.get(name, 'absent')!r} -> {a.get(name, 'absent')!r}"
        for name in sorted(a.keys() | b.keys())
        if a.get(name) != b.get(name) and not _free(name.split("."))
    ]


def _free(path):
    return path[0] in FREE or (path[0] in ("codec", "encoders") and path[-1] in PLACES)


def _check(config, known, prefix):
    for name in config:
        if name not in known:
            raise ValueError(f"unknown config field {prefix + name!r}{closest(name, list(known))}")
    for name in known:
        if name not in config:
            raise ValueError(f"the config has no field {prefix + name!r}; begin from default()")
        if isinstance(known[name], dict) and name not in OPEN:
            _check(config[name], known[name], f"{prefix}{name}.")


def _flat(tree, prefix=""):
    flat = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
