"""Learned ratios whose values are changed afterwards: what stays that of the learned one."""

import abc
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Float

__citations__ = ("arXiv:1506.02169",)


class AbstractAdjustedRatio(eqx.Module):
    """A ratio that is another one with a correction.

    Attributes:
        ratio: What was learned.
    """

    ratio: eqx.AbstractVar[Any]

    @abc.abstractmethod
    def log_ratio(
        self, x: Float[Array, "event *feature"], theta: Float[Array, " param"]
    ) -> Float[Array, " event"]:
        """The corrected log-ratio of every event to `theta1`."""

    @property
    def theta1(self) -> Float[Array, " param"]:
        """Denominator."""
        return self.ratio.theta1

    @property
    def low(self) -> Float[Array, " param"]:
        """Smallest trained parameters."""
        return self.ratio.low

    @property
    def high(self) -> Float[Array, " param"]:
        """Largest trained parameters."""
        return self.ratio.high

    def spread(
        self, x: Float[Array, "event *feature"], theta: Float[Array, " param"]
    ) -> Float[Array, " event"]:
        """That of what was learned."""
        return self.ratio.spread(x, theta)

    def score(
        self, x: Float[Array, "event *feature"], theta: Float[Array, " param"]
    ) -> Float[Array, "event param"]:
        """Derivative of the corrected log-ratio with respect to theta."""

        def of_one(event: Float[Array, "*feature"]) -> Float[Array, " param"]:
            return jax.grad(lambda point: self.log_ratio(event[None], point)[0])(theta)

        return jax.vmap(of_one)(x)

    def distance_outside(self, theta: Any) -> float:
        """How far theta lies outside the trained range, as for what was learned."""
        return self.ratio.distance_outside(theta)

    def warn_outside(self, theta: Any) -> None:
        """Warn as what was learned does."""
        self.ratio.warn_outside(theta)
