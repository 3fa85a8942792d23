r"""Exact results of scalar theories on small periodic lattices.

The free field is solved by Fourier transform on any lattice. Interacting fields are solved by the
transfer matrix between rows: their values at a site are put on the nodes of a quadrature that is
exact for the weight of the site, so that what is left, the exponential of products of neighbours,
converges faster than any power of the number of nodes.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from diffhep.core.checks import as_integer, require, require_real
from diffhep_lattice.exact.transfer import RowTransfer, Spectrum
from diffhep_lattice.geometry import Lattice

__citations__ = ("doi:10.1103/PhysRev.60.252",)

_MOST_STATES = 4_000_000
"""Quadrature points of one row whose vectors are kept by the hundred."""

_GRID_POINTS = 4001
"""Points of the uniform grid from which the quadrature is made; spectrally accurate."""

_EXPONENT_RANGE = 80.0
"""The grid ends where the weight of a site is exp(-80) of its maximum."""


class FreeScalar(NamedTuple):
    r"""The free scalar field.

    Attributes:
        propagator: $\langle|\tilde\phi(k)|^2\rangle/V = 1/(2(\hat k^2+m^2))$ on the dual lattice,
            zero momentum first.
        correlator: $C(t) = \frac{1}{V_s}\langle\Phi(0)\Phi(t)\rangle$ with $\Phi(t)$ the sum over
            the $V_s$ sites of a time slice, time being the last axis.
        phi2: $\langle\phi^2\rangle$.
        chi2: $\langle(\sum_x\phi)^2\rangle/V = 1/(2m^2)$.
        log_z: $\log Z$, with the measure $\prod d\phi$.
    """

    propagator: Float[np.ndarray, "*site"]
    correlator: Float[np.ndarray, " time"]
    phi2: float
    chi2: float
    log_z: float


class Phi4(NamedTuple):
    r"""The phi^4 theory.

    Attributes:
        phi2: $\langle\phi^2\rangle$.
        phi4: $\langle\phi^4\rangle$.
        chi2: $\langle(\sum_x\phi)^2\rangle/V$.
        log_z: $\log Z$, with the measure $\prod d\phi$.
        correlator: $C(t) = \frac{1}{V_s}\langle\Phi(0)\Phi(t)\rangle$, as for the free field.
    """

    phi2: float
    phi4: float
    chi2: float
    log_z: float
    correlator: Float[np.ndarray, " time"]


class XY(NamedTuple):
    r"""The XY model.

    Attributes:
        energy: $\langle\cos(\theta(x+\hat\mu)-\theta(x))\rangle$, averaged over the links.
        chi: $\langle|\sum_x e^{i\theta}|^2\rangle/V$.
        log_z: $\log Z$ with the normalised measure $\prod d\theta/2\pi$.
        correlator: $C(t) = \frac{1}{V_s}\langle\mathrm{Re}\,\Phi^*(0)\Phi(t)\rangle$ with
            $\Phi(t)$ the sum of $e^{i\theta}$ over a time slice.
    """

    energy: float
    chi: float
    log_z: float
    correlator: Float[np.ndarray, " time"]


def free_scalar(shape: Sequence[int], mass_squared: float) -> FreeScalar:
    r"""The free scalar field of `Phi4Action(mass_squared, 0)` on a periodic lattice.

    $S = \sum\phi(-\Box+m^2)\phi$ without a factor 1/2, $\hat k_\mu = 2\sin(k_\mu/2)$.

    Args:
        shape: Sites along each direction, each at least 2.
        mass_squared: $m^2$ in lattice units, positive.

    Returns:
        Propagator, correlator, $\langle\phi^2\rangle$, $\chi_2$ and $\log Z$.

    Raises:
        ConfigError: `shape` is no lattice, or `mass_squared` is not positive and finite.
    """
    lattice = Lattice(tuple(shape))
    require_real(mass_squared, "mass_squared", "be positive and finite")
    require(mass_squared > 0, "mass_squared", "be positive and finite", mass_squared)
    squares = [4 * np.sin(np.pi * np.arange(n) / n) ** 2 for n in lattice.shape]
    k_squared = sum(np.ix_(*squares), np.zeros(lattice.shape))
    propagator = 0.5 / (k_squared + mass_squared)
    in_time = propagator[(0,) * (lattice.dimension - 1)]
    return FreeScalar(
        propagator=propagator,
        correlator=np.fft.ifft(in_time).real,
        phi2=float(propagator.mean()),
        chi2=0.5 / mass_squared,
        log_z=float(0.5 * np.sum(np.log(2 * np.pi * propagator))),
    )


def phi4(shape: Sequence[int], mass_squared: float, coupling: float, *, n_nodes: int = 12) -> Phi4:
    r"""The phi^4 theory of `Phi4Action` on a small periodic lattice, by the transfer matrix.

    Time is the last axis and may have any length; cost and memory grow as `n_nodes` to the power
    of the number of sites in a time slice. 2 x 2 takes a tenth of a second, 3 x 3 one second,
    4 x 4 ten, and 6 x 6 with 7 nodes two minutes of one core.

    Args:
        shape: Sites along each direction, each at least 2.
        mass_squared: $m^2$ in lattice units.
        coupling: $\lambda$ in lattice units, positive, or 0 with a positive mass.
        n_nodes: Quadrature nodes per site. Around $m^2=-4$, $\lambda=8$ 10 give nine digits and 12
            give eleven; weak couplings and small masses need more. What differs between two
            numbers of nodes is the error.

    Returns:
        Moments, $\chi_2$, $\log Z$ and the correlator at zero momentum.

    Raises:
        ConfigError: `shape` is no lattice, a time slice is too large, or the action has no lower
            bound.
    """
    lattice = _check_slice(shape, n_nodes)
    require_real(mass_squared, "mass_squared", "be finite")
    require_real(coupling, "coupling", "be finite and at least 0", low=0.0)
    bounded = coupling > 0 or (coupling == 0 and mass_squared > 0)
    require(bounded, "coupling", "be positive, or 0 with a positive mass", coupling)
    # Each of the 2d links at a site adds phi^2 to its weight and -2 phi phi' to the coupling.
    quadratic = mass_squared + 2 * lattice.dimension
    node, log_weight = _site_quadrature(quadratic, coupling, n_nodes)
    row = RowTransfer(lattice.shape[:-1], log_weight, 2.0 * np.outer(node, node))
    spectrum = row.spectrum(lattice.shape[-1])
    correlator = spectrum.correlator(row.total(node)) / row.n_sites
    return Phi4(
        phi2=spectrum.mean(row.at_one_site(node**2)),
        phi4=spectrum.mean(row.at_one_site(node**4)),
        chi2=float(np.sum(correlator)),
        log_z=spectrum.log_z,
        correlator=correlator,
    )


def xy(shape: Sequence[int], beta: float, *, n_nodes: int = 24) -> XY:
    r"""The XY model of `XYAction` on a small periodic lattice, by the transfer matrix.

    Args:
        shape: Sites along each direction, each at least 2; time, the last, may be long.
        beta: Inverse temperature, dimensionless, at least 0.
        n_nodes: Angles of the trapezoid rule, exact up to Bessel functions of order `n_nodes` at
            the sum of the links' couplings. What differs between two numbers is the error.

    Returns:
        Energy, susceptibility, $\log Z$ and the correlator at zero momentum.

    Raises:
        ConfigError: `shape` is no lattice, a time slice is too large, or `beta` is negative.
    """
    require_real(beta, "beta", "be finite and at least 0", low=0.0)
    lattice = _check_slice(shape, n_nodes)
    angle = 2 * np.pi * np.arange(n_nodes) / n_nodes
    cosine = np.cos(angle[:, None] - angle)

    def solve(coupling: float) -> tuple[RowTransfer, Spectrum]:
        log_weight = np.full(n_nodes, -np.log(n_nodes))
        row = RowTransfer(lattice.shape[:-1], log_weight, coupling * cosine)
        return row, row.spectrum(lattice.shape[-1])

    row, spectrum = solve(beta)
    # Global rotations make the cosine's correlator equal to the sine's.
    correlator = 2 * spectrum.correlator(row.total(np.cos(angle))) / row.n_sites
    # The derivative of log Z; central differences of fourth order in steps that rounding allows.
    step = 1e-2
    values = [solve(beta + k * step)[1].log_z for k in (-2, -1, 1, 2)]
    slope = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * step)
    return XY(
        energy=slope / lattice.n_links,
        chi=float(np.sum(correlator)),
        log_z=spectrum.log_z,
        correlator=correlator,
    )


def _check_slice(shape: Sequence[int], n_nodes: Any) -> Lattice:
    lattice = Lattice(tuple(shape))
    n_sites = lattice.volume // lattice.shape[-1]
    as_integer(n_nodes, "n_nodes", low=2)
    require(
        n_nodes**n_sites <= _MOST_STATES,
        "shape",
        f"have a slice of all but the last axis with at most {_MOST_STATES} states of "
        f"{n_nodes} nodes per site",
        lattice.shape,
    )
    return lattice


def _site_quadrature(
    quadratic: float, coupling: float, n_nodes: int
) -> tuple[np.ndarray, np.ndarray]:
    r"""Nodes and log-weights of the Gauss rule for $e^{-a\phi^2-\lambda\phi^4}$ on the real line.

    Its orthogonal polynomials come from the Lanczos process on a fine grid.
    """

    def potential(x):
        return quadratic * x**2 + coupling * x**4

    lowest = -(quadratic**2) / (4 * coupling) if quadratic < 0 else 0.0
    end = 1.0
    while potential(end) - lowest < _EXPONENT_RANGE:
        end *= 1.1
    grid = np.linspace(-end, end, _GRID_POINTS)
    weight = np.exp(lowest - potential(grid)) * (grid[1] - grid[0])
    total = np.sum(weight)
    basis = [np.sqrt(weight / total)]
    off_diagonal = []
    for _ in range(n_nodes - 1):
        vector = grid * basis[-1]
        for _ in range(2):  # The second pass takes out what rounding left of the first.
            for member in basis:
                vector = vector - (member @ vector) * member
        off_diagonal.append(np.linalg.norm(vector))
        basis.append(vector / off_diagonal[-1])
    # The diagonal vanishes, as the weight is even.
    node, states = np.linalg.eigh(np.diag(off_diagonal, 1) + np.diag(off_diagonal, -1))
    return node, np.log(total * states[0] ** 2) - lowest
