r"""Likelihoods of several channels and constraint terms, and the data they are evaluated on.

$\log L(\theta) = \sum_c \log p_c(\mathrm{data}_c|\theta) + \sum_k \log p_k(a_k|\theta)$ with
channels c (events or bins) and auxiliary observations $a_k$ of nuisance parameters.

Reference:
    arXiv:1007.1727; ATLAS, arXiv:2412.01600.
"""

from abc import abstractmethod
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checks import as_scalar, concrete, require, require_type
from diffhep.core.errors import ConfigError
from diffhep.core.rng import check_key, key_at, key_for
from diffhep.core.typing import Key, PyTree, Scalar
from diffhep_sbi.constraints import AbstractConstraint

__citations__ = ("arXiv:1007.1727", "arXiv:2412.01600")


class Parameter(eqx.Module):
    """One parameter of a likelihood.

    Attributes:
        name: Its name.
        start: Where fits start, within the bounds.
        low: Lower bound of fits.
        high: Upper bound of fits.
        is_fixed: Whether fits leave it at `start`.

    Raises:
        ConfigError: The bounds do not enclose the start.
    """

    name: str = eqx.field(static=True)
    start: Scalar = eqx.field(converter=partial(as_scalar, name="start"))
    low: Scalar = eqx.field(converter=partial(as_scalar, name="low"), default=-np.inf)
    high: Scalar = eqx.field(converter=partial(as_scalar, name="high"), default=np.inf)
    is_fixed: bool = eqx.field(static=True, default=False)

    def __check_init__(self) -> None:
        known = [concrete(value) for value in (self.low, self.start, self.high)]
        if any(value is None for value in known):
            return
        low, start, high = (float(value) for value in known if value is not None)
        rule = f"lie between the bounds {low:g} and {high:g} of `{self.name}`"
        require(low <= start <= high and low < high, "start", rule, start)


class Values(NamedTuple):
    """Parameters by name.

    Attributes:
        names: Their names.
        theta: Their values.
    """

    names: tuple[str, ...]
    theta: Float[Array, " param"]

    def of(self, names: tuple[str, ...]) -> Float[Array, " param"]:
        """The values of some parameters, in the order of the names."""
        return self.theta[np.array([self.names.index(name) for name in names], dtype=int)]

    def one(self, name: str) -> Scalar:
        """The value of one parameter."""
        return self.theta[self.names.index(name)]


class Observation(NamedTuple):
    """What is observed.

    Attributes:
        channels: The data of every channel.
        auxiliary: The auxiliary observations of every constraint term.
    """

    channels: tuple[PyTree, ...]
    auxiliary: tuple[Float[Array, " term"], ...]


class AbstractChannel(eqx.Module):
    """One channel: the density of its data, of which it can also draw some.

    Attributes:
        name: Its name.
    """

    name: eqx.AbstractVar[str]

    @property
    @abstractmethod
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters it depends on."""

    @abstractmethod
    def rate(self, values: Values) -> Float[Array, "*bin"]:
        """Expected number of events, of each bin where there are bins."""

    @abstractmethod
    def log_prob(self, values: Values, data: Any) -> Scalar:
        """Logarithm of the density of data, up to a constant of the data."""

    @abstractmethod
    def expected(self, values: Values) -> Any:
        """The Asimov data: those whose best fit are `values`."""

    @abstractmethod
    def sample(self, key: Key, values: Values) -> Any:
        """One draw of data, of the same shape every time."""


class Likelihood(eqx.Module):
    r"""The likelihood of a parameter of interest and nuisance parameters.

    Attributes:
        channels: What is measured.
        parameters: All parameters; `theta` follows their order.
        poi: Name of the parameter of interest.
        constraints: Constraint terms of nuisance parameters.
        observed: The observed data; methods take other data instead, toys for example.

    Raises:
        ConfigError: A channel or term names a parameter that is not there, one is there twice, or
            the parameter of interest is none or constrained out of the fit.
    """

    channels: tuple[AbstractChannel, ...]
    parameters: tuple[Parameter, ...]
    poi: str = eqx.field(static=True)
    constraints: tuple[AbstractConstraint, ...] = ()
    observed: Observation | None = None

    def __check_init__(self) -> None:
        names = self.names
        require(len(self.channels) > 0, "channels", "hold at least one channel", self.channels)
        require(len(set(names)) == len(names), "parameters", "have different names", names)
        self.index(self.poi)
        for part in (*(c.parameters for c in self.channels), *(t.names for t in self.constraints)):
            for name in part:
                self.index(name)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters, in the order of `theta`."""
        return tuple(parameter.name for parameter in self.parameters)

    @property
    def start(self) -> Float[Array, " param"]:
        """Where fits start."""
        return jnp.stack([parameter.start for parameter in self.parameters])

    @property
    def bounds(self) -> tuple[Float[Array, " param"], Float[Array, " param"]]:
        """Lower and upper bounds of fits."""
        low = jnp.stack([parameter.low for parameter in self.parameters])
        return low, jnp.stack([parameter.high for parameter in self.parameters])

    @property
    def is_free(self) -> np.ndarray:
        """Which parameters are fitted."""
        return np.array([not parameter.is_fixed for parameter in self.parameters])

    def index(self, name: str) -> int:
        """The place of a parameter in `theta`.

        Raises:
            ConfigError: There is none of this name.
        """
        if name not in self.names:
            known = ", ".join(self.names)
            raise ConfigError(f"Argument `name` must be one of {known}, but it is {name!r}.")
        return self.names.index(name)

    def replace(self, theta: Float[Array, " param"], changes: Mapping[str, Any]) -> Array:
        """`theta` with some parameters set by name."""
        for name, value in changes.items():
            theta = theta.at[self.index(name)].set(value)
        return theta

    def rates(self, theta: Float[Array, " param"]) -> tuple[Float[Array, "*bin"], ...]:
        """Expected number of events of every channel."""
        values = Values(self.names, theta)
        return tuple(channel.rate(values) for channel in self.channels)

    def log_prob(
        self, theta: Float[Array, " param"], observation: Observation | None = None
    ) -> Scalar:
        r"""$\log L(\theta)$, up to a constant of the data of unbinned channels.

        Args:
            theta: The parameters.
            observation: The data; the observed ones where left out.

        Returns:
            The log-likelihood.

        Raises:
            ConfigError: There are no data.
        """
        data = self.data(observation)
        values = Values(self.names, theta)
        terms = [
            channel.log_prob(values, found)
            for channel, found in zip(self.channels, data.channels, strict=True)
        ]
        terms += [
            term.log_prob(values.of(term.names), found)
            for term, found in zip(self.constraints, data.auxiliary, strict=True)
        ]
        return sum(terms, jnp.zeros(()))

    def data(self, observation: Observation | None) -> Observation:
        """The data given, or the observed ones.

        Raises:
            ConfigError: There are neither.
        """
        data = self.observed if observation is None else observation
        require_type(data, Observation, "observation", "be given where none was observed")
        return data  # pyright: ignore[reportReturnType] - just checked

    def asimov(self, theta: Float[Array, " param"]) -> Observation:
        """The data whose best fit is `theta`, auxiliary observations included."""
        values = Values(self.names, theta)
        return Observation(
            tuple(channel.expected(values) for channel in self.channels),
            tuple(term.expected(values.of(term.names)) for term in self.constraints),
        )

    def sample(self, theta: Float[Array, " param"], *, key: Key) -> Observation:
        """One toy: data of every channel and auxiliary observations, drawn at `theta`."""
        check_key(key)
        values = Values(self.names, theta)
        main, beside = key_for(key, "channels"), key_for(key, "auxiliary")
        return Observation(
            tuple(
                channel.sample(key_at(main, index), values)
                for index, channel in enumerate(self.channels)
            ),
            tuple(
                term.sample(key_at(beside, index), values.of(term.names))
                for index, term in enumerate(self.constraints)
            ),
        )

    def constraint_information(self, theta: Float[Array, " param"]) -> Float[Array, "param param"]:
        """Fisher information of the constraint terms alone."""
        values = Values(self.names, theta)
        total = jnp.zeros((len(self.names), len(self.names)))
        for term in self.constraints:
            rows = np.array([self.index(name) for name in term.names])
            total = total.at[rows, rows].add(term.information(values.of(term.names)))
        return total

    def with_observed(self, *channels: PyTree, auxiliary: Any = None) -> "Likelihood":
        """The same likelihood with other observed data.

        Args:
            *channels: The data of every channel, in order.
            auxiliary: The auxiliary observations; the expected ones at the start of the
                parameters where left out.

        Returns:
            A new likelihood.

        Raises:
            ConfigError: There is not one for each channel.
        """
        rule = f"be one for each of the {len(self.channels)} channels"
        require(len(channels) == len(self.channels), "channels", rule, len(channels))
        values = Values(self.names, self.start)
        beside = auxiliary
        if beside is None:
            beside = tuple(term.expected(values.of(term.names)) for term in self.constraints)
        observed = Observation(tuple(channels), tuple(beside))
        return Likelihood(self.channels, self.parameters, self.poi, self.constraints, observed)


def sample_toys(
    likelihood: Likelihood, theta: Float[Array, " param"], n_toys: int, *, key: Key
) -> Observation:
    """Many toys at one point, as one batch.

    Args:
        likelihood: What to draw from.
        theta: The parameters.
        n_toys: How many.
        key: Random key; toy `i` has `key_at(key, i)`.

    Returns:
        Observations, every array with a leading toy axis.
    """
    check_key(key)

    def draw(index: Array) -> Observation:
        return likelihood.sample(theta, key=key_at(key, index))

    return jax.vmap(draw)(jnp.arange(n_toys))
