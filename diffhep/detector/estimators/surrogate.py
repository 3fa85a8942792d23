"""The derivative of a surrogate of the simulator, with the error of what it learned from."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from diffhep.core.checks import as_integer, require
from diffhep.core.typing import Key, Scalar
from diffhep.detector.design import Design
from diffhep.detector.estimators.base import AbstractGradientEstimator, Contributions
from diffhep.detector.problem import SampleObjective, mean_outcome
from diffhep.detector.surrogates.base import AbstractSurrogate
from diffhep.detector.surrogates.ensemble import Ensemble


class SurrogateGradient(AbstractGradientEstimator[SampleObjective]):
    r"""$\partial_\psi f(\hat p(\cdot|\psi))$, for simulators that have no derivative.

    Every member of an ensemble learned from the events drawn again with replacement: the spread of
    the members' derivatives is the standard error that the events leave (the bootstrap). The bias
    of the surrogate's form is not in it: simulate at the design and beside it to see that. No
    simulations are counted, they were spent when the ensemble was fitted.

    Attributes:
        ensemble: Fitted to designs as `Design.to_vector` has them.
        objective: Of a sample of outcomes.
        n_draws: From each member, in pairs of opposite noise; theirs is in the error, too.
        n_samples: Members of the ensemble.
    """

    ensemble: Ensemble
    objective: SampleObjective
    n_draws: int = eqx.field(static=True)
    n_samples: int = eqx.field(static=True)

    def __init__(
        self, ensemble: Ensemble, objective: SampleObjective = mean_outcome, n_draws: int = 1000
    ) -> None:
        """See the attributes.

        Args:
            ensemble: Fitted.
            objective: Of a sample.
            n_draws: From each member.

        Raises:
            ConfigError: The draws are not even in number, or fewer than two.
        """
        n_draws = as_integer(n_draws, "n_draws", low=2)
        require(n_draws % 2 == 0, "n_draws", "be even", n_draws)
        self.ensemble, self.objective, self.n_draws = ensemble, objective, n_draws
        self.n_samples = ensemble.n_members

    def simulations_per_sample(self, design: Design) -> int:
        """None."""
        del design
        return 0

    def contributions(self, design: Design, keys: Array) -> Contributions:
        """See `AbstractGradientEstimator.contributions`; one of each member.

        A member is an estimate from as many events as all of them: its distance from their mean
        is stretched by the root of their number, so that the error of the mean is their spread.

        Raises:
            ConfigError: The ensemble is not fitted.
            ShapeError: The design has another number of parameters.
        """
        n_observables = self.ensemble.domain_at(design.to_vector()).shift.size

        def value(design: Design, member: AbstractSurrogate, key: Key) -> Scalar:
            half = jax.random.normal(key, (self.n_draws // 2, n_observables))
            vector = design.to_vector()
            draw = jax.vmap(lambda noise: member.draw(vector, noise))
            return self.objective(draw(jnp.concatenate([half, -half])))

        def one(member: AbstractSurrogate, key: Key) -> tuple[Scalar, Design]:
            return jax.value_and_grad(value)(design, member, key)

        each = eqx.filter_vmap(one)(self.ensemble.fitted, keys)

        def stretch(sample: Array) -> Array:
            mean = jnp.mean(sample, axis=0)
            return mean + jnp.sqrt(sample.shape[0]) * (sample - mean)

        return Contributions(*jax.tree.map(stretch, each))
