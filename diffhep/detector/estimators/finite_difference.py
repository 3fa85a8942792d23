"""Differences of simulations with the same random numbers: no derivative of the simulator."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from diffhep.core.checks import require
from diffhep.core.typing import Scalar
from diffhep.detector.design import Design
from diffhep.detector.estimators.base import AbstractGradientEstimator, Contributions
from diffhep.detector.estimators.pathwise import SampledObjective


class CommonRandomNumbers(AbstractGradientEstimator[SampledObjective]):
    r"""$[f(\theta+h,\epsilon)-f(\theta-h,\epsilon)]/2h$ for every parameter.

    Its bias is of second order in the steps. The variance stays bounded as they shrink where the
    simulation is smooth at fixed random numbers, and grows with 1/h where it takes decisions.

    Attributes:
        objective: `objective(design, key) -> scalar`; it needs no derivative.
        step: h over the size of each parameter, or over one where the parameter is zero.
        n_samples: Random keys; each takes two simulations for every parameter, and one at the
            design itself.
    """

    objective: SampledObjective
    step: float = eqx.field(static=True, default=0.05)
    n_samples: int = eqx.field(static=True, default=1000)

    def __check_init__(self) -> None:
        require(self.step > 0.0, "step", "be positive", self.step)

    def simulations_per_sample(self, design: Design) -> int:
        """Two for every parameter, and one."""
        return 2 * design.to_vector().size + 1

    def contributions(self, design: Design, keys: Array) -> Contributions:
        """See `AbstractGradientEstimator.contributions`."""
        flat, rebuild = ravel_pytree(design)
        steps = self.step * jnp.where(flat == 0.0, 1.0, jnp.abs(flat))

        def one(key: Array) -> tuple[Scalar, Float[Array, " param"]]:
            def at(vector: Array) -> Scalar:
                return self.objective(rebuild(vector), key)

            moves = jnp.diag(steps)
            up = jax.lax.map(lambda move: at(flat + move), moves)
            down = jax.lax.map(lambda move: at(flat - move), moves)
            return at(flat), (up - down) / (2.0 * steps)

        value, gradient = jax.vmap(one)(keys)
        return Contributions(value, jax.vmap(rebuild)(gradient))
