"""Fields of SU(N) links: their checks, and their neighbours in a layout with site axes last."""

import jax.numpy as jnp
from jaxtyping import Array, Complex, Shaped

from diffhep.core.checks import require_shape
from diffhep_lattice.geometry import Lattice

__citations__ = ("doi:10.1103/PhysRevD.10.2445",)

_COLOR_AXES = 2

Matrices = Complex[Array, "row column *site"]
"""One matrix per site."""


def is_matrix_field(U: Shaped[Array, "mu ..."]) -> bool:
    """Whether a gauge field holds matrices, as SU(N) does, and not U(1) angles."""
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
        ConfigError: A site axis is shorter than 2.
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
