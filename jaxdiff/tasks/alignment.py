"""A reward that reads the prompt: how well a picture fits its text, by a contrastive encoder."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdiff import config as configs
from jaxdiff.condition import conditions
from jaxdiff.config.fields import Text
from jaxdiff.options import checked
from jaxdiff.tasks.contrastive import TEXT, Contrastive
from jaxdiff.tasks.contrastive_runs import task_with_text
from jaxdiff.typing import Cond, Params
from jaxdiff.weights.sources import OfRun


@checked
@dataclass(frozen=True)
class PromptAlignment:
    """The cosine in [-1, 1] of the embeddings of a picture and of its text.

    `run` is of the task `Contrastive` with texts; its `encoders.text` are those of the model that
    is tuned, whose states it reads. It sees what it was trained to tell apart, and no more.

    Raises:
        ValueError: the run is missing, of another task or without texts; on use, pictures have
            another size, or there is no text.
    """

    run: Text

    def __post_init__(self):
        task_with_text(self.run, "PromptAlignment.run")

    def check_config(self, config: Any) -> None:
        """Raises ValueError if the run's texts are encoded in another way than the encoder's."""
        own, given = (
            configs.plain(each.encoders).get(TEXT)
            for each in (task_with_text(self.run, "run").config, config)
        )
        if own != given:
            raise ValueError(
                f"PromptAlignment: run={self.run!r} reads encoders.text={own}, the config has"
                f" {given}"
            )

    def __call__(self, images: Float[Array, "b h w c"], cond: Cond) -> Float[Array, " b"]:
        """Returns the rewards."""
        if TEXT not in cond:
            raise ValueError(f"PromptAlignment: pictures were asked for by {sorted(cond)}, no text")
        task, weights = _loaded(self.run)
        if images.shape[1:] != task.shape:
            raise ValueError(
                f"PromptAlignment: run={self.run!r} is of pictures {task.shape}, not"
                f" {images.shape[1:]}"
            )
        one = task.embed(weights["network"], jnp.clip(images, -1, 1))
        two = task.embed_states(weights, conditions(cond)[TEXT])
        unit = lambda x: x / jnp.linalg.norm(x, axis=-1, keepdims=True)
        return (unit(one) * unit(two)).sum(axis=-1)


def _loaded(run: str) -> tuple[Contrastive, dict[str, Params]]:
    """Returns a run's task and its averages."""
    average = OfRun(run, name="")
    # A reward is first asked for while a step is traced, in which nothing can be read otherwise.
    with jax.ensure_compile_time_eval():
        weights = jax.device_get(average.load(average.shapes()))
    return task_with_text(run, "PromptAlignment.run"), dict(weights)
