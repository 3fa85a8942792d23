"""Local sweeps over all links of Wilson's action, whatever its group."""

from jaxtyping import Array, Shaped

from diffhep.core.typing import Key, Scalar
from diffhep_lattice.actions.wilson import WilsonAction
from diffhep_lattice.geometry import require_plane
from diffhep_lattice.groups import SUN
from diffhep_lattice.links import lattice_of_links
from diffhep_lattice.samplers import angle_sweeps, matrix_sweeps

Links = Shaped[Array, "mu ..."]


def check_links(action: WilsonAction, U: Links) -> None:
    """Raise an error unless a field is one of the action's group, on a lattice of even lengths."""
    is_matrix = isinstance(action.group, SUN)
    lattice = lattice_of_links(U, action.group.n_colors) if is_matrix else require_plane(U)
    lattice.require_divisible(2, "the sublattices of a local sweep")


def heatbath_sweep(action: WilsonAction, U: Links, *, key: Key) -> tuple[Links, Scalar]:
    """Every link drawn once, and the fraction of the draws that kept their value."""
    if isinstance(action.group, SUN):
        return matrix_sweeps.heatbath_sweep(action, U, key=key)
    U, n_kept = angle_sweeps.heatbath_sweep(U, action.beta, key=key)
    return U, n_kept / U.size


def overrelaxation_sweep(action: WilsonAction, U: Links) -> Links:
    """Every link reflected once."""
    if isinstance(action.group, SUN):
        return matrix_sweeps.overrelaxation_sweep(action, U)
    return angle_sweeps.overrelaxation_sweep(U, action.beta)
