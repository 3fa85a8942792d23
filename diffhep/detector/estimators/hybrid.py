"""Two unbiased estimates of one derivative, weighted for the least variance."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from diffhep.core.checks import require
from diffhep.core.rng import key_for
from diffhep.detector.design import Design
from diffhep.detector.estimators.base import AbstractGradientEstimator, Contributions


class Hybrid(AbstractGradientEstimator[Any]):
    r"""$w g_1+(1-w)g_2$ for every parameter, from independent simulations.

    $w=\mathrm{Var}(g_2)/[\mathrm{Var}(g_1)+\mathrm{Var}(g_2)]$. Weights of one half of the samples
    are applied to the other half, so that they do not bias: weights of the same samples would
    correlate with what they weigh.

    Attributes:
        first: An estimator.
        second: Another one of the same expectation.
        n_samples: Samples of each.
    """

    first: AbstractGradientEstimator
    second: AbstractGradientEstimator
    n_samples: int = eqx.field(static=True, default=1000)

    def __check_init__(self) -> None:
        good = self.n_samples >= 8 and self.n_samples % 2 == 0
        require(good, "n_samples", "be even and at least 8", self.n_samples)

    @property
    def objective(self) -> Any:
        """Of the first."""
        return self.first.objective

    def simulations_per_sample(self, design: Design) -> int:
        """Those of both."""
        return sum(part.simulations_per_sample(design) for part in (self.first, self.second))

    def contributions(self, design: Design, keys: Array) -> Contributions:
        """See `AbstractGradientEstimator.contributions`."""
        parts = (("first", self.first), ("second", self.second))
        one, two = (
            part.contributions(design, jax.vmap(lambda key, name=name: key_for(key, name))(keys))
            for name, part in parts
        )
        gradient = jax.tree.map(_combine, one.gradient, two.gradient)
        return Contributions(0.5 * (one.value + two.value), gradient)


def _combine(one: Array, two: Array) -> Array:
    half = one.shape[0] // 2
    weight = jnp.stack([_weight(one[half:], two[half:]), _weight(one[:half], two[:half])])
    weight = jnp.repeat(weight, half, axis=0)
    return weight * one + (1.0 - weight) * two


def _weight(one: Array, two: Array) -> Array:
    first, second = jnp.var(one, axis=0), jnp.var(two, axis=0)
    return jnp.where(first + second > 0.0, second / (first + second), 0.5)
