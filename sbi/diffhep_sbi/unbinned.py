r"""Unbinned channels: events with a likelihood ratio, exact or learned.

$\log p = \sum_i w_i\,[\log\nu(\theta, \alpha) + \log r(x_i|\theta, \alpha)] - \nu(\theta, \alpha)$
with $r(x|\theta) = p(x|\theta)/p(x|\mathrm{reference})$: the extended likelihood up to a constant
of the data. Nuisance parameters multiply rate and ratio by smoothly interpolated variations.

Reference:
    ATLAS, arXiv:2412.01600; arXiv:1805.00020.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from diffhep.core.checks import require, require_shape, require_type
from diffhep.core.errors import ConfigError
from diffhep.core.rng import key_for
from diffhep.core.typing import Key, Scalar
from diffhep_sbi.events import Events, build_events
from diffhep_sbi.interpolation import smooth_factor
from diffhep_sbi.likelihood import AbstractChannel, Values
from diffhep_sbi.ratio import MARGIN

__citations__ = ("arXiv:2412.01600", "arXiv:1805.00020")


@runtime_checkable
class LogRatio(Protocol):
    """What an unbinned channel asks of a ratio: a `RatioEnsemble`, or a problem's exact one."""

    def log_ratio(
        self, x: Float[Array, "event feature"], theta: Float[Array, " param"]
    ) -> Float[Array, " event"]:
        """Log p(x|theta)/p(x|reference) of each event."""
        ...


class RatioNuisance(eqx.Module):
    r"""A nuisance parameter of an unbinned channel, through its variations at $\alpha = \pm1$.

    Attributes:
        name: The parameter, in standard deviations.
        up: $\log p(x|\theta, \alpha = 1)/p(x|\theta, 0)$ as an object with `log_ratio`, or None.
        down: The same at $\alpha = -1$.
        rate_up: Factor of the expected events at $\alpha = 1$.
        rate_down: The same at $\alpha = -1$.

    Raises:
        ConfigError: Only one of `up` and `down` is given.
    """

    name: str = eqx.field(static=True)
    up: Any = None
    down: Any = None
    rate_up: Float[ArrayLike, ""] = eqx.field(converter=jnp.asarray, default=1.0)
    rate_down: Float[ArrayLike, ""] = eqx.field(converter=jnp.asarray, default=1.0)

    def __check_init__(self) -> None:
        paired = (self.up is None) == (self.down is None)
        require(paired, "down", "be given with `up`", (self.up, self.down))

    def rate_factor(self, alpha: Scalar) -> Scalar:
        """Factor of the expected events."""
        up, down = (jnp.asarray(rate, dtype=float) for rate in (self.rate_up, self.rate_down))
        return smooth_factor(alpha, up, down)

    def log_factor(self, x: Array, theta: Array, alpha: Scalar) -> Array:
        """Logarithm of the factor of the ratio, of each event."""
        if self.up is None:
            return jnp.zeros(x.shape[0])
        up, down = (jnp.exp(side.log_ratio(x, theta)) for side in (self.up, self.down))
        return jnp.log(smooth_factor(alpha, up, down))


class UnbinnedChannel(AbstractChannel):
    r"""Events of an extended likelihood.

    Attributes:
        ratio: An object with `log_ratio(x, theta)`.
        expected_events: $\nu(\theta)$ at nominal nuisance parameters.
        names: Parameters that make up the `theta` of both.
        reference: Events whose weights, divided by their sum, stand for p(x|reference): for
            Asimov data, and for toys where there is no `simulate`.
        n_rows: Room for the events of a toy. One that has more of them gets weights NaN, and its
            fit fails; see `room_for`.
        nuisances: Nuisance parameters through their variations.
        simulate: `simulate(theta, n, key=key)` draws n events at nominal nuisance parameters;
            toys are drawn from the reference by their ratio where it is left out.
        trained: Lowest and highest `theta` the ratio was trained at, or None.
        features: Names of the columns.
        name: The channel's name.

    Raises:
        ConfigError: `simulate` is given beside variations of the shape, which it does not know.
    """

    ratio: LogRatio
    expected_events: Callable[[Array], Array]
    names: tuple[str, ...] = eqx.field(static=True)
    reference: Events
    n_rows: int = eqx.field(static=True)
    nuisances: tuple[RatioNuisance, ...] = ()
    simulate: Callable[..., Array] | None = None
    trained: tuple[Array, Array] | None = None
    features: tuple[str, ...] | None = eqx.field(static=True, default=None)
    name: str = eqx.field(static=True, default="events")

    def __check_init__(self) -> None:
        shaped = [nuisance.name for nuisance in self.nuisances if nuisance.up is not None]
        rule = "be left out where nuisances vary the shape"
        require(self.simulate is None or not shaped, "simulate", rule, shaped)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Parameters of the ratio, then the nuisance parameters of the variations."""
        return (*self.names, *(nuisance.name for nuisance in self.nuisances))

    def events(
        self,
        x: ArrayLike,
        weight: ArrayLike | None = None,
        *,
        features: Sequence[str] | None = None,
    ) -> Events:
        """Observed events in the channel's form; see `build_events`.

        Args:
            x: Features, as for `build_events`.
            weight: Weights.
            features: Names of the columns of `x`, which must be the channel's in its order.

        Returns:
            The events.

        Raises:
            ConfigError: The columns have other names.
            ShapeError: There are not as many columns as in the reference, or as for
                `build_events`.
            DataError: As for `build_events`.
        """
        require_names(features, self.features)
        built = build_events(x, weight, n_rows=self.n_rows, features=self.features)
        require_columns(built.x, self.reference.x.shape[1])
        return built

    def rate(self, values: Values) -> Scalar:
        """Expected number of events, variations included."""
        rate = self.expected_events(values.of(self.names))
        for nuisance in self.nuisances:
            rate = rate * nuisance.rate_factor(values.one(nuisance.name))
        return rate

    def log_ratio(self, values: Values, x: Array) -> Float[Array, " event"]:
        """Log p(x|theta, alpha)/p(x|reference) of each event."""
        theta = values.of(self.names)
        total = self.ratio.log_ratio(x, theta)
        for nuisance in self.nuisances:
            total = total + nuisance.log_factor(x, theta, values.one(nuisance.name))
        return total

    def log_prob(self, values: Values, data: Any) -> Scalar:
        """The extended log-likelihood, less that of the reference at unit rate."""
        require_type(data, Events, "observation", f"hold what `events` of `{self.name}` returns")
        rate = self.rate(values)
        each = jnp.log(rate) + self.log_ratio(values, data.x)
        return jnp.sum(jnp.where(data.weight == 0.0, 0.0, data.weight * each)) - rate

    def expected(self, values: Values) -> Events:
        r"""The reference, weighted to the expected events.

        Its scores have the mean 0, as those of all events of `values` have, by factors
        $1 + \lambda\cdot(t - \bar t)$: a sample's own mean would move the best fit by as much as
        its statistical error.
        """
        share = self._share(values)
        at = values.of(self.parameters)

        def log_ratio(theta: Array) -> Array:
            return self.log_ratio(Values(self.parameters, theta), self.reference.x)

        score = jax.jacfwd(log_ratio)(at)
        mean = share @ score
        centred = score - mean
        spread = jnp.einsum("e,ei,ej->ij", share, centred, centred)
        unit = jnp.sqrt(jnp.where(jnp.diagonal(spread) > 0.0, jnp.diagonal(spread), 1.0))
        # Parameters that say the same, or nothing, leave directions without spread.
        inverse = jnp.linalg.pinv(spread / jnp.outer(unit, unit), rtol=1e-8, hermitian=True)
        factor = 1.0 - (centred / unit) @ (inverse @ (mean / unit))
        return Events(self.reference.x, self.rate(values) * share * factor)

    def sample(self, key: Key, values: Values) -> Events:
        """A Poisson number of events; weights NaN where they are more than `n_rows`."""
        rate = self.rate(values)
        n_events = jax.random.poisson(key_for(key, "number"), rate)
        weight = (jnp.arange(self.n_rows) < n_events).astype(float)
        weight = jnp.where(n_events > self.n_rows, jnp.nan, weight)
        draw = key_for(key, "events")
        if self.simulate is not None:
            return Events(self.simulate(values.of(self.names), self.n_rows, key=draw), weight)
        # Events of negative weight cannot be drawn; their share is taken off by the positive ones.
        share = jnp.maximum(self._share(values), 0.0)
        rows = jax.random.choice(draw, share.shape[0], (self.n_rows,), p=share / jnp.sum(share))
        return Events(self.reference.x[rows], weight)

    def _share(self, values: Values) -> Array:
        """Share of the events at `values` that each event of the reference stands for."""
        weight = self.reference.weight * jnp.exp(self.log_ratio(values, self.reference.x))
        return weight / jnp.sum(weight)

    def require_trained(self, values: dict[str, np.ndarray]) -> None:
        """Raise a `ConfigError` where a parameter leaves the range the ratio was trained at."""
        if self.trained is None:
            return
        for name, low, high in zip(self.names, *map(np.asarray, self.trained), strict=True):
            wanted = np.atleast_1d(values.get(name, np.array([])))
            margin = MARGIN * (high - low)
            outside = wanted[(wanted < low - margin) | (wanted > high + margin)]
            if outside.size:
                beyond = np.maximum(low - outside, outside - high)
                value, distance = outside[np.argmax(beyond)], beyond.max() / (high - low)
                raise ConfigError(
                    f"Argument `{name}` must lie in the trained range {low:g} to {high:g}, but it "
                    f"is {value:g}, outside by {distance:.3g} of the range."
                )


def require_names(given: Sequence[str] | None, known: Sequence[str] | None) -> None:
    """Raise a `ConfigError` where observed columns have other names than those of the channel.

    Args:
        given: Names of the observed columns, or None where they have none.
        known: Those of the channel.

    Raises:
        ConfigError: They differ.
    """
    if given is None:
        return
    expected = None if known is None else list(known)
    rule = f"be those of the channel, {expected}"
    require(list(given) == expected, "features", rule, list(given))


def require_columns(x: Float[Array, "event feature"], n_columns: int) -> None:
    """Raise a `ShapeError` where observed events have not the columns of simulated ones.

    Args:
        x: Observed events.
        n_columns: Columns of the simulated ones.

    Raises:
        ShapeError: There are others.
    """
    found = x.shape[1]
    rule = f"have {n_columns} columns, as the reference"
    require_shape(found == n_columns, "x", rule, f"{found}")


def room_for(rate: float) -> int:
    """Rows that a toy needs: the expected events and eight standard deviations, in tens.

    Args:
        rate: The largest expected number of events.

    Returns:
        Rows.
    """
    return int(10 * np.ceil((rate + 8.0 * np.sqrt(rate) + 10.0) / 10.0))
