r"""A neuron that fires at random: a Bernoulli regression seen through its sufficient statistics.

Reference:
    J.-M. Lueckmann et al., arXiv:2101.04653.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, ArrayLike, Float

from diffhep.core.checks import require_shape
from diffhep.core.typing import Scalar
from diffhep_sbi.problems.base import AbstractProblem
from diffhep_sbi.simulator import Program

__citations__ = ("arXiv:2101.04653",)

N_FILTER = 9
"""Times of the filter."""


class BernoulliGlm(AbstractProblem):
    r"""$y_t\sim\mathrm{Bernoulli}(\sigma(V\theta)_t)$ at 100 times; $x = V^T y$ is what is seen.

    A row of the design V is 1, for the offset, and the stimulus now and up to eight steps before.
    The prior is normal, with smooth filters favoured.

    Attributes:
        design: V; that of the benchmark if not given.
    """

    design: Float[Array, "time param"]

    def __init__(self, design: Float[ArrayLike, "time param"] | None = None) -> None:
        self.design = benchmark_design() if design is None else jnp.asarray(design)

    def __check_init__(self) -> None:
        good = self.design.ndim == 2 and self.design.shape[1] == N_FILTER + 1
        rule = f"be of shape (time, {N_FILTER + 1})"
        require_shape(good, "design", rule, f"shape {self.design.shape}")

    @property
    def prior(self) -> dist.Distribution:
        """A normal of the offset, and one of second differences of the filter."""
        difference = np.eye(N_FILTER) - np.eye(N_FILTER, k=-1)
        smooth = difference @ difference + np.diag(np.sqrt(np.arange(N_FILTER) / N_FILTER))
        precision = np.zeros((N_FILTER + 1, N_FILTER + 1))
        precision[0, 0], precision[1:, 1:] = 0.5, smooth.T @ smooth
        mean = jnp.zeros(N_FILTER + 1)
        return dist.MultivariateNormal(mean, precision_matrix=jnp.asarray(precision))

    @property
    def simulator(self) -> Program:
        """The spikes are latent."""
        return Program(_Spikes(self.design))

    def log_prob(self, x: Float[Array, " feature"], theta: Float[Array, " param"]) -> Scalar:
        r"""$\theta\cdot x - \sum_t\log(1 + e^{(V\theta)_t})$, the log-density up to one of x."""
        return theta @ x - jnp.sum(jax.nn.softplus(self.design @ theta))


def benchmark_design() -> Float[Array, "time param"]:
    """The design of the benchmark: its stimulus is the start of a well-known random stream."""
    # The benchmark drew it from NumPy's old generator.
    stimulus = np.random.RandomState(42).standard_normal(100)
    shifted = [np.concatenate([np.zeros(lag), stimulus])[:100] for lag in range(N_FILTER)]
    return jnp.asarray(np.stack([np.ones(100), *shifted], axis=1))


class _Spikes(eqx.Module):
    design: Float[Array, "time param"]

    def __call__(self, theta: Float[Array, " param"]) -> Float[Array, " feature"]:
        spikes = dist.BernoulliLogits(self.design @ theta).to_event(1)
        return self.design.T @ jnp.asarray(numpyro.sample("spikes", spikes), float)
