r"""The test problems of local generative surrogates: stochastic simulators with known optima.

Reference:
    S. Shirobokov et al., arXiv:2002.04632.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import expit

from diffhep.core.checks import as_integer, require
from diffhep.core.typing import Scalar
from diffhep.detector.design import Design, Parameter
from diffhep.detector.problem import DesignProblem, mean_outcome

__citations__ = ("arXiv:2002.04632",)

WIDTH = 16
"""Hidden units of the map onto the non-linear submanifold."""

FIRST, SECOND = (-2.0, 0.0), (2.0, 5.0)
"""Ranges of the uniform inputs of the two components of the three-hump problem."""

WINDOW = 10.0
"""Outcomes between 0 and this are wanted."""

N_NODES = 64
"""Of the quadratures that give the exact objective."""


def _orthonormal(n_rows: int, n_columns: int, seed: int) -> np.ndarray:
    """Rows that are orthonormal, from a seed."""
    normal = np.random.default_rng(seed).normal(size=(n_columns, n_rows))
    return np.linalg.qr(normal)[0].T


def rosenbrock(
    n_latent: int = 10, n_params: int | None = None, seed: int = 1337, start: float = 2.0
) -> DesignProblem:
    r"""$y\sim N(\sum_{i<n}[(\phi_{i+1}-\phi_i^2)^2+(1-\phi_i)^2]+x,1)$, $R=\mathrm E[y]$.

    $x\sim N(\mu,1)$ with $\mu\sim U[-10,10]$. Either $\phi=\psi$ or, on a submanifold,
    $\phi=A\psi$ with orthonormal rows. The optimum is 0.

    Args:
        n_latent: Dimension n of $\phi$.
        n_params: Dimension of $\psi$; `n_latent` if not given, otherwise larger.
        seed: Of A.
        start: Of every $\phi_i$.

    Returns:
        The problem.

    Raises:
        ConfigError: A dimension is out of its range.
    """
    n = as_integer(n_latent, "n_latent", low=2)
    size = n if n_params is None else as_integer(n_params, "n_params", low=n)
    matrix = jnp.eye(n) if size == n else jnp.asarray(_orthonormal(n, size, seed))

    def exact(design: Design) -> Scalar:
        phi = matrix @ design["psi"]
        return jnp.sum((phi[1:] - phi[:-1] ** 2) ** 2 + (1.0 - phi[:-1]) ** 2)

    known = np.asarray(matrix)

    def simulate(design: Design, n_events: int, seed: int) -> np.ndarray:
        rng, phi = np.random.default_rng(seed), known @ np.asarray(design["psi"])
        value = np.sum((phi[1:] - phi[:-1] ** 2) ** 2 + (1.0 - phi[:-1]) ** 2)
        centre = rng.uniform(-10.0, 10.0, n_events)
        # The two normal variables of x and of y given x add.
        return (value + centre + np.sqrt(2.0) * rng.normal(size=n_events))[:, None]

    begin = Design(psi=Parameter(matrix.T @ jnp.full(n, start)))
    return DesignProblem(begin, simulate, exact=exact, optimum=0.0, name=f"rosenbrock{size}")


def wanted(y: Float[Array, "..."]) -> Float[Array, "..."]:
    r"""$\sigma(y-10)-\sigma(y)$: about minus one between 0 and 10.

    Args:
        y: Outcomes.

    Returns:
        Their worth.
    """
    return jax.nn.sigmoid(y - WINDOW) - jax.nn.sigmoid(y)


def mean_wanted(outcomes: Float[Array, "event observable"]) -> Scalar:
    """Mean worth of raw outcomes.

    Args:
        outcomes: Of the events.

    Returns:
        The mean.
    """
    return jnp.mean(wanted(outcomes[:, 0]))


def three_hump(n_params: int = 2, seed: int = 1337, *, raw: bool = True) -> DesignProblem:
    r"""$y\sim N(\mu_i,1)$, $\mu_i\sim N(x_ih(\phi),1)$, $R=\mathrm E[\sigma(y-10)-\sigma(y)]$.

    $h=2\phi_1^2-1.05\phi_1^4+\phi_1^6/6+\phi_1\phi_2+\phi_2^2$, $x_1\sim U[-2,0]$,
    $x_2\sim U[2,5]$, $P(i)=|\phi_i|/(|\phi_1|+|\phi_2|)$. Either $\phi=\psi$ or, on a non-linear
    submanifold, $\phi=B\tanh(A\psi)$ with 16 hidden units and orthonormal rows. The exact
    objective is a sum over components of quadratures; its optimum has $\phi_1=0$.

    Args:
        n_params: Dimension of $\psi$: 2, or 16 at least.
        seed: Of A and B.
        raw: Whether the simulator returns y, to be modelled by a generative surrogate, or at once
            what it is worth.

    Returns:
        The problem.

    Raises:
        ConfigError: The dimension is out of its range.
    """
    size = as_integer(n_params, "n_params", low=2)
    require(size == 2 or size >= WIDTH, "n_params", f"be 2, or {WIDTH} at least", size)
    inner = jnp.asarray(_orthonormal(min(WIDTH, size), size, seed))
    outer = jnp.asarray(_orthonormal(2, WIDTH, seed + 1))

    def latent(design: Design) -> Array:
        return design["psi"] if size == 2 else outer @ jnp.tanh(inner @ design["psi"])

    def exact(design: Design) -> Scalar:
        phi = latent(design)
        share = jnp.abs(phi[0]) / jnp.sum(jnp.abs(phi))
        h = _hump(phi)
        return share * _mean_worth(h, FIRST) + (1.0 - share) * _mean_worth(h, SECOND)

    known = (np.asarray(inner), np.asarray(outer))

    def simulate(design: Design, n_events: int, seed: int) -> np.ndarray:
        rng, psi = np.random.default_rng(seed), np.asarray(design["psi"])
        phi = psi if size == 2 else known[1] @ np.tanh(known[0] @ psi)
        first = rng.uniform(size=n_events) * np.abs(phi).sum() < np.abs(phi[0])
        low, high = (np.where(first, a, b) for a, b in zip(FIRST, SECOND, strict=True))
        x = low + (high - low) * rng.uniform(size=n_events)
        y = x * _hump(phi) + np.sqrt(2.0) * rng.normal(size=n_events)
        return (y if raw else expit(y - WINDOW) - expit(y))[:, None]

    if size == 2:
        begin = jnp.array([2.0, 0.0])
    else:
        hidden = outer.T @ jnp.array([1.5, 0.25])
        begin = inner.T @ jnp.arctanh(hidden)
    return DesignProblem(
        Design(psi=Parameter(begin)), simulate, mean_wanted if raw else mean_outcome, exact=exact,
        optimum=_best_worth(), name=f"hump{size}{'raw' if raw else ''}",
    )  # fmt: skip


def _hump(phi: Any) -> Any:
    a, b = phi
    return 2.0 * a**2 - 1.05 * a**4 + a**6 / 6.0 + a * b + b**2


def _mean_worth(h: Scalar, between: tuple[float, float]) -> Scalar:
    """Worth of one component, by Gauss-Legendre in x and Gauss-Hermite in y."""
    x, weight_x = np.polynomial.legendre.leggauss(N_NODES)
    z, weight_z = np.polynomial.hermite_e.hermegauss(N_NODES)
    x = between[0] + (between[1] - between[0]) * 0.5 * (x + 1.0)
    y = h * x[:, None] + np.sqrt(2.0) * z
    weights = np.outer(weight_x / 2.0, weight_z / np.sqrt(2.0 * np.pi))
    return jnp.sum(jnp.asarray(weights) * wanted(y))


@eqx.filter_jit
def _second_only(h: Scalar) -> Scalar:
    return _mean_worth(h, SECOND)


def _best_worth() -> float:
    """The least worth of the second component alone, over h."""
    from scipy.optimize import minimize_scalar

    def worth(h: float) -> float:
        return float(_second_only(jnp.asarray(h, dtype=float)))

    found: Any = minimize_scalar(worth, bounds=(0.1, 5.0), method="bounded")
    return float(found.fun)
