"""Chains of one algorithm, each at a coupling of its own: one program for a whole curve."""

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from diffhep.core.sampling import AbstractSamplingAlgorithm
from diffhep.core.typing import Key, Scalar


class AtCoupling(NamedTuple):
    """A gauge field and the coupling it is sampled at."""

    beta: Scalar
    U: Array


class CoupledState(NamedTuple):
    """The coupling of a chain and the state of the algorithm there."""

    beta: Scalar
    inner: Any

    @property
    def position(self) -> AtCoupling:
        """The field with its coupling."""
        return AtCoupling(self.beta, self.inner.position)


class ManyCouplings(AbstractSamplingAlgorithm):
    """An algorithm for Wilson's action, each chain with the beta that its position holds.

    Attributes:
        algorithm: The algorithm at some coupling, which is replaced.
    """

    algorithm: Any

    def init(self, position: AtCoupling) -> CoupledState:
        """The state of a chain that starts at a field and stays at its coupling."""
        return CoupledState(position.beta, self._at(position.beta).init(position.U))

    def step(self, key: Key, state: CoupledState) -> tuple[CoupledState, Any]:
        """One step of the algorithm at the chain's coupling."""
        inner, info = self._at(state.beta).step(key, state.inner)
        return CoupledState(state.beta, inner), info

    def _at(self, beta: Scalar) -> Any:
        return eqx.tree_at(lambda algorithm: algorithm.action.beta, self.algorithm, beta)


def at_couplings(betas: tuple[float, ...], n_chains: int, fields: Array) -> AtCoupling:
    """Chains at every coupling, those of one coupling beside each other.

    Args:
        betas: The couplings.
        n_chains: Chains at each.
        fields: Fields of all chains, or one field for all of them.

    Returns:
        Positions with the chain as the first axis.
    """
    n = len(betas) * n_chains
    if fields.ndim == 7:
        fields = jnp.broadcast_to(fields, (n, *fields.shape))
    return AtCoupling(jnp.repeat(jnp.asarray(betas), n_chains), fields)
