"""Global moves between the topological sectors of U(1) in two dimensions."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checks import require, require_type
from diffhep.core.sampling import AbstractSamplingAlgorithm
from diffhep.core.typing import Key
from diffhep_lattice.actions.base import AbstractAction, require_action
from diffhep_lattice.actions.xy import XYAction
from diffhep_lattice.geometry import Lattice, require_plane
from diffhep_lattice.groups import U1
from diffhep_lattice.samplers.algorithm import ActionState, MetropolisInfo, metropolis

__citations__ = ("arXiv:1203.2560",)


def uniform_flux(lattice: Lattice, charge: int = 1) -> Float[np.ndarray, "mu L T"]:
    r"""Link angles with the same plaquette angle $2\pi Q/V$ everywhere, modulo $2\pi$.

    $U_1 = \omega x_0$ and, where $x_0$ wraps, $U_0 = -\omega L x_1$, with $\omega = 2\pi Q/V$:
    the classical solution of charge $Q$, while $|Q| < V/2$.

    Args:
        lattice: A two-dimensional lattice.
        charge: Topological charge $Q$.

    Returns:
        Link angles in radians.
    """
    length_0, length_1 = lattice.shape
    omega = 2.0 * np.pi * charge / lattice.volume
    U = np.zeros((2, length_0, length_1))
    U[1] = omega * np.arange(length_0)[:, None]
    U[0, -1] = -omega * length_0 * np.arange(length_1)
    return U


class InstantonHit(AbstractSamplingAlgorithm):
    r"""Metropolis with a classical solution of charge $\pm1$ added to the whole field.

    Both signs are proposed alike, so the acceptance probability is $\min(1, e^{-\Delta S})$.

    Attributes:
        action: The action $S$.
    """

    action: AbstractAction

    def __check_init__(self) -> None:
        require_action(self.action)
        require_type(self.action.group, U1, "action.group", "be U1()")
        is_gauge = not isinstance(self.action, XYAction)
        require(is_gauge, "action", "be one of a gauge field", type(self.action).__name__)

    def init(self, position: Float[Array, "mu L T"]) -> ActionState:
        """The state of a chain that starts at a gauge field."""
        require_plane(position)
        return ActionState(position, self.action(position))

    def step(self, key: Key, state: ActionState) -> tuple[ActionState, MetropolisInfo]:
        """One proposal and its test."""
        sign_key, test_key = jax.random.split(key)
        U = state.position
        sign = jax.random.rademacher(sign_key, (), U.dtype)
        flux = jnp.asarray(uniform_flux(require_plane(U)), U.dtype)
        group = self.action.group
        proposal = self.init(group.project(group.move(U, sign * flux)))
        energy_change = proposal.action - state.action
        return metropolis(test_key, energy_change, proposal, state)


def instanton_hit(action: AbstractAction) -> InstantonHit:
    r"""Moves by one unit of topological charge, for U(1) in two dimensions.

    The action changes by about $2\pi^2\beta\langle P\rangle/V$ on average, so that the moves are
    accepted often once the volume is large against the coupling. Alone they are not ergodic:
    combine them, as in `alternate(hmc(action), instanton_hit(action))`.

    Args:
        action: The action to sample.

    Returns:
        The sampling algorithm; its states hold the field and its action.

    Raises:
        ConfigError: `action` is no action of U(1).

    Reference:
        F. Fucito, S. Solomon, Phys. Lett. B 134 (1984) 230; "instanton hits" after
        S. Dürr, arXiv:1203.2560.
    """
    return InstantonHit(action)
