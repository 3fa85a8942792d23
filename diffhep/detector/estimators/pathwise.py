"""The derivative of every simulation, with its random numbers held."""

from collections.abc import Callable

import equinox as eqx
import jax
from jaxtyping import Array

from diffhep.core.typing import Key, Scalar
from diffhep.detector.design import Design
from diffhep.detector.estimators.base import AbstractGradientEstimator, Contributions

SampledObjective = Callable[[Design, Key], Scalar]
"""`objective(design, key) -> scalar`, one simulation; its mean is what is optimised."""


class Pathwise(AbstractGradientEstimator[SampledObjective]):
    r"""$\mathrm E[\partial_\theta f(\theta,\epsilon)]$, by reverse-mode differentiation.

    Unbiased where the simulation is continuous in the design at fixed random numbers; decisions
    that depend on the design are not seen, see `Branching`. The simulator may be a surrogate
    fitted to another one: this is then the surrogate's gradient, with the surrogate's bias.

    Attributes:
        objective: `objective(design, key) -> scalar`, differentiable.
        n_samples: Simulations.
    """

    objective: SampledObjective
    n_samples: int = eqx.field(static=True, default=1000)

    def simulations_per_sample(self, design: Design) -> int:
        """One."""
        del design
        return 1

    def contributions(self, design: Design, keys: Array) -> Contributions:
        """See `AbstractGradientEstimator.contributions`."""
        both = jax.vmap(jax.value_and_grad(self.objective), in_axes=(None, 0))
        return Contributions(*both(design, keys))
