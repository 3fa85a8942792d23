r"""Simple likelihood, complex posterior: four normal points whose covariance is a parameter.

Reference:
    J.-M. Lueckmann et al., arXiv:2101.04653; G. Papamakarios et al., arXiv:1805.07226.
"""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float

from diffhep.core.typing import Scalar
from diffhep_sbi.problems.base import AbstractProblem
from diffhep_sbi.simulator import Program

__citations__ = ("arXiv:2101.04653", "arXiv:1805.07226")

N_POINTS = 4
BOUND = 3.0
_LEAST_VARIANCE = 1e-6


class Slcp(AbstractProblem):
    r"""Four points $\sim N(m, S)$ in a plane, one after the other in x.

    $m = (\theta_1, \theta_2)$; S has standard deviations $\theta_3^2$ and $\theta_4^2$ and the
    correlation $\tanh\theta_5$. The prior is uniform on $[-3, 3]^5$: the signs of $\theta_3$ and
    $\theta_4$ are open, so that posteriors have four modes.
    """

    @property
    def prior(self) -> dist.Distribution:
        """Uniform on a cube."""
        return dist.Uniform(-BOUND * jnp.ones(5), BOUND * jnp.ones(5)).to_event(1)

    @property
    def simulator(self) -> Program:
        """The four points."""
        return Program(_program)

    def log_prob(self, x: Float[Array, " feature"], theta: Float[Array, " param"]) -> Scalar:
        """The log-density of all points."""
        return jnp.sum(_point(theta).log_prob(x.reshape(N_POINTS, 2)))


def _point(theta: Float[Array, " param"]) -> dist.Distribution:
    first, second = theta[2] ** 2, theta[3] ** 2
    across = jnp.tanh(theta[4]) * first * second
    variances = jnp.stack([first**2 + _LEAST_VARIANCE, second**2 + _LEAST_VARIANCE])
    # The Cholesky factor of two dimensions, written out.
    root = jnp.sqrt(variances[0])
    low = across / root
    rest = jnp.sqrt(variances[1] - low**2)
    zero = jnp.zeros_like(root)
    factor = jnp.stack([jnp.stack([root, zero]), jnp.stack([low, rest])])
    return dist.MultivariateNormal(theta[:2], scale_tril=factor)


def _program(theta: Float[Array, " param"]) -> Float[Array, " feature"]:
    points = jnp.asarray(numpyro.sample("points", _point(theta).expand((N_POINTS,)).to_event(1)))
    return points.ravel()
