"""A trained run: its config, its newest state, samples from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from jaxdiff import config as configs
from jaxdiff.diffusion.process import Process
from jaxdiff.runs.experiment import Experiment
from jaxdiff.runs.workdir import read_config
from jaxdiff.training.checkpoint import Checkpoints
from jaxdiff.training.state import TrainState
from jaxdiff.typing import Cond, Denoiser
from jaxdiff.weights import frozen, learned


@dataclass(frozen=True)
class Run:
    """An experiment with a state: `run.sample(...)`, `run.denoiser()`, `run.config`."""

    experiment: Experiment
    state: TrainState

    @property
    def config(self) -> ConfigDict:
        """Returns the experiment's config."""
        return self.experiment.config

    @property
    def process(self) -> Process:
        """Returns the forward process, its schedule as learned where it was learned."""
        return learned.bind(self.experiment.process, self.state.ema)

    def denoiser(self, guidance_scale: float = 1.0, guidance: Any = "ClassifierFree") -> Denoiser:
        """Returns the EMA's denoiser `(x, t, cond) -> Prediction`."""
        return self.experiment.sampler.denoiser(self.state, guidance_scale, guidance)

    def encode(self, num: int, cond: Mapping[str, Any]) -> Cond:
        """Returns conditions for `denoiser`, encoded; see `Sampler.encode`."""
        return self.experiment.sampler.encode(self.state, num, cond)

    def sample(self, num: int, cond: Any = None, **options: Any) -> Float[np.ndarray, "..."]:
        """Draws samples [num, ...] in [-1, 1]; the options are those of `Sampler.__call__`."""
        return self.experiment.sampler(self.state, num, cond, **options)

    def invert(self, image: Any, cond: Any = None, **options: Any) -> Float[np.ndarray, "..."]:
        """Encodes images as noise for `sample(noise=...)`; see `Sampler.invert`."""
        return self.experiment.sampler.invert(self.state, image, cond, **options)


def load(workdir: str | Path, changes: Mapping[str, Any] | None = None) -> Run:
    """Loads the newest state of a run, and the weights of its frozen parts from where they are.

    `changes` has fields that need not be as they were in training, such as where weights have moved
    to: `{"codec.weights": "new/place"}`.

    Raises:
        FileNotFoundError: there is no run in the folder.
        ValueError: it has no checkpoint yet; frozen weights are missing or others than in training;
            a change would make another model.
    """
    config = read_config(workdir)
    if changes:
        config.update_from_flattened_dict(changes)
        if differences := configs.differences(config, read_config(workdir)):
            raise ValueError(f"not the run in {workdir} any more: {'; '.join(differences)}")
    experiment = Experiment(config)
    checkpoints = Checkpoints(Path(workdir) / "checkpoints", read_only=True)
    try:
        restored = checkpoints.restore(experiment.abstract_state())
    finally:
        checkpoints.close()
    if restored is None:
        raise ValueError(f"{workdir} has no checkpoint yet: train it for a while")
    frozen.check(experiment.frozen, Path(workdir))
    return Run(experiment, restored[0].replace(frozen=experiment.load_frozen()))
