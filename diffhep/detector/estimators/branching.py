"""Stochastic differentiation of simulations that decide at random: both branches are taken."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffhep.core.rng import key_for
from diffhep.core.typing import Key, Scalar
from diffhep.detector.design import Design
from diffhep.detector.estimators.base import AbstractGradientEstimator, Contributions

__citations__ = ("arXiv:2210.08572",)

BranchingObjective = Callable[
    [Design, Key, Float[Array, " decision"]], tuple[Scalar, Float[Array, " decision"]]
]
"""`objective(design, key, forced) -> (value, probabilities)`, see `decide`."""


def decide(
    probability: Float[Array, "*decision"],
    uniform: Float[Array, "*decision"],
    forced: Float[Array, "*decision"],
) -> Float[Array, "*decision"]:
    """The outcome of random decisions: yes with their probability, or as they are forced.

    Args:
        probability: Of yes; it may depend on the design and on what was decided before.
        uniform: Random numbers in [0, 1), one for each decision and always the same one.
        forced: 1 for yes, 0 for no, -1 where the random number decides.

    Returns:
        1 or 0; no derivative goes through.
    """
    free = uniform < jax.lax.stop_gradient(probability)
    return jnp.where(forced < 0.0, free, forced > 0.5).astype(float)


class Branching(AbstractGradientEstimator[BranchingObjective]):
    r"""Pathwise derivative, plus for every decision its probability's times what hangs on it.

    $\partial_\theta f+\sum_k\partial_\theta p_k\,(f_{k\to1}-f_{k\to0})$, in which all random
    numbers and all other decisions' rules are those of the same simulation: unbiased, as the
    conditional expectation over the k-th random number. A sample takes the simulation itself and
    two more for every decision, or for each of the `n_forced`.

    Attributes:
        objective: `objective(design, key, forced) -> (value, probabilities)`: takes its decisions
            by `decide` in a fixed order and returns the probabilities of all of them.
        n_decisions: How many there are; those that do not come up have probability 0.
        n_forced: Decisions that are forced in one sample, drawn at random; all by default. Fewer
            cost less and vary more.
        n_samples: Random keys.
    """

    objective: BranchingObjective
    n_decisions: int = eqx.field(static=True)
    n_forced: int | None = eqx.field(static=True, default=None)
    n_samples: int = eqx.field(static=True, default=1000)

    @property
    def _n_taken(self) -> int:
        return self.n_decisions if self.n_forced is None else self.n_forced

    def simulations_per_sample(self, design: Design) -> int:
        """Two for each forced decision, and one."""
        del design
        return 2 * self._n_taken + 1

    def contributions(self, design: Design, keys: Array) -> Contributions:
        """See `AbstractGradientEstimator.contributions`."""
        return Contributions(*jax.vmap(lambda key: self._one(design, key))(keys))

    def _one(self, design: Design, key: Key) -> tuple[Scalar, Design]:
        free = -jnp.ones(self.n_decisions)

        def run(design: Design, forced: Array) -> tuple[Scalar, Array]:
            return self.objective(design, key, forced)

        order = jax.random.permutation(key_for(key, "forced"), self.n_decisions)
        taken = order[: self._n_taken]

        def jump(index: Array) -> Scalar:
            yes, no = (run(design, free.at[index].set(answer))[0] for answer in (1.0, 0.0))
            return yes - no

        jumps = jax.lax.stop_gradient(jax.lax.map(jump, taken))
        weight = self.n_decisions / self._n_taken

        def surrogate(design: Design) -> tuple[Scalar, Scalar]:
            value, probability = run(design, free)
            return value + weight * jnp.sum(jumps * probability[taken]), value

        (_, value), gradient = jax.value_and_grad(surrogate, has_aux=True)(design)
        return value, gradient
