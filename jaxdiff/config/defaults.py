"""The default of every config field."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxdiff.config.build import suggest


def default() -> ConfigDict:
    """Returns a config with every field; recipes in `configs/` fill in and override."""
    return ConfigDict(
        {
            "seed": 0,
            # What is trained, of `jaxdiff.tasks`.
            "task": {"name": "Diffusion"},
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
            # encoders (of `jaxdiff.conditioning.encoders`) of those that need one.
            "conditions": (),
            "condition_dropout": 0.1,
            "encoders": {},
            # The source of each weight by name: "" (random), a run's folder, released files or
            # their hub name, or {"source": ..., "trained": False}; and the adapters between them.
            "weights": {"network": "", "teacher": ""},
            "adapters": {},
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
            # For weights by name, the fields that differ from `optimizer`.
            "optimizers": {},
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
        raise ValueError(f"no variant {name!r}{suggest(name, [v for v in variants if v])}")
    config.update_from_flattened_dict(variants[name])
    return config
