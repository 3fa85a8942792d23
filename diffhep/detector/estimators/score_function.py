"""The derivative of the probability of what was simulated."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from diffhep.core.typing import Key, PyTree, Scalar
from diffhep.detector.design import Design
from diffhep.detector.estimators.base import AbstractGradientEstimator, Contributions

__citations__ = ("doi:10.1007/BF00992696",)


class AbstractScoredObjective(eqx.Module):
    """A simulation whose outcome has a known density."""

    @abc.abstractmethod
    def draw(self, design: Design, key: Key) -> PyTree:
        """An outcome; it is not differentiated.

        Args:
            design: The design.
            key: Random key.

        Returns:
            What happened.
        """

    @abc.abstractmethod
    def log_prob(self, design: Design, outcome: PyTree) -> Scalar:
        """Logarithm of its probability or density, up to a constant.

        Args:
            design: The design.
            outcome: What `draw` returned.

        Returns:
            The logarithm.
        """

    @abc.abstractmethod
    def value(self, design: Design, outcome: PyTree) -> Scalar:
        """What the outcome is worth; it may depend on the design directly.

        Args:
            design: The design.
            outcome: What `draw` returned.

        Returns:
            The value.
        """


class ScoreFunction(AbstractGradientEstimator[AbstractScoredObjective]):
    r"""$\mathrm E[(f-b)\,\partial_\theta\ln p_\theta(x)+\partial_\theta f]$.

    The baseline $b$ of a sample is the mean of all others, so that it does not bias. Unbiased for
    discrete outcomes and discontinuous values too.

    Attributes:
        objective: Draws outcomes and knows their density.
        n_samples: Simulations.
    """

    objective: AbstractScoredObjective
    n_samples: int = eqx.field(static=True, default=1000)

    def simulations_per_sample(self, design: Design) -> int:
        """One."""
        del design
        return 1

    def contributions(self, design: Design, keys: Array) -> Contributions:
        """See `AbstractGradientEstimator.contributions`."""
        outcomes = jax.lax.stop_gradient(
            jax.vmap(self.objective.draw, in_axes=(None, 0))(design, keys)
        )
        over = (None, 0)
        value, direct = jax.vmap(jax.value_and_grad(self.objective.value), over)(design, outcomes)
        score = jax.vmap(jax.grad(self.objective.log_prob), over)(design, outcomes)
        n = value.shape[0]
        others = (jnp.sum(value) - value) / (n - 1)

        def combine(score: Array, direct: Array) -> Array:
            weight = (value - others).reshape(-1, *[1] * (score.ndim - 1))
            return weight * score + direct

        return Contributions(value, jax.tree.map(combine, score, direct))
