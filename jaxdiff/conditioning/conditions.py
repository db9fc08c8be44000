"""The conditions of a model: the batch fields, how they are encoded, and how they are dropped."""

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

KEEP = ".keep"
"""Ends the name of the booleans that say which values of a condition are not empty."""


@dataclass(frozen=True)
class Conditions:
    """The conditions of a model, by name.

    Attributes:
        names: fields of the batch, such as "label" or "text".
        encoders: by condition; a condition without an encoder reaches the network unchanged.
        num_classes: number of classes of "label".
        dropout: the probability, in training, that a condition of an example is dropped.
        learned_null: whether the network has an embedding for dropped conditions. If not, they are
            replaced by the encoding of the empty prompt.

    Raises:
        ValueError: a name, an encoder or the dropout does not fit the others.
    """

    names: Sequence[str] = ()
    encoders: Mapping[str, Encoder] = field(default_factory=dict)
    num_classes: int = 0
    dropout: float = 0.0
    learned_null: bool = True

    def __post_init__(self):
        if "label" in self.names and not self.num_classes:
            raise ValueError(
                "conditions has 'label', but data.num_classes=0: the data have no labels"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"condition_dropout={self.dropout} is not in [0, 1)")
        if unread := [name for name in self.encoders if name not in self.names]:
            raise ValueError(f"encoders has {unread}, but conditions={tuple(self.names)}")
        bare = [name for name in self.names if name not in self.encoders]
        if bare and not self.learned_null and self.dropout:
            raise ValueError(
                f"condition_dropout={self.dropout}, but nothing replaces dropped conditions {bare}:"
                " the network has no null embedding (inputs.learned_null=False), and"
                " config.encoders has no entry for them"
            )

    def example(self, weights: Mapping[str, Params], batch: int = 1) -> dict[str, Any]:
        """Returns the shapes of what the network is given; `weights` may be shapes too."""
        cond = jax.eval_shape(self.encode, weights, self.inputs(batch))
        if not self.dropout or not self.learned_null:
            return cond
        keep = jax.ShapeDtypeStruct((batch,), jnp.bool_)
        return {name: replace(condition, keep=keep) for name, condition in cond.items()}

    def inputs(self, batch: int) -> dict[str, Any]:
        """Returns the shapes of the conditions in a batch, before they are encoded."""
        inputs = {name: encoder.inputs(batch) for name, encoder in self.encoders.items()}
        if "label" in self.names and "label" not in self.encoders:
            inputs["label"] = jax.ShapeDtypeStruct((batch,), jnp.int32)
        return inputs

    def check_read(self, cond: Mapping[str, Any], create: ClosedJaxpr) -> None:
        """Checks that a function of a key and `cond` reads each condition, and its `keep`.

        Raises:
            ValueError: it does not; guidance would do nothing.
        """
        used = {id(var) for equation in create.jaxpr.eqns for var in equation.invars}
        paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(cond)]
        arrays = create.jaxpr.invars[len(create.jaxpr.invars) - len(paths) :]
        read = {(p[0].key, p[-1].name) for p, v in zip(paths, arrays, strict=True) if id(v) in used}
        values = {name for name, array in read if array != "keep"}
        if ignored := [name for name in self.names if name in cond and name not in values]:
            raise ValueError(
                f"conditions has {ignored}, but the network does not read them: see the options of"
                " its inputs, such as num_classes, text_features or vectors"
            )
        kept = [name for name in values if cond[name].keep is not None]
        if ignored := [name for name in kept if (name, "keep") not in read]:
            raise ValueError(
                f"conditions has {ignored}, which may be dropped, but the network does not read"
                " `keep`: where it is False, put a null embedding (`condition.choose`), or set"
                " condition_dropout=0; otherwise guidance does nothing"
            )

    def prepare(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Returns a batch, on the host, in which conditions with an encoder are arrays.

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
            raise ValueError(
                f"conditions has {bare}, which are texts: config.encoders has no entry for them"
            )
        return {**batch, **{name: self._prepare(name, batch[name]) for name in self.encoders}}

    def check(self, num: int, cond: Mapping[str, Any]) -> dict[str, Any]:
        """Returns a user's values as arrays: one value for each of `num` samples, or one for all.

        The empty prompt is no condition, as guidance and training know it: of a network with null
        embeddings, "text.keep" says which prompts are not empty.

        Raises:
            ValueError: a name is unknown, or values have the wrong number, kind or range.
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
            kept = [not (isinstance(each, str) and not each.strip()) for each in values]
            if self.learned_null and not all(kept):
                checked[name + KEEP] = np.array(kept)
        labels = checked.get("label", np.zeros(0, int))
        wrong = [n for n in np.unique(labels).tolist() if n not in range(self.num_classes)]
        if wrong:
            raise ValueError(
                f"labels {wrong} are out of range: classes are 0 to {self.num_classes - 1}"
            )
        return checked

    def encode(self, weights: Mapping[str, Params], inputs: Mapping[str, Any]) -> Cond:
        """Returns the conditions of prepared values; for use under jit.

        A `Condition` among them is encoded already; "text.keep" has booleans [b], as from `check`.
        """

        def encoded(name: str, value: Any) -> Condition:
            if isinstance(value, Condition):
                return value
            encoder = self.encoders.get(name)
            return encoder.encode(weights.get(name), value) if encoder else Condition(value)

        found = {n: encoded(n, value) for n, value in inputs.items() if not n.endswith(KEEP)}
        return {n: replace(c, keep=inputs.get(n + KEEP, c.keep)) for n, c in found.items()}

    def prompted(
        self, weights: Mapping[str, Params], num: int, prompts: Mapping[str, str]
    ) -> dict[str, Condition]:
        """Returns texts, encoded for `num` examples, by other names than "text"; under jit.

        Raises:
            ValueError: there is no condition "text".
        """
        encoded = lambda prompt: self.encode(weights, self.check(num, {"text": prompt}))["text"]
        return {name: encoded(prompt) for name, prompt in prompts.items()}

    def drop(self, cond: Cond, keys: Key[Array, " b"]) -> Cond:
        """Returns conditions that each example keeps or drops, every condition by its own draw."""
        if not self.dropout:
            return cond
        draw = lambda name: random.uniform(random.stream(keys, f"drop {name}"))
        return {n: replace(c, keep=draw(n) >= self.dropout) for n, c in cond.items()}

    def empty(self, weights: Mapping[str, Params], negative: Cond | None = None) -> Cond:
        """Returns the conditions that replace dropped ones, with a leading axis of 1.

        They are `negative`, encoded for one example, and the encoding of the empty prompt; {} for a
        network with null embeddings of its own.
        """
        given = dict(negative or {})
        missing = [] if self.learned_null else [n for n in self.encoders if n not in given]
        return {n: self.encoders[n].empty(weights.get(n)) for n in missing} | given

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
    """A denoiser that reads `empty` in place of dropped and absent conditions."""

    denoiser: Denoiser
    empty: Cond

    def __call__(self, x: Array, t: Array, cond: Cond) -> Any:
        """Returns the prediction."""
        return self.denoiser(x, t, fill(cond, self.empty, len(x)))


def filled(denoiser: Denoiser, empty: Cond) -> Denoiser:
    """Returns the denoiser that reads `empty` in place of dropped and absent conditions."""
    return Filled(denoiser, empty) if empty else denoiser
