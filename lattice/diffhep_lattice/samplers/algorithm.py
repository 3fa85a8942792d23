"""What the samplers of this package share: their states, their infos and the Metropolis test."""

from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Shaped

from diffhep.core.typing import Flag, Key, Scalar

State = TypeVar("State")


class ActionState(NamedTuple):
    """A configuration and its action.

    Attributes:
        position: The field.
        action: Its action, float64.
    """

    position: Shaped[Array, "mu ..."]
    action: Scalar


class MetropolisInfo(NamedTuple):
    r"""What a Metropolis test decided and why.

    Attributes:
        energy_change: What the test saw: the acceptance probability is
            $\min(1, e^{-\Delta H})$. A proposal without a finite energy has $+\infty$; $-\infty$
            means that the current state has none, and nothing is accepted.
        acceptance_probability: In [0, 1].
        accepted: Whether the chain moved.
        is_finite: Whether every number of the state that is kept is finite; false is an error,
            while a proposal that is not finite is but refused.
    """

    energy_change: Scalar
    acceptance_probability: Scalar
    accepted: Flag
    is_finite: Flag


def metropolis(
    key: Key, energy_change: Scalar, proposal: State, current: State
) -> tuple[State, MetropolisInfo]:
    r"""Keep the proposal with probability $\min(1, e^{-\Delta H})$, else the current state.

    A proposal whose energy is not a number is refused. A current state of infinite energy is kept
    and so reported: a chain in equilibrium is never there, and one that starts there must not
    slip away unnoticed.

    Args:
        key: Random key.
        energy_change: $\Delta H$ from the current state to the proposal, float64.
        proposal: State proposed.
        current: State held.

    Returns:
        The state kept and what was decided.
    """
    change = jnp.where(jnp.isnan(energy_change), jnp.inf, energy_change)
    probability = jnp.where(change > -jnp.inf, jnp.exp(-jnp.maximum(change, 0.0)), 0.0)
    accepted = jax.random.uniform(key, dtype=probability.dtype) < probability
    kept = jax.tree.map(lambda new, old: jnp.where(accepted, new, old), proposal, current)
    is_finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(kept)]))
    return kept, MetropolisInfo(change, probability, accepted, is_finite)
