"""Dequantization: from data on a few levels to points with a density.

For y drawn from q(y|x) inside the bin of x, Jensen's inequality gives

    -log P(x) ≤ E[log q(y|x) - log p(y)]

(Theis et al. 2016; Ho et al. 2019). Each rule returns y and log q(y|x), and says at which noise
level sigma/alpha the flow should start, where p is the density of the data with that much noise.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from einops import reduce
from jax.scipy.stats import norm
from jaxtyping import Array, Float, Key

from jaxdiff.diffusion.likelihood.quantization import bin_width, bins, log_interval
from jaxdiff.options import Levels, PositiveFloat, checked
from jaxdiff.typing import Data


@runtime_checkable
class Dequantization(Protocol):
    """A rule of dequantization; `levels` is None where the data have a density already."""

    @property
    def noise_level(self) -> float:
        """Returns sigma/alpha where the flow starts."""

    def __call__(self, keys: Key[Array, " b"], x: Data) -> tuple[Data, Float[Array, " b"]]:
        """Returns y and log q(y|x)."""


KIND = Dequantization
"""The kind of objects that the names of this module build."""


@checked
@dataclass(frozen=True)
class Continuous:
    """No dequantization: the result is the density of the data, whose bits may be negative."""

    noise_level: PositiveFloat = 1e-3
    levels: ClassVar[None] = None

    def __call__(self, keys: Key[Array, " b"], x: Data) -> tuple[Data, Float[Array, " b"]]:
        """Returns x and 0."""
        return x, jnp.zeros(len(x), x.dtype)


@checked
@dataclass(frozen=True)
class Uniform:
    """Uniform dequantization: y uniform in the bin, for models trained on such data.

    A model trained on the levels themselves puts its mass near them, and has worse figures here.
    The flow starts at a noise of `start` bins, which blurs a density of this scale little.
    """

    levels: Levels = 256
    start: PositiveFloat = 0.1

    @property
    def noise_level(self) -> float:
        """Returns `start` bins."""
        return self.start * bin_width(self.levels)

    def __call__(self, keys: Key[Array, " b"], x: Data) -> tuple[Data, Float[Array, " b"]]:
        """Returns y and log q(y|x) = -d·log(width)."""
        lower, _ = bins(x, self.levels)
        width = bin_width(self.levels)
        place = jax.vmap(lambda key, x: jax.random.uniform(key, x.shape, x.dtype))(keys, x)
        dimensions = x[0].size
        return lower + width * place, jnp.full(len(x), -dimensions * jnp.log(width), x.dtype)


@checked
@dataclass(frozen=True)
class TruncatedNormal:
    """y = x + noise_level·ε, ε normal but cut off at the bin's edges (Zheng et al. 2023).

    The noise is that of the process, so y is where any model expects noisy data. The edges are
    `edge` standard deviations away.
    """

    levels: Levels = 256
    edge: PositiveFloat = 3.0

    @property
    def noise_level(self) -> float:
        """Returns half a bin over `edge`."""
        return bin_width(self.levels) / (2 * self.edge)

    def __call__(self, keys: Key[Array, " b"], x: Data) -> tuple[Data, Float[Array, " b"]]:
        """Returns y and log q(y|x)."""
        low, high = ((edge - x) / self.noise_level for edge in bins(x, self.levels))
        noise = jax.vmap(jax.random.truncated_normal)(keys, low, high)
        log_q = norm.logpdf(noise) - jnp.log(self.noise_level) - log_interval(low, high)
        return x + self.noise_level * noise, reduce(log_q, "b ... -> b", "sum")
