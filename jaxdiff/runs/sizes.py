"""A run that draws in another size than it was trained in."""

from typing import Any

import jax
from ml_collections import ConfigDict

from jaxdiff import config as configs
from jaxdiff.runs.experiment import Experiment
from jaxdiff.runs.run import Run


def resized(
    run: Run, height: int | None = None, width: int | None = None, frames: int | None = None
) -> Run:
    """Returns the run for samples of another height, width or number of frames.

    The weights are the same: transformers and most U-Nets take any size that their patches or
    levels and the codec divide. How good such samples are depends on the network's positions and
    on how far the size is from that of training.

    Raises:
        ValueError: samples have no such axis; the size is not divisible, with the nearest that are;
            or the network has other weights at that size.
    """
    shape = list(run.shape)
    if frames is not None and len(shape) != 4:
        raise ValueError(f"frames={frames}: samples are no clips, their shape is {run.shape}")
    if (height or width) and len(shape) < 3:
        raise ValueError(f"height and width: samples are points, their shape is {run.shape}")
    unit = unit_of(run)
    for name, axis, value in (("height", -3, height), ("width", -2, width)):
        if value is None:
            continue
        if value < 1 or value % unit:
            below = max(value // unit, 1) * unit
            raise ValueError(
                f"{name}={value}: patches and codec need a multiple of {unit}; the nearest are"
                f" {below} and {below + unit}"
            )
        shape[axis] = value
    if frames is not None:
        shape[0] = frames
    if tuple(shape) == tuple(run.shape):
        return run
    config: Any = ConfigDict(configs.as_dict(run.config))
    config.data.shape = tuple(shape)
    experiment = Experiment(config, run.devices)
    of = lambda e: jax.tree.map(lambda leaf: leaf.shape, e.abstract_state().ema)
    if of(experiment) != of(run.experiment):
        raise ValueError(
            f"size {tuple(shape)}: the network has other weights there than at {run.shape}, such as"
            " attention at levels of a certain size"
        )
    return Run(experiment, run.weights, run.step, run.folder)


def unit_of(run: Run) -> int:
    """Returns what height and width of a sample must be multiples of."""
    settings = getattr(getattr(run.codec, "network", None), "settings", None)
    network = run.experiment.task.model.network
    levels = getattr(network, "channels", ())
    patch = getattr(network, "patch", (1, 1))
    within = max(patch[-2:]) if len(patch) > 1 else 1
    halvings = 2 ** (len(levels) - 1) if levels else 1
    return getattr(settings, "factor", 1) * max(within, halvings)
