r"""Observables of U(1) gauge fields in two dimensions.

A field `U` has the shape (2, L, T) and holds link angles in radians, $U_\mu(x) = e^{i U[\mu, x]}$
from $x$ to $x+\hat\mu$. The plaquette angle is
$P(x) = U_0(x) + U_1(x+\hat0) - U_0(x+\hat1) - U_1(x)$. Means and sums over sites are taken in
double precision.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checks import require, require_x64
from diffhep.core.typing import Scalar
from diffhep_lattice.geometry import neighbour, require_plane
from diffhep_lattice.groups import wrap
from diffhep_lattice.trigonometry import cosine


def plaquette_angles(U: Float[Array, "mu L T"]) -> Float[Array, "L T"]:
    r"""Plaquette angles $P(x)$, wrapped to $[-\pi, \pi)$, in radians.

    Args:
        U: Link angles in radians.

    Returns:
        One angle per site, of the plaquette with its lower corner there.

    Raises:
        ShapeError: `U` is no gauge field in two dimensions.
    """
    return wrap(unwrapped_plaquette_angles(U))


def unwrapped_plaquette_angles(U: Float[Array, "mu L T"]) -> Float[Array, "L T"]:
    """The plain sums of the link angles around each plaquette, in radians.

    Args:
        U: Link angles in radians.

    Returns:
        One angle per site, any representative; cheaper where only its sine or cosine is needed.

    Raises:
        ShapeError: `U` is no gauge field in two dimensions.
    """
    require_plane(U)
    return U[0] + neighbour(U[1], 0) - neighbour(U[0], 1) - U[1]


def plaquette(U: Float[Array, "mu L T"]) -> Scalar:
    r"""Mean plaquette $\frac1V\sum_x\cos P(x)$, dimensionless.

    Args:
        U: Link angles in radians.

    Returns:
        A number in [-1, 1].

    Raises:
        ShapeError: `U` is no gauge field in two dimensions.
        ConfigError: `jax_enable_x64` is off.
    """
    require_x64("the mean over the plaquettes")
    return jnp.mean(cosine(unwrapped_plaquette_angles(U)), dtype=jnp.float64)


def wilson_loop(U: Float[Array, "mu L T"], R: int, T: int) -> Scalar:
    r"""Mean real part of the contractible Wilson loops of R sites along axis 0 and T along axis 1.

    $\frac1V\sum_x \mathrm{Re}\prod_{\ell\in\partial(R\times T)} U_\ell$, dimensionless.

    Args:
        U: Link angles in radians.
        R: Extent along axis 0 in lattice spacings, from 1 to the lattice's length.
        T: Extent along axis 1 in lattice spacings, from 1 to the lattice's length.

    Returns:
        A number in [-1, 1].

    Raises:
        ShapeError: `U` is no gauge field in two dimensions.
        ConfigError: `R` or `T` is out of range, or `jax_enable_x64` is off.
    """
    require_x64("the mean over the loops")
    lattice = require_plane(U)
    require(1 <= R <= lattice.shape[0], "R", f"be from 1 to {lattice.shape[0]}", R)
    require(1 <= T <= lattice.shape[1], "T", f"be from 1 to {lattice.shape[1]}", T)
    along_0 = _line(U[0], 0, R)
    along_1 = _line(U[1], 1, T)
    loop = along_0 + neighbour(along_1, 0, R) - neighbour(along_0, 1, T) - along_1
    return jnp.mean(cosine(loop), dtype=jnp.float64)


def _line(angles: Float[Array, "L T"], direction: int, length: int) -> Float[Array, "L T"]:
    total = angles
    for distance in range(1, length):
        total = total + neighbour(angles, direction, distance)
    return total


def charge_density(U: Float[Array, "mu L T"]) -> Float[Array, "L T"]:
    r"""Topological charge density $P(x)/2\pi$ with $P$ wrapped, per plaquette, dimensionless.

    Args:
        U: Link angles in radians.

    Returns:
        Values in $[-\tfrac12, \tfrac12)$ that sum to the topological charge.

    Raises:
        ShapeError: `U` is no gauge field in two dimensions.
    """
    return plaquette_angles(U) / (2 * np.pi)


def topological_charge(U: Float[Array, "mu L T"]) -> Scalar:
    r"""Geometric topological charge $Q = \frac{1}{2\pi}\sum_x P(x)$, an integer as a float.

    The sum is one up to rounding and is rounded to it. It has no useful gradient.

    Args:
        U: Link angles in radians.

    Returns:
        The charge, dimensionless.

    Raises:
        ShapeError: `U` is no gauge field in two dimensions.
        ConfigError: `jax_enable_x64` is off.
    """
    require_x64("the topological charge")
    return jnp.round(jnp.sum(charge_density(U), dtype=jnp.float64))


def susceptibility(charges: Float[Array, "..."] | Float[np.ndarray, "..."], volume: int) -> Scalar:
    r"""Topological susceptibility $\langle Q^2\rangle/V$ per plaquette.

    The mean charge is zero by symmetry and is not subtracted.

    Args:
        charges: Charges of any number of chains and steps, dimensionless.
        volume: Number of plaquettes $V$.

    Returns:
        The susceptibility in lattice units.

    Raises:
        ConfigError: `volume` is not positive.
    """
    require(volume >= 1, "volume", "be at least 1", volume)
    return jnp.mean(jnp.square(jnp.asarray(charges))) / volume


def gauge_transform(U: Float[Array, "mu *site"], g: Float[Array, "*site"]) -> Float[Array, "..."]:
    r"""The gauge transform $U_\mu(x) \to g(x)\,U_\mu(x)\,g^{-1}(x+\hat\mu)$.

    Args:
        U: Link angles in radians, in any dimension.
        g: Angle of the transformation at each site, in radians.

    Returns:
        The transformed link angles, not wrapped.
    """
    moved = jnp.stack([neighbour(g, direction) for direction in range(U.shape[0])])
    return U + g - moved
