"""Descent along exact or estimated gradients, from several starts."""

from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from diffhep.core.checks import require_counts, require_positive
from diffhep.core.errors import ConfigError
from diffhep.core.rng import check_key
from diffhep.core.typing import Key, Scalar
from diffhep.detector.design import Design
from diffhep.detector.estimators import AbstractGradientEstimator
from diffhep.detector.optimisers.augmented import Smooth, minimise
from diffhep.detector.optimisers.base import AbstractOptimiser, Step, new_seed
from diffhep.detector.problem import DesignProblem
from diffhep.detector.simulations import BudgetSpentError, Simulations


class GradientDescent(AbstractOptimiser):
    """Many starts, each descended to its local optimum.

    Without an estimator the problem's exact objective is minimised by L-BFGS, under its constraint
    by the augmented Lagrangian; no event is simulated before the final check. With an estimator of
    gradients the steps are Adam's and the events of the estimator count; a constraint is then held
    by a penalty on its violation that costs as much as `price` says.

    Attributes:
        n_starts: Starts; the first is the problem's.
        width: Standard deviation of the other starts around it, in free coordinates.
        estimator: Of gradients; None for the exact ones.
        learning_rate: Of Adam, in free coordinates; it falls to a tenth of a per cent by a cosine.
        n_steps: Of Adam.
        price: Of a unit of violation of the constraint, in units of the objective.
    """

    n_starts: int = eqx.field(static=True, default=20)
    width: float = 1.5
    estimator: AbstractGradientEstimator | None = None
    learning_rate: float = 0.05
    n_steps: int = eqx.field(static=True, default=200)
    price: float = 10.0

    def __check_init__(self) -> None:
        require_counts(self, 1, "n_starts", "n_steps")
        require_positive(self, "width", "learning_rate", "price")

    def search(
        self, problem: DesignProblem, simulations: Simulations, rng: np.random.Generator
    ) -> Iterator[Step]:
        """See `AbstractOptimiser.search`."""
        centre = np.asarray(problem.start.to_free())
        offsets = self.width * rng.normal(size=(self.n_starts, centre.size))
        offsets[0] = 0.0
        for offset in offsets:
            if self.estimator is None:
                yield _exact_step(problem, centre + offset)
            else:
                key = jax.random.key(new_seed(rng))
                yield self._estimated(self.estimator, problem, simulations, centre + offset, key)

    def _estimated(
        self,
        estimator: AbstractGradientEstimator,
        problem: DesignProblem,
        simulations: Simulations,
        start: np.ndarray,
        key: Key,
    ) -> Step:
        per_step = estimator.n_samples * estimator.simulations_per_sample(problem.start)
        total = per_step * (self.n_steps + 1)
        if simulations.n_calls + total > simulations.budget:
            raise BudgetSpentError(f"A descent of {total} simulated events is over the budget.")
        simulations.n_calls += total
        simulations.n_fresh += total
        free, value, error = _descend(
            problem, estimator, jnp.asarray(start), self.learning_rate, self.price, self.n_steps,
            key,
        )  # fmt: skip
        return Step(np.asarray(free), float(value), float(error))


def _exact_step(problem: DesignProblem, start: np.ndarray) -> Step:
    smooth, bound = smooth_functions(problem)
    found = minimise(smooth, start, bound)
    good = bool(np.isfinite(found.value) and found.violation <= 1e-6)
    return Step(found.x, found.value, 0.0, good)


def smooth_functions(problem: DesignProblem) -> tuple[Smooth, Smooth | None]:
    """Exact objective and constraint with their gradients, in free coordinates.

    Args:
        problem: One whose exact objective is known.

    Returns:
        Both; None where there is no constraint.

    Raises:
        ConfigError: The exact objective is not known.
    """
    exact, constraint = problem.exact, problem.constraint
    if exact is None:
        raise ConfigError(
            "Argument `problem` must have an exact objective for exact gradients, but it has none; "
            "give an estimator, or use LocalSurrogate."
        )
    bound = None if constraint is None else _with_gradient(problem.start, constraint)
    return _with_gradient(problem.start, exact), bound


def _with_gradient(start: Design, function: Callable[[Design], Scalar]) -> Smooth:
    def both(free: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = _value_and_grad(start, jnp.asarray(free), function)
        return float(value), np.asarray(gradient)

    return both


@eqx.filter_jit
def _value_and_grad(
    start: Design, free: Array, function: Callable[[Design], Scalar]
) -> tuple[Scalar, Array]:
    return jax.value_and_grad(lambda free: function(start.from_free(free)))(free)


@eqx.filter_jit
def _descend(
    problem: DesignProblem,
    estimator: AbstractGradientEstimator,
    start: Array,
    learning_rate: float,
    price: float,
    n_steps: int,
    key: Key,
) -> tuple[Array, Scalar, Scalar]:
    """Adam with estimated gradients, then the estimate at its end."""
    check_key(key)
    optimiser = optax.adam(optax.cosine_decay_schedule(learning_rate, n_steps, 1e-3))

    def penalty(free: Array) -> Scalar:
        constraint = problem.constraint
        if constraint is None:
            return jnp.zeros(())
        return price * jnp.clip(constraint(problem.start.from_free(free)), 0.0)

    def step(carry: Any, key: Key) -> tuple[Any, None]:
        free, state = carry
        design, pull_back = jax.vjp(problem.start.from_free, free)
        found = estimator(design, key=key)
        (slope,) = pull_back(found.gradient)
        updates, state = optimiser.update(slope + jax.grad(penalty)(free), state)
        return (optax.apply_updates(free, updates), state), None

    keys = jax.random.split(key, n_steps + 1)
    (free, _), _ = jax.lax.scan(step, (start, optimiser.init(start)), keys[:-1])
    last = estimator(problem.start.from_free(free), key=keys[-1])
    return free, last.value, last.value_error
