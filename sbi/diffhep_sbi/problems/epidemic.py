r"""An epidemic: susceptible, infected and recovered, counted on ten days in a thousand people.

Reference:
    J.-M. Lueckmann et al., arXiv:2101.04653.
"""

from typing import Any

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float

from diffhep.core.typing import Scalar
from diffhep_sbi.problems.base import AbstractProblem
from diffhep_sbi.simulator import Program

__citations__ = ("arXiv:2101.04653",)

POPULATION = 1e6
N_TESTED = 1000
N_DAYS = 10
SPACING = 17.0
"""Days between two counts."""

_TOLERANCE = 1e-6


class Epidemic(AbstractProblem):
    r"""$\dot S = -\beta SI/N$, $\dot I = \beta SI/N - \gamma I$ from one infected in a million.

    x counts the infected among 1000 people on day 0, 17, ..., 153. The prior is log-normal, with
    medians of 0.4 and 0.125 a day and widths of 0.5 and 0.2.
    """

    @property
    def prior(self) -> dist.Distribution:
        """Log-normal rates, per day."""
        medians = jnp.log(jnp.array([0.4, 0.125]))
        return dist.LogNormal(medians, jnp.array([0.5, 0.2])).to_event(1)

    @property
    def simulator(self) -> Program:
        """The counts."""
        return Program(_program)

    def log_prob(self, x: Float[Array, " feature"], theta: Float[Array, " param"]) -> Scalar:
        """The log-probability of the counts."""
        return jnp.sum(_counts(theta).log_prob(x))


def infected(theta: Float[Array, " param"]) -> Float[Array, " feature"]:
    """The fraction of the population that is infected on each of the days.

    Args:
        theta: Rates of infection and recovery, per day.

    Returns:
        The fractions.
    """
    import diffrax

    def slope(t: Any, state: Array, theta: Array) -> Array:
        # Logarithms: the first days grow from one in a million.
        log_susceptible, log_infected = state
        return jnp.stack(
            [-theta[0] * jnp.exp(log_infected), theta[0] * jnp.exp(log_susceptible) - theta[1]]
        )

    start = jnp.stack([jnp.log1p(-1.0 / POPULATION), -jnp.log(POPULATION)])
    days = SPACING * jnp.arange(N_DAYS)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(slope),
        diffrax.Tsit5(),
        0.0,
        SPACING * (N_DAYS - 1),
        0.5,
        start,
        args=theta,
        saveat=diffrax.SaveAt(ts=days),
        stepsize_controller=diffrax.PIDController(rtol=_TOLERANCE, atol=_TOLERANCE),
    )
    return jnp.exp(jnp.asarray(solution.ys)[:, 1])


def _counts(theta: Float[Array, " param"]) -> dist.Distribution:
    # In double precision neither 0 nor 1 is reached.
    return dist.BinomialProbs(jnp.clip(infected(theta), 1e-300, 1.0 - 1e-12), N_TESTED)


def _program(theta: Float[Array, " param"]) -> Float[Array, " feature"]:
    counts = numpyro.sample("counts", _counts(theta).to_event(1))
    return jnp.asarray(counts, float)
