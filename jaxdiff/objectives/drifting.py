"""Drifting: a one-step generator whose samples move by a field between data and themselves."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from einops import rearrange, repeat
from jaxtyping import Array, Float, Integer, Key

from jaxdiff import random
from jaxdiff.condition import conditions
from jaxdiff.diffusion import flow_map
from jaxdiff.diffusion.guidance import GUIDANCE
from jaxdiff.diffusion.process import Process
from jaxdiff.objectives.drift import drift_loss, pooled
from jaxdiff.objectives.improved_mean_flow import power_law
from jaxdiff.objectives.memory import MemoryBank
from jaxdiff.objectives.two_times import stop
from jaxdiff.options import (
    Between,
    Count,
    Filled,
    FloatType,
    NonNegativeFloat,
    PositiveFloat,
    Range,
    Share,
    Size,
    checked,
)
from jaxdiff.typing import REMEMBERED, Cond, Data, Draw, Metrics, Prediction, Roles


@checked
@dataclass(frozen=True)
class Drifting:
    """‖x - (x + V(x))‖², the second fixed, in spaces of features (Deng et al. 2026).

    V leads generated samples to data of their class, and away from each other; where both have one
    distribution it is zero in the mean. The first `labels` examples of each batch, 0 for all, have
    their class generated, `generated` samples of each, and `positives` are data of this class. With
    guidance w, from 1 to `guidance_high` with a density of w^-`guidance_power`, but 1 for a share
    `unguided`, `negatives` of any class push as (w - 1) times as many generated ones do; the
    student reads w. Data come from a bank of the last `bank` of each class.

    Features are those of the teacher's `layers` at time `encoder_time`, such as a run of
    `MaskedAutoencoding`, with means and deviations over places, beside x itself; without a teacher
    x alone. Each place is a space of its own, and the losses of all are added.

    Raises:
        ValueError: guidance without classes or negatives, or a number is out of range.
    """

    process: Process
    shape: tuple[int, ...]
    num_classes: int = 0
    labels: Count = 0
    generated: Annotated[int, Between(2, 4096)] = 16
    positives: Size = 32
    negatives: Count = 16
    temperatures: Annotated[Sequence[PositiveFloat], Filled()] = (0.02, 0.05, 0.2)
    guidance_high: Annotated[float, Range(ge=1)] = 1.0
    guidance_power: NonNegativeFloat = 1.0
    unguided: Share = 0.0
    bank: Size = 64
    bank_dtype: FloatType = "float32"
    layers: Sequence[str] = ()
    encoder_time: Annotated[float, Range(ge=0, lt=1)] = 0.5
    memory: Any = field(default=None, repr=False)
    learns = "consistency"
    encoder = "teacher"
    per_example = False

    def __post_init__(self):
        if self.guidance_high > 1 and not (self.num_classes and self.negatives):
            raise ValueError(
                f"Drifting: guidance_high={self.guidance_high} needs classes and negatives, but"
                f" num_classes={self.num_classes}, negatives={self.negatives}"
            )
        if self.memory is None:
            classes = max(self.num_classes, 1)
            memory = MemoryBank(tuple(self.shape), classes, self.bank, self.bank_dtype)
            object.__setattr__(self, "memory", memory)

    @property
    def needs_scalars(self) -> tuple[str, ...]:
        """Returns the numbers that the network must read."""
        return (GUIDANCE,) if self.guidance_high > 1 else ()

    def check_config(self, config: Any) -> None:
        """Raises ValueError if a run's config does not fit."""
        if self.labels > config.batch_size:
            raise ValueError(f"Drifting: labels={self.labels} of batch_size={config.batch_size}")
        if config.conditions and config.condition_dropout:
            raise ValueError(
                f"Drifting: condition_dropout={config.condition_dropout} must be 0; guidance is by"
                " negatives"
            )
        if config.parallel == "pmap":
            raise ValueError("parallel='pmap': Drifting has a memory of all examples; use 'jit'")

    def __call__(
        self, roles: Roles, x0: Data, cond: Cond, draw: Draw, step: Integer[Array, ""]
    ) -> tuple[Float[Array, " labels"], Metrics]:
        """Returns the loss of each label."""
        cond = conditions(cond)
        label = cond["label"].value if "label" in cond else jnp.zeros(len(x0), jnp.int32)
        seen = {"x": x0, "label": label}
        memory = self.memory.bind(self.memory.absorb(seen))

        count = min(self.labels, len(x0)) or len(x0)
        keys, own = draw.keys[:count], label[:count]
        cond = {name: jax.tree.map(lambda a: a[:count], each) for name, each in cond.items()}
        data = memory.draw(keys, own, self.positives)
        scale = self._scales(keys, x0.dtype)
        x = self._generated(roles, x0[:count], keys, {**cond, GUIDANCE: scale})

        weight = (scale - 1) * (self.generated - 1) / max(self.negatives, 1)
        read = lambda group: self._features(roles, group, cond)
        drawn, real = read(x), read(stop(data))
        others = {name: h[:, :0] for name, h in real.items()}
        if self.negatives:
            others = read(stop(self._others(memory, keys, label)))
        loss = jnp.zeros(count)
        for name, h in drawn.items():
            loss += _over_places(h, real[name], others[name], weight, self.temperatures)
        return loss, {REMEMBERED: seen, "guidance": scale}

    def _others(
        self, memory: MemoryBank, keys: Key[Array, " b"], label: Integer[Array, " all"]
    ) -> Float[Array, "b negatives *shape"]:
        """Returns examples of any class, as often as the classes are in the batch."""
        keys = random.stream(keys, "negatives")
        of = lambda key: jax.random.choice(key, label, (self.negatives,))
        labels = rearrange(jax.vmap(of)(keys), "b n -> (b n)")
        each = jax.vmap(lambda key: jax.random.split(key, self.negatives))(keys)
        drawn = memory.draw(rearrange(each, "b n -> (b n)"), labels, 1)
        return rearrange(drawn, "(b n) 1 ... -> b n ...", n=self.negatives)

    def _scales(self, keys: Key[Array, " b"], dtype: Any) -> Float[Array, " b"]:
        u = lambda name: random.uniform(random.stream(keys, name)).astype(dtype)
        scale = power_law(u("guidance"), 1.0, self.guidance_high, self.guidance_power)
        return jnp.where(u("unguided") < self.unguided, 1.0, scale)

    def _generated(
        self, roles: Roles, like: Data, keys: Key[Array, " b"], cond: Cond
    ) -> Float[Array, "b generated *shape"]:
        """Returns samples of each label, each in one evaluation from noise."""
        g = self.generated
        each = [random.fold_in(random.stream(keys, "noise"), i) for i in range(g)]
        keys = rearrange(jnp.stack(each, axis=1), "b g -> (b g)")
        shape = (len(keys), *like.shape[1:])
        noise = random.normal(keys, jnp.zeros(shape, like.dtype))
        ones = jnp.ones(len(keys), like.dtype)
        x = self.process.perturb(Prediction(jnp.zeros_like(noise), noise), ones)
        cond = jax.tree.map(lambda a: repeat(a, "b ... -> (b g) ...", g=g), cond)
        x0 = flow_map.ask(roles.student, x, ones, jnp.zeros_like(ones), cond).x0
        return rearrange(x0, "(b g) ... -> b g ...", g=g)

    def _features(
        self, roles: Roles, x: Float[Array, "b n *shape"], cond: Cond
    ) -> dict[str, Float[Array, "b n places d"]]:
        """Returns all features of examples in groups."""
        b, n = x.shape[:2]
        flat = rearrange(x, "b n ... -> (b n) ...")
        found = {"x": rearrange(flat, "m ... -> m 1 (...)")}
        if roles.encoder is not None:
            t = jnp.full(len(flat), self.encoder_time, x.dtype)
            cond = jax.tree.map(lambda a: repeat(a, "b ... -> (b n) ...", n=n), cond)
            found |= pooled(roles.encoder(flat, t, cond))
        return {name: rearrange(h, "(b n) p d -> b n p d", b=b, n=n) for name, h in found.items()}


def _over_places(
    x: Float[Array, "b g p d"],
    data: Float[Array, "b k p d"],
    others: Float[Array, "b m p d"],
    weight: Float[Array, " b"],
    temperatures: Sequence[float],
) -> Float[Array, " b"]:
    """Returns the mean loss over places, each of which is a space of its own."""
    places = x.shape[2]
    apart = lambda a: rearrange(a, "b n p d -> (b p) n d")
    weight = repeat(weight, "b -> (b p)", p=places)
    loss = drift_loss(apart(x), apart(data), apart(others), weight, temperatures)
    return rearrange(loss, "(b p) -> b p", p=places).mean(axis=1)
