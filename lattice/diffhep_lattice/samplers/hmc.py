"""Hamiltonian Monte Carlo on a Lie group: gauge links, angles, real numbers."""

import sys
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from diffhep.core.checks import as_integer, as_scalar, describe_value, require, require_real
from diffhep.core.errors import ConfigError
from diffhep.core.sampling import AbstractSamplingAlgorithm
from diffhep.core.typing import Key, Scalar
from diffhep_lattice.actions.base import AbstractAction, require_action
from diffhep_lattice.actions.sum import terms_of
from diffhep_lattice.groups import kinetic_energy, random_momentum
from diffhep_lattice.samplers.algorithm import ActionState, MetropolisInfo, metropolis
from diffhep_lattice.samplers.integrators import (
    AbstractIntegrator,
    Kick,
    leapfrog,
    require_scales,
)

__citations__ = ("doi:10.1016/0370-2693(87)91197-X",)


def _as_md_dtype(value: Any) -> jnp.dtype | None:
    """A real floating dtype, or None."""
    if value is None:
        return None
    rule = "be a real floating dtype"
    try:
        dtype = jnp.dtype(value)
    except TypeError:
        shown = describe_value(value)
        raise ConfigError(f"Argument `md_dtype` must {rule}, but it is {shown}.") from None
    require(bool(jnp.issubdtype(dtype, jnp.floating)), "md_dtype", rule, dtype)
    return dtype


class HMC(AbstractSamplingAlgorithm):
    r"""Hamiltonian Monte Carlo: momenta drawn afresh, one trajectory, one Metropolis test.

    $H(U, p) = \frac12\sum p^2 + S(U)$. The trajectory runs in the precision of the field or of
    `md_dtype`; the energies are in double precision.

    Attributes:
        action: The action $S$.
        step_size: Time of one integrator step, in molecular-dynamics units.
        n_steps: Steps of one trajectory.
        integrator: The splitting scheme.
        md_dtype: Real dtype of the trajectory; that of the field if None.
    """

    action: AbstractAction
    step_size: Scalar = eqx.field(converter=partial(as_scalar, name="step_size"))
    n_steps: int = eqx.field(static=True, converter=partial(as_integer, name="n_steps", low=1))
    integrator: AbstractIntegrator
    md_dtype: jnp.dtype | None = eqx.field(static=True, converter=_as_md_dtype, default=None)

    def __check_init__(self) -> None:
        require_action(self.action)
        require_positive(self.step_size)
        require_scales(self.integrator, len(terms_of(self.action)))

    def init(self, position: Shaped[Array, "mu ..."]) -> ActionState:
        """The state of a chain that starts at a field."""
        return ActionState(position, self.action(position))

    def step(self, key: Key, state: ActionState) -> tuple[ActionState, MetropolisInfo]:
        """One trajectory and its test."""
        momentum_key, test_key = jax.random.split(key)
        group = self.action.group
        start = self.in_md_precision(state.position)
        momentum = random_momentum(group, start, key=momentum_key)
        position, final_momentum = self.trajectory(start, momentum)
        proposal = self.init(group.project(position.astype(state.position.dtype)))
        energy_change = (proposal.action - state.action) + (
            kinetic_energy(final_momentum) - kinetic_energy(momentum)
        )
        return metropolis(test_key, energy_change, proposal, state)

    def trajectory(
        self, position: Shaped[Array, "mu ..."], momentum: Float[Array, "mu ..."]
    ) -> tuple[Shaped[Array, "mu ..."], Float[Array, "mu ..."]]:
        """Position and momentum at the end of one trajectory, the position not projected.

        Args:
            position: The field at the start.
            momentum: Momenta at the start, in the basis of `groups`.

        Returns:
            Both at the end; with the momenta reversed the same call leads back.
        """

        def drift(q: Array, p: Array, time: Scalar) -> Array:
            return self.action.group.move(q, time.astype(p.dtype) * p)

        def kick_by(term: AbstractAction) -> Kick:
            return lambda q, p, time: p - time.astype(p.dtype) * term.force(q)

        kicks = [kick_by(term) for term in terms_of(self.action)]
        return self.integrator.integrate(
            drift, kicks, position, momentum, step_size=self.step_size, n_steps=self.n_steps
        )

    def in_md_precision(self, position: Shaped[Array, "mu ..."]) -> Shaped[Array, "mu ..."]:
        """A gauge field rounded to the precision of the trajectory.

        Args:
            position: The field.

        Returns:
            The field in `md_dtype`, or as it is where there is none.
        """
        if self.md_dtype is None:
            return position
        is_complex = jnp.issubdtype(position.dtype, jnp.complexfloating)
        return position.astype(jnp.result_type(self.md_dtype, 1j) if is_complex else self.md_dtype)


def require_positive(step_size: Scalar) -> None:
    """Raise a `ConfigError` unless a step size is finite and positive."""
    require_real(step_size, "step_size", "be finite and positive", low=sys.float_info.min)


def hmc(
    action: AbstractAction,
    *,
    step_size: float | Scalar = 0.1,
    n_steps: int = 10,
    integrator: AbstractIntegrator | None = None,
    md_dtype: Any = None,
) -> HMC:
    """Hamiltonian Monte Carlo for an action.

    Args:
        action: The action to sample.
        step_size: Time of one integrator step, in molecular-dynamics units; an array leaf, so
            tuning it does not compile anything again.
        n_steps: Steps of one trajectory, whose length is `step_size * n_steps`.
        integrator: `leapfrog()` if left out, or another scheme of `samplers.integrators`; a nested
            one for an action that is a `SumAction`.
        md_dtype: Precision of the trajectory, such as `jnp.float32` for a field in double
            precision: the field is rounded, followed, and its end projected back onto the group in
            double precision, where both energies are taken. That keeps the acceptance, for rounding
            changes dH by far less than the integrator does. But a trajectory there and back misses
            its start by rounding errors, and what is left of dH then is the logarithm by which
            detailed balance is violated: some 2e-4 for SU(3) on 8^4 sites in single precision. It
            grows with the root of the volume and with the length of the trajectory.

    Returns:
        The sampling algorithm; its states hold the field and its action.

    Raises:
        ConfigError: `action` is no action, `step_size` is no positive number, `n_steps` no positive
            integer, `integrator` no integrator or one with more time scales than the action has
            terms, or `md_dtype` no real floating dtype.
        ShapeError: `step_size` is an array with axes.

    Reference:
        S. Duane, A. D. Kennedy, B. J. Pendleton, D. Roweth, Phys. Lett. B 195 (1987) 216.
    """
    chosen = leapfrog() if integrator is None else integrator
    return HMC(action, step_size, n_steps, chosen, md_dtype)
