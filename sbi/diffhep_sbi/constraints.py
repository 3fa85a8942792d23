"""Constraint terms: what an auxiliary measurement says of nuisance parameters.

Every term is the normalised density of an auxiliary observation, and can also draw one, as toys
and Asimov data need.

Reference:
    K. Cranmer et al., HistFactory, CERN-OPEN-2012-016; arXiv:1007.1727 (Asimov data).
"""

from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln, xlogy
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from diffhep.core.checks import concrete, require, require_shape
from diffhep.core.typing import Key, Scalar

__citations__ = ("doi:10.21105/joss.02823", "arXiv:1007.1727")

LOG_SQRT_2PI = 0.9189385332046727
r"""$\log\sqrt{2\pi}$."""


def _as_row(values: ArrayLike) -> Array:
    return jnp.atleast_1d(jnp.asarray(values, dtype=float))


class AbstractConstraint(eqx.Module):
    """The density of auxiliary observations, one for each parameter it constrains.

    Attributes:
        names: The parameters, in the order of the values.
    """

    names: eqx.AbstractVar[tuple[str, ...]]

    @abstractmethod
    def log_prob(self, values: Float[Array, " term"], auxiliary: Float[Array, " term"]) -> Scalar:
        """Logarithm of the density of the auxiliary observations, normalised."""

    @abstractmethod
    def expected(self, values: Float[Array, " term"]) -> Float[Array, " term"]:
        """The Asimov value of the auxiliary observations: that at which `values` fit best."""

    @abstractmethod
    def sample(self, key: Key, values: Float[Array, " term"]) -> Float[Array, " term"]:
        """One draw of the auxiliary observations."""

    def information(self, values: Float[Array, " term"]) -> Float[Array, " term"]:
        """Fisher information of each parameter: minus the curvature at the Asimov value."""
        at = jax.lax.stop_gradient(self.expected(values))
        return -jnp.diagonal(jax.hessian(self.log_prob)(values, at))


class GaussianConstraint(AbstractConstraint):
    r"""A Gaussian observation of each parameter, $a \sim N(\alpha, \sigma)$.

    Attributes:
        names: The parameters.
        sigma: Standard deviations, in the units of the parameters.

    Raises:
        ConfigError: A standard deviation is not positive.
        ShapeError: There is not one for each parameter.
    """

    names: tuple[str, ...] = eqx.field(static=True)
    sigma: Float[Array, " term"] = eqx.field(converter=_as_row)

    def __check_init__(self) -> None:
        _require_positive(self.sigma, self.names, "sigma")

    def log_prob(self, values: Float[Array, " term"], auxiliary: Float[Array, " term"]) -> Scalar:
        """Logarithm of the Gaussian density of the observations."""
        pull = (auxiliary - values) / self.sigma
        return jnp.sum(-0.5 * pull**2 - jnp.log(self.sigma) - LOG_SQRT_2PI)

    def expected(self, values: Float[Array, " term"]) -> Float[Array, " term"]:
        """The parameters themselves."""
        return values

    def sample(self, key: Key, values: Float[Array, " term"]) -> Float[Array, " term"]:
        """Gaussian draws around the parameters."""
        return values + self.sigma * jax.random.normal(key, values.shape)


class LogNormalConstraint(AbstractConstraint):
    r"""A log-normal observation of each parameter, $\log a \sim N(\log\alpha, \log\kappa)$.

    The density is that of $\log a$, which is what is observed.

    Attributes:
        names: The parameters, all positive.
        kappa: Factors of one standard deviation, above 1.

    Raises:
        ConfigError: A factor is not above 1.
        ShapeError: There is not one for each parameter.
    """

    names: tuple[str, ...] = eqx.field(static=True)
    kappa: Float[Array, " term"] = eqx.field(converter=_as_row)

    def __check_init__(self) -> None:
        _require_positive(self.kappa - 1.0, self.names, "kappa", "be above 1")

    def log_prob(self, values: Float[Array, " term"], auxiliary: Float[Array, " term"]) -> Scalar:
        """Logarithm of the Gaussian density of the logarithms of the observations."""
        sigma = jnp.log(self.kappa)
        pull = (jnp.log(auxiliary) - jnp.log(values)) / sigma
        return jnp.sum(-0.5 * pull**2 - jnp.log(sigma) - LOG_SQRT_2PI)

    def expected(self, values: Float[Array, " term"]) -> Float[Array, " term"]:
        """The parameters themselves."""
        return values

    def sample(self, key: Key, values: Float[Array, " term"]) -> Float[Array, " term"]:
        """Log-normal draws around the parameters."""
        return values * self.kappa ** jax.random.normal(key, values.shape)


class PoissonConstraint(AbstractConstraint):
    r"""A Poisson count beside each factor, $n \sim \mathrm{Poisson}(\tau\gamma)$.

    Attributes:
        names: The parameters, factors around 1.
        tau: Expected counts at $\gamma = 1$; for a relative uncertainty $\delta$ it is
            $1/\delta^2$. Observations need not be whole.

    Raises:
        ConfigError: An expected count is not positive.
        ShapeError: There is not one for each parameter.
    """

    names: tuple[str, ...] = eqx.field(static=True)
    tau: Float[Array, " term"] = eqx.field(converter=_as_row)

    def __check_init__(self) -> None:
        _require_positive(self.tau, self.names, "tau")

    def log_prob(self, values: Float[Array, " term"], auxiliary: Float[Array, " term"]) -> Scalar:
        """Logarithm of the Poisson probability, continued to counts that are not whole."""
        return log_poisson(auxiliary, self.tau * values)

    def expected(self, values: Float[Array, " term"]) -> Float[Array, " term"]:
        r"""The expected counts $\tau\gamma$."""
        return self.tau * values

    def sample(self, key: Key, values: Float[Array, " term"]) -> Float[Array, " term"]:
        """Poisson counts."""
        return jax.random.poisson(key, self.tau * values).astype(values.dtype)


def log_poisson(n: Float[Array, " bin"], rate: Float[Array, " bin"]) -> Scalar:
    r"""Sum of $n\log\nu - \nu - \log\Gamma(n + 1)$ over bins.

    Args:
        n: Counts, not negative, whole or not.
        rate: Expected counts $\nu$, not negative; a bin without either adds 0.

    Returns:
        The log-probability.
    """
    return jnp.sum(xlogy(n, rate) - rate - gammaln(n + 1.0))


def _require_positive(
    values: Array, names: tuple[str, ...], name: str, rule: str = "be positive"
) -> None:
    shape = values.shape
    wanted = f"hold one number for each of {', '.join(names)}"
    require_shape(shape == (len(names),), name, wanted, f"shape {shape}")
    known = concrete(values)
    if known is not None:
        require(bool((known > 0.0).all()), name, rule, known.tolist())
