"""What stands in for a simulator: fitted to its events, sampled and differentiated in its place."""

import abc
import warnings
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checks import concrete, require, require_shape
from diffhep.core.errors import ConfigError
from diffhep.core.rng import check_key
from diffhep.core.typing import Key, Scalar

FAR = 1.5
"""Times the reach of the training designs, beyond which a warning is given."""

_LEAST_SCALE = 1e-9
"""Of a coordinate that does not vary, beside its size."""

Fitted = TypeVar("Fitted", bound="AbstractSurrogate")


class ExtrapolationWarning(UserWarning):
    """A surrogate was asked far outside its data."""


class Domain(eqx.Module):
    """Where a surrogate has data, and the scales of designs and outcomes there.

    Attributes:
        centre: Mean of the training designs.
        scale: Their standard deviations.
        reach: Largest distance of a training design from the centre, see `distance`.
        shift: Mean of the outcomes.
        spread: Their standard deviations.
    """

    centre: Float[Array, " param"]
    scale: Float[Array, " param"]
    reach: Scalar
    shift: Float[Array, " observable"]
    spread: Float[Array, " observable"]

    def distance(self, design: Float[Array, " param"]) -> Scalar:
        """Root of the mean square of the standardised coordinates.

        Args:
            design: A vector.

        Returns:
            About one for a training design.
        """
        return jnp.sqrt(jnp.mean(self.standard(design) ** 2))

    def standard(self, design: Float[Array, "*event param"]) -> Float[Array, "*event param"]:
        """Standardised coordinates.

        Args:
            design: Vectors.

        Returns:
            Of mean zero and variance one over the training designs.
        """
        return (design - self.centre) / self.scale


def domain_of(designs: Float[np.ndarray, "event param"], outcomes: np.ndarray) -> Domain:
    """The domain of training events.

    Args:
        designs: One vector an event.
        outcomes: Observables of the events.

    Returns:
        The domain.

    Raises:
        ShapeError: Designs and outcomes are not as many.
        ConfigError: There are fewer than four events, or numbers that are not finite.
    """
    good = designs.ndim == 2 and outcomes.ndim == 2 and len(designs) == len(outcomes)
    rule = "be matrices (event, param) and (event, observable) of as many events"
    require_shape(good, "designs, outcomes", rule, f"{designs.shape}, {outcomes.shape}")
    require(len(designs) >= 4, "designs", "hold at least 4 events", len(designs))
    finite = bool(np.all(np.isfinite(designs)) and np.all(np.isfinite(outcomes)))
    require(finite, "designs, outcomes", "be finite", "not so")
    scale, spread = _scale(designs), _scale(outcomes)
    centre = designs.mean(axis=0)
    reach = np.sqrt(np.mean(((designs - centre) / scale) ** 2, axis=1)).max()
    parts = (centre, scale, reach, outcomes.mean(axis=0), spread)
    return Domain(*(jnp.asarray(part, dtype=float) for part in parts))


def _scale(rows: np.ndarray) -> np.ndarray:
    spread = rows.std(axis=0)
    flat = spread <= _LEAST_SCALE * np.abs(rows).max(axis=0)
    return np.where(flat, 1.0, spread)


class AbstractSurrogate(eqx.Module):
    r"""$\hat p(y|\psi)$, as a smooth map of normal noise and the design to an outcome.

    A surrogate that is not fitted holds its settings; `fit` returns a fitted one.

    Attributes:
        domain: Where it has data; None before it is fitted.
    """

    domain: eqx.AbstractVar[Domain | None]

    @abc.abstractmethod
    def fit(
        self: Fitted,
        designs: Float[np.ndarray, "event param"],
        outcomes: Float[np.ndarray, "event observable"],
        *,
        key: Key,
    ) -> Fitted:
        """Learn from events.

        Args:
            designs: The design of each event.
            outcomes: What the simulator gave.
            key: Random key.

        Returns:
            The fitted surrogate.
        """

    @abc.abstractmethod
    def draw(
        self, design: Float[Array, " param"], noise: Float[Array, " observable"]
    ) -> Float[Array, " observable"]:
        """The outcome of given noise, differentiable in the design.

        Args:
            design: A vector.
            noise: Standard normal.

        Returns:
            The outcome.
        """

    @abc.abstractmethod
    def log_density(
        self, design: Float[Array, " param"], outcome: Float[Array, " observable"]
    ) -> Scalar:
        """Logarithm of the density of an outcome.

        Args:
            design: A vector.
            outcome: Of one event.

        Returns:
            The logarithm.
        """

    def sample(
        self, design: Float[Array, " param"], n_events: int, *, key: Key
    ) -> Float[Array, "event observable"]:
        """Events at a design.

        Args:
            design: A vector.
            n_events: How many.
            key: Random key.

        Returns:
            Their outcomes; an `ExtrapolationWarning` is given far outside the data.

        Raises:
            ConfigError: The surrogate is not fitted.
        """
        check_key(key)
        domain = self.domain_at(design)
        noise = jax.random.normal(key, (n_events, domain.shift.size))
        return _draw(self, jnp.asarray(design), noise)

    def log_prob(
        self, design: Float[Array, " param"], outcomes: Float[Array, "event observable"]
    ) -> Float[Array, " event"]:
        """Logarithms of the densities of outcomes at a design.

        Args:
            design: A vector.
            outcomes: Of events.

        Returns:
            One number an event; an `ExtrapolationWarning` is given far outside the data.

        Raises:
            ConfigError: The surrogate is not fitted.
        """
        self.domain_at(design)
        return _log_prob(self, jnp.asarray(design), jnp.asarray(outcomes))

    def domain_at(self, design: Float[Array, " param"]) -> Domain:
        """Where the surrogate has data, asked before it answers for a design.

        Args:
            design: A vector.

        Returns:
            The domain; an `ExtrapolationWarning` is given far outside it.

        Raises:
            ConfigError: The surrogate is not fitted.
            ShapeError: The design has another number of parameters.
        """
        domain = self.domain
        if domain is None:
            raise ConfigError(
                f"{type(self).__name__} is not fitted: use what its `fit(designs, outcomes)` "
                "returns."
            )
        shape = domain.centre.shape
        require_shape(np.shape(design) == shape, "design", f"have shape {shape}", np.shape(design))
        known = concrete(domain.distance(jnp.asarray(design)) / domain.reach)
        if known is not None and known > FAR:
            warnings.warn(
                f"The surrogate is asked at {known:.1f} times the largest distance of its "
                "training designs: simulate there before you believe it.",
                ExtrapolationWarning,
                stacklevel=3,
            )
        return domain


@eqx.filter_jit
def _draw(surrogate: AbstractSurrogate, design: Array, noise: Array) -> Array:
    return jax.vmap(lambda z: surrogate.draw(design, z))(noise)


@eqx.filter_jit
def _log_prob(surrogate: AbstractSurrogate, design: Array, outcomes: Array) -> Array:
    return jax.vmap(lambda y: surrogate.log_density(design, y))(outcomes)
