"""Fields of SU(N) links: their checks, and their neighbours in a layout with site axes last."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Complex, Shaped

from diffhep.core.checks import require_shape
from diffhep.core.errors import DataError
from diffhep.core.typing import Scalar
from diffhep_lattice.geometry import Lattice, require_array
from diffhep_lattice.groups.matrices import determinant, identity, multiply_dagger
from diffhep_lattice.io.links import UNITARITY_TOLERANCE

__citations__ = ("doi:10.1103/PhysRevD.10.2445",)

_COLOR_AXES = 2

Matrices = Complex[Array, "row column *site"]
"""One matrix per site."""


def is_matrix_field(U: Shaped[Array, "mu ..."]) -> bool:
    """Whether a gauge field holds matrices, as SU(N) does, and not U(1) angles."""
    require_array(U)
    return bool(jnp.issubdtype(U.dtype, jnp.complexfloating))


def lattice_of_links(U: Shaped[Array, "mu ..."], n_colors: int | None = None) -> Lattice:
    """The lattice on which a field of SU(N) links lives, after checking the field.

    Args:
        U: Links of shape (mu, row, column, *site), complex.
        n_colors: Number of colours it must have, if that is known.

    Returns:
        The lattice with the field's site axes.

    Raises:
        ShapeError: The field is not complex, its matrices are not square or of another number of
            colours, its first axis does not count its site axes, or there are less than two.
        ConfigError: The field is no array, or a site axis is shorter than 2.
    """
    require_shape(is_matrix_field(U), "U", "be a complex array", f"dtype {U.dtype}")
    color = "n_colors" if n_colors is None else str(n_colors)
    require_shape(
        U.ndim >= 2 + 1 + _COLOR_AXES
        and U.shape[0] == U.ndim - 1 - _COLOR_AXES
        and U.shape[1] == U.shape[2]
        and n_colors in (None, U.shape[1]),
        "U",
        f"have one matrix per direction and site, shape (mu, {color}, {color}, *site) in at least "
        "two directions",
        f"shape {U.shape}",
    )
    return Lattice(U.shape[1 + _COLOR_AXES :])


def require_unitary(U: Shaped[Array | np.ndarray, "mu ..."], name: str = "U") -> None:
    r"""Raise a `DataError` unless all links are finite, and of SU(N) where they are matrices.

    Angles are any real numbers. A traced field passes: its check belongs to the caller outside
    `jit`.

    Args:
        U: Links (mu, row, column, *site), or angles of any shape.
        name: The argument's name.

    Raises:
        DataError: A link is not finite, or deviates from SU(N) by more than `UNITARITY_TOLERANCE`
            in an element of $U U^\dagger$ or its determinant; `group.project` gives the nearest
            elements.
    """
    if isinstance(U, Tracer):
        return
    links = jnp.asarray(U)
    if is_matrix_field(links):
        lattice_of_links(links)
    deviation = float(_deviation(links))
    if not deviation <= UNITARITY_TOLERANCE:
        raise DataError(
            f"Argument `{name}` must hold finite links of the group to {UNITARITY_TOLERANCE:g}, "
            f"but one deviates by {deviation:.3g}; the group's `project` gives the nearest ones."
        )


@jax.jit
def _deviation(U: Shaped[Array, "mu ..."]) -> Scalar:
    """The largest deviation of a link from its group; not a number where one is not finite."""
    if not is_matrix_field(U):
        return jnp.where(jnp.all(jnp.isfinite(U)), 0.0, jnp.nan)
    n = U.shape[1]
    square = multiply_dagger(U, U) - identity(n, U.ndim)
    return jnp.maximum(jnp.max(jnp.abs(square)), jnp.max(jnp.abs(determinant(U) - 1.0)))


def ahead(field: Matrices, direction: int, distance: int = 1) -> Matrices:
    r"""The matrices at $x + d\,\hat\mu$, as a field of $x$.

    Args:
        field: One matrix per site.
        direction: $\mu$, the number of the site axis.
        distance: $d$ in lattice spacings; negative goes backwards.

    Returns:
        The shifted field.
    """
    return jnp.roll(field, -distance, axis=direction + _COLOR_AXES)
