"""Overrelaxation: every link moved as far as it goes at constant action."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Shaped

from diffhep.core.checks import require_type
from diffhep.core.sampling import AbstractSamplingAlgorithm
from diffhep.core.typing import Flag, Key, Scalar
from diffhep_lattice.actions.wilson import WilsonAction
from diffhep_lattice.samplers.sweeps import check_links, overrelaxation_sweep

__citations__ = ("doi:10.1103/PhysRevD.36.515", "doi:10.1103/PhysRevLett.58.2394")


class OverrelaxationState(NamedTuple):
    """A configuration.

    Attributes:
        position: The gauge field.
    """

    position: Shaped[Array, "mu ..."]


class OverrelaxationInfo(NamedTuple):
    """How a sweep went.

    Attributes:
        acceptance_probability: One: the action does not change.
        accepted: True.
        is_finite: Whether every link is finite.
    """

    acceptance_probability: Scalar
    accepted: Flag
    is_finite: Flag


class Overrelaxation(AbstractSamplingAlgorithm):
    """One microcanonical sweep: links reflected in their density given all others.

    For U(1) a link is reflected about the mean; for SU(N) so is one SU(2) subgroup after the other.
    The sweep draws no random numbers.

    Attributes:
        action: Wilson's action.
    """

    action: WilsonAction

    def __check_init__(self) -> None:
        rule = "be a WilsonAction, in whose conditional density overrelaxation reflects"
        require_type(self.action, WilsonAction, "action", rule)

    def init(self, position: Shaped[Array, "mu ..."]) -> OverrelaxationState:
        """The state of a chain that starts at a gauge field on a lattice of even lengths."""
        check_links(self.action, position)
        return OverrelaxationState(position)

    def step(
        self, key: Key, state: OverrelaxationState
    ) -> tuple[OverrelaxationState, OverrelaxationInfo]:
        """One sweep; the key is not used."""
        U = overrelaxation_sweep(self.action, state.position)
        info = OverrelaxationInfo(jnp.ones(()), jnp.asarray(True), jnp.all(jnp.isfinite(U)))
        return OverrelaxationState(U), info


def overrelaxation(action: WilsonAction) -> Overrelaxation:
    """Microcanonical local updates of all links, for Wilson's action.

    They decorrelate long wavelengths at a small cost, and alone are not ergodic: combine them, as
    in `alternate(heatbath(action), overrelaxation(action), overrelaxation(action))`.

    Args:
        action: Wilson's action of U(1) in two dimensions or of SU(N) in any.

    Returns:
        The sampling algorithm, for lattices of even lengths.

    Raises:
        ConfigError: `action` is not a `WilsonAction`; when a chain starts on a lattice with an odd
            length, that too.

    Reference:
        M. Creutz, Phys. Rev. D 36 (1987) 515; F. R. Brown, T. J. Woch, Phys. Rev. Lett. 58 (1987)
        2394.
    """
    return Overrelaxation(action)
