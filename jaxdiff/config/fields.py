"""Every field of a config: its type, its range, its default, and a line about it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from jaxdiff.config.specs import parse
from jaxdiff.options import Between, Count, Filled, FloatType, NotNegative, Range, Size, Steps

Text = Annotated[str, Filled()]


@dataclass(frozen=True)
class Part:
    """A spec of a family, a module of this package such as "diffusion.solvers"; or "" for none."""

    family: str
    optional: bool = False

    def admits(self, value: Any) -> bool:
        """Returns whether a value has the form of a spec; building it finds what it names."""
        if value == "":
            return self.optional
        try:
            return bool(parse(value))
        except ValueError:
            return False

    def describe(self, noun: str) -> str:
        """Returns the words for a spec, with where names are listed."""
        family = self.family.rpartition(".")[2]
        return (
            f"a name of {family}, a call such as 'Name(option=1)', or a table with a 'name'; see"
            f" `python -m jaxdiff options {family}`"
        )


@dataclass(frozen=True)
class Data:
    """What is modelled. Further fields are options of the data set."""

    name: Annotated[Text, "The data set: a name of `data`, of TFDS, or module:name."] = "digits"
    shape: Annotated[tuple[Size, ...], Filled(), "Of one example, after `transforms`."] = (8, 8, 1)
    num_classes: Annotated[Count, "0 for data without labels."] = 10


@dataclass(frozen=True)
class Optimizer:
    """How parameters move. Further fields are options of the optimizer, such as weight_decay."""

    name: Annotated[Text, "An optimizer of optax."] = "adam"
    learning_rate: Annotated[float, NotNegative, "The highest."] = 1e-3
    schedule: Annotated[Any, Part("training.learning_rate"), "The rate over the steps."] = (
        "constant"
    )
    clip_norm: Annotated[float, NotNegative, "Of the whole gradient; 0 for no clipping."] = 1.0


@dataclass(frozen=True)
class Train:
    """How long training takes, and how often it writes."""

    steps: Annotated[Size, "Optimizer steps in all."] = 10_000
    log_every: Annotated[Size, "Steps between lines of metrics."] = 100
    checkpoint_every: Annotated[Size, "Steps between checkpoints."] = 1000
    keep_checkpoints: Annotated[Size, "Checkpoints kept, the newest."] = 3
    evaluate_every: Annotated[Count, "Steps between evaluations; 0 for none."] = 0
    workers: Annotated[int, Between(0, 1024), "Processes that read data; 0 for threads."] = 0
    writers: Annotated[
        tuple[Annotated[Any, Part("training.writers")], ...], "Of metrics, beside metrics.jsonl."
    ] = ("TensorBoard",)
    cache: Annotated[
        Any,
        Part("data.caches", optional=True),
        "Of what frozen encoders make of the data; by default none, each step encodes.",
    ] = ""


@dataclass(frozen=True)
class Sampling:
    """How samples are drawn, where a call or a flag does not choose otherwise."""

    solver: Annotated[Any, Part("diffusion.solvers"), "The method."] = "DDIM"
    timesteps: Annotated[Any, Part("diffusion.timesteps"), "The grid of times."] = "Uniform"
    steps: Annotated[Steps, "Solver steps."] = 50
    guidance: Annotated[Any, Part("diffusion.guidance"), "The kind of guidance."] = "ClassifierFree"
    guidance_scale: Annotated[float, Range(), "1 for no guidance."] = 1.0
    batch_size: Annotated[Size, "Samples at a time."] = 64


@dataclass(frozen=True)
class Evaluation:
    """Evaluators during training."""

    evaluators: Annotated[
        tuple[Annotated[Any, Part("evaluation.evaluators")], ...], "Metrics and pictures."
    ] = ("SampleGrid", "HeldOutLoss")
    num: Annotated[Size, "Samples that each looks at."] = 1000
    split: Annotated[Text, "Of the data, for comparisons."] = "test"


@dataclass(frozen=True)
class Fields:
    """A config."""

    seed: Annotated[int, Between(0, 2**63 - 1), "Of everything that is random."] = 0
    task: Annotated[Any, Part("tasks"), "What is trained."] = field(
        default_factory=lambda: {"name": "Diffusion"}
    )
    data: Data = Data()
    transforms: Annotated[
        tuple[Annotated[Any, Part("data.transforms")], ...], "Of examples, in this order."
    ] = ()
    batch_size: Annotated[Size, "Of all devices together."] = 128
    codec: Annotated[Any, Part("codecs"), "The space in which diffusion runs."] = field(
        default_factory=lambda: {"name": "Pixels"}
    )
    process: Annotated[Any, Part("diffusion.schedules"), "The forward process."] = "Cosine"
    parameterization: Annotated[
        Any, Part("diffusion.parameterizations"), "What the network predicts."
    ] = "v"
    input_scaling: Annotated[Any, Part("diffusion.preconditioning"), "Of x_t, for the network."] = (
        "Unscaled"
    )
    time_input: Annotated[Any, Part("diffusion.preconditioning"), "Of t, for the network."] = (
        "ScaledTime"
    )
    network: Annotated[Any, Part("networks"), "The network."] = field(
        default_factory=lambda: {"name": "UNet"}
    )
    control: Annotated[
        Mapping[str, Any],
        "A network that steers the other, which is frozen, by maps: the number of their `channels`;"
        " `depth`, of a DiT the number of copied blocks. {} for none.",
    ] = field(default_factory=dict)
    compute_dtype: Annotated[FloatType, "Of the network's arithmetic."] = "float32"
    conditions: Annotated[tuple[Text, ...], "The data's fields that condition the network."] = ()
    condition_dropout: Annotated[float, Range(ge=0, lt=1), "How often each is left out."] = 0.1
    encoders: Annotated[
        Mapping[str, Annotated[Any, Part("conditioning.encoders")]], "Of conditions, by name."
    ] = field(default_factory=dict)
    weights: Annotated[
        Mapping[str, Any],
        'Where values come from, by name: "" (random), a run\'s folder, files, a name on the hub.',
    ] = field(default_factory=lambda: {"network": "", "teacher": ""})
    adapters: Annotated[
        Mapping[str, Annotated[Any, Part("weights.adapters")]], "Changes of weights, by name."
    ] = field(default_factory=dict)
    objective: Annotated[Any, Part("objectives"), "The loss."] = "Denoising"
    loss_parameterization: Annotated[
        Any,
        Part("diffusion.parameterizations", optional=True),
        "What the loss compares; the network's where it is empty.",
    ] = ""
    time_sampling: Annotated[Any, Part("diffusion.time_sampling"), "Of training times."] = "Uniform"
    weighting: Annotated[Any, Part("diffusion.weighting"), "Of the loss by noise level."] = "Simple"
    optimizer: Optimizer = Optimizer()
    optimizers: Annotated[
        Mapping[str, Any], "For weights by name, the fields that differ from `optimizer`."
    ] = field(default_factory=dict)
    accumulate: Annotated[Size, "Micro-batches that a batch is divided into."] = 1
    ema: Annotated[Any, Part("training.ema"), "The weights' average."] = "Warmup(decay=0.9999)"
    parallel: Annotated[
        Any,
        Part("weights.layouts"),
        "The layout on devices: jit divides the batch, fsdp the parameters too; or axes, such as"
        " Mesh(fsdp=8, tensor=2).",
    ] = "jit"
    profile: Annotated[str, "Steps of which a profile is written, such as 100:110."] = ""
    train: Train = Train()
    sampling: Sampling = Sampling()
    evaluation: Evaluation = Evaluation()


OPEN = {"data": "data.sources", "optimizer": "optax"}
"""Sections with further fields: the options of what they name, of this family."""
