r"""Zolotarev's rational approximation of the inverse square root.

$r(x) = A\prod_{j=1}^n\frac{x + a_j}{x + b_j}$ with the smallest relative error on
$[\epsilon, 1]$ among all rational functions of that degree, in closed form by Jacobi's elliptic
functions of modulus $k = \sqrt{1-\epsilon}$.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import ellipj, ellipkm1

from diffhep.core.checks import as_integer, require

__citations__ = ("doi:10.1103/PhysRevD.10.2445", "arXiv:2202.11712")


class InverseSquareRoot(NamedTuple):
    r"""A rational function near $x^{-1/2}$, $r(x) = A\prod_j(x + a_j)/(x + b_j)$.

    Attributes:
        amplitude: $A$.
        numerator: $a_j$, decreasing, all positive.
        denominator: $b_j$, decreasing, all positive; $a_1 > b_1 > a_2 > \dots$
        error: Largest $|\sqrt x\,r(x) - 1|$ on the interval.
    """

    amplitude: float
    numerator: Float[np.ndarray, " n"]
    denominator: Float[np.ndarray, " n"]
    error: float

    def residues(self) -> Float[np.ndarray, " n"]:
        r"""$\rho_j$ of the partial fractions $r(x) = A\,(1 + \sum_j\rho_j/(x + b_j))$."""
        return residues_of(-self.denominator, -self.numerator)


def residues_of(
    poles: Float[np.ndarray, " n"], zeros: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    r"""$w_j$ of $\prod_j(x - z_j)/(x - p_j) = 1 + \sum_j w_j/(x - p_j)$."""
    own = np.eye(len(poles), dtype=bool)
    ratios = poles[:, None] - zeros[None, :]
    gaps = np.where(own, 1.0, poles[:, None] - poles[None, :])
    return np.prod(ratios / gaps, axis=1)


def approximate_inverse_sqrt(low: float, high: float, degree: int) -> InverseSquareRoot:
    r"""The best rational approximation of $x^{-1/2}$ on an interval.

    With $x$ in units of the upper end, $\epsilon$ = low / high, $k^2 = 1-\epsilon$ and
    $c_m = \mathrm{cn}^2/\mathrm{sn}^2$ at $m K(k)/(2n+1)$, it has $a_j = c_{2j-1}$ and
    $b_j = c_{2j}$. The error falls like $e^{-\pi^2 n/\log(16/\epsilon)}$.

    Args:
        low: Lower end of the interval, positive.
        high: Upper end, above `low`.
        degree: Degree $n$ of numerator and denominator, at least 1.

    Returns:
        The approximation, with the extremes of its relative error equal.

    Raises:
        ConfigError: The interval is empty or not positive, or `degree` is no positive integer.

    Reference:
        E. I. Zolotarev, Zap. Imp. Akad. Nauk 30 (1877); in lattice theory T.-W. Chiu, T.-H. Hsieh,
        C.-H. Huang, T.-R. Huang, arXiv:hep-lat/0206007; the numbering of M. Lüscher, S. Schaefer,
        arXiv:1206.2809.
    """
    degree = as_integer(degree, "degree", low=1)
    require(bool(np.isfinite(low)) and low > 0.0, "low", "be finite and positive", low)
    require(bool(np.isfinite(high)) and high > low, "high", f"be finite and above {low}", high)
    epsilon = low / high
    # m = 1 - epsilon loses its digits next to one: K takes epsilon itself.
    period = ellipkm1(epsilon)
    sn, cn, *_ = ellipj(np.arange(1, 2 * degree + 1) * period / (2 * degree + 1), 1.0 - epsilon)
    c = (cn / sn) ** 2
    numerator, denominator = c[0::2], c[1::2]

    def relative(x: np.ndarray) -> np.ndarray:
        factors = (x[:, None] + numerator) / (x[:, None] + denominator)
        return np.sqrt(x) * np.prod(factors, axis=1)

    # The extremes are flat, so that a fine grid finds them to many digits.
    sample = np.exp(np.linspace(np.log(epsilon), 0.0, 2000 * degree))
    values = relative(sample)
    largest, smallest = float(np.max(values)), float(np.min(values))
    amplitude = 2.0 / (largest + smallest)
    return InverseSquareRoot(
        amplitude=amplitude / np.sqrt(high),
        numerator=numerator * high,
        denominator=denominator * high,
        error=(largest - smallest) / (largest + smallest),
    )
