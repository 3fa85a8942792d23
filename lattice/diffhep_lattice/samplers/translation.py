"""Random translations of a gauge field, tested by Metropolis."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Shaped

from diffhep.core.checks import require, require_type
from diffhep.core.sampling import AbstractSamplingAlgorithm
from diffhep.core.typing import Key
from diffhep_lattice.actions.base import AbstractAction, require_action
from diffhep_lattice.actions.xy import XYAction
from diffhep_lattice.groups import SUN, U1
from diffhep_lattice.samplers.algorithm import ActionState, MetropolisInfo, metropolis

__citations__ = ("arXiv:1706.04443", "arXiv:2012.14000")


class Translation(AbstractSamplingAlgorithm):
    r"""A translation by any distance along every axis, all equally likely.

    The acceptance probability is $\min(1, e^{-\Delta S})$: one, up to rounding, for an action that
    does not change.

    Attributes:
        action: The action $S$ of a gauge field.
    """

    action: AbstractAction

    def __check_init__(self) -> None:
        require_action(self.action)
        is_gauge = not isinstance(self.action, XYAction)
        require(is_gauge, "action", "be one of a gauge field", type(self.action).__name__)
        require_type(self.action.group, (U1, SUN), "action.group", "be that of a gauge field")

    def init(self, position: Shaped[Array, "mu ..."]) -> ActionState:
        """The state of a chain that starts at a gauge field."""
        return ActionState(position, self.action(position))

    def step(self, key: Key, state: ActionState) -> tuple[ActionState, MetropolisInfo]:
        """One proposal and its test."""
        distance_key, test_key = jax.random.split(key)
        U = state.position
        # Site axes are the last ones, one for each direction.
        axes = tuple(range(-U.shape[0], 0))
        lengths = jnp.asarray([U.shape[axis] for axis in axes])
        distances = jax.random.randint(distance_key, lengths.shape, 0, lengths)
        proposal = self.init(jnp.roll(U, tuple(distances), axes))
        return metropolis(test_key, proposal.action - state.action, proposal, state)


def translation(action: AbstractAction) -> Translation:
    """Random translations, which carry what happens at a defect to the whole lattice.

    Alone they are not ergodic. In a replica exchange along the strength of a defect, which is
    always at the same place, `alternate(hmc(action), translation(action))` moves the field past
    the defect on the periodic rung; on the others few proposals are accepted.

    Args:
        action: The action of a gauge field.

    Returns:
        The sampling algorithm; its states hold the field and its action. A step costs an action.

    Raises:
        ConfigError: `action` is no action of a gauge field.

    Reference:
        M. Hasenbusch, arXiv:1706.04443; C. Bonanno, C. Bonati, M. D'Elia, arXiv:2012.14000.
    """
    return Translation(action)
