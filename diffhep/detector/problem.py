"""What is to be minimised: a simulator, what its events are worth, and what a design may cost."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checks import require
from diffhep.core.typing import Key, Scalar
from diffhep.detector.design import Design

Simulate = Callable[[Design, int, int], Any]
"""`simulate(design, n_events, seed) -> (event, observable)`, any program: nothing is traced."""

SampleObjective = Callable[[Any], Scalar]
"""`objective(outcomes) -> scalar` of a sample (event, observable), differentiable; low is good."""

VIOLATION = 1e-6
"""Of a constraint that counts as held."""

N_GROUPS = 20
"""Groups of the jackknife that gives the error of an objective."""


def mean_outcome(outcomes: Float[Array, "event observable"]) -> Scalar:
    """The mean of the first observable.

    Args:
        outcomes: Of the events.

    Returns:
        The mean.
    """
    return jnp.mean(outcomes[:, 0])


class DesignProblem(eqx.Module):
    r"""$\min_\psi R(\{y_i\}),\ y_i\sim p(y|\psi)$, with $g(\psi)\le0$ where there is a constraint.

    Attributes:
        start: The design from which a search starts; it sets names, units and bounds.
        simulate: `simulate(design, n_events, seed)`, a black box; the same arguments have to give
            the same events where calls are to be kept on disk.
        objective: Of a sample of outcomes; `mean_outcome` if not given.
        constraint: `constraint(design) <= 0`, differentiable: a cost less a budget, say.
        exact: The expectation of the objective, where it is known.
        optimum: Its least value under the constraint, where it is known.
        name: Told apart by it are the calls of several problems in one folder.

    Raises:
        ConfigError: The simulator or the objective cannot be called.
    """

    start: Design
    simulate: Simulate = eqx.field(static=True)
    objective: SampleObjective = eqx.field(static=True, default=mean_outcome)
    constraint: Callable[[Design], Scalar] | None = eqx.field(static=True, default=None)
    exact: Callable[[Design], Scalar] | None = eqx.field(static=True, default=None)
    optimum: float | None = eqx.field(static=True, default=None)
    name: str = eqx.field(static=True, default="design")

    def __check_init__(self) -> None:
        require(callable(self.simulate), "simulate", "be callable", self.simulate)
        require(callable(self.objective), "objective", "be callable", self.objective)

    def violation(self, free: Float[np.ndarray, " param"]) -> float:
        """How far a design is over its constraint.

        Args:
            free: The design as `Design.to_free` makes it.

        Returns:
            Zero where it holds, or where there is none.
        """
        if self.constraint is None:
            return 0.0
        return max(float(self.constraint(self.start.from_free(jnp.asarray(free)))), 0.0)

    @property
    def n_params(self) -> int:
        """Numbers that are chosen."""
        return self.start.to_vector().size


def simulate_with(sampled: Callable[[Design, Key], Scalar | Array]) -> Simulate:
    """A simulator of events from a traceable simulation of one.

    Args:
        sampled: `sampled(design, key)`, a number or a vector of observables.

    Returns:
        The simulator, compiled once for every number of events.
    """

    @eqx.filter_jit
    def run(design: Design, n_events: int, seed: Array) -> Array:
        keys = jax.random.split(jax.random.key(seed), n_events)
        return jax.vmap(lambda key: jnp.atleast_1d(sampled(design, key)))(keys)

    def simulate(design: Design, n_events: int, seed: int) -> np.ndarray:
        return np.asarray(run(design, n_events, jnp.asarray(seed, jnp.uint32)))

    return simulate


def value_and_error(
    objective: SampleObjective, outcomes: Float[np.ndarray, "event observable"]
) -> tuple[float, float]:
    """An objective of a sample and its standard error, by the jackknife over groups of events.

    Args:
        objective: Of a sample.
        outcomes: At least two events.

    Returns:
        Value and error.
    """
    if objective is mean_outcome:
        first = np.asarray(outcomes)[:, 0]
        return float(first.mean()), float(first.std(ddof=1) / np.sqrt(first.size))
    n_groups = min(N_GROUPS, len(outcomes))
    kept = len(outcomes) - len(outcomes) % n_groups
    groups = np.asarray(outcomes[:kept]).reshape(n_groups, -1, outcomes.shape[1])
    value, without = _jackknife(objective, jnp.asarray(groups))
    if kept < len(outcomes):
        value = objective(jnp.asarray(outcomes))
    return float(value), float(np.sqrt((n_groups - 1) * np.var(np.asarray(without))))


@eqx.filter_jit
def _jackknife(objective: SampleObjective, groups: Array) -> tuple[Scalar, Array]:
    n = groups.shape[0]
    others = jnp.asarray([[j for j in range(n) if j != i] for i in range(n)])
    flat = (-1, groups.shape[-1])
    without = jax.vmap(lambda rows: objective(groups[rows].reshape(flat)))(others)
    return objective(groups.reshape(flat)), without
