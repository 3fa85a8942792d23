r"""Plaquettes, Wilson loops and Polyakov loops of every gauge group.

Fields of U(1) are real arrays of link angles in two dimensions, those of SU(N) complex matrices in
any: the dtype tells which. Loops are normalised by N. Means over sites are taken in double
precision. The last axis is time.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Shaped

from diffhep.core.checks import (
    as_integer,
    is_integer,
    require,
    require_shape,
    require_type,
    require_x64,
)
from diffhep.core.typing import Scalar
from diffhep_lattice.geometry import Lattice, lattice_of, neighbour, require_plane
from diffhep_lattice.groups.matrices import multiply, multiply_dagger, trace
from diffhep_lattice.links import Matrices, ahead, is_matrix_field, lattice_of_links
from diffhep_lattice.observables.angles import (
    line_angles,
    loop_angles,
    unwrapped_plaquette_angles,
)
from diffhep_lattice.trigonometry import cosine, sine

__citations__ = ("doi:10.1103/PhysRevD.10.2445",)

Plane = tuple[int, int]
"""Two directions."""


def planes(dimension: int) -> tuple[Plane, ...]:
    r"""The pairs of directions $\mu < \nu$: in four dimensions 01, 02, 03, 12, 13, 23."""
    return tuple((mu, nu) for mu in range(dimension) for nu in range(mu + 1, dimension))


def lattice_of_any(U: Shaped[Array, "mu ..."]) -> Lattice:
    """The lattice of a field of U(1) angles in two dimensions, or of SU(N) matrices in any."""
    return lattice_of_links(U) if is_matrix_field(U) else require_plane(U)


def half_plaquettes(
    U: Complex[Array, "mu row column *site"], mu: int, nu: int
) -> tuple[Matrices, Matrices]:
    r"""$U_\mu(x)U_\nu(x+\hat\mu)$ and $U_\nu(x)U_\mu(x+\hat\nu)$, halves of the plaquettes."""
    return multiply(U[mu], ahead(U[nu], mu), 0), multiply(U[nu], ahead(U[mu], nu), 0)


def plane_plaquettes(U: Shaped[Array, "mu ..."]) -> Float[Array, " plane"]:
    r"""Mean plaquette $\frac1{NV}\sum_x\mathrm{Re\,tr}\,P_{\mu\nu}(x)$ of every plane.

    Args:
        U: Link angles of U(1) in two dimensions, or links of SU(N) in any.

    Returns:
        One number in [-1, 1] for every plane in the order of `planes`, float64.

    Raises:
        ShapeError: `U` is no gauge field.
        ConfigError: `jax_enable_x64` is off.
    """
    require_x64("the mean over the plaquettes")
    if not is_matrix_field(U):
        return jnp.mean(cosine(unwrapped_plaquette_angles(U)), dtype=jnp.float64)[None]
    means = []
    for mu, nu in planes(lattice_of_links(U).dimension):
        A, B = half_plaquettes(U, mu, nu)
        traces = jnp.sum(A.real * B.real + A.imag * B.imag, axis=(0, 1))
        means.append(jnp.mean(traces, dtype=jnp.float64) / U.shape[1])
    return jnp.stack(means)


def plaquette(U: Shaped[Array, "mu ..."]) -> Scalar:
    r"""Mean plaquette over all sites and planes, $\frac1N\mathrm{Re\,tr}\,P$, dimensionless.

    Args:
        U: Link angles of U(1) in two dimensions, or links of SU(N) in any.

    Returns:
        A number in [-1, 1].

    Raises:
        ShapeError: `U` is no gauge field.
        ConfigError: `jax_enable_x64` is off.
    """
    return jnp.mean(plane_plaquettes(U))


def spatial_plaquette(U: Shaped[Array, "mu ..."]) -> Scalar:
    """Mean plaquette over the planes without the last direction.

    Args:
        U: Links of SU(N), in three or more dimensions.

    Returns:
        A number in [-1, 1].

    Raises:
        ShapeError: `U` is no gauge field.
        ConfigError: There is no such plane, or `jax_enable_x64` is off.
    """
    dimension = lattice_of_any(U).dimension
    require(dimension >= 3, "U", "have at least three directions", dimension)
    is_spatial = np.array([nu < dimension - 1 for _, nu in planes(dimension)])
    return jnp.mean(plane_plaquettes(U)[is_spatial])


def temporal_plaquette(U: Shaped[Array, "mu ..."]) -> Scalar:
    """Mean plaquette over the planes with the last direction.

    Args:
        U: Link angles of U(1) in two dimensions, or links of SU(N) in any.

    Returns:
        A number in [-1, 1].

    Raises:
        ShapeError: `U` is no gauge field.
        ConfigError: `jax_enable_x64` is off.
    """
    dimension = lattice_of_any(U).dimension
    is_temporal = np.array([nu == dimension - 1 for _, nu in planes(dimension)])
    return jnp.mean(plane_plaquettes(U)[is_temporal])


def line(links: Matrices, direction: int, length: int) -> Matrices:
    """The products of so many links along their direction that start at each site."""
    product = links
    for distance in range(1, length):
        product = multiply(product, ahead(links, direction, distance), 0)
    return product


def wilson_loop(
    U: Shaped[Array, "mu ..."], R: int, T: int, *, plane: Plane | None = None
) -> Scalar:
    r"""Mean real part of the contractible Wilson loops of R links by T links, dimensionless.

    $\frac1{NV}\sum_x\mathrm{Re\,tr}\prod_{\ell\in\partial(R\times T)}U_\ell$.

    Args:
        U: Link angles of U(1) in two dimensions, or links of SU(N) in any.
        R: Links along the first direction of the plane, from 1 to the lattice's length.
        T: Links along the second direction of the plane, from 1 to the lattice's length.
        plane: Two directions; if left out, the mean over all planes $\mu < \nu$.

    Returns:
        A number in [-1, 1].

    Raises:
        ShapeError: `U` is no gauge field.
        ConfigError: `R` or `T` is out of range, there is no such plane, or `jax_enable_x64` is off.
    """
    require_x64("the mean over the loops")
    lattice = lattice_of_any(U)
    R, T = as_integer(R, "R", low=1), as_integer(T, "T", low=1)
    if plane is not None:
        require_type(plane, Sequence, "plane", "be two directions")
    directions = range(lattice.dimension)
    chosen = planes(lattice.dimension) if plane is None else (tuple(plane),)
    require(
        all(len(p) == len(set(p)) == 2 and set(p) <= set(directions) for p in chosen)
        and all(is_integer(direction) for p in chosen for direction in p),
        "plane",
        f"be two directions below {lattice.dimension}",
        plane,
    )
    means = []
    for mu, nu in chosen:
        require(1 <= R <= lattice.shape[mu], "R", f"be from 1 to {lattice.shape[mu]}", R)
        require(1 <= T <= lattice.shape[nu], "T", f"be from 1 to {lattice.shape[nu]}", T)
        if is_matrix_field(U):
            X, Y = line(U[mu], mu, R), line(U[nu], nu, T)
            A, B = multiply(X, ahead(Y, mu, R), 0), multiply(Y, ahead(X, nu, T), 0)
            traces = jnp.sum(A.real * B.real + A.imag * B.imag, axis=(0, 1)) / U.shape[1]
        else:
            traces = cosine(loop_angles(U, R, T) if mu < nu else loop_angles(U, T, R))
        means.append(jnp.mean(traces, dtype=jnp.float64))
    return jnp.mean(jnp.stack(means))


def polyakov_lines(
    U: Shaped[Array, "mu ..."], direction: int = -1
) -> Complex[Array, "*transverse"]:
    r"""The traces $\frac1N\mathrm{tr}\prod_t U(x, t)$ of the lines that wind around one direction.

    Args:
        U: Link angles of U(1) in two dimensions, or links of SU(N) in any.
        direction: The direction they wind around; the last, time, if left out.

    Returns:
        One complex number per site across that direction.

    Raises:
        ShapeError: `U` is no gauge field.
        ConfigError: There is no such direction.
    """
    lattice = lattice_of_any(U)
    require(
        is_integer(direction) and -lattice.dimension <= direction < lattice.dimension,
        "direction",
        f"be a direction below {lattice.dimension}",
        direction,
    )
    mu = direction % lattice.dimension
    if is_matrix_field(U):
        winding = trace(line(U[mu], mu, lattice.shape[mu]), 0) / U.shape[1]
    else:
        angle = line_angles(U[mu], mu, lattice.shape[mu])
        winding = cosine(angle) + 1j * sine(angle)
    return jnp.take(winding, 0, axis=mu)


def polyakov_loop(U: Shaped[Array, "mu ..."], direction: int = -1) -> Complex[Array, ""]:
    """The mean of the Polyakov lines over the sites across their direction.

    Args:
        U: Link angles of U(1) in two dimensions, or links of SU(N) in any.
        direction: The direction they wind around; the last, time, if left out.

    Returns:
        A complex number, complex128.

    Raises:
        ShapeError: `U` is no gauge field.
        ConfigError: There is no such direction, or `jax_enable_x64` is off.
    """
    require_x64("the mean over the lines")
    return jnp.mean(polyakov_lines(U, direction), dtype=jnp.complex128)


def gauge_transform(U: Shaped[Array, "mu ..."], g: Shaped[Array, "..."]) -> Shaped[Array, "mu ..."]:
    r"""The gauge transform $U_\mu(x) \to g(x)\,U_\mu(x)\,g^{-1}(x+\hat\mu)$.

    Args:
        U: Link angles of U(1) in radians or links of SU(N), in any dimension.
        g: The transformation at each site: angles (*site), or matrices (N, N, *site).

    Returns:
        The transformed links; angles are not wrapped.

    Raises:
        ShapeError: `U` is no gauge field, or `g` is not of the shape and kind of its links of one
            direction.
        ConfigError: `U` or `g` is no array.
    """
    is_matrix = is_matrix_field(U)
    lattice = lattice_of_links(U) if is_matrix else lattice_of(U)
    require_type(g, (jax.Array, np.ndarray), "g", "be an array")
    same_kind = bool(jnp.issubdtype(g.dtype, jnp.complexfloating if is_matrix else jnp.floating))
    require_shape(
        g.shape == U.shape[1:] and same_kind,
        "g",
        f"be a {'complex' if is_matrix else 'real'} floating array of shape {U.shape[1:]}, as `U`",
        f"shape {g.shape} and dtype {g.dtype}",
    )
    if not is_matrix:
        return transform_angles(U, g)
    moved = jnp.stack([ahead(g, direction) for direction in range(lattice.dimension)])
    return multiply_dagger(multiply(g[None], U), moved)


def transform_angles(
    U: Float[Array, "mu *site_and_batch"], g: Float[Array, "*site_and_batch"]
) -> Float[Array, "mu *site_and_batch"]:
    """The gauge transform of U(1) angles, any batch axes last; nothing is checked."""
    return U + g - jnp.stack([neighbour(g, direction) for direction in range(U.shape[0])])
