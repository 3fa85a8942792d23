"""Hamiltonian Monte Carlo of the Schwinger model with pseudofermions."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Shaped

from diffhep.core.checks import as_integer, as_scalar, concrete, require, require_real
from diffhep.core.sampling import AbstractSamplingAlgorithm
from diffhep.core.typing import Key, Scalar
from diffhep_lattice.actions.pseudofermions import (
    Pseudofermions,
    normal_spinor,
    one_flavour,
    two_flavours,
)
from diffhep_lattice.actions.schwinger import SchwingerAction, regular_log_determinant
from diffhep_lattice.actions.sum import SumAction
from diffhep_lattice.actions.wilson import WilsonAction
from diffhep_lattice.fermions.rational import approximate_inverse_sqrt
from diffhep_lattice.samplers.algorithm import ActionState, MetropolisInfo
from diffhep_lattice.samplers.hmc import HMC, require_positive
from diffhep_lattice.samplers.integrators import AbstractIntegrator, leapfrog

__citations__ = ("doi:10.1016/0370-2693(87)91197-X", "arXiv:2202.11712")

_MISSED_ENERGY = 0.01
"""An error of the solve that is felt in the Metropolis test. One of rounding is far smaller; what a
zero mode takes away is of order one."""


class PseudofermionHMC(AbstractSamplingAlgorithm):
    r"""Pseudofermions drawn afresh, then one step of HMC with them held fixed.

    The state's action is that of the gauge part alone. Where the solve at the start of a trajectory
    misses the energy of the pseudofermions drawn there, as it does where the Dirac operator is
    singular, the info's `is_finite` is false.

    Attributes:
        gauge: The gauge part of the action.
        fermions: The distribution of the pseudofermions.
        step_size: Time of one integrator step, in molecular-dynamics units.
        n_steps: Steps of one trajectory.
        integrator: The splitting scheme; the pseudofermions are the slowest term.
    """

    gauge: WilsonAction
    fermions: Pseudofermions
    step_size: Scalar = eqx.field(converter=partial(as_scalar, name="step_size"))
    n_steps: int = eqx.field(static=True, converter=partial(as_integer, name="n_steps", low=1))
    integrator: AbstractIntegrator

    def __check_init__(self) -> None:
        require_positive(self.step_size)

    def init(self, position: Shaped[Array, "mu ..."]) -> ActionState:
        """The state of a chain that starts at a gauge field.

        Raises:
            ConvergenceError: The Dirac operator is singular, outside of `jit`.
        """
        if concrete(position) is not None:
            regular_log_determinant(position, self.fermions.kappa)
        return ActionState(position, self.gauge(position))

    def step(self, key: Key, state: ActionState) -> tuple[ActionState, MetropolisInfo]:
        """New pseudofermions, one trajectory and its test."""
        fermion_key, trajectory_key = jax.random.split(key)
        hmc = self.with_fermions(state.position, key=fermion_key)
        start = hmc.init(state.position)
        moved, info = hmc.step(trajectory_key, start)
        # A solve must find what the heatbath started from. A zero mode is lost without a trace.
        drawn = jnp.sum(jnp.abs(normal_spinor(state.position, key=fermion_key)) ** 2)
        missed = jnp.abs(start.action - state.action - drawn)
        info = info._replace(is_finite=info.is_finite & (missed < _MISSED_ENERGY))
        return ActionState(moved.position, self.gauge(moved.position)), info

    def with_fermions(self, position: Shaped[Array, "mu ..."], *, key: Key) -> HMC:
        """HMC of the gauge field with pseudofermions drawn at a field.

        Args:
            position: The gauge field.
            key: Random key.

        Returns:
            The algorithm of one trajectory.
        """
        action = SumAction(self.fermions.draw(position, key=key), self.gauge)
        return HMC(action, self.step_size, self.n_steps, self.integrator)


def pseudofermion_hmc(
    action: SchwingerAction,
    *,
    step_size: float | Scalar = 0.1,
    n_steps: int = 10,
    integrator: AbstractIntegrator | None = None,
    tolerance: float = 1e-10,
    force_tolerance: float = 1e-7,
    spectrum_low: float = 1e-6,
    degree: int = 16,
) -> PseudofermionHMC:
    r"""Hamiltonian Monte Carlo for the Schwinger model without its determinant.

    Two flavours are exact. For one flavour the density is
    $e^{-S_g}\det r(D^\dagger D)^{-1}$ with $r$ Zolotarev's approximation of $x^{-1/2}$: within
    `spectrum_low` $\le x \le (1+4\kappa)^2$ its relative error is 6e-8 for the default degree, and
    $\log|\det D|$ is off by at most 2V times that; a smaller eigenvalue $x$ is weighted as if it
    were near `spectrum_low`. The sign of the determinant is left out, as in `SchwingerAction`.

    Args:
        action: The model.
        step_size: Time of one integrator step, in molecular-dynamics units; an array leaf.
        n_steps: Steps of one trajectory.
        integrator: `leapfrog()` if left out, or another scheme; `nested(...)` puts the
            pseudofermions on the outer time scale.
        tolerance: Relative residual of the solves for the action and the heatbath, which detailed
            balance rests on.
        force_tolerance: The same for the forces; it costs acceptance alone.
        spectrum_low: Lower end of the approximation for one flavour, in units of $D^\dagger D$.
        degree: Degree of the approximation for one flavour.

    Returns:
        The sampling algorithm; its states hold the field and the gauge part of its action.

    Raises:
        ConfigError: A setting is out of its range, or `kappa` is traced for one flavour.

    Reference:
        D. H. Weingarten, D. N. Petcher, Phys. Lett. B 99 (1981) 333; for odd numbers of flavours
        A. D. Kennedy, I. Horváth, S. Sint, arXiv:hep-lat/9809092.
    """
    for name, value in (("tolerance", tolerance), ("force_tolerance", force_tolerance)):
        require_real(value, name, "be finite")
        require(0.0 < value < 1.0, name, "lie between 0 and 1", value)
    poles, roots = two_flavours()
    if action.n_flavours == 1:
        kappa = concrete(action.kappa)
        require(kappa is not None, "action", "have a concrete kappa for one flavour", "traced")
        high = (1.0 + 4.0 * float(action.kappa)) ** 2
        poles, roots = one_flavour(approximate_inverse_sqrt(spectrum_low, high, degree))
    fermions = Pseudofermions(action.kappa, poles, roots, float(tolerance), float(force_tolerance))
    return PseudofermionHMC(action.gauge, fermions, step_size, n_steps, integrator or leapfrog())
