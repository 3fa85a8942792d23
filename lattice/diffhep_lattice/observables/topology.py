r"""Topological charge and field strength.

For U(1) in two dimensions the charge is geometric, $Q = \frac1{2\pi}\sum_x P(x)$, an integer. For
SU(N) in four it is the clover definition, $Q = \frac1{32\pi^2}\sum_x
\epsilon_{\mu\nu\rho\sigma}\,\mathrm{tr}\,F_{\mu\nu}(x)F_{\rho\sigma}(x)$, near an integer on smooth
fields alone.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Shaped

from diffhep.core.checks import as_integer, require, require_shape, require_x64
from diffhep.core.typing import Scalar
from diffhep_lattice.groups.algebra import algebra_coefficients
from diffhep_lattice.groups.matrices import dagger_multiply, multiply, multiply_dagger, trace
from diffhep_lattice.links import ahead, is_matrix_field, lattice_of_links
from diffhep_lattice.observables.angles import plaquette_angles
from diffhep_lattice.observables.loops import half_plaquettes, line, planes

__citations__ = ("arXiv:1006.4518", "arXiv:hep-lat/0203008")

_DIMENSION = 4
"""Of the charge of SU(N)."""

_CLOVER = (1.0,)
_IMPROVED_CLOVER = (1.5, -0.15, 1.0 / 90.0)
"""Weights of the m x m loops: with them the errors of order a^2 and a^4 vanish (S. O.
Bilson-Thompson, D. B. Leinweber, A. G. Williams, arXiv:hep-lat/0203008)."""


def field_strength(
    U: Complex[Array, "mu row column *site"], *, improved: bool = False
) -> Float[Array, "plane algebra *site"]:
    r"""The clover field strength $F^a_{\mu\nu}(x)$ in lattice units, $F = F^a T_a$.

    Four plaquettes around each site, which are $e^{iF}$ on smooth fields, averaged and projected
    onto the algebra.

    Args:
        U: Links of SU(N), in two or more dimensions.
        improved: Whether loops of 2 x 2 and 3 x 3 links take the errors of order $a^2$ and $a^4$
            out, at three times the cost.

    Returns:
        Coefficients for every plane in the order of `planes`, with coupling included.

    Raises:
        ShapeError: `U` is no field of SU(N) links.
    """
    lattice = lattice_of_links(U)
    weights = _IMPROVED_CLOVER if improved else _CLOVER
    total: Any = 0.0
    for length, weight in enumerate(weights, start=1):
        lines = [line(U[mu], mu, length) for mu in range(lattice.dimension)]
        leaves = [_clover(lines, mu, nu, length) for mu, nu in planes(lattice.dimension)]
        total = total + 0.25 * weight * algebra_coefficients(jnp.stack(leaves))
    return total


def _clover(
    lines: list[Array], mu: int, nu: int, length: int
) -> Complex[Array, "row column *site"]:
    """The sum of the four square loops around each site, all in the sense from mu to nu."""
    X, Y = lines[mu], lines[nu]
    X_ahead, Y_ahead = ahead(X, nu, length), ahead(Y, mu, length)
    A, B = multiply(X, Y_ahead, 0), multiply(Y, X_ahead, 0)
    left = multiply(Y_ahead, dagger_multiply(B, X, 0), 0)
    below = multiply_dagger(dagger_multiply(Y, A, 0), X_ahead, 0)
    diagonal = ahead(dagger_multiply(B, A, 0), nu, -length)
    total = multiply_dagger(A, B, 0) + ahead(left + diagonal, mu, -length)
    return total + ahead(below, nu, -length)


def energy_density(
    U: Complex[Array, "mu row column *site"], *, kind: str = "clover"
) -> Float[Array, "*site"]:
    r"""The energy density $E(x) = \frac14 F^a_{\mu\nu}(x)F^a_{\mu\nu}(x)$ in lattice units.

    Args:
        U: Links of SU(N), in two or more dimensions.
        kind: "clover" for the clover field strength, or "plaquette" for
            $E(x) = 2\sum_{\mu<\nu}\mathrm{Re\,tr}[1 - P_{\mu\nu}(x)]$.

    Returns:
        The density at every site, with the coupling included.

    Raises:
        ShapeError: `U` is no field of SU(N) links.
        ConfigError: There is no such `kind`.

    Reference:
        M. Lüscher, arXiv:1006.4518.
    """
    require(kind in ("clover", "plaquette"), "kind", "be 'clover' or 'plaquette'", kind)
    if kind == "clover":
        # Each pair of directions occurs twice in the sum over mu and nu.
        return 0.5 * jnp.sum(jnp.square(field_strength(U)), axis=(0, 1))
    lattice = lattice_of_links(U)
    total: Any = 0.0
    for mu, nu in planes(lattice.dimension):
        A, B = half_plaquettes(U, mu, nu)
        total = total + U.shape[1] - trace(multiply_dagger(A, B, 0), 0).real
    return 2.0 * total


def charge_density(U: Shaped[Array, "mu ..."], *, improved: bool = False) -> Float[Array, "*site"]:
    r"""Topological charge density, dimensionless.

    Args:
        U: Link angles of U(1) in two dimensions, or links of SU(N) in four.
        improved: For SU(N), whether to take the improved field strength.

    Returns:
        Values per site whose sum is the topological charge: for U(1), $P(x)/2\pi$ with the
        plaquette angle wrapped, in $[-\tfrac12, \tfrac12)$; for SU(N),
        $\epsilon_{\mu\nu\rho\sigma}\,\mathrm{tr}\,F_{\mu\nu}F_{\rho\sigma}/32\pi^2$ with
        $\epsilon_{0123} = 1$.

    Raises:
        ShapeError: `U` is no such field.
    """
    if not is_matrix_field(U):
        return plaquette_angles(U) / (2 * np.pi)
    lattice = lattice_of_links(U)
    require_shape(lattice.dimension == _DIMENSION, "U", "have four directions", f"shape {U.shape}")
    F = field_strength(U, improved=improved)
    index = {plane: i for i, plane in enumerate(planes(_DIMENSION))}

    def dot(first: tuple[int, int], second: tuple[int, int]) -> Array:
        return jnp.sum(F[index[first]] * F[index[second]], axis=0)

    dual = dot((0, 1), (2, 3)) - dot((0, 2), (1, 3)) + dot((0, 3), (1, 2))
    # Eight terms of the sum are alike, and the trace of two generators is one half.
    return dual / (8.0 * np.pi**2)


def topological_charge(U: Shaped[Array, "mu ..."], *, improved: bool = False) -> Scalar:
    r"""Topological charge $Q$, dimensionless, summed in double precision.

    Args:
        U: Link angles of U(1) in two dimensions, or links of SU(N) in four.
        improved: For SU(N), whether to take the improved field strength.

    Returns:
        For U(1) the geometric charge, one up to rounding and rounded to it, so that it has no
        useful gradient; for SU(N) the sum of the clover density, which is no integer.

    Raises:
        ShapeError: `U` is no such field.
        ConfigError: `jax_enable_x64` is off.
    """
    require_x64("the topological charge")
    total = jnp.sum(charge_density(U, improved=improved), dtype=jnp.float64)
    return total if is_matrix_field(U) else jnp.round(total)


def susceptibility(charges: Float[Array, "..."] | Float[np.ndarray, "..."], volume: int) -> Scalar:
    r"""Topological susceptibility $\langle Q^2\rangle/V$ per plaquette.

    The mean charge is zero by symmetry and is not subtracted.

    Args:
        charges: Charges of any number of chains and steps, dimensionless.
        volume: Number of plaquettes $V$.

    Returns:
        The susceptibility in lattice units.

    Raises:
        ConfigError: `volume` is no positive integer.
        ShapeError: There is no charge.
    """
    volume = as_integer(volume, "volume", low=1)
    values = jnp.asarray(charges)
    require_shape(values.size >= 1, "charges", "hold at least one charge", f"shape {values.shape}")
    return jnp.mean(jnp.square(values)) / volume
