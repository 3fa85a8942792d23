"""Gradients of an expectation with respect to a design, each with its error."""

import abc
from typing import Any, Generic, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffhep.core.checks import as_integer
from diffhep.core.rng import check_key, keys_for_chains
from diffhep.core.typing import Key, Scalar
from diffhep.detector.design import Design

Objective = TypeVar("Objective")


class GradientEstimate(NamedTuple):
    """A derivative that was estimated from simulations.

    Attributes:
        value: Mean of the objective.
        gradient: A design that holds the mean derivatives.
        standard_error: A design that holds their standard errors.
        n_simulations: Calls of the simulator that it took.
        value_error: Standard error of the value.
    """

    value: Scalar
    gradient: Design
    standard_error: Design
    n_simulations: int
    value_error: Scalar


class Contributions(NamedTuple):
    """What each sample says about value and derivative; their means are the estimates."""

    value: Float[Array, " sample"]
    gradient: Any


class AbstractGradientEstimator(eqx.Module, Generic[Objective]):
    """A way to estimate the derivative of an expectation.

    Attributes:
        objective: Whose expectation is differentiated; what it must offer depends on the kind.
        n_samples: Independent samples of one estimate.
    """

    objective: eqx.AbstractVar[Objective]
    n_samples: eqx.AbstractVar[int]

    @abc.abstractmethod
    def contributions(self, design: Design, keys: Array) -> Contributions:
        """One contribution for every key.

        Args:
            design: Where the derivative is taken.
            keys: Independent random keys.

        Returns:
            Values, and a design whose leaves have a leading axis.
        """

    @abc.abstractmethod
    def simulations_per_sample(self, design: Design) -> int:
        """Calls of the simulator for one contribution.

        Args:
            design: Where the derivative is taken.

        Returns:
            Their number.
        """

    def __call__(self, design: Design, *, key: Key) -> GradientEstimate:
        """The derivative at a design.

        Args:
            design: It.
            key: Random key; the same key gives the same random numbers at another design.

        Returns:
            Means over samples and their standard errors.

        Raises:
            ConfigError: There are fewer than two samples.
        """
        check_key(key)
        n = as_integer(self.n_samples, "n_samples", low=2)
        found = self.contributions(design, keys_for_chains(key, n))

        def error(sample: Array) -> Array:
            return jnp.std(sample, axis=0, ddof=1) / jnp.sqrt(sample.shape[0])

        return GradientEstimate(
            jnp.mean(found.value),
            jax.tree.map(lambda sample: jnp.mean(sample, axis=0), found.gradient),
            jax.tree.map(error, found.gradient),
            n * self.simulations_per_sample(design),
            error(found.value),
        )
