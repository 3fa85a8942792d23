r"""Mean and covariance of outcomes as smooth functions of the design.

The mean is linear regression on monomials whose ridge, and whether squares and products of
coordinates help, are decided by the evidence; variances are a Gamma regression of squares.

Reference:
    D. J. C. MacKay, Neural Comput. 4, 415 (1992), for the evidence.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checks import as_integer, require
from diffhep.core.errors import ConfigError
from diffhep.core.rng import check_key
from diffhep.core.typing import Key, Scalar
from diffhep.detector.surrogates.base import AbstractSurrogate, Domain, domain_of

__citations__ = ("doi:10.1162/neco.1992.4.3.415",)

_RIDGES = np.geomspace(1e-4, 1e4, 17)
"""Prior variances of a coefficient over the noise's, among which the evidence chooses."""

_SQUARES = (0.0, 0.1, 1.0)
"""Prior variances of quadratic coefficients over those of linear ones."""

_TINY = 1e-12

_SLOPE_PENALTY = 4.0
"""Precision of the slopes of a logarithmic variance."""

_NEWTON_STEPS = 8


class _Moments(eqx.Module):
    """What a fit found, for standardised designs and outcomes."""

    linear: Float[Array, "param observable"]
    square: Float[Array, "pair observable"]
    constant: Float[Array, " observable"]
    log_sd: Float[Array, "param observable"]
    log_sd_constant: Float[Array, " observable"]
    cholesky: Float[Array, "observable observable"]


class MomentRegression(AbstractSurrogate):
    r"""$y=\mu(\psi)+D(\psi)Lz$ with z normal, D diagonal and $LL^T$ a constant correlation.

    Cost: three eigenvalue problems of the size of the events or of the monomials, whichever are
    fewer.

    Attributes:
        degree: Of the mean: 1, or 2 for squares and products where the evidence wants them.
        domain: Where it has data.
    """

    degree: int = eqx.field(static=True, default=2)
    domain: Domain | None = None
    moments: _Moments | None = None

    def __check_init__(self) -> None:
        degree = as_integer(self.degree, "degree", low=1)
        require(degree <= 2, "degree", "be 1 or 2", degree)

    def fit(
        self,
        designs: Float[np.ndarray, "event param"],
        outcomes: Float[np.ndarray, "event observable"],
        *,
        key: Key,
    ) -> "MomentRegression":
        """See `AbstractSurrogate.fit`; nothing random."""
        check_key(key)
        domain = domain_of(np.asarray(designs, float), np.asarray(outcomes, float))
        x = (designs - np.asarray(domain.centre)) / np.asarray(domain.scale)
        y = (outcomes - np.asarray(domain.shift)) / np.asarray(domain.spread)
        parts = [_regress(x, column, self.degree) for column in y.T]
        linear, square, constant, residual, share = (
            np.stack(part, axis=-1) for part in zip(*parts, strict=True)
        )
        # Residuals of fitted points are too small by the degrees of freedom that the fit took.
        log_sd = [_log_sd(x, r / np.sqrt(s)) for r, s in zip(residual.T, share, strict=True)]
        coefficients = np.stack(log_sd, axis=-1)
        sd = np.exp(coefficients[0] + x @ coefficients[1:])
        pulls = residual / np.sqrt(share) / sd
        found = (
            linear, square, constant, coefficients[1:], coefficients[0], _correlation(pulls)
        )  # fmt: skip
        moments = _Moments(*(jnp.asarray(part, dtype=float) for part in found))
        return MomentRegression(degree=self.degree, domain=domain, moments=moments)

    def draw(
        self, design: Float[Array, " param"], noise: Float[Array, " observable"]
    ) -> Float[Array, " observable"]:
        """See `AbstractSurrogate.draw`."""
        mean, cholesky = self.mean_and_cholesky(design)
        return mean + cholesky @ noise

    def log_density(
        self, design: Float[Array, " param"], outcome: Float[Array, " observable"]
    ) -> Scalar:
        """See `AbstractSurrogate.log_density`."""
        mean, cholesky = self.mean_and_cholesky(design)
        z = _solve_lower(cholesky, outcome - mean)
        log_det = jnp.sum(jnp.log(jnp.diagonal(cholesky)))
        return -0.5 * jnp.sum(z**2) - log_det - 0.5 * z.size * jnp.log(2.0 * jnp.pi)

    def mean_and_cholesky(
        self, design: Float[Array, " param"]
    ) -> tuple[Float[Array, " observable"], Float[Array, "observable observable"]]:
        """The moments at a design.

        Args:
            design: A vector.

        Returns:
            Mean, and a lower triangle whose square is the covariance.

        Raises:
            ConfigError: The surrogate is not fitted.
        """
        found, domain = self.moments, self.domain
        if found is None or domain is None:
            raise ConfigError("MomentRegression is not fitted: use what its `fit` returns.")
        x = domain.standard(design)
        mean = found.constant + x @ found.linear
        if found.square.shape[0]:
            one, two = np.triu_indices(x.size)
            mean = mean + (x[one] * x[two]) @ found.square
        sd = jnp.exp(found.log_sd_constant + x @ found.log_sd)
        spread = domain.spread
        return domain.shift + spread * mean, (spread * sd)[:, None] * found.cholesky


def _solve_lower(matrix: Array, vector: Array) -> Array:
    from jax.scipy.linalg import solve_triangular

    return solve_triangular(matrix, vector, lower=True)


def _regress(x: np.ndarray, y: np.ndarray, degree: int) -> tuple[Any, ...]:
    """Coefficients by the greatest evidence, residuals, and the share of freedom that is left."""
    size = x.shape[1]
    one, two = np.triu_indices(size)
    products = x[:, one] * x[:, two] if degree == 2 else np.zeros((len(y), 0))
    means = products.mean(axis=0)
    # The mean curvature has a coefficient of its own: it is known long before single ones are.
    bend = np.sum(x**2, axis=1, keepdims=True)
    height = bend.std() + _TINY if degree == 2 else np.inf
    base = np.hstack([x, (bend - bend.mean()) / height])
    best = None
    for square in _SQUARES if degree == 2 else (0.0,):
        known = base if square == 0.0 else np.hstack([base, np.sqrt(square) * (products - means)])
        found = _ridge(known, y, _RIDGES / size)
        if best is None or found[0] > best[0]:
            best = (*found, square)
    if best is None or not np.isfinite(best[0]):
        raise ConfigError("Argument `outcomes` must be finite, but its evidence is not a number.")
    _, coefficients, share, square = best
    linear, quadratic = coefficients[:size], np.zeros(products.shape[1])
    if square > 0.0:
        quadratic = np.sqrt(square) * coefficients[size + 1 :]
    if degree == 2:
        quadratic = quadratic + coefficients[size] / height * (one == two)
    residual = y - x @ linear - (products - means) @ quadratic
    return linear, quadratic, -means @ quadratic, residual, share


def _ridge(known: np.ndarray, y: np.ndarray, ridges: np.ndarray) -> tuple[float, np.ndarray, float]:
    """Evidence, coefficients and the share of freedom left, for the best of several ridges."""
    n, size = known.shape
    # Whichever matrix is smaller: of the events, or of the monomials.
    small = known @ known.T if n <= size else known.T @ known
    values, vectors = np.linalg.eigh(small)
    kept = values > 1e-10 * max(values[-1], 1e-300)
    values, vectors = values[kept], vectors[:, kept]
    z = vectors.T @ (y if n <= size else known.T @ y)
    z = z if n <= size else z / np.sqrt(values)
    rest = max(float(y @ y - z @ z), 0.0)
    total = 1.0 + ridges[:, None] * values
    noise = (np.sum(z**2 / total, axis=1) + rest) / n + 1e-300
    evidence = -0.5 * n * np.log(noise) - 0.5 * np.sum(np.log(total), axis=1)
    index = int(np.argmax(evidence))
    shrunk = ridges[index] * np.sqrt(values) * z / total[index]
    right = known.T @ (vectors / np.sqrt(values)) if n <= size else vectors
    share = (np.sum(1.0 / total[index]) + n - len(values)) / n
    return float(evidence[index]), right @ shrunk, share


def _log_sd(x: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """Coefficients of the logarithm of a standard deviation: a Gamma regression of squares."""
    known = np.concatenate([np.ones((len(x), 1)), x], axis=1)
    square = residual**2 + 1e-12
    beta = np.zeros(known.shape[1])
    beta[0] = np.log(square.mean())
    penalty = np.full(known.shape[1], _SLOPE_PENALTY)
    penalty[0] = 0.0
    information = 0.5 * known.T @ known + np.diag(penalty)
    for _ in range(_NEWTON_STEPS):
        pull = square / np.exp(known @ beta) - 1.0
        step = np.linalg.solve(information, 0.5 * known.T @ np.clip(pull, -1.0, 10.0))
        beta = beta + step - np.linalg.solve(information, penalty * beta)
    return 0.5 * beta


def _correlation(pulls: np.ndarray) -> np.ndarray:
    """Lower triangle of the correlation of pulls, kept definite."""
    n_observables = pulls.shape[1]
    if n_observables == 1:
        return np.ones((1, 1))
    matrix = np.corrcoef(pulls.T)
    return np.linalg.cholesky((1.0 - 1e-6) * matrix + 1e-6 * np.eye(n_observables))
