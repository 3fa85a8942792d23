r"""Delayed acceptance: a chain of a cheap action proposes, the true action decides.

Steps of an algorithm that is reversible in $e^{-\tilde S}$ lead from $U$ to $U'$, which is accepted
with probability $\min(1, e^{-\Delta})$,
$\Delta = [S(U') - \tilde S(U')] - [S(U) - \tilde S(U)]$: the proposal's own detailed balance
cancels all but the difference of the actions. The true action is evaluated once a proposal.
"""

from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Shaped

from diffhep.core.checks import as_integer, require, require_type
from diffhep.core.sampling import AbstractSamplingAlgorithm
from diffhep.core.typing import Flag, Key, Scalar
from diffhep_lattice.actions.base import AbstractAction, require_action
from diffhep_lattice.samplers.algorithm import metropolis
from diffhep_lattice.samplers.alternate import Alternate
from diffhep_lattice.samplers.heatbath import Heatbath
from diffhep_lattice.samplers.overrelaxation import Overrelaxation

__citations__ = ("doi:10.1198/106186005X76983",)


class DelayedAcceptanceState(NamedTuple):
    r"""A configuration and how far its two actions are apart.

    Attributes:
        position: The gauge field.
        excess: $S(U) - \tilde S(U)$, float64.
    """

    position: Shaped[Array, "mu ..."]
    excess: Scalar


class DelayedAcceptanceInfo(NamedTuple):
    r"""What the second test decided, and how the first stage went.

    Attributes:
        energy_change: $\Delta$ of the second test.
        acceptance_probability: $\min(1, e^{-\Delta})$.
        accepted: Whether the proposal was kept; it may be where the chain was, if the first stage
            refused every step.
        is_finite: Whether every number of the state that is kept is finite.
        cheap_acceptance_probability: Mean over the steps of the first stage.
    """

    energy_change: Scalar
    acceptance_probability: Scalar
    accepted: Flag
    is_finite: Flag
    cheap_acceptance_probability: Scalar


class DelayedAcceptance(AbstractSamplingAlgorithm):
    """Steps of an algorithm for a cheap action, then a test with the true one.

    Attributes:
        algorithm: The algorithm of the cheap action, which it has as `action`.
        action: The true action $S$.
        n_steps: Steps of the algorithm in one proposal.
    """

    algorithm: Any
    action: AbstractAction
    n_steps: int = eqx.field(static=True, converter=partial(as_integer, name="n_steps", low=1))

    def __check_init__(self) -> None:
        require_action(self.action)
        rule = "be a sampling algorithm of the cheap action, such as hmc(action)"
        require_type(self.algorithm, AbstractSamplingAlgorithm, "algorithm", rule)
        # A fixed order, of links or of algorithms, has another one as its reverse.
        is_ordered = isinstance(self.algorithm, (Heatbath, Overrelaxation, Alternate))
        kind = type(self.algorithm).__name__
        rule = "be reversible, which sweeps and algorithms in order are not"
        require(not is_ordered, "algorithm", rule, kind)
        require_action(getattr(self.algorithm, "action", None), "algorithm.action")
        group = self.algorithm.action.group
        rule = f"be {self.action.group}, as that of `action`"
        require(group == self.action.group, "algorithm.action.group", rule, group)

    def init(self, position: Shaped[Array, "mu ..."]) -> DelayedAcceptanceState:
        """The state of a chain that starts at a gauge field."""
        excess = self.action(position) - self.algorithm.action(position)
        return DelayedAcceptanceState(position, excess)

    def step(
        self, key: Key, state: DelayedAcceptanceState
    ) -> tuple[DelayedAcceptanceState, DelayedAcceptanceInfo]:
        """One proposal and its test."""
        proposal_key, test_key = jax.random.split(key)

        def cheap_step(cheap: Any, key: Key) -> tuple[Any, Scalar]:
            cheap, info = self.algorithm.step(key, cheap)
            return cheap, info.acceptance_probability

        start = self.algorithm.init(state.position)
        keys = jax.random.split(proposal_key, self.n_steps)
        end, cheap_probability = jax.lax.scan(cheap_step, start, keys)
        proposal = self.init(end.position)
        kept, test = metropolis(test_key, proposal.excess - state.excess, proposal, state)
        return kept, DelayedAcceptanceInfo(*test, jnp.mean(cheap_probability))


def delayed_acceptance(
    algorithm: Any, action: AbstractAction, *, n_steps: int = 1
) -> DelayedAcceptance:
    r"""Metropolis with proposals from a chain of a cheaper action, exact for the true one.

    It pays where the true action costs much more than the cheap one, as a determinant does, and
    where the two differ little: the acceptance falls with the spread of their difference, and so
    with the volume. A constant in the difference does not matter.

    Args:
        algorithm: A reversible algorithm of the cheap action, which it has as `action`:
            `hmc(cheap)`, `flow_hmc`, `independence_metropolis` or `instanton_hit`, or one of your
            own. Sweeps and algorithms in a fixed order are not reversible.
        action: The action to sample.
        n_steps: Steps of the algorithm in one proposal.

    Returns:
        The sampling algorithm; its states hold the field and the difference of its actions.

    Raises:
        ConfigError: `algorithm` is none, has no action, or is a sweep or a cycle; `action` is no
            action or of another group, or `n_steps` is no positive integer.

    Reference:
        J. A. Christen, C. Fox, J. Comput. Graph. Stat. 14 (2005) 795.
    """
    return DelayedAcceptance(algorithm, action, n_steps)
