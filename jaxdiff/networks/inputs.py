"""The field of a network that lists the conditions it reads."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from flax.core import FrozenDict

from jaxdiff.networks.fields import Kind, Label, Numbers, Pooled, Scalar, Vector
from jaxdiff.networks.times import SinCos
from jaxdiff.options import Count, Width, checked


@checked
@dataclass(frozen=True)
class Inputs:
    """The conditions that a network reads by name, with their sizes.

    Attributes:
        num_classes: number of classes of cond["label"] [b]; None for no labels.
        vectors: name and width of each vector [b, d] that a linear map adds to the embedding.
        scalars: name and factor of each number [b], such as "until", a second time in [0, 1], or
            "guidance_scale". Its embedding is zero at first, so that a network which gains one
            begins as it was; it is never dropped.
        guidance_features: number of sines and cosines of cond["guidance_scale"] that released LCMs
            add to those of the time; None for no such input.
        text_features: width of the tokens cond["text"] [b, n, d]; None for no text.
        image_features: width of the tokens cond["image_prompt"] [b, n, d], to which a U-Net or a
            DiT attends beside the text; None for no image prompts.
        pooled_features: width of the pooled vector [b, p] of cond["text"], the first part of the
            joint embedding; None for none.
        joint_vectors: name and width of each vector [b, d] of the joint embedding.
        joint_numbers: name and count of each row of numbers [b, count] of the joint embedding.
        sliced_numbers: name and count of each row of numbers [b, count]. Each number fills a slice
            of one added vector, by an MLP that its row shares.
        number_features: number of sines and cosines of each number.
        number_sinusoids: their frequencies.
        maps: name and channels of each map [b, ..., c], of the size of the data, that is appended
            to the channels of the input, such as a mask or an image to be completed.
        learned_null: whether a learned embedding replaces a dropped or absent condition. Networks
            trained on the encoded empty prompt have none: such a condition is an error.
    """

    num_classes: Count | None = None
    vectors: Mapping[str, Width] = field(default_factory=dict)
    scalars: Mapping[str, float] = field(default_factory=dict)
    guidance_features: Width | None = None
    text_features: Width | None = None
    pooled_features: Width | None = None
    image_features: Width | None = None
    joint_vectors: Mapping[str, Width] = field(default_factory=dict)
    joint_numbers: Mapping[str, Width] = field(default_factory=dict)
    sliced_numbers: Mapping[str, Width] = field(default_factory=dict)
    number_features: Width = 256
    number_sinusoids: SinCos = SinCos()
    maps: Mapping[str, Width] = field(default_factory=dict)
    learned_null: bool = True

    def __post_init__(self):
        # A network is a static argument of `jax.jit`: its options are hashed.
        for each in fields(self):
            value = getattr(self, each.name)
            frozen = {dict: FrozenDict, list: tuple}.get(type(value), lambda same: same)
            object.__setattr__(self, each.name, frozen(value))

    @property
    def numbers(self) -> Mapping[str, float]:
        """Returns the numbers that are read beside the time, with their factors."""
        guidance = {"guidance_scale": 1000.0} if self.guidance_features else {}
        return {**self.scalars, **guidance}

    def embedded(self) -> dict[str, Kind]:
        """Returns the conditions that are added to the embedding of the time."""
        label = {} if self.num_classes is None else {"label": Label(self.num_classes)}
        vectors = {name: Vector(size) for name, size in self.vectors.items()}
        return {**label, **vectors, **{n: Scalar(factor) for n, factor in self.scalars.items()}}

    def joint(self) -> dict[str, Kind]:
        """Returns the conditions that are concatenated, and share an MLP."""
        pooled = {"text_pooled": Pooled(self.pooled_features)} if self.pooled_features else {}
        vectors = {name: Vector(size) for name, size in self.joint_vectors.items()}
        return {**pooled, **vectors, **self._rows(self.joint_numbers)}

    def sliced(self) -> dict[str, Numbers]:
        """Returns the rows of numbers each of which fills a slice of one vector."""
        return self._rows(self.sliced_numbers)

    def _rows(self, counts: Mapping[str, Width]) -> dict[str, Numbers]:
        options = self.number_features, self.number_sinusoids
        return {name: Numbers(count, *options) for name, count in counts.items()}
