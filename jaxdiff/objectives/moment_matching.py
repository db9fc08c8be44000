"""Flow maps by their distributions: maximum mean discrepancy between two starts of one end."""

from dataclasses import dataclass
from typing import Annotated, Any

import jax.numpy as jnp
from einops import rearrange, reduce, repeat
from jaxtyping import Array, Float, Integer

from jaxdiff.diffusion import flow_map
from jaxdiff.diffusion import spans as span_rules
from jaxdiff.diffusion.parameterizations import x0 as x0_row
from jaxdiff.diffusion.process import Process
from jaxdiff.diffusion.spans import Pairs, Spans
from jaxdiff.diffusion.time_sampling import TimeSampling
from jaxdiff.diffusion.weighting import Weighting
from jaxdiff.objectives.two_times import Data, Time, stop, two_times
from jaxdiff.options import Between, PositiveFloat, checked
from jaxdiff.typing import Cond, Metrics, Prediction, Roles, Span


@checked
@dataclass(frozen=True)
class MomentMatching:
    """Inductive moment matching, IMM (Zhou et al. 2025, equations 12 and 14).

    The samples at s from x_t, and, held fixed, those from x_r on the same example's way, r a little
    below t, have one distribution. Groups of `group` examples, which follow one another in the
    batch and share their times, are compared by the Laplace kernel. sigma/alpha of r is lower by
    `decrement`, but r is not below s.
    """

    process: Process
    time_sampling: TimeSampling
    weighting: Weighting
    group: Annotated[int, Between(2, 4096)] = 4
    decrement: PositiveFloat = 0.04
    spans: Annotated[Spans, span_rules] = Pairs(apart=1.0)
    learns = "flow map"
    needs_scalars = ("until",)
    __call__ = two_times

    def loss(
        self, roles: Roles, truth: Prediction, span: Span, cond: Cond, step: Integer[Array, ""]
    ) -> tuple[Float[Array, " b"], Metrics]:
        """Returns the loss [b] of examples over spans, each its share of its group's.

        Raises:
            ValueError: the batch is not made of groups.
        """
        self._check(len(span.t))
        t, s = (repeat(time[:: self.group], "g -> (g m)", m=self.group) for time in span[:2])
        level = jnp.exp(-0.5 * self.process.logsnr(t)) - self.decrement
        r = self.process.time(-2 * jnp.log(jnp.maximum(level, 1e-12)))
        r = jnp.clip(r, s, t)
        at = lambda time: self.process.perturb(truth, time)
        jump = lambda x, time: flow_map.jump(self.process, roles.student, x, time, s, cond)
        above, below = jump(at(t), t), stop(jump(at(r), r))
        kernel = lambda x, y: self._kernel(x, y, t, s)
        loss = kernel(above, above) + kernel(below, below) - 2 * kernel(above, below)
        return self.weighting(self.process, x0_row, t) * loss, {"gap": t - r}

    def check_config(self, config: Any) -> None:
        """Raises ValueError if the batches of a run's config are not made of groups."""
        self._check(config.batch_size)

    def _check(self, batch: int) -> None:
        if batch % self.group:
            raise ValueError(
                f"MomentMatching: a batch of {batch} is not made of groups of {self.group}"
            )

    def _kernel(self, x: Data, y: Data, t: Time, s: Time) -> Float[Array, " b"]:
        """Returns for each example the mean kernel with all of its group.

        Distances are measured in what an error of x0 at t becomes at s, per value.
        """
        (alpha_t, sigma_t), (alpha_s, sigma_s) = (self.process.at(time, x) for time in (t, s))
        unit = jnp.maximum(jnp.abs(alpha_s * sigma_t - sigma_s * alpha_t) / sigma_t, 1e-6)
        grouped = lambda a: rearrange(a / unit, "(g m) ... -> g m (...)", m=self.group)
        a, b = grouped(x), grouped(y)
        squared = reduce((a[:, :, None] - b[:, None]) ** 2, "g j k d -> g j k", "sum")
        distance = jnp.sqrt(jnp.maximum(squared, 1e-12)) / a.shape[-1]
        return reduce(jnp.exp(-distance), "g j k -> (g j)", "mean")
