r"""Exact results of the Schwinger model on the 2 x 2 torus, by quadrature over its gauge orbits.

Three of the eight links are fixed by a gauge. Of the five angles left, two are holonomies: the
plaquettes do not depend on them, and the determinant is a trigonometric polynomial of degree two in
each, so that five points integrate its square exactly. In the other three the trapezoid rule
converges exponentially, since the integrand is analytic and periodic.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Complex, Float

from diffhep.core.checks import as_integer, require

__citations__ = ("arXiv:2202.11712",)

_VOLUME = 4

_N_ANGLES = 20
"""Points of the trapezoid rule in each angle that the plaquettes depend on, an even number."""

_N_HOLONOMIES = 5
"""Points in each holonomy, of which the squared determinant is a polynomial of degree four."""

_SIGMA = (np.array([[0, 1], [1, 0]]), np.array([[0, -1j], [1j, 0]]))


class SchwingerExact(NamedTuple):
    r"""Expectation values of the Schwinger model.

    Attributes:
        plaquette: $\langle\cos P\rangle$ with dynamical fermions.
        determinant: $\langle(\det D)^{N_f}\rangle$ of the quenched theory, which is $Z/Z_q$.
        condensate: $\frac1V\langle\mathrm{Tr}\,D^{-1}\rangle$ with dynamical fermions.
    """

    plaquette: float
    determinant: float
    condensate: float


def schwinger_2x2(beta: float, kappa: float, n_flavours: int) -> SchwingerExact:
    r"""The Schwinger model on the 2 x 2 torus.

    $S = -\beta\sum_p\cos\theta_p - N_f\log\det D$ with the Wilson operator $D = 1 - \kappa H$,
    antiperiodic along axis 1. For one flavour, the weight is the determinant with its sign.

    The determinant is a polynomial of degree four in $\kappa^2$, whose coefficients are Newton's
    symmetric functions of $H_{eo}H_{oe}$; $\mathrm{Tr}\,D^{-1} = 2V - \kappa\,\partial_\kappa
    \log\det D$. The first call takes seconds,
    later ones a few hundredths.

    Args:
        beta: Inverse coupling, dimensionless, at least 0. The relative error is about 1e-12 up to
            2, 1e-10 at 4 and 1e-8 at 6.
        kappa: Hopping parameter, at least 0.
        n_flavours: Number of flavours $N_f$, 1 or 2.

    Returns:
        The expectation values.

    Raises:
        ConfigError: An argument is out of its range.
    """
    for name, value in (("beta", beta), ("kappa", kappa)):
        require(bool(np.isfinite(value)) and value >= 0, name, "be finite and at least 0", value)
    n_flavours = as_integer(n_flavours, "n_flavours", low=1)
    require(n_flavours <= 2, "n_flavours", "be 1 or 2", n_flavours)
    orbits = _orbits()
    weight = orbits.multiplicity * np.exp(beta * _VOLUME * (orbits.plaquette - 1.0))
    powers = kappa ** (2 * np.arange(5))
    determinant = powers @ orbits.polynomial
    # kappa times the derivative brings down the power of kappa.
    trace = 2 * _VOLUME * determinant - (2 * np.arange(5) * powers) @ orbits.polynomial
    moment = weight * determinant**n_flavours
    # The trace of the inverse times the determinant, which has no poles.
    with_trace = trace * determinant ** (n_flavours - 1)
    partition = np.sum(moment)
    return SchwingerExact(
        plaquette=float(np.sum(moment * orbits.plaquette) / partition),
        determinant=float(partition / np.sum(weight)),
        condensate=float(np.sum(weight * with_trace) / (partition * _VOLUME)),
    )


class _Orbits(NamedTuple):
    """The nodes of the quadrature, and what of them does not depend on the couplings."""

    multiplicity: np.ndarray
    plaquette: np.ndarray
    polynomial: np.ndarray


@lru_cache(maxsize=1)
def _orbits() -> _Orbits:
    """Nodes in three angles that the plaquettes depend on and two holonomies."""
    around = 2.0 * np.pi * np.arange(_N_ANGLES) / _N_ANGLES
    twist = 2.0 * np.pi * np.arange(_N_HOLONOMIES) / _N_HOLONOMIES
    half = around[: _N_ANGLES // 2 + 1]
    # The other half of the first circle is the complex conjugate of this one.
    copies = np.where((half == 0.0) | (half == np.pi), 1.0, 2.0)
    nodes = np.meshgrid(half, around, around, twist, twist, indexing="ij")
    a, b, c, first, second = (node.ravel() for node in nodes)
    U = np.zeros((2, 2, 2, a.size))
    U[0, 0, 1], U[0, 1, 0], U[0, 1, 1] = a, first, first + b
    U[1, 0, 1], U[1, 1, 1] = second, second + c
    angles = U[0] + np.roll(U[1], -1, 0) - np.roll(U[0], -1, 1) - U[1]
    plaquette = np.mean(np.cos(angles), axis=(0, 1))
    multiplicity = np.broadcast_to(copies[:, None, None, None, None], nodes[0].shape).ravel()
    return _Orbits(multiplicity, plaquette, _determinant_polynomial(U))


def _determinant_polynomial(U: Float[np.ndarray, "2 2 2 sample"]) -> Float[np.ndarray, "5 sample"]:
    r"""Coefficients of $\det D$ in powers of $\kappa^2$."""
    K = _hops(U, (0, 3), (1, 2)) @ _hops(U, (1, 2), (0, 3))
    K2 = K @ K
    traces = [K, K2, K2 @ K, K2 @ K2]
    p = [np.trace(power, axis1=-2, axis2=-1).real for power in traces]
    e = [np.ones_like(p[0])]
    for k in range(1, 5):
        terms = [(-1) ** (i - 1) * e[k - i] * p[i - 1] for i in range(1, k + 1)]
        e.append(np.sum(terms, axis=0) / k)
    return np.stack([(-1) ** k * e[k] for k in range(5)])


def _hops(
    U: Float[np.ndarray, "2 2 2 sample"], rows: tuple[int, int], columns: tuple[int, int]
) -> Complex[np.ndarray, "sample 4 4"]:
    """The hopping matrix from the sites `columns` to the sites `rows`, numbered 2 x_0 + x_1."""
    matrix = np.zeros((U.shape[-1], 2, 2, 2, 2), complex)
    for row, site in enumerate(rows):
        x = divmod(site, 2)
        for mu in range(2):
            # Both neighbours along a direction are the same site.
            y = (1 - x[0], x[1]) if mu == 0 else (x[0], 1 - x[1])
            column = columns.index(2 * y[0] + y[1])
            for sign, start, phase in ((-1, x, 1j), (1, y, -1j)):
                wraps = mu == 1 and start[1] == 1
                value = np.exp(phase * U[(mu, *start)]) * (-1 if wraps else 1)
                spin = np.eye(2) + sign * _SIGMA[mu]
                matrix[:, row, :, column] += value[:, None, None] * spin
    return matrix.reshape(-1, 4, 4)
