r"""Plaquettes and loops of U(1) gauge fields in two dimensions.

A field `U` has the shape (2, L, T) and holds link angles in radians, $U_\mu(x) = e^{i U[\mu, x]}$
from $x$ to $x+\hat\mu$. The plaquette angle is
$P(x) = U_0(x) + U_1(x+\hat0) - U_0(x+\hat1) - U_1(x)$.
"""

from jaxtyping import Array, Float

from diffhep_lattice.geometry import neighbour, require_plane
from diffhep_lattice.groups import wrap

__citations__ = ("doi:10.1103/PhysRevD.10.2445",)


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


def loop_angles(U: Float[Array, "mu L T"], R: int, T: int) -> Float[Array, "L T"]:
    """Angles of the loops of R links along axis 0 and T along axis 1, any representative.

    Args:
        U: Link angles in radians.
        R: Links along axis 0.
        T: Links along axis 1.

    Returns:
        One angle per site, in radians.

    Raises:
        ShapeError: `U` is no gauge field in two dimensions.
    """
    require_plane(U)
    along_0, along_1 = line_angles(U[0], 0, R), line_angles(U[1], 1, T)
    return along_0 + neighbour(along_1, 0, R) - neighbour(along_0, 1, T) - along_1


def line_angles(
    angles: Float[Array, "*site"], direction: int, length: int
) -> Float[Array, "*site"]:
    """Angles of the straight lines of so many links that start at each site, in radians."""
    total = angles
    for distance in range(1, length):
        total = total + neighbour(angles, direction, distance)
    return total
