"""The few types that everything else is written in."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Array, Float, Key

from jaxdiff import random
from jaxdiff.trees import pytree


@pytree(data=("value", "mask", "pooled", "keep"))
@dataclass(frozen=True)
class Condition:
    """One condition of a batch; a pytree of arrays with a leading batch axis.

    Attributes:
        value: labels [b], vectors [b, d], tokens [b, n, d] or maps [b, ..., c].
        mask: booleans [b, n], False for tokens to be ignored; None if every token counts.
        pooled: one vector [b, p] for all tokens of an example; None if the encoder has none.
        keep: booleans [b], False for examples whose condition is dropped: the network puts its
            learned null embedding there. None if every example keeps the condition.
    """

    # Not annotated: JAX puts shapes and shardings in the place of arrays.
    value: Any
    mask: Any = None
    pooled: Any = None
    keep: Any = None


Cond = Mapping[str, Any]
"""Conditions by name, "label", "text", ...: each a `Condition`, or the array of its value."""

Params = Any
"""A tree of arrays."""

Scalar = float | Float[Array, ""]
"""A number that may be traced."""

Metrics = Mapping[str, Any]
"""Named arrays with one value per example."""

REMEMBERED = "remembered"
"""The name among an objective's metrics under which it hands examples to its memory banks."""

Data = Float[Array, "b *shape"]
"""A batch of examples, clean or noised."""

Time = Float[Array, "b *frames"]
"""A time in [0, 1] of each example, or of each of its frames."""


class Prediction(NamedTuple):
    """What a denoiser says about `x_t = alpha·x0 + sigma·noise`."""

    x0: Float[Array, "*shape"]
    noise: Float[Array, "*shape"]
    variance: Float[Array, "*shape"] | None = None
    """Where a step's log-variance lies between its bounds: 0 at the posterior's, 1 at the forward
    step's. None where it is not learned."""


Denoiser = Callable[[Array, Array, Cond], Prediction]
"""`(x [b, ...], t [b], cond) -> Prediction`: a network, its EMA, a guided model, an oracle.

With t [b, f], x [b, f, ...] has frames that are each at a time of its own.
"""


class Span(NamedTuple):
    """One solver step, from time `t` down to time `s`, of each example or of each of its frames."""

    t: Float[Array, "b *frames"]
    s: Float[Array, "b *frames"]
    keys: Key[Array, " b"]
    steps: Any
    """The number of steps of the whole solution."""

    def noise(self, like: Array, *streams: Any) -> Array:
        """Returns standard normal noise of the shape of `like`, each example's from its own key.

        `streams` tell several draws of one step apart: names, or numbers.
        """
        keys = self.keys
        for each in streams:
            named = isinstance(each, str)
            keys = random.stream(keys, each) if named else random.fold_in(keys, each)
        return random.normal(keys, like)


class Draw(NamedTuple):
    """The randomness of one training step.

    `keys` holds one PRNG key per example. `stratified_u` holds one number in [0, 1) per example;
    over the global batch they are evenly spaced with a random offset, for variance reduction.
    """

    keys: Key[Array, " b"]
    stratified_u: Float[Array, " b"]


class Times(NamedTuple):
    """Training times, and the factor by which each one's loss is to be multiplied."""

    t: Float[Array, "b *frames"]
    importance: Float[Array, "b *frames"]


@runtime_checkable
class Critic(Protocol):
    """Tells samples from data by the features of a denoiser, in two parts: features, and scores."""

    def features(self, x: Array, t: Array, cond: Cond) -> Any:
        """Returns the features of x_t, a tree of arrays [b, ...]."""

    def scores(self, features: Any) -> Array:
        """Returns scores [b, n] of features: high for data."""


class Roles(NamedTuple):
    """The denoisers that an objective may ask: the one trained, its slow copy, a frozen one.

    `others` are trained beside the student by players of their own, such as a fake score; `critic`
    is for objectives with an adversarial term, `encoder` returns features of x_t by name, `decode`
    the pixels of x0, and `perceptual` the distance [b] of two batches of pixels. `judged` has the
    fields of examples [b] that a reward reads, and no denoiser.
    """

    student: Denoiser
    target: Denoiser
    teacher: Denoiser | None = None
    others: Mapping[str, Denoiser] = MappingProxyType({})
    critic: Critic | None = None
    encoder: Callable[[Array, Array, Cond], Mapping[str, Array]] | None = None
    decode: Callable[[Array], Array] = lambda x0: x0
    perceptual: Callable[[Array, Array], Array] | None = None
    judged: Mapping[str, Array] = MappingProxyType({})


@runtime_checkable
class Solver(Protocol):
    """A method that takes `x` from one time to the next; `sample` holds the loop.

    One whose steps add no noise says so by an attribute `stochastic = False`: it can be inverted.
    """

    def init(self, x: Array) -> Any:
        """Returns the history before the first step; `()` where there is none."""

    def step(
        self, denoiser: Denoiser, x: Array, span: Span, cond: Cond, history: Any
    ) -> tuple[Array, Any]:
        """Returns `x` at `span.s` and the new history."""


@runtime_checkable
class Objective(Protocol):
    """A loss per example, with named per-example values worth logging."""

    def __call__(
        self, roles: Roles, x0: Array, cond: Cond, draw: Draw, step: Array
    ) -> tuple[Array, Metrics]:
        """Returns the loss [b] and metrics [b].

        Among these "logsnr" says each example's noise level, and "importance", where there is
        one, the factor that the loss has because its time was drawn by importance. "remembered"
        is no metric, but examples for a memory bank.
        """


@runtime_checkable
class Network(Protocol):
    """A function of arrays with parameters, as Flax Linen's modules are."""

    def init(self, key: Any, *inputs: Any) -> Any:
        """Returns first variables, for inputs of these shapes."""

    def apply(self, variables: Any, *inputs: Any) -> Any:
        """Returns the output."""


@runtime_checkable
class Codec(Protocol):
    """Maps pixels to the space in which diffusion runs, and back."""

    def encode(self, params: Params, x: Array, keys: Array) -> Array:
        """Returns what diffusion is to model."""

    def decode(self, params: Params, z: Array) -> Array:
        """Returns pixels in [-1, 1]."""


@runtime_checkable
class Encoder(Protocol):
    """Maps values of the data or of a user, such as prompts, to a condition of a network.

    `rank` is the rank of one value: 0 for a text, 1 for a row of numbers.
    """

    rank: int

    def prepare(self, values: Sequence[Any]) -> Any:
        """Returns arrays with a leading axis for the values, such as token ids; on the host."""

    def inputs(self, batch: int) -> Any:
        """Returns the shapes of `prepare`'s arrays for a batch of this size."""

    def encode(self, params: Params, inputs: Any) -> Condition:
        """Returns the condition that the prepared arrays of a batch encode."""

    def empty(self, params: Params) -> Condition:
        """Returns the condition that replaces a dropped one, with a leading axis of 1."""


@runtime_checkable
class Frozen(Protocol):
    """A part with parameters that are read from files and not trained; `state.frozen` has them.

    A part, or parts that it is made of, have a field `weights` that says where the files are.
    """

    def shapes(self) -> Params:
        """Returns the parameters' shapes; reads nothing."""

    def load(self, target: Params) -> Params:
        """Returns the parameters like `target`, whose types and shardings they take.

        Raises:
            ValueError: files are missing, damaged or of another network.
        """

    def fingerprint(self) -> str:
        """Returns a hash of the content of the weights' files."""
