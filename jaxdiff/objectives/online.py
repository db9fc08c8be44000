"""Online tuning by rewards: the model draws pictures in each step, and learns from their rewards.

The batch gives conditions and randomness, no pictures. Each group of `group` neighbours draws for
one condition, and a picture's advantage is its reward against its group's.
"""

from dataclasses import dataclass
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from einops import rearrange, reduce
from jaxtyping import Array, Float, Integer

from jaxdiff import random
from jaxdiff.config.build import Spec, build
from jaxdiff.diffusion import sampling
from jaxdiff.diffusion.process import Parameterization, Process
from jaxdiff.diffusion.solvers import DDIM
from jaxdiff.diffusion.time_sampling import TimeSampling
from jaxdiff.diffusion.weighting import Weighting
from jaxdiff.objectives import rewards
from jaxdiff.objectives.one_time import with_noise
from jaxdiff.objectives.two_times import mean_square, stop
from jaxdiff.options import Between, NonNegativeFloat, PositiveFloat, Range, Steps, checked
from jaxdiff.typing import Cond, Data, Denoiser, Draw, Metrics, Roles, Span

Group = Annotated[int, Between(2, 4096)]
Rewards = Float[Array, " b"]


def check_groups(objective: Any, config: Any) -> None:
    """Raises ValueError where groups do not divide the batch, or conditions may be dropped."""
    name, size = type(objective).__name__, config.batch_size
    if size % objective.group:
        raise ValueError(f"{name}: group={objective.group} does not divide batch_size={size}")
    if config.conditions and config.condition_dropout:
        raise ValueError(
            f"{name}: condition_dropout={config.condition_dropout} must be 0: pictures are drawn"
            " for their conditions, without guidance"
        )
    rewards.check_config(build(rewards, objective.reward), config)
    if config.parallel == "pmap":
        raise ValueError(f"parallel='pmap': {name} compares the pictures of a group; use 'jit'")


def grouped(cond: Cond, batch: int, group: int) -> Cond:
    """Returns conditions in which each group has that of its first example."""
    first = jnp.arange(batch) // group * group
    return jax.tree.map(lambda leaf: leaf[first], cond)


def judged(objective: Any) -> tuple[str, ...]:
    """Returns the fields of examples that an objective's reward reads."""
    return rewards.reads(build(rewards, objective.reward))


def rewarded(objective: Any, roles: Roles, pictures: Data, cond: Cond) -> Float[Array, " b"]:
    """Returns the rewards of what was drawn for grouped conditions."""
    asked = {**cond, **grouped(dict(roles.judged), len(pictures), objective.group)}
    return stop(build(rewards, objective.reward)(roles.decode(pictures), asked))


def advantages(reward: Rewards, group: int) -> Rewards:
    """Returns rewards less their group's mean, divided by the deviation over the batch.

    Of equal rewards all advantages are 0 (DiffusionNFT and Flow-GRPO, `Z` over all groups).
    """
    by_group = rearrange(reward, "(groups group) -> groups group", group=group)
    centred = by_group - by_group.mean(axis=1, keepdims=True)
    return (centred / (jnp.std(centred) + 1e-6)).reshape(-1)


def drawn(
    process: Process, denoiser: Denoiser, like: Data, cond: Cond, draw: Draw, steps: int, eta: float
) -> Float[Array, "times b *shape"]:
    """Returns the whole way from noise to pictures by DDIM, on even times."""
    times = jnp.linspace(1.0, 0.0, steps + 1)
    keys = random.stream(draw.keys, "drawn")
    start = sampling.prior(process, keys, like, times[0])
    return stop(sampling.trajectory(DDIM(process, eta), denoiser, start, times, cond, keys))


@checked
@dataclass(frozen=True)
class DiffusionNFT:
    """r·‖v⁺ - v‖² + (1 - r)·‖v⁻ - v‖² on the forward process (Zheng et al. 2025, DiffusionNFT).

    v⁺ = (1 - beta)·v_old + beta·v_θ leads to rewarded pictures, v⁻ = (1 + beta)·v_old - beta·v_θ
    away from the others. r = 1/2 + clip(advantage/`clip`, -1, 1)/2. The old model is the average
    (`config.ema`, of a rate that lets it follow), and draws pictures in `steps` steps of DDIM. With
    a teacher, `kl`·‖v_θ - v_teacher‖² holds the student to the model before tuning, as which it
    begins. No guidance is used. Where all rewards are alike, the old model has no gradient.
    """

    process: Process
    parameterization: Parameterization
    time_sampling: TimeSampling
    weighting: Weighting
    reward: Spec = "Brightness"
    group: Group = 8
    steps: Steps = 10
    beta: Annotated[float, Range(gt=0, le=10)] = 1.0
    clip: PositiveFloat = 5.0
    kl: NonNegativeFloat = 1e-4
    learns = "denoiser"
    per_example = False

    def __post_init__(self):
        build(rewards, self.reward)

    judged = property(judged)

    def check_config(self, config: Any) -> None:
        """Raises ValueError if a run's config does not fit."""
        check_groups(self, config)

    def __call__(
        self, roles: Roles, x0: Data, cond: Cond, draw: Draw, step: Integer[Array, ""]
    ) -> tuple[Float[Array, " b"], Metrics]:
        """Returns the loss of each drawn picture; of the data, only shape and condition matter."""
        cond = grouped(cond, len(x0), self.group)
        x0 = drawn(self.process, roles.target, x0, cond, draw, self.steps, 0.0)[-1]
        reward = rewarded(self, roles, x0, cond)
        r = (1 + jnp.clip(advantages(reward, self.group) / self.clip, -1, 1)) / 2

        t, importance = self.time_sampling(self.process, draw)
        truth = with_noise(x0, draw.keys)
        x = self.process.perturb(truth, t)
        read = lambda p: self.process.read(self.parameterization, p, t)
        new, old = read(roles.student(x, t, cond)), stop(read(roles.target(x, t, cond)))
        good = (1 - self.beta) * old + self.beta * new
        bad = (1 + self.beta) * old - self.beta * new
        loss = r * mean_square(good - read(truth)) + (1 - r) * mean_square(bad - read(truth))
        loss *= self.weighting(self.process, self.parameterization, t)
        metrics = {"logsnr": self.process.logsnr(t), "importance": importance, "reward": reward}
        if roles.teacher is not None:
            drift = mean_square(new - stop(read(roles.teacher(x, t, cond))))
            loss, metrics = loss + self.kl * drift, metrics | {"drift": drift}
        return importance * loss, metrics


@checked
@dataclass(frozen=True)
class FlowGRPO:
    """-min(ρ·A, clip(ρ, 1 ± clip)·A), ρ = p_θ(x_s | x_t)/p_old (Liu et al. 2025, Flow-GRPO, eq. 5).

    The old model is the average, and draws pictures by `steps` steps of DDIM with new noise `eta`,
    which are Gaussian: log p is its mean over the values. With a teacher, `kl` times the divergence
    of the two Gaussians is added. At the first step ρ = 1; its mean and the share of clipped ratios
    are logged. DDPO (Black et al. 2024) is this without groups.
    """

    process: Process
    reward: Spec = "Brightness"
    group: Group = 8
    steps: Annotated[int, Between(2, 1000)] = 10
    eta: Annotated[float, Range(gt=0, le=1)] = 0.7
    clip: Annotated[float, Range(gt=0, lt=1)] = 0.1
    kl: NonNegativeFloat = 0.04
    learns = "denoiser"
    per_example = False

    def __post_init__(self):
        build(rewards, self.reward)

    judged = property(judged)

    def check_config(self, config: Any) -> None:
        """Raises ValueError if a run's config does not fit."""
        check_groups(self, config)

    def __call__(
        self, roles: Roles, x0: Data, cond: Cond, draw: Draw, step: Integer[Array, ""]
    ) -> tuple[Float[Array, " b"], Metrics]:
        """Returns the loss of each drawn picture; of the data, only shape and condition matter."""
        cond = grouped(cond, len(x0), self.group)
        xs = drawn(self.process, roles.target, x0, cond, draw, self.steps, self.eta)
        reward = rewarded(self, roles, xs[-1], cond)
        advantage = advantages(reward, self.group)
        solver, times = DDIM(self.process, self.eta), jnp.linspace(1.0, 0.0, self.steps + 1)

        @jax.checkpoint
        def step_loss(x: Data, x_s: Data, t: Array, s: Array) -> dict[str, Float[Array, " b"]]:
            at = lambda time: jnp.full(len(x), time)
            span = Span(at(t), at(s), draw.keys, self.steps)
            move = lambda denoiser: solver.transition(denoiser(x, span.t, cond), x, span)
            (new, spread), (old, _) = move(roles.student), jax.tree.map(stop, move(roles.target))
            apart = lambda a, b: reduce(((a - b) / spread) ** 2, "b ... -> b", "mean") / 2
            ratio = jnp.exp(apart(x_s, old) - apart(x_s, new))
            clipped = jnp.clip(ratio, 1 - self.clip, 1 + self.clip)
            loss = -jnp.minimum(ratio * advantage, clipped * advantage)
            found = {"ratio": ratio, "clipped": jnp.float32(clipped != ratio)}
            if roles.teacher is not None:
                found["drift"] = apart(new, stop(move(roles.teacher)[0]))
                loss += self.kl * found["drift"]
            return found | {"loss": loss}

        # The last step, to sigma = 0, adds no noise and has no density.
        spans = xs[:-2], xs[1:-1], times[:-2], times[1:-1]
        found = jax.lax.scan(lambda _, at: (None, step_loss(*at)), None, spans)[1]
        means = {name: values.mean(axis=0) for name, values in found.items()}
        return means.pop("loss"), {"reward": reward, **means}
