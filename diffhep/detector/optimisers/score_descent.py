r"""Descent along the score of a normal distribution of designs: needs nothing of the simulator."""

from collections.abc import Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from diffhep.core.checks import require_counts, require_positive
from diffhep.detector.optimisers.base import AbstractOptimiser, Step, new_seed
from diffhep.detector.problem import DesignProblem, SampleObjective
from diffhep.detector.simulations import Simulations

__citations__ = ("doi:10.1007/BF00992696",)

_DECAY, _SQUARE_DECAY, _TINY = 0.9, 0.999, 1e-8
"""Adam's constants."""


class ScoreDescent(AbstractOptimiser):
    r"""Adam on $\mathrm E[(R-b)\,\epsilon/s]$ for designs $\psi+s\epsilon$.

    The baseline b of a design is the mean of the others. The baseline of comparisons: it takes no
    surrogate and no check, and is blind to how large a step may be. A constraint is held by a
    penalty on its violation.

    Attributes:
        n_designs: Drawn per step.
        n_events: At each of them.
        spread: s, in free coordinates.
        learning_rate: Of Adam.
        n_steps: At most.
        price: Of a unit of violation of the constraint.
    """

    n_designs: int = eqx.field(static=True, default=50)
    n_events: int = eqx.field(static=True, default=1)
    spread: float = 0.3
    learning_rate: float = 0.1
    n_steps: int = eqx.field(static=True, default=1000)
    price: float = 10.0

    def __check_init__(self) -> None:
        require_counts(self, 2, "n_designs")
        require_counts(self, 1, "n_events", "n_steps")
        require_positive(self, "spread", "learning_rate", "price")

    def search(
        self, problem: DesignProblem, simulations: Simulations, rng: np.random.Generator
    ) -> Iterator[Step]:
        """See `AbstractOptimiser.search`; the value of a step is the mean over its designs."""
        centre = np.asarray(problem.start.to_free())
        first, second = np.zeros_like(centre), np.zeros_like(centre)
        for step in range(1, self.n_steps + 1):
            noise = rng.normal(size=(self.n_designs, centre.size))
            free = centre + self.spread * noise
            outcomes = [simulations(row, self.n_events, new_seed(rng)) for row in free]
            worth = np.asarray(_each(problem.objective, jnp.asarray(np.stack(outcomes))))
            n = worth.size
            yield Step(centre, float(worth.mean()), float(worth.std(ddof=1) / np.sqrt(n)))
            worth = worth + self._penalty(problem, free)
            others = (worth.sum() - worth) / (n - 1)
            slope = ((worth - others)[:, None] * noise).mean(axis=0) / self.spread
            first = _DECAY * first + (1.0 - _DECAY) * slope
            second = _SQUARE_DECAY * second + (1.0 - _SQUARE_DECAY) * slope**2
            size = np.sqrt(second / (1.0 - _SQUARE_DECAY**step)) + _TINY
            centre = centre - self.learning_rate * first / (1.0 - _DECAY**step) / size

    def _penalty(self, problem: DesignProblem, free: np.ndarray) -> np.ndarray:
        return self.price * np.asarray([problem.violation(row) for row in free])


@eqx.filter_jit
def _each(objective: SampleObjective, outcomes: Array) -> Array:
    return jax.vmap(objective)(outcomes)
