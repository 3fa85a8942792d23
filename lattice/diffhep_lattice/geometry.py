"""Periodic lattices: their size, their neighbours and their sublattices.

Site axes come last in every field and in the order of the directions; a gauge field has its
direction axis first, then the colour axes of its matrices if it has any. Neighbours are reached by
rolling, so every boundary is periodic.
"""

import math
from collections.abc import Iterable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Shaped

from diffhep.core.checks import is_integer, require, require_shape, require_type


def _as_lengths(shape: Any) -> tuple[int, ...]:
    """The lengths of a lattice as Python integers."""
    lengths = tuple(shape) if isinstance(shape, Iterable) else ()
    good = len(lengths) >= 1 and all(is_integer(n) and n >= 2 for n in lengths)
    require(good, "shape", "hold one integer of at least 2 per direction", shape)
    return tuple(int(n) for n in lengths)


__citations__ = ("doi:10.1103/PhysRevD.10.2445",)


class Lattice(eqx.Module):
    """A periodic hypercubic lattice.

    Attributes:
        shape: Number of sites along each direction, each at least 2.

    Raises:
        ConfigError: `shape` is empty, or a length is no integer or below 2.
    """

    shape: tuple[int, ...] = eqx.field(static=True, converter=_as_lengths)

    @property
    def dimension(self) -> int:
        """Number of directions."""
        return len(self.shape)

    @property
    def volume(self) -> int:
        """Number of sites; in two dimensions also the number of plaquettes."""
        return math.prod(self.shape)

    @property
    def n_links(self) -> int:
        """Number of links, one per site and direction."""
        return self.dimension * self.volume

    def require_divisible(self, factor: int, what: str) -> None:
        """Raise a `ConfigError` unless every length is a multiple of `factor`.

        Args:
            factor: The period needed.
            what: What needs it, for the message.

        Raises:
            ConfigError: Some length is not a multiple.
        """
        require(
            all(n % factor == 0 for n in self.shape),
            "shape",
            f"hold multiples of {factor} for {what}",
            self.shape,
        )

    def parity(self) -> Bool[np.ndarray, "*site"]:
        """True on the odd sites, those whose coordinates have an odd sum."""
        return np.indices(self.shape).sum(axis=0) % 2 == 1


def require_array(field: Any, name: str = "U") -> None:
    """Raise a `ConfigError` unless a field is an array of JAX or NumPy."""
    require_type(field, (jax.Array, np.ndarray), name, "be an array")


def lattice_of(field: Shaped[Array, "..."]) -> Lattice:
    """The lattice on which an Abelian gauge field lives, after checking the field.

    Args:
        field: Link angles of shape (mu, *site), in radians.

    Returns:
        The lattice with the field's site axes.

    Raises:
        ShapeError: The field is not of a real floating dtype, or its first axis does not count
            its other axes.
        ConfigError: The field is no array, or an axis is shorter than 2.
    """
    require_array(field)
    require_shape(
        bool(jnp.issubdtype(field.dtype, jnp.floating)),
        "U",
        "be a real floating array",
        f"dtype {field.dtype}",
    )
    require_shape(
        field.ndim >= 2 and field.shape[0] == field.ndim - 1,
        "U",
        "have one link angle per direction and site, shape (mu, *site)",
        f"shape {field.shape}",
    )
    return Lattice(field.shape[1:])


def lattice_of_scalars(field: Shaped[Array, "..."], n_components: int | None = None) -> Lattice:
    """The lattice on which a scalar field lives, after checking the field.

    Args:
        field: Numbers of shape (*site), or (component, *site).
        n_components: Length of the component axis; None where there is none.

    Returns:
        The lattice with the field's site axes.

    Raises:
        ShapeError: The field is not of a real floating dtype, has no site axis, or has another
            number of components.
        ConfigError: A site axis is shorter than 2.
    """
    require_array(field, "phi")
    require_shape(
        bool(jnp.issubdtype(field.dtype, jnp.floating)),
        "phi",
        "be a real floating array",
        f"dtype {field.dtype}",
    )
    n_leading = 0 if n_components is None else 1
    form = "(*site)" if n_components is None else f"({n_components}, *site)"
    require_shape(
        field.ndim > n_leading and field.shape[:n_leading] in ((), (n_components,)),
        "phi",
        f"have shape {form} with at least one site axis",
        f"shape {field.shape}",
    )
    return Lattice(field.shape[n_leading:])


def require_plane(field: Shaped[Array, "..."]) -> Lattice:
    """The lattice of a gauge field that must be two-dimensional.

    Args:
        field: Link angles of shape (2, L, T), in radians.

    Returns:
        The two-dimensional lattice.

    Raises:
        ShapeError: The field is no gauge field in two dimensions.
    """
    lattice = lattice_of(field)
    require_shape(lattice.dimension == 2, "U", "have shape (2, L, T)", f"shape {field.shape}")
    return lattice


def neighbour(
    field: Shaped[Array, "*site"], direction: int, distance: int = 1
) -> Shaped[Array, "*site"]:
    r"""The field at $x + d\,\hat\mu$, as a field of $x$.

    Args:
        field: Values at the sites, without other axes.
        direction: $\mu$, the number of the site axis.
        distance: $d$ in lattice spacings; negative goes backwards.

    Returns:
        The shifted field.
    """
    return jnp.roll(field, -distance, axis=direction)


def to_site_major(
    U: Shaped[Array | np.ndarray, "..."],
) -> Shaped[Array | np.ndarray, "*site mu color color"]:
    r"""A field of matrix links as most other programs index it: the matrix at each site last.

    $V_{x\mu ab} = U_{\mu ab x}$: the order of `U[x][y][z][t][mu][a][b]`. A NumPy array comes back
    as a view without a copy.

    Args:
        U: Links, site axes last.

    Returns:
        The same links, site axes first.

    Raises:
        ShapeError: `U` is no field of square matrices with one site axis per direction.
    """
    require_shape(
        U.ndim >= 4 and U.shape[0] == U.ndim - 3 and U.shape[1] == U.shape[2],
        "U",
        "have one square matrix per direction and site, shape (mu, color, color, *site)",
        f"shape {U.shape}",
    )
    return U.transpose(*range(3, U.ndim), 0, 1, 2)


def from_site_major(
    V: Shaped[Array | np.ndarray, "..."],
) -> Shaped[Array | np.ndarray, "mu color color *site"]:
    """A field of matrix links in the order of this package; the inverse of `to_site_major`.

    A NumPy array comes back as a view: `numpy.ascontiguousarray` makes it fast to compute with.

    Args:
        V: Links of shape (*site, mu, color, color).

    Returns:
        The same links, site axes last.

    Raises:
        ShapeError: `V` is no field of square matrices with one site axis per direction.
    """
    require_shape(
        V.ndim >= 4 and V.shape[-3] == V.ndim - 3 and V.shape[-2] == V.shape[-1],
        "V",
        "have one square matrix per direction and site, shape (*site, mu, color, color)",
        f"shape {V.shape}",
    )
    return V.transpose(V.ndim - 3, V.ndim - 2, V.ndim - 1, *range(V.ndim - 3))
