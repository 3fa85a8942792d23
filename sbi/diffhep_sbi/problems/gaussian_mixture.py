r"""A narrow and a wide normal of one mean: a posterior of two scales.

Reference:
    J.-M. Lueckmann et al., arXiv:2101.04653.
"""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float

from diffhep.core.typing import Scalar
from diffhep_sbi.problems.base import AbstractProblem
from diffhep_sbi.simulator import Program

__citations__ = ("arXiv:2101.04653",)

SCALES = (1.0, 0.1)
BOUND = 10.0


class GaussianMixture(AbstractProblem):
    r"""$x\sim\frac12 N(\theta, 1) + \frac12 N(\theta, 0.1^2)$ in two dimensions.

    The prior is uniform on $[-10, 10]^2$.
    """

    @property
    def prior(self) -> dist.Distribution:
        """Uniform on a square."""
        return dist.Uniform(-BOUND * jnp.ones(2), BOUND * jnp.ones(2)).to_event(1)

    @property
    def simulator(self) -> Program:
        """The component is latent."""
        return Program(_program)

    def log_prob(self, x: Float[Array, " feature"], theta: Float[Array, " param"]) -> Scalar:
        """The log-density of the mixture."""
        narrow, wide = (jnp.sum(dist.Normal(theta, scale).log_prob(x)) for scale in SCALES)
        return jnp.logaddexp(narrow, wide) - jnp.log(2.0)


def _program(theta: Float[Array, " param"]) -> Float[Array, " feature"]:
    which = numpyro.sample("which", dist.BernoulliProbs(0.5))
    scale = jnp.where(which == 1, *SCALES)
    return jnp.asarray(numpyro.sample("x", dist.Normal(theta, scale).to_event(1)))
