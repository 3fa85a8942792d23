"""Independence Metropolis with a flow's samples as proposals."""

from typing import NamedTuple

import jax
from jaxtyping import Array, Shaped

from diffhep.core.sampling import AbstractSamplingAlgorithm
from diffhep.core.typing import Key, Scalar
from diffhep_lattice.actions.base import AbstractAction
from diffhep_lattice.flows.base import AbstractFlow, require_pair
from diffhep_lattice.samplers.algorithm import MetropolisInfo, metropolis

__citations__ = ("arXiv:1904.12072",)


class IndependenceState(NamedTuple):
    r"""A configuration and its importance weight.

    Attributes:
        position: The field.
        log_weight: $-S(U) - \log q(U)$, float64.
    """

    position: Shaped[Array, "mu ..."]
    log_weight: Scalar


class IndependenceMetropolis(AbstractSamplingAlgorithm):
    r"""Metropolis with proposals that do not depend on the current state.

    A proposal $U' \sim q$ is accepted with probability $\min(1, w(U')/w(U))$,
    $w = e^{-S}/q$.

    Attributes:
        flow: The density $q$.
        action: The action $S$.
    """

    flow: AbstractFlow
    action: AbstractAction

    def __check_init__(self) -> None:
        require_pair(self.flow, self.action)

    def init(self, position: Shaped[Array, "mu ..."]) -> IndependenceState:
        """The state of a chain that starts at a field; evaluates the flow's density."""
        log_weight = -self.action(position) - self.flow.log_prob(position)
        return IndependenceState(position, log_weight)

    def step(self, key: Key, state: IndependenceState) -> tuple[IndependenceState, MetropolisInfo]:
        """One proposal and its test."""
        proposal_key, test_key = jax.random.split(key)
        fields, log_q = self.flow.sample_and_log_prob(proposal_key, 1)
        proposal = IndependenceState(fields[0], -self.action(fields[0]) - log_q[0])
        energy_change = state.log_weight - proposal.log_weight
        return metropolis(test_key, energy_change, proposal, state)


def independence_metropolis(flow: AbstractFlow, action: AbstractAction) -> IndependenceMetropolis:
    """Independence Metropolis for an action, with a flow's samples as proposals.

    Exact whatever the flow, as long as its density vanishes nowhere; its rejections come in runs
    where the flow gives too little weight. Start it from the flow's own samples: far from
    equilibrium (a random or a cold start) the flow's density can be smaller than the target's by
    hundreds of orders of magnitude, and such a start is never left.

    Args:
        flow: The flow to propose from.
        action: The action to sample.

    Returns:
        The sampling algorithm; its states hold the field and its log-weight.

    Raises:
        ConfigError: `flow` or `action` is none, or the action is not one of angles.
        ShapeError: When a chain starts at a field that is not on the flow's lattice.

    Reference:
        M. S. Albergo, G. Kanwar, P. E. Shanahan, arXiv:1904.12072.
    """
    return IndependenceMetropolis(flow, action)
