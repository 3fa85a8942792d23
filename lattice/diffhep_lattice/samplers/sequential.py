r"""Sequential Monte Carlo: a population carried along a schedule of actions and resampled.

The steps are those of a `StochasticFlow`. Each particle has a weight $W_i$, normalised to one in
sum, which a step multiplies by $e^{-w_i}$ with its work $w_i$; the factor
$\sum_i W_i e^{-w_i}$ estimates the ratio of two partition functions, and the product of all factors
is an unbiased estimate of $Z_N/Z_0$. Where the effective size of the population falls below a
threshold, particles are drawn anew by their weights, which spends no more work on those that have
none. Without resampling this is annealed importance sampling.

Reference:
    P. Del Moral, A. Doucet, A. Jasra, arXiv:cond-mat/0212648; with maps, A. G. D. G. Matthews
    et al., arXiv:2201.13117.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, Bool, Float, Shaped

from diffhep.core.checks import concrete, require, require_real, require_shape, require_type
from diffhep.core.rng import check_key, keys_for_chains
from diffhep.core.typing import Key, Scalar
from diffhep_lattice.samplers.stochastic_flow import StochasticFlow, work_of_step

__citations__ = ("arXiv:cond-mat/0212648", "arXiv:1309.2918", "arXiv:2201.13117")


class PopulationSample(NamedTuple):
    r"""Populations at the end of a schedule.

    Attributes:
        position: The gauge fields.
        log_weights: $\log W_i$, float64; the weights of a population sum to one.
        work: $-\log$ of every population's estimate of $Z_N/Z_0$, float64, which `jarzynski`
            turns into the free energy and its error.
        ess: Effective size of every population after each step, as a fraction, before it is
            resampled.
        resampled: Whether it was.
    """

    position: Shaped[Array, "population particle mu ..."]
    log_weights: Float[Array, "population particle"]
    work: Float[Array, " population"]
    ess: Float[Array, "population step"]
    resampled: Bool[Array, "population step"]


def sequential_monte_carlo(
    flow: StochasticFlow,
    starts: Shaped[Array, "population particle mu ..."],
    *,
    key: Key,
    threshold: float | Scalar = 0.5,
) -> PopulationSample:
    r"""Carry populations along the schedule of a stochastic flow, with resampling.

    Populations are independent of each other, so that their works have an honest error, while the
    particles of one population are not: `jarzynski(sample.work)` is $\log(Z_N/Z_0)$. Means over
    configurations of $e^{-S_N}$ are $\sum_i W_i O(U_i)$, population by population.

    Args:
        flow: The schedule, from `stochastic_flow`, with maps or without.
        starts: Independent configurations of the prior, as populations of particles.
        key: Random key.
        threshold: A population is resampled, systematically, once its effective size is below this
            fraction of its particles; 0 never does, 1 always.

    Returns:
        The populations at the end.

    Raises:
        ShapeError: There is no population, or one of less than 2 particles.
        ConfigError: `flow` is no stochastic flow, or `threshold` is not between 0 and 1.

    Reference:
        P. Del Moral, A. Doucet, A. Jasra, arXiv:cond-mat/0212648; the estimate with resampling by
        need, N. Whiteley, A. Lee, K. Heine, arXiv:1309.2918.
    """
    check_key(key)
    require_type(flow, StochasticFlow, "flow", "be a stochastic flow")
    require_type(starts, (jax.Array, np.ndarray), "starts", "be an array")
    good = starts.ndim >= 2 and starts.shape[0] >= 1 and starts.shape[1] >= 2
    rule = "hold at least one population of at least 2 fields"
    require_shape(good, "starts", rule, f"shape {starts.shape}")
    rule = "be between 0 and 1"
    require_real(threshold, "threshold", rule, low=0.0)
    value = concrete(threshold)
    require(value is None or bool(value <= 1.0), "threshold", rule, threshold)
    keys = keys_for_chains(key, starts.shape[0])
    return PopulationSample(*jax.vmap(lambda k, x: _run(flow, threshold, k, x))(keys, starts))


def _run(
    flow: StochasticFlow, threshold: float | Scalar, key: Key, starts: Array
) -> tuple[Array, ...]:
    n = starts.shape[0]
    even = jnp.full((n,), -jnp.log(n))

    def body(carry: tuple, key: Key, update: Any, bijection: Any) -> tuple[tuple, tuple]:
        fields, before, log_weights = carry
        resample_key, update_key = jax.random.split(key)
        fields, work = jax.vmap(lambda U, S: work_of_step(U, S, update, bijection))(fields, before)
        unnormalised = log_weights - work
        log_factor = logsumexp(unnormalised)
        log_weights = unnormalised - log_factor
        ess = jnp.exp(-logsumexp(2.0 * log_weights)) / n
        is_poor = ess < threshold
        fields = jnp.where(is_poor, fields[_ancestors(resample_key, log_weights)], fields)
        log_weights = jnp.where(is_poor, even, log_weights)

        def one(key: Key, U: Array) -> tuple[Array, Scalar]:
            state, _ = update.step(key, update.init(U))
            return state.position, update.action(state.position)

        fields, before = jax.vmap(one)(jax.random.split(update_key, n), fields)
        return (fields, before, log_weights), (log_factor, ess, is_poor)

    start = (starts, jax.vmap(flow.prior)(starts), even)
    (fields, _, log_weights), (log_factors, ess, is_poor) = flow.scan(body, start, key)
    return fields, log_weights, -jnp.sum(log_factors), ess, is_poor


def _ancestors(key: Key, log_weights: Float[Array, " particle"]) -> Array:
    """The particles that are drawn by their weights."""
    # blackjax takes a second and a half to import, which only those who resample should pay.
    from blackjax.smc.resampling import systematic

    return systematic(key, jnp.exp(log_weights), log_weights.size)
