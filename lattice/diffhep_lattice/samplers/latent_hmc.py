"""Hamiltonian Monte Carlo in the latent space of a flow."""

from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Shaped

from diffhep.core.checks import as_integer, as_scalar
from diffhep.core.sampling import AbstractSamplingAlgorithm
from diffhep.core.typing import Key, PyTree, Scalar
from diffhep_lattice.actions.base import AbstractAction
from diffhep_lattice.flows.base import AbstractFlow, count_batch_axes, require_pair
from diffhep_lattice.groups import kinetic_energy
from diffhep_lattice.samplers.algorithm import MetropolisInfo, metropolis
from diffhep_lattice.samplers.hmc import require_positive
from diffhep_lattice.samplers.integrators import AbstractIntegrator, leapfrog, require_scales

__citations__ = ("arXiv:0907.5491", "arXiv:2201.01862")


class LatentState(NamedTuple):
    r"""A configuration and the latent variables it comes from.

    Attributes:
        position: The field $U = f(z)$.
        latent: The latent variables $z$.
        potential: $S(f(z)) - \log|\det\partial f/\partial z|$, float64.
    """

    position: Shaped[Array, "mu ..."]
    latent: PyTree
    potential: Scalar


class FlowHMC(AbstractSamplingAlgorithm):
    r"""Hamiltonian Monte Carlo on the latent variables of a flow $f$.

    The density of $z$ is $e^{-V}$ with $V(z) = S(f(z)) - \log|\det\partial f/\partial z|$; a
    perfect flow makes $V$ the potential of its base density. Momenta have unit variance.

    Attributes:
        flow: The map $f$ from latent variables to fields.
        action: The action $S$.
        step_size: Time of one integrator step, in molecular-dynamics units.
        n_steps: Steps of one trajectory.
        integrator: The splitting scheme.
    """

    flow: AbstractFlow
    action: AbstractAction
    step_size: Scalar = eqx.field(converter=partial(as_scalar, name="step_size"))
    n_steps: int = eqx.field(static=True, converter=partial(as_integer, name="n_steps", low=1))
    integrator: AbstractIntegrator

    def __check_init__(self) -> None:
        require_pair(self.flow, self.action)
        require_positive(self.step_size)
        # The action and the flow's Jacobian make one potential.
        require_scales(self.integrator, 1)

    def init(self, position: Shaped[Array, "mu ..."]) -> LatentState:
        """The state of a chain that starts at a field; inverts the flow."""
        action = self.action(position)
        count_batch_axes(self.flow, position, "position")
        latent, log_det = self.flow.inverse_and_log_det(position)
        return LatentState(position, latent, action + log_det)

    def potential(self, latent: PyTree) -> tuple[Scalar, Shaped[Array, "mu ..."]]:
        """The potential of the latent variables, and the field they stand for."""
        position, log_det = self.flow.forward_and_log_det(latent)
        return self.action(position) - log_det, position

    def step(self, key: Key, state: LatentState) -> tuple[LatentState, MetropolisInfo]:
        """One trajectory and its test."""
        momentum_key, test_key = jax.random.split(key)
        momentum = _random_momentum(state.latent, key=momentum_key)
        latent, final_momentum = self.trajectory(state.latent, momentum)
        potential, position = self.potential(latent)
        proposal = LatentState(position, latent, potential)
        energy_change = (potential - state.potential) + (
            _kinetic_energy(final_momentum) - _kinetic_energy(momentum)
        )
        return metropolis(test_key, energy_change, proposal, state)

    def trajectory(self, latent: PyTree, momentum: PyTree) -> tuple[PyTree, PyTree]:
        """Latent variables and momenta at the end of one trajectory.

        Args:
            latent: Latent variables at the start.
            momentum: Their momenta, the same tree.

        Returns:
            Both at the end; with the momenta reversed the same call leads back.
        """
        force = jax.grad(lambda z: self.potential(z)[0])

        def drift(q: PyTree, p: PyTree, time: Scalar) -> PyTree:
            return jax.tree.map(lambda x, v: x + time.astype(v.dtype) * v, q, p)

        def kick(q: PyTree, p: PyTree, time: Scalar) -> PyTree:
            return jax.tree.map(lambda v, f: v - time.astype(v.dtype) * f, p, force(q))

        return self.integrator.integrate(
            drift, (kick,), latent, momentum, step_size=self.step_size, n_steps=self.n_steps
        )


def _random_momentum(latent: PyTree, *, key: Key) -> PyTree:
    leaves, structure = jax.tree.flatten(latent)
    keys = jax.random.split(key, len(leaves))
    draws = [jax.random.normal(k, x.shape, x.dtype) for k, x in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, draws)


def _kinetic_energy(momentum: PyTree) -> Scalar:
    return sum((kinetic_energy(leaf) for leaf in jax.tree.leaves(momentum)), jnp.zeros(()))


def flow_hmc(
    flow: AbstractFlow,
    action: AbstractAction,
    *,
    step_size: float | Scalar = 0.1,
    n_steps: int = 10,
    integrator: AbstractIntegrator | None = None,
) -> FlowHMC:
    """Hamiltonian Monte Carlo in the latent space of a flow, the field-transformation HMC.

    Exact whatever the flow. A step costs a forward and a backward pass of the flow per force.
    Starting a chain inverts the flow. A flow whose log-determinant has unbounded slopes, such as a
    piecewise spline's at its knots, limits the step size.

    Args:
        flow: The flow from latent variables to fields.
        action: The action to sample.
        step_size: Time of one integrator step, in molecular-dynamics units; an array leaf.
        n_steps: Steps of one trajectory.
        integrator: `leapfrog()` if left out, or another scheme of `samplers.integrators` with one
            time scale.

    Returns:
        The sampling algorithm; its states hold the field and its latent variables.

    Raises:
        ConfigError: `flow` or `action` is none, or the action is not one of angles, `step_size` is
            no positive number, `n_steps` no positive integer, or `integrator` no such scheme.
        ShapeError: `step_size` is an array with axes; when a chain starts at a field that is not
            on the flow's lattice, that too.

    Reference:
        M. Lüscher, arXiv:0907.5491; X.-Y. Jin, arXiv:2201.01862.
    """
    chosen = leapfrog() if integrator is None else integrator
    return FlowHMC(flow, action, step_size, n_steps, chosen)
