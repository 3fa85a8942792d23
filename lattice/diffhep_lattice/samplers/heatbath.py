"""Heatbath: every link drawn from its density given all others."""

from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Shaped

from diffhep.core.checks import as_integer, require_type
from diffhep.core.sampling import AbstractSamplingAlgorithm
from diffhep.core.typing import Flag, Key, Scalar
from diffhep_lattice.actions.wilson import WilsonAction
from diffhep_lattice.samplers.sweeps import check_links, heatbath_sweep, overrelaxation_sweep

__citations__ = (
    "doi:10.1103/PhysRevD.21.2308",
    "doi:10.1016/0370-2693(85)91632-6",
    "doi:10.1016/0370-2693(82)90696-7",
    "doi:10.1103/PhysRevD.36.515",
)


class HeatbathState(NamedTuple):
    """A configuration.

    Attributes:
        position: The gauge field.
    """

    position: Shaped[Array, "mu ..."]


class HeatbathInfo(NamedTuple):
    """How a sweep went.

    Attributes:
        acceptance_probability: One: the links are drawn from their conditional density.
        accepted: True.
        is_finite: Whether every link is finite.
        kept_fraction: Fraction of the draws for which no proposal was accepted in all rounds; those
            links keep their value, which leaves the density invariant too.
    """

    acceptance_probability: Scalar
    accepted: Flag
    is_finite: Flag
    kept_fraction: Scalar


class Heatbath(AbstractSamplingAlgorithm):
    r"""Every link drawn once from its density given all others, then overrelaxation sweeps.

    Given the others, a link of Wilson's action has a density
    $e^{\frac{\beta}{N}\mathrm{Re\,tr}\,U V}$ with the sum $V$ of its staples. Links of one
    direction on every second site across it are independent and are drawn together. For U(1) it is
    a von Mises density; for SU(N) one SU(2) subgroup after the other is drawn.

    Attributes:
        action: Wilson's action.
        n_overrelaxation: Overrelaxation sweeps after each heatbath sweep.
    """

    action: WilsonAction
    n_overrelaxation: int = eqx.field(
        static=True, converter=partial(as_integer, name="n_overrelaxation", low=0)
    )

    def __check_init__(self) -> None:
        rule = "be a WilsonAction, whose conditional density the heatbath draws from"
        require_type(self.action, WilsonAction, "action", rule)

    def init(self, position: Shaped[Array, "mu ..."]) -> HeatbathState:
        """The state of a chain that starts at a gauge field on a lattice of even lengths."""
        check_links(self.action, position)
        return HeatbathState(position)

    def step(self, key: Key, state: HeatbathState) -> tuple[HeatbathState, HeatbathInfo]:
        """One heatbath sweep and `n_overrelaxation` overrelaxation sweeps."""
        U, kept_fraction = heatbath_sweep(self.action, state.position, key=key)
        for _ in range(self.n_overrelaxation):
            U = overrelaxation_sweep(self.action, U)
        info = HeatbathInfo(
            jnp.ones(()), jnp.asarray(True), jnp.all(jnp.isfinite(U)), kept_fraction
        )
        return HeatbathState(U), info


def heatbath(action: WilsonAction, *, n_overrelaxation: int = 0) -> Heatbath:
    """Exact local updates of all links, for Wilson's action.

    Nothing is summed over the sites: fields in single precision are drawn as well without x64.

    Args:
        action: Wilson's action of U(1) in two dimensions or of SU(N) in any.
        n_overrelaxation: Overrelaxation sweeps after each heatbath sweep. They keep the action
            and decorrelate long wavelengths; alone they are not ergodic.

    Returns:
        The sampling algorithm, for lattices of even lengths.

    Raises:
        ConfigError: `action` is not a `WilsonAction` or `n_overrelaxation` no integer of at least
            0; when a chain starts on a lattice with an odd length, that too.

    Reference:
        M. Creutz, Phys. Rev. D 21 (1980) 2308; A. D. Kennedy, B. J. Pendleton, Phys. Lett. B 156
        (1985) 393; N. Cabibbo, E. Marinari, Phys. Lett. B 119 (1982) 387; overrelaxation,
        M. Creutz, Phys. Rev. D 36 (1987) 515.
    """
    return Heatbath(action, n_overrelaxation)
