"""What every problem with an exact answer knows."""

import abc

import equinox as eqx
import jax
from jaxtyping import Array, Float

from diffhep.core.typing import Scalar
from diffhep_sbi.simulator import AbstractSimulator

__citations__ = ("arXiv:1805.00020",)


class AbstractProblem(eqx.Module):
    """A simulator whose likelihood is known: what is learned can be held against it."""

    @property
    @abc.abstractmethod
    def simulator(self) -> AbstractSimulator:
        """The simulator, to be mined."""

    @abc.abstractmethod
    def log_prob(self, x: Float[Array, " feature"], theta: Float[Array, " param"]) -> Scalar:
        r"""$\log p(x\mid\theta)$ of one event."""


class ExactRatio(eqx.Module):
    r"""The exact $\log p(x|\theta)/p(x|\theta_1)$, in the form of a learned one.

    Attributes:
        problem: The problem.
        theta1: The reference in the denominator.
    """

    problem: AbstractProblem
    theta1: Float[Array, " param"]

    def log_ratio(
        self, x: Float[Array, "event feature"], theta: Float[Array, " param"]
    ) -> Float[Array, " event"]:
        """The log-ratio of every event to the reference."""

        def of_one(x: Float[Array, " feature"]) -> Scalar:
            return self.problem.log_prob(x, theta) - self.problem.log_prob(x, self.theta1)

        return jax.vmap(of_one)(x)

    def score(
        self, x: Float[Array, "event feature"], theta: Float[Array, " param"]
    ) -> Float[Array, "event param"]:
        r"""$\nabla_\theta\log p(x|\theta)$ of every event."""
        return jax.vmap(jax.grad(self.problem.log_prob, argnums=1), (0, None))(x, theta)
