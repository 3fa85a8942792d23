"""Choices among options: relaxed ones, and hard ones with the gradient of the relaxed."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffhep.core.checks import require
from diffhep.core.rng import key_for
from diffhep.core.typing import Key, Scalar
from diffhep.detector.design import Design
from diffhep.detector.estimators.base import AbstractGradientEstimator, Contributions

__citations__ = ("arXiv:1611.01144", "arXiv:1308.3432")

ChoiceObjective = Callable[[Design, Key, Float[Array, " option"]], Scalar]
"""`objective(design, key, weights) -> scalar`; the weights of the options add up to one."""


class GumbelSoftmax(AbstractGradientEstimator[ChoiceObjective]):
    r"""A choice with logits $l$ as $\mathrm{softmax}((l+g)/\tau)$, $g$ of Gumbel's distribution.

    Biased: the expectation is that over relaxed options, which tend to the hard ones as the
    temperature falls, while the variance grows.

    Attributes:
        objective: What a mixture of options is worth: of radiation lengths, say.
        logits: Name of the design's parameter that holds the logits.
        temperature: tau.
        hard: Whether the option of the largest weight is taken alone (straight-through): values are
            then those of real options, derivatives those of the relaxed ones.
        n_samples: Simulations.
    """

    objective: ChoiceObjective
    logits: str = eqx.field(static=True)
    temperature: float = eqx.field(static=True, default=0.5)
    hard: bool = eqx.field(static=True, default=False)
    n_samples: int = eqx.field(static=True, default=1000)

    def __check_init__(self) -> None:
        require(self.temperature > 0.0, "temperature", "be positive", self.temperature)

    def simulations_per_sample(self, design: Design) -> int:
        """One."""
        del design
        return 1

    def contributions(self, design: Design, keys: Array) -> Contributions:
        """See `AbstractGradientEstimator.contributions`."""

        def value(design: Design, key: Key) -> Scalar:
            return self.objective(design, key, self.weights(design, key_for(key, "choice")))

        return Contributions(*jax.vmap(jax.value_and_grad(value), (None, 0))(design, keys))

    def weights(self, design: Design, key: Key) -> Float[Array, " option"]:
        """Weights of the options in one sample.

        Args:
            design: It.
            key: Random key.

        Returns:
            They add up to one.
        """
        logits = design[self.logits]
        noise = jax.random.gumbel(key, logits.shape)
        soft = jax.nn.softmax((logits + noise) / self.temperature)
        if not self.hard:
            return soft
        chosen = jax.nn.one_hot(jnp.argmax(soft), soft.size)
        return chosen + soft - jax.lax.stop_gradient(soft)
