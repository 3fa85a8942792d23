"""Checks and repairs of SU(N) links in NumPy, one slice of sites at a time.

A slice has one x: what is computed beside the field needs a few times the memory of a slice.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Complex, Complex128, Shaped

from diffhep.core.checks import require_shape
from diffhep.core.errors import DataError

UNITARITY_TOLERANCE = 1e-5
"""Links count as SU(N) up to this: rounding to single precision and evolution in it stay below."""

_SMALLEST_SINGULAR_VALUE = 1e-6
"""Below it the nearest unitary matrix is not determined by the data."""

_CHUNK = 4096
"""Matrices that are decomposed at once."""


class LinkAverages(NamedTuple):
    """Averages over a gauge field, and its largest deviation from SU(N)."""

    spatial_plaquette: float
    temporal_plaquette: float
    link_trace: float
    unitarity: float

    @property
    def plaquette(self) -> float:
        """Mean over all planes."""
        return (self.spatial_plaquette + self.temporal_plaquette) / 2


def as_links(U: Any, name: str = "U") -> Complex[np.ndarray, "mu color color x y z t"]:
    """A four-dimensional field of matrix links on the host, after a check of its shape.

    Args:
        U: A JAX or NumPy array of shape (4, N, N, x, y, z, t).
        name: The argument's name.

    Returns:
        The array; not copied where it is on the host already.

    Raises:
        ShapeError: The shape or the dtype is another.
    """
    array = np.asarray(U)
    require_shape(
        array.ndim == 7 and array.shape[0] == 4 and array.shape[1] == array.shape[2] >= 2,
        name,
        "hold one matrix per direction and site in four dimensions, "
        "shape (4, color, color, x, y, z, t)",
        f"shape {array.shape}",
    )
    require_shape(
        bool(np.issubdtype(array.dtype, np.complexfloating)),
        name,
        "be a complex array",
        f"dtype {array.dtype}",
    )
    require_shape(array.size > 0, name, "have a site", f"shape {array.shape}")
    return array


def _multiply(
    a: Complex128[np.ndarray, "color color *site"], b: Complex128[np.ndarray, "color color *site"]
) -> Complex128[np.ndarray, "color color *site"]:
    """Product of matrices whose indices come first."""
    product = a[:, 0, None] * b[None, 0]
    for c in range(1, a.shape[1]):
        product += a[:, c, None] * b[None, c]
    return product


def _last_row(
    rows: Complex128[np.ndarray, "row color *site"],
) -> Complex128[np.ndarray, "color *site"]:
    """The row that completes N - 1 rows to a matrix of SU(N), for N = 2 or 3."""
    if rows.shape[1] == 2:
        return np.conj(np.stack([-rows[0, 1], rows[0, 0]]))
    return np.conj(np.cross(rows[0], rows[1], axis=0))


def complete_rows(U: Complex[np.ndarray, "mu color color x y z t"]) -> None:
    """Compute the last row of each matrix of SU(2) or SU(3) from the others, in place.

    Args:
        U: Links; the last row may hold anything.
    """
    for mu, x in np.ndindex(4, U.shape[3]):
        U[mu, -1, :, x] = _last_row(U[mu, :-1, :, x].astype(np.complex128))


def _deviation(link: Complex128[np.ndarray, "color color *site"]) -> float:
    """Largest deviation from SU(N) of the matrices of a slice."""
    n = len(link)
    largest = 0.0
    for a in range(n):
        for b in range(a, n):
            product = np.sum(link[a] * np.conj(link[b]), axis=0) - (a == b)
            largest = np.maximum(largest, np.max(np.abs(product)))
    if n <= 3:
        determinant = np.sum(link[-1] * np.conj(_last_row(link[:-1])), axis=0)
    else:
        determinant = np.linalg.det(np.moveaxis(link, (0, 1), (-2, -1)))
    return float(np.maximum(largest, np.max(np.abs(determinant - 1))))


def _slices(
    U: Complex[np.ndarray, "mu color color x y z t"],
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each slice of sites beside the next one in x, in double precision."""
    n = U.shape[3]
    first = here = U[:, :, :, 0].astype(np.complex128)
    for x in range(n):
        ahead = first if x == n - 1 else U[:, :, :, x + 1].astype(np.complex128)
        yield here, ahead
        here = ahead


def average_links(U: Complex[np.ndarray, "mu color color x y z t"]) -> LinkAverages:
    """Plaquettes, link trace and deviation from SU(N), accumulated in double precision.

    Args:
        U: Links; the time is the last direction.

    Returns:
        The averages; not finite where a link is not finite.
    """
    n, volume = U.shape[1], int(np.prod(U.shape[3:]))
    plaquettes = {(mu, nu): 0.0 for nu in range(4) for mu in range(nu)}
    trace, largest = 0.0, 0.0
    with np.errstate(all="ignore"):
        for here, ahead in _slices(U):
            trace += float(np.trace(here, axis1=1, axis2=2).real.sum())
            for mu in range(4):
                largest = float(np.maximum(largest, _deviation(here[mu])))
            for mu, nu in plaquettes:
                forward = ahead[nu] if mu == 0 else np.roll(here[nu], -1, axis=mu + 1)
                one = _multiply(here[mu], forward)
                other = _multiply(here[nu], np.roll(here[mu], -1, axis=nu + 1))
                plaquettes[mu, nu] += float(np.vdot(other, one).real)
    spatial = sum(value for (_, nu), value in plaquettes.items() if nu < 3)
    temporal = sum(value for (_, nu), value in plaquettes.items() if nu == 3)
    scale = 3 * n * volume
    return LinkAverages(spatial / scale, temporal / scale, trace / (4 * n * volume), largest)


def project_links(U: Complex[np.ndarray, "mu color color x y z t"]) -> None:
    r"""Replace each matrix by the nearest unitary one, times a phase that makes $\det U = 1$.

    Computed in double precision by singular value decomposition and stored in the field's own.

    Args:
        U: Links, changed in place.

    Raises:
        DataError: A matrix is singular or not finite, so that no nearest one exists.
    """
    n = U.shape[1]
    for mu, x in np.ndindex(4, U.shape[3]):
        matrices = np.moveaxis(U[mu, :, :, x], (0, 1), (-2, -1)).reshape(-1, n, n)
        projected = np.empty(matrices.shape, np.complex128)
        for start in range(0, len(matrices), _CHUNK):
            part = slice(start, start + _CHUNK)
            chunk = matrices[part].astype(np.complex128)
            if not np.all(np.isfinite(chunk)):
                raise DataError("Links to project must be finite, but one is not.")
            left, singular, right = np.linalg.svd(chunk)
            smallest = float(np.min(singular))
            if smallest < _SMALLEST_SINGULAR_VALUE:
                raise DataError(
                    f"Links to project must have singular values of at least "
                    f"{_SMALLEST_SINGULAR_VALUE:g}, but one is {smallest:.3g}."
                )
            unitary = left @ right
            angle = np.angle(np.linalg.det(unitary)) / n
            projected[part] = unitary * np.exp(-1j * angle)[:, None, None]
        U[mu, :, :, x] = np.moveaxis(projected.reshape(*U.shape[4:], n, n), (-2, -1), (0, 1))


def require_su_n(U: Shaped[np.ndarray, "mu color color x y z t"]) -> LinkAverages:
    """The averages of a field that must be in SU(N), as what is written to a file must be.

    Args:
        U: Links.

    Returns:
        Its plaquettes, link trace and deviation.

    Raises:
        DataError: A link deviates from SU(N) by more than `UNITARITY_TOLERANCE`.
    """
    averages = average_links(U)
    if not averages.unitarity <= UNITARITY_TOLERANCE:
        raise DataError(
            f"Argument `U` must hold links of SU({U.shape[1]}) to {UNITARITY_TOLERANCE:g}, but one "
            f"deviates by {averages.unitarity:.3g}."
        )
    return averages
