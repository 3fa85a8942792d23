"""Several surrogates of one simulator: how much they differ is how little is known."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checks import as_integer
from diffhep.core.errors import ConfigError
from diffhep.core.rng import check_key, key_for, keys_for_chains
from diffhep.core.typing import Key, Scalar
from diffhep.detector.problem import SampleObjective, mean_outcome
from diffhep.detector.surrogates.base import AbstractSurrogate, Domain, domain_of


class Ensemble(AbstractSurrogate):
    """The equal mixture of members, each fitted to the events drawn again with replacement.

    A draw takes its member by the noise itself, so that a draw stays a function of the design.
    Members are evaluated side by side.

    Attributes:
        member: Unfitted.
        n_members: Their number.
        domain: Where they have data.
        fitted: The members, with a leading axis.
    """

    member: AbstractSurrogate
    n_members: int = eqx.field(static=True, default=5)
    domain: Domain | None = None
    fitted: AbstractSurrogate | None = None

    def __check_init__(self) -> None:
        as_integer(self.n_members, "n_members", low=2)

    def fit(
        self,
        designs: Float[np.ndarray, "event param"],
        outcomes: Float[np.ndarray, "event observable"],
        *,
        key: Key,
    ) -> "Ensemble":
        """See `AbstractSurrogate.fit`; one member after another."""
        check_key(key)
        designs, outcomes = np.asarray(designs, float), np.asarray(outcomes, float)
        domain, members = domain_of(designs, outcomes), []
        for one in keys_for_chains(key, self.n_members):
            words = np.asarray(jax.random.key_data(key_for(one, "rows"))).ravel()
            rows = np.random.default_rng(words).integers(0, len(designs), len(designs))
            members.append(self.member.fit(designs[rows], outcomes[rows], key=key_for(one, "fit")))
        stacked = jax.tree.map(
            lambda *leaves: jnp.stack(leaves) if eqx.is_array(leaves[0]) else leaves[0], *members
        )
        return Ensemble(member=self.member, n_members=self.n_members, domain=domain, fitted=stacked)

    def draw(
        self, design: Float[Array, " param"], noise: Float[Array, " observable"]
    ) -> Float[Array, " observable"]:
        """See `AbstractSurrogate.draw`."""
        # Far digits of a normal number are uniform and all but independent of the number.
        digits = jnp.mod(jnp.abs(noise[0]) * 1e4, 1.0)
        member = jnp.clip((digits * self.n_members).astype(int), 0, self.n_members - 1)
        each = self._each(lambda one: one.draw(design, noise))
        return each[member]

    def log_density(
        self, design: Float[Array, " param"], outcome: Float[Array, " observable"]
    ) -> Scalar:
        """See `AbstractSurrogate.log_density`."""
        each = self._each(lambda one: one.log_density(design, outcome))
        return jax.nn.logsumexp(each) - jnp.log(self.n_members)

    def values(
        self,
        design: Float[Array, " param"],
        noise: Float[Array, "event observable"],
        objective: SampleObjective = mean_outcome,
    ) -> Float[Array, " member"]:
        """The objective by every member, from the same noise.

        Args:
            design: A vector.
            noise: Standard normal.
            objective: Of a sample.

        Returns:
            One number a member.
        """
        return self._each(lambda one: objective(jax.vmap(lambda z: one.draw(design, z))(noise)))

    def _each(self, evaluate: Callable[[Any], Array]) -> Array:
        if self.fitted is None:
            raise ConfigError("Ensemble is not fitted: use what its `fit` returns.")
        return eqx.filter_vmap(evaluate)(self.fitted)


def spread(
    ensemble: Ensemble,
    designs: Float[Array, "candidate param"],
    objective: SampleObjective = mean_outcome,
    *,
    n_draws: int = 200,
    key: Key,
) -> Float[Array, " candidate"]:
    """Standard deviation between members of the objective at each of several designs.

    Args:
        ensemble: Fitted.
        designs: Vectors.
        objective: Of a sample.
        n_draws: From each member, by the same noise.
        key: Random key.

    Returns:
        In the unit of the objective.
    """
    return _spread(ensemble, jnp.asarray(designs), _noise(ensemble, n_draws, key), objective)


def next_designs(
    ensemble: Ensemble,
    candidates: Float[Array, "candidate param"],
    n_designs: int,
    objective: SampleObjective = mean_outcome,
    *,
    n_draws: int = 200,
    key: Key,
) -> Float[np.ndarray, "design param"]:
    r"""Where to simulate next: where members differ most, one after another.

    The members' values are a sample of a Gaussian process; after each choice its covariance is
    conditioned on a simulation there, so that choices do not crowd.

    Args:
        ensemble: Fitted.
        candidates: Designs among which to choose.
        n_designs: How many to choose.
        objective: Of a sample.
        n_draws: From each member, by the same noise.
        key: Random key.

    Returns:
        The chosen designs, the most uncertain first.

    Raises:
        ConfigError: There are fewer candidates than asked for.
    """
    n_designs = as_integer(n_designs, "n_designs", low=1)
    as_integer(len(candidates), "len(candidates)", low=n_designs)
    noise = _noise(ensemble, n_draws, key)
    values = np.asarray(_values(ensemble, jnp.asarray(candidates), noise, objective))
    centred = values - values.mean(axis=1, keepdims=True)
    covariance = centred @ centred.T / (values.shape[1] - 1)
    floor = 1e-3 * float(np.max(np.diagonal(covariance))) + np.finfo(float).tiny
    chosen: list[int] = []
    for _ in range(n_designs):
        variance = np.diagonal(covariance).copy()
        variance[chosen] = -np.inf
        index = int(np.argmax(variance))
        chosen.append(index)
        column = covariance[:, index]
        covariance = covariance - np.outer(column, column) / (column[index] + floor)
    return np.asarray(candidates)[chosen]


def _noise(ensemble: Ensemble, n_draws: int, key: Key) -> Array:
    domain = ensemble.domain
    if domain is None:
        raise ConfigError("Ensemble is not fitted: use what its `fit` returns.")
    check_key(key)
    half = jax.random.normal(key, (max(n_draws // 2, 1), domain.shift.size))
    return jnp.concatenate([half, -half])


@eqx.filter_jit
def _values(
    ensemble: Ensemble, designs: Array, noise: Array, objective: SampleObjective
) -> Float[Array, "candidate member"]:
    return jax.lax.map(lambda design: ensemble.values(design, noise, objective), designs)


def _spread(
    ensemble: Ensemble, designs: Array, noise: Array, objective: SampleObjective
) -> Float[Array, " candidate"]:
    return jnp.std(_values(ensemble, designs, noise, objective), axis=1, ddof=1)
