"""Uses of a trained contrastive encoder: perceptual losses, distances, retrieval."""

import functools
from dataclasses import dataclass
from typing import Any

import jax
from jaxtyping import Array, Float

from jaxdiff import config as configs
from jaxdiff.config.specs import parse
from jaxdiff.evaluation.features import FeatureExtractor, in_batches
from jaxdiff.objectives.autoencoder import perceptual_error
from jaxdiff.pretrained.lpips import LPIPS, LPIPSFile
from jaxdiff.tasks.contrastive import Contrastive, Embedder
from jaxdiff.typing import Params
from jaxdiff.weights.sources import OfRun
from jaxdiff.weights.table import Weights


@dataclass(frozen=True)
class PerceptualFeatures:
    """The feature maps of a contrastive encoder that was trained here: `features(params, x)`."""

    network: Any
    source: OfRun

    @classmethod
    def of_run(cls, path: str) -> "PerceptualFeatures":
        """Returns the features of a run's encoder; reads its config only.

        Raises:
            ValueError: there is no run in the folder, it is of another task, or its encoder has no
                feature maps.
        """
        network = _task_of_run(path, "weights.perceptual").network
        if not hasattr(network, "maps"):
            raise ValueError(
                f"weights.perceptual: {path}: its encoder {type(network).__name__} has no feature"
                " maps; train one with task.encoder='ResidualClassifier'"
            )
        return cls(network, OfRun(path))

    def distance(
        self, params: Params, x: Float[Array, "b h w c"], y: Float[Array, "b h w c"]
    ) -> Float[Array, " b"]:
        """Returns the distance of images in the feature maps, all layers alike."""
        return perceptual_error(self(params, x), self(params, y))

    def __call__(self, params: Params, x: Float[Array, "b h w c"]) -> tuple[Array, ...]:
        """Returns the feature map of each level."""
        return self.network.apply({"params": params}, x, method="maps")


def perceptual_of(path: str) -> PerceptualFeatures | LPIPS:
    """Returns the perceptual distance that `config.weights.perceptual` names.

    A file of safetensors is LPIPS; a folder is a run of the task `Contrastive`.

    Raises:
        ValueError: it is neither, or has no feature maps.
    """
    if not path.endswith(".safetensors"):
        return PerceptualFeatures.of_run(path)
    try:
        return LPIPS(LPIPSFile(path))
    except (ValueError, FileNotFoundError) as error:
        raise ValueError(f"weights.perceptual: {error}") from error


def perceptual_weights(perceptual: Any) -> Weights:
    """Returns the entry of `perceptual_of` in a task's table of weights."""
    return Weights(
        shapes=perceptual.source.shapes,
        source=perceptual.source,
        trained=False,
        config_field="weights.perceptual",
    )


def features_of_run(path: str) -> FeatureExtractor:
    """Returns the features of a run's encoder, for distances between sets of images.

    Raises:
        ValueError: there is no run in the folder, or it is of another task.
    """
    network, params = encoder_of_run(path, "SampleQuality.features")
    apply = jax.jit(lambda x: network.apply({"params": params}, x)[1])
    return lambda images: in_batches(apply, images, 256)


def encoder_of_run(path: str, field: str = "features") -> tuple[Any, Params]:
    """Returns a run's image encoder, `-> (logits, features)`, and its averaged weights.

    Raises:
        ValueError: there is no run in the folder, or it is of another task; names `field`.
    """
    source = OfRun(path)
    return _task_of_run(path, field).network, source.load(source.shapes())


def coarse_maps_of_run(path: str) -> FeatureExtractor:
    """Returns the coarsest feature map of a run's encoder as rows: what is where in an image.

    Raises:
        ValueError: there is no run in the folder, it is of another task, or its encoder has no
            feature maps.
    """
    maps = PerceptualFeatures.of_run(path)
    params = maps.source.load(maps.source.shapes())
    apply = jax.jit(lambda x: maps(params, x)[-1].reshape(len(x), -1))
    return lambda images: in_batches(apply, images, 256)


def embedder_of_run(path: str) -> tuple[Any, Any]:
    """Returns two functions of a run's averages: of images [n, h, w, c], and of n texts.

    Raises:
        ValueError: there is no run in the folder, it is of another task, or was trained without
            texts.
    """
    task = task_with_text(path, "encoder")
    average = OfRun(path, name="")
    frozen = {n: e.abstract() for n, e in task.table().entries.items() if not e.trained}
    weights = {**task.table().load(frozen), **average.load(average.shapes())}
    embedder = Embedder(task, 100)
    return (
        functools.partial(embedder.embed, weights),
        functools.partial(embedder.embed_text, weights),
    )


def task_with_text(path: str, field: str) -> Contrastive:
    """Returns the task of a run that has seen texts; reads its config only.

    Raises:
        ValueError: there is no run in the folder, it is of another task, or was trained without
            texts; names `field`.
    """
    task = _task_of_run(path, field)
    if not task.with_text:
        raise ValueError(f"{field}: {path} was trained without texts")
    return task


def _task_of_run(path: str, field: str) -> Contrastive:
    """Returns the task of a run; reads its config only."""
    try:
        config: Any = configs.read_config(path)
        task = parse(configs.plain(config.task))
        if task.attribute != Contrastive.__name__:
            raise ValueError(f"{path} is a run of the task {task.attribute}, not Contrastive")
        return Contrastive(config, **task.options)
    except (ValueError, FileNotFoundError) as error:
        raise ValueError(f"{field}: {error}") from error
