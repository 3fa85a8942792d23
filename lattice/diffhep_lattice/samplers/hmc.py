"""Hamiltonian Monte Carlo on the gauge group."""

import sys
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from diffhep.core.checks import require, require_real
from diffhep.core.sampling import AbstractSamplingAlgorithm
from diffhep.core.typing import Key, Scalar
from diffhep_lattice.actions.base import AbstractAction
from diffhep_lattice.groups import kinetic_energy, random_momentum
from diffhep_lattice.samplers.algorithm import ActionState, MetropolisInfo, metropolis
from diffhep_lattice.samplers.integrators import Integrator, leapfrog


class HMC(AbstractSamplingAlgorithm):
    r"""Hamiltonian Monte Carlo: momenta drawn afresh, one trajectory, one Metropolis test.

    $H(U, p) = \frac12\sum p^2 + S(U)$. The trajectory runs in the dtype of the field; the energies
    are in double precision.

    Attributes:
        action: The action $S$.
        step_size: Time of one integrator step, in molecular-dynamics units.
        n_steps: Steps of one trajectory.
        integrator: The splitting scheme.
    """

    action: AbstractAction
    step_size: Scalar = eqx.field(converter=partial(jnp.asarray, dtype=float))
    n_steps: int = eqx.field(static=True)
    integrator: Integrator

    def __check_init__(self) -> None:
        check_trajectory(self.step_size, self.n_steps)

    def init(self, position: Shaped[Array, "mu ..."]) -> ActionState:
        """The state of a chain that starts at a gauge field."""
        return ActionState(position, self.action(position))

    def step(self, key: Key, state: ActionState) -> tuple[ActionState, MetropolisInfo]:
        """One trajectory and its test."""
        momentum_key, test_key = jax.random.split(key)
        group = self.action.group
        momentum = random_momentum(group, state.position, key=momentum_key)
        position, final_momentum = self.trajectory(state.position, momentum)
        proposal = self.init(group.project(position))
        energy_change = (proposal.action - state.action) + (
            kinetic_energy(final_momentum) - kinetic_energy(momentum)
        )
        return metropolis(test_key, energy_change, proposal, state)

    def trajectory(
        self, position: Shaped[Array, "mu ..."], momentum: Float[Array, "mu ..."]
    ) -> tuple[Shaped[Array, "mu ..."], Float[Array, "mu ..."]]:
        """Position and momentum at the end of one trajectory, the position not projected.

        Args:
            position: The gauge field at the start.
            momentum: Momenta at the start, in the basis of `groups`.

        Returns:
            Both at the end; with the momenta reversed the same call leads back.
        """

        def drift(q: Array, p: Array, time: Scalar) -> Array:
            return self.action.group.move(q, time.astype(p.dtype) * p)

        def kick(q: Array, p: Array, time: Scalar) -> Array:
            return p - time.astype(p.dtype) * self.action.force(q)

        return self.integrator.integrate(
            drift, kick, position, momentum, step_size=self.step_size, n_steps=self.n_steps
        )


def check_trajectory(step_size: Scalar, n_steps: int) -> None:
    """Raise a `ConfigError` unless a trajectory has a positive step size and number of steps."""
    require_real(step_size, "step_size", "be finite and positive", low=sys.float_info.min)
    require(isinstance(n_steps, int) and n_steps >= 1, "n_steps", "be a positive integer", n_steps)


def hmc(
    action: AbstractAction,
    *,
    step_size: float | Scalar = 0.1,
    n_steps: int = 10,
    integrator: Integrator | None = None,
) -> HMC:
    """Hamiltonian Monte Carlo for an action.

    Args:
        action: The action to sample.
        step_size: Time of one integrator step, in molecular-dynamics units; an array leaf, so
            tuning it does not compile anything again.
        n_steps: Steps of one trajectory, whose length is `step_size * n_steps`.
        integrator: `leapfrog()` if left out, `omelyan2()` or `omelyan4()`.

    Returns:
        The sampling algorithm; its states hold the field and its action.

    Raises:
        ConfigError: `step_size` or `n_steps` is not positive.

    Reference:
        S. Duane, A. D. Kennedy, B. J. Pendleton, D. Roweth, Phys. Lett. B 195 (1987) 216.
    """
    return HMC(action, step_size, n_steps, integrator or leapfrog())
