"""The conditions of a model: which batch fields, how encoded, how dropped.

A condition is a field of the batch, such as "label", that goes to the network as it is, or through
an encoder, which may make several fields of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr
from jaxtyping import Array, Key

from jaxdiff import random
from jaxdiff.condition import fill
from jaxdiff.trees import pytree
from jaxdiff.typing import Cond, Condition, Denoiser, Encoder, Params


@dataclass(frozen=True)
class Conditions:
    """The conditions of a model, by name.

    Attributes:
        names: fields of the batch.
        encoders: of those that do not go to the network as they are.
        num_classes: of "label".
        dropout: with what probability a condition is left out in training.
        learned_null: whether the network has an embedding for what is left out; if not, the
            encoding of the empty prompt stands there.

    Raises:
        ValueError: they do not fit each other.
    """

    names: Sequence[str] = ()
    encoders: Mapping[str, Encoder] = field(default_factory=dict)
    num_classes: int = 0
    dropout: float = 0.0
    learned_null: bool = True

    def __post_init__(self):
        if "label" in self.names and not self.num_classes:
            raise ValueError("conditions has 'label', but data.num_classes=0: nothing is labelled")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"condition_dropout={self.dropout} is not in [0, 1)")
        if unread := [name for name in self.encoders if name not in self.names]:
            raise ValueError(f"encoders has {unread}, but conditions={tuple(self.names)}")
        bare = [name for name in self.names if name not in self.encoders]
        if bare and not self.learned_null and self.dropout:
            raise ValueError(
                f"condition_dropout={self.dropout}: nothing stands for conditions {bare} where they"
                " are dropped: the network has no null embedding, and encoders has them not"
            )

    def example(self, frozen: Mapping[str, Params], batch: int = 1) -> dict[str, Any]:
        """Returns the shapes of what the network is given; `frozen` may be shapes too."""
        inputs = self.inputs(batch)
        return jax.eval_shape(self.encode, frozen, inputs)

    def inputs(self, batch: int) -> dict[str, Any]:
        """Returns the shapes of the conditions in a batch, before they are encoded."""
        inputs = {name: encoder.inputs(batch) for name, encoder in self.encoders.items()}
        if "label" in self.names and "label" not in self.encoders:
            inputs["label"] = jax.ShapeDtypeStruct((batch,), jnp.int32)
        return inputs

    def check_read(self, cond: Cond, create: ClosedJaxpr) -> None:
        """Raises ValueError if a function of a key and `cond` takes no notice of a condition."""
        used = {id(var) for equation in create.jaxpr.eqns for var in equation.invars}
        leaves = jax.tree_util.tree_leaves_with_path(cond)
        variables = create.jaxpr.invars[len(create.jaxpr.invars) - len(leaves) :]
        read = {
            path[0].key
            for (path, _), variable in zip(leaves, variables, strict=True)
            if id(variable) in used
        }
        if ignored := [name for name in self.names if name in cond and name not in read]:
            raise ValueError(
                f"conditions has {ignored}, but the network does not read them: see its options,"
                " such as num_classes, text_features or vectors"
            )

    def prepare(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Returns a batch, on the host, in which encoders' conditions are arrays.

        Raises:
            ValueError: a condition is not in the data.
        """
        if missing := [name for name in self.names if name not in batch]:
            known = ", ".join(sorted(batch))
            raise ValueError(
                f"conditions has {missing}, but the data have {known}; captions come from the data"
                " or from a transform, \"Caption(template='a photo of a {}')\""
            )
        texts = [name for name in self.names if np.asarray(batch[name]).dtype.kind == "U"]
        if bare := [name for name in texts if name not in self.encoders]:
            raise ValueError(f"conditions has {bare}, which are texts: encoders has none for them")
        return {**batch, **{name: self._prepare(name, batch[name]) for name in self.encoders}}

    def check(self, num: int, cond: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the arrays of values that a user gives: one for each of `num`, or one for all.

        Raises:
            ValueError: a name is unknown, or values are of another number, kind or range.
        """
        checked = {}
        for name, value in cond.items():
            if name not in self.names:
                raise ValueError(f"unknown condition {name!r}; known: {list(self.names)}")
            rank = self.encoders[name].rank if name in self.encoders else 0
            values = [value] * num if np.ndim(value) == rank else value
            if len(values) != num:
                raise ValueError(f"cond[{name!r}] has {len(values)} values for {num} samples")
            checked[name] = self._prepare(name, values)
        labels = checked.get("label", np.zeros(0, int))
        wrong = [n for n in np.unique(labels).tolist() if n not in range(self.num_classes)]
        if wrong:
            raise ValueError(
                f"labels {wrong} are out of range: classes are 0 to {self.num_classes - 1}"
            )
        return checked

    def encode(self, frozen: Mapping[str, Params], inputs: Mapping[str, Any]) -> Cond:
        """Returns the conditions that inputs become; under jit."""
        through = lambda name, value: self.encoders[name].encode(frozen.get(name), value, name)
        return {
            name: through(name, value) if name in self.encoders else Condition({name: value})
            for name, value in inputs.items()
        }

    def drop(self, cond: Cond, keys: Key[Array, " b"]) -> Cond:
        """Returns the conditions, each kept or dropped by one draw an example."""
        if not self.dropout:
            return cond
        draw = lambda name: random.uniform(random.stream(keys, f"drop {name}")) >= self.dropout
        return {name: replace(value, keep=draw(name)) for name, value in cond.items()}

    def empty(self, frozen: Mapping[str, Params], negative: Cond | None = None) -> Cond:
        """Returns the fillings of conditions that are dropped, {} where the network has its own.

        That is the empty prompt, or `negative`, conditions encoded for one example.
        """
        null = {}
        if not self.learned_null:
            null = {n: part.empty(frozen.get(n), n) for n, part in self.encoders.items()}
        return {**null, **(negative or {})}

    def _prepare(self, name: str, values: Any) -> Any:
        if name not in self.encoders:
            return np.asarray(values)
        try:
            return self.encoders[name].prepare(list(values))
        except ValueError as error:
            raise ValueError(f"cond[{name!r}]: {error}") from error


@pytree(data=("denoiser", "empty"))
@dataclass(frozen=True)
class Filled:
    """A denoiser that sees `empty` wherever a condition is dropped or absent."""

    denoiser: Denoiser
    empty: Cond

    def __call__(self, x: Array, t: Array, cond: Cond) -> Any:
        """Returns the prediction."""
        return self.denoiser(x, t, fill(cond, self.empty, len(x)))


def filled(denoiser: Denoiser, empty: Cond) -> Denoiser:
    """Returns the denoiser that sees `empty` wherever a condition is dropped or absent."""
    return Filled(denoiser, empty) if empty else denoiser
