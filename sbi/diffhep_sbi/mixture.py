r"""Mixtures of processes: an unbinned channel whose networks are evaluated once an event.

$\log p = \sum_i w_i \log\Big[\sum_j \nu_j(\theta, \alpha)\,\rho_j(x_i)\prod_m g_{jm}(x_i|\alpha_m)
\Big] - \sum_j \nu_j(\theta, \alpha)$, with $\rho_j = p_j(x)/p(x|\mathrm{reference})$ of every
process and the factors $g$ of nuisance parameters interpolated between variations. Parameters enter
through the yields $\nu_j$ and the interpolation, which are formulas; what is learned depends on x
alone. Events are therefore kept as their log-ratios: fits, and toys drawn from simulated events,
never call a network.

Reference:
    ATLAS, arXiv:2412.01600.
"""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from numpy.typing import ArrayLike

from diffhep.core.checks import as_integer, require, require_shape
from diffhep.core.errors import DataError
from diffhep.core.rng import key_for
from diffhep.core.typing import Key, Scalar
from diffhep_sbi.events import Events, build_events
from diffhep_sbi.interpolation import smooth_factor
from diffhep_sbi.likelihood import AbstractChannel, Values
from diffhep_sbi.unbinned import LogRatio, RatioNuisance, require_columns, require_names

__citations__ = ("arXiv:2412.01600",)

_BATCH = 65_536
"""Events evaluated at once, to bound memory."""


class Process(eqx.Module):
    r"""One process of a mixture.

    Attributes:
        name: Its name.
        ratio: An object with `log_ratio(x, theta)`: $\log\rho_j$ at `theta`.
        expected_events: $\nu_j(\theta)$ at nominal nuisance parameters.
        events: Simulated events of it, of either weight; toys and Asimov data are drawn from them.
        nuisances: Nuisance parameters of it, through variations of its shape and rate.
        theta: Where the ratios are evaluated; 1 is the numerator of `contrast`.
    """

    name: str = eqx.field(static=True)
    ratio: LogRatio
    expected_events: Callable[[Array], Array]
    events: Events
    nuisances: tuple[RatioNuisance, ...] = ()
    theta: Float[Array, " param"] = eqx.field(
        converter=lambda value: jnp.asarray(value, dtype=float), default=(1.0,)
    )

    @property
    def shapes(self) -> tuple[RatioNuisance, ...]:
        """Nuisance parameters that vary the shape."""
        return tuple(nuisance for nuisance in self.nuisances if nuisance.up is not None)

    @property
    def n_terms(self) -> int:
        """Numbers kept of an event: the ratio, and both variations of every shape."""
        return 1 + 2 * len(self.shapes)

    def terms(self, x: Float[Array, "event *feature"]) -> Float[Array, "event term"]:
        r"""$\log\rho_j$, then log of up and down of every varied shape."""
        sides = [side for nuisance in self.shapes for side in (nuisance.up, nuisance.down)]
        ratios = [self.ratio, *sides]
        return jnp.stack([ratio.log_ratio(x, self.theta) for ratio in ratios], axis=1)

    def rate(self, values: Values, names: tuple[str, ...]) -> Scalar:
        r"""$\nu_j(\theta, \alpha)$."""
        rate = jnp.asarray(self.expected_events(values.of(names)), dtype=float)
        for nuisance in self.nuisances:
            rate = rate * nuisance.rate_factor(values.one(nuisance.name))
        return rate

    def factor(
        self, values: Values, terms: Float[Array, "event term"]
    ) -> Float[Array, " event"] | Scalar:
        r"""$\prod_m g_{jm}$ of every event, from its terms."""
        total = jnp.ones(())
        for index, nuisance in enumerate(self.shapes):
            up, down = jnp.exp(terms[:, 1 + 2 * index]), jnp.exp(terms[:, 2 + 2 * index])
            total = total * smooth_factor(values.one(nuisance.name), up, down)
        return total


class VariationRatio(eqx.Module):
    r"""$\log p(x|\theta + \mathrm{shift})/p(x|\theta)$ from a ratio that knows both points.

    Attributes:
        ratio: An object with `log_ratio(x, theta)`.
        shift: The variation.
    """

    ratio: LogRatio
    shift: Float[Array, " param"]

    def log_ratio(
        self, x: Float[Array, "event *feature"], theta: Float[Array, " param"]
    ) -> Float[Array, " event"]:
        """The log-ratio of every event."""
        return self.ratio.log_ratio(x, theta + self.shift) - self.ratio.log_ratio(x, theta)


class MixtureChannel(AbstractChannel):
    r"""Events of several processes, kept as their log-ratios; made by `build_mixture`.

    Attributes:
        processes: The processes.
        names: Parameters that make up the `theta` of the yields.
        pool: Terms and weights of the simulated events of all processes.
        origin: The process of every event of the pool.
        n_rows: Room for the events of a toy.
        features: Names of the columns of events.
        name: The channel's name.
    """

    processes: tuple[Process, ...]
    names: tuple[str, ...] = eqx.field(static=True)
    pool: Events
    origin: Int[Array, " event"]
    n_rows: int = eqx.field(static=True)
    features: tuple[str, ...] | None = eqx.field(static=True, default=None)
    name: str = eqx.field(static=True, default="events")

    @property
    def parameters(self) -> tuple[str, ...]:
        """Parameters of the yields, then the nuisance parameters, each once."""
        beside = [n.name for process in self.processes for n in process.nuisances]
        return tuple(dict.fromkeys((*self.names, *beside)))

    def terms(self, x: Float[Array, "event *feature"]) -> Float[Array, "event term"]:
        """What is kept of events: the only place where ratios are evaluated.

        Args:
            x: Features.

        Returns:
            The terms of every process, side by side.
        """
        return _terms(self.processes, x)

    def events(
        self,
        x: ArrayLike,
        weight: ArrayLike | None = None,
        *,
        features: Sequence[str] | None = None,
    ) -> Events:
        """Observed events in the channel's form, their ratios evaluated.

        Args:
            x: Features, as for `build_events`.
            weight: Weights.
            features: Names of the columns of `x`, which must be the channel's in its order.

        Returns:
            The terms of the events, and their weights.

        Raises:
            ConfigError: The columns have other names.
            ShapeError: There are not as many columns as in the simulated events, or as for
                `build_events`.
            DataError: As for `build_events`.
        """
        require_names(features, self.features)
        found = build_events(x, weight, n_rows=self.n_rows, features=self.features)
        require_columns(found.x, self.processes[0].events.x.shape[1])
        return Events(self.terms(found.x), found.weight)

    def rates(self, values: Values) -> Float[Array, " process"]:
        """Expected number of events of every process."""
        return jnp.stack([process.rate(values, self.names) for process in self.processes])

    def rate(self, values: Values) -> Scalar:
        """Expected number of events."""
        return jnp.sum(self.rates(values))

    def log_prob(self, values: Values, data: Events) -> Scalar:
        """The extended log-likelihood, less that of the reference at unit rate."""
        rates, parts = self.rates(values), self._parts(data.x)
        logs = jnp.stack([part[:, 0] for part in parts])
        # An event may be so unlike a process that its ratio underflows; not unlike all of them.
        largest = jnp.max(logs, axis=0)
        ratios = jnp.exp(logs - largest)
        factors = [p.factor(values, part) for p, part in zip(self.processes, parts, strict=True)]
        density = sum(rates[j] * ratios[j] * factor for j, factor in enumerate(factors))
        each = jnp.log(density) + largest
        return jnp.sum(jnp.where(data.weight == 0.0, 0.0, data.weight * each)) - jnp.sum(rates)

    def expected(self, values: Values) -> Events:
        """The simulated events, weighted to the yields.

        Their best fit is `values` where the ratios are exact and the events are many; how far it
        is from there is the bias of what was learned.
        """
        return Events(self.pool.x, self._yields(values))

    def sample(self, key: Key, values: Values) -> Events:
        """A Poisson number of simulated events, at most `n_rows`, drawn with replacement."""
        # Events of negative weight cannot be drawn; their share is taken off by the positive ones.
        share = jnp.maximum(self._yields(values), 0.0)
        n_events = jax.random.poisson(key_for(key, "number"), self.rate(values))
        weight = (jnp.arange(self.n_rows) < n_events).astype(float)
        rows = jax.random.choice(
            key_for(key, "events"), share.shape[0], (self.n_rows,), p=share / jnp.sum(share)
        )
        return Events(self.pool.x[rows], weight)

    def _parts(self, terms: Float[Array, "event term"]) -> list[Float[Array, "event _"]]:
        """The terms of every process."""
        ends = np.cumsum([process.n_terms for process in self.processes])
        return [
            terms[:, end - p.n_terms : end] for p, end in zip(self.processes, ends, strict=True)
        ]

    def _yields(self, values: Values) -> Float[Array, " event"]:
        """Expected number of events that each of the pool stands for."""
        rates, total = self.rates(values), jnp.zeros(self.pool.weight.shape)
        parts = self._parts(self.pool.x)
        for index, (process, part) in enumerate(zip(self.processes, parts, strict=True)):
            own = jnp.where(self.origin == index, self.pool.weight, 0.0)
            own = own * process.factor(values, part)
            total = total + rates[index] * own / jnp.sum(own)
        return total


@eqx.filter_jit
def _terms(processes: tuple[Process, ...], x: Array) -> Float[Array, "event term"]:
    def of_one(event: Array) -> Float[Array, " term"]:
        return jnp.concatenate([process.terms(event[None])[0] for process in processes])

    if x.shape[0] <= _BATCH:
        return jax.vmap(of_one)(x)
    return jax.lax.map(of_one, x, batch_size=_BATCH)


def build_mixture(
    processes: Sequence[Process],
    names: Sequence[str],
    *,
    n_rows: int,
    features: Sequence[str] | None = None,
    name: str = "events",
) -> MixtureChannel:
    """A channel of processes, the ratios of all their simulated events evaluated.

    A toy draws from the simulated events with replacement. That a process is known by M events
    moves all of them together, by at most about sqrt(N/M) of a toy's statistical error for N
    expected events: simulate a hundred times as many as are expected, or more.

    Args:
        processes: The processes, of one reference.
        names: Parameters that make up the `theta` of the yields.
        n_rows: Room for the events of a toy; see `room_for`.
        features: Names of the columns of events, for messages.
        name: The channel's name.

    Returns:
        The channel.

    Raises:
        ConfigError: There is no process, two have one name, or a count is too small.
        ShapeError: Their events have different features.
        DataError: A ratio of an event is not finite.
    """
    parts = tuple(processes)
    called = [process.name for process in parts]
    good = len(parts) > 0 and len(set(called)) == len(called)
    require(good, "processes", "have different names", called)
    shapes = {process.events.x.shape[1:] for process in parts}
    require_shape(len(shapes) == 1, "processes", "share features", f"shapes {sorted(shapes)}")
    n_rows = as_integer(n_rows, "n_rows", low=1)
    sizes = [process.events.x.shape[0] for process in parts]
    terms = _terms(parts, jnp.concatenate([process.events.x for process in parts]))
    origin = np.repeat(np.arange(len(parts)), sizes)
    bad = ~np.isfinite(np.asarray(terms)).all(axis=1)
    if bad.any():
        raise DataError(
            f"Argument `processes` must have finite ratios, but {int(bad.sum())} events have not, "
            f"the first of {called[origin[np.argmax(bad)]]!r}."
        )
    weight = jnp.concatenate([process.events.weight for process in parts])
    pool = Events(terms, weight)
    columns = None if features is None else tuple(features)
    return MixtureChannel(
        processes=parts,
        names=tuple(names),
        pool=pool,
        origin=jnp.asarray(origin),
        n_rows=n_rows,
        features=columns,
        name=name,
    )
