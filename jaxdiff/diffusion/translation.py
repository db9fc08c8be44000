"""A denoiser of one process, asked in the terms of another."""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdiff.diffusion import flow_map
from jaxdiff.diffusion.process import Process
from jaxdiff.trees import pytree
from jaxdiff.typing import Cond, Denoiser, Prediction


@pytree(data=("denoiser",))
@dataclass(frozen=True)
class Translated:
    """`denoiser` of the process `of` for x and t of the process `to`.

    At one sigma/alpha the two have the same x_t but for its scale, and the same x0 and noise.
    """

    denoiser: Denoiser
    of: Process
    to: Process

    def __call__(
        self, x: Float[Array, "b *shape"], t: Float[Array, "b *frames"], cond: Cond
    ) -> Prediction:
        """Returns x0 and noise."""
        return self.denoiser(*moved(self.of, self.to, x, t, cond))


def moved(
    of: Process, to: Process, x: Float[Array, "b *shape"], t: Float[Array, "b *frames"], cond: Cond
) -> tuple[Array, Array, Cond]:
    """Returns x, t and the condition of the process `to` as those of the process `of`."""
    time = lambda t: of.time(to.logsnr(t))
    if flow_map.UNTIL in cond:
        cond = {**cond, flow_map.UNTIL: time(flow_map.until_of(cond, t))}
    there = time(t)
    scale = jnp.hypot(*of.at(there, x)) / jnp.hypot(*to.at(t, x))
    return scale * x, there, cond


def translated(denoiser: Denoiser, of: Process, to: Process) -> Denoiser:
    """Returns the denoiser of the process `of` as one of the process `to`."""
    return denoiser if of == to else Translated(denoiser, of, to)


def check_translation(of: Process, to: Process) -> None:
    """Raises ValueError if `of` lacks noise levels that `to` has, between t = 0.001 and 0.999."""
    ends = jnp.array([1e-3, 1 - 1e-3])
    (high, low), whole = to.logsnr(ends), of.logsnr(jnp.array([0.0, 1.0]))
    if not (whole[1] <= low + 1e-3 and high <= whole[0] + 1e-3):
        raise ValueError(
            f"{of.schedule} has log-SNRs from {whole[1]:.3g} to {whole[0]:.3g} only, and cannot"
            f" answer for {to.schedule}, which has them from {low:.3g} to {high:.3g}"
        )
