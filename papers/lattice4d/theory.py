"""What the plaquette of SU(3) in four dimensions should be: series, and published values."""

import numpy as np
from jaxtyping import Float

from diffhep_lattice import exact

N_COLORS = 3

ONE_PLAQUETTE = 1_000_000
"""Plaquettes of the two-dimensional torus whose mean is that of a single plaquette."""

CUBE_TERMS = 72.0
"""Four cubes a site with 18 each, see `strong_coupling`."""

TWO_LOOP = 36.0 * 8.0 * (0.0051069297 - 1.0 / (128.0 * 9.0))
r"""$c_2$ of $1 - P = 2/\beta + c_2/\beta^2 + \dots$, from $(N^2-1)(0.0051069297 - 1/128N^2)g^4$ and
$g^2 = 6/\beta$ (A. Di Giacomo, G. C. Rossi, Phys. Lett. B 100 (1981) 481)."""

THREE_LOOP = 3.0
r"""Rounded size of $c_3$, which makes the allowance for the terms left out."""

PUBLISHED = {5.7: 0.5492, 5.8: 0.5677, 6.0: 0.59368, 6.2: 0.61363}
"""Infinite-volume plaquettes of the Wilson action as they are commonly quoted, all digits."""

PUBLISHED_ERROR = {5.7: 5e-5, 5.8: 5e-5, 6.0: 1e-5, 6.2: 1e-5}
"""The rounding of the last digit, or one unit of it."""

FINITE_VOLUME = 2.0
r"""Allowance $2/L^4$ for the finite box. The box changes the free energy density by a number of
order one over $L^4$ (Stefan and Boltzmann's law has such a size; the trace anomaly of SU(3), at
most about $2.7\,T^4$, changes the plaquette by $0.7/L^4$), and the plaquette is its derivative."""


def strong_coupling(beta: float) -> float:
    r"""The plaquette at strong coupling, $P = P_1 + 72 P_1^5 P_1' + O(P_1^9)$.

    $P_1 = \beta/18 + \beta^2/216 + \dots$ is the mean of a single plaquette to all orders, from the
    character expansion. The first surface that holds more than one plaquette is the cube: 4 of them
    a site in four dimensions, each with $2\cdot 9\,P_1^6$ in the free energy (two orientations),
    hence $\frac16\frac{d}{d\beta}\,72\,P_1^6$ in the plaquette. The next are two cubes that share a
    side.

    Args:
        beta: Inverse coupling, up to about 2.

    Returns:
        The mean plaquette.
    """
    step = 1e-4

    def one(at: float) -> float:
        return exact.sun_plaquette(N_COLORS, at, ONE_PLAQUETTE)

    slope = (one(beta + step) - one(beta - step)) / (2 * step)
    return one(beta) + CUBE_TERMS * one(beta) ** 5 * slope


def strong_coupling_allowance(beta: float) -> float:
    """The size of two cubes that share a side, beside the one cube: 10 times its share, P^4."""
    one = exact.sun_plaquette(N_COLORS, beta, ONE_PLAQUETTE)
    return 10.0 * one**4 * CUBE_TERMS * one**5 / 18.0


def weak_coupling(
    beta: Float[np.ndarray, "..."] | float, volume: int
) -> Float[np.ndarray, "..."] | float:
    r"""The plaquette at weak coupling, $1 - \frac2\beta(1 - \frac1V) - \frac{1.2208}{\beta^2}$.

    Args:
        beta: Inverse coupling.
        volume: Number of sites.

    Returns:
        The mean plaquette to two loops; the two-loop term is that of infinite volume.
    """
    return 1.0 - 2.0 / beta * (1.0 - 1.0 / volume) - TWO_LOOP / beta**2


def weak_coupling_allowance(beta: float, volume: int) -> float:
    r"""$3/\beta^3$ for three loops and more, $2/\beta V$ for the constant modes of a torus."""
    return float(np.hypot(THREE_LOOP / beta**3, 2.0 / (beta * volume)))


def finite_volume_allowance(length: int) -> float:
    """$2/L^4$, see `FINITE_VOLUME`."""
    return FINITE_VOLUME / length**4
