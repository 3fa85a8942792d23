r"""Differential evolution: many chains that propose differences of one another.

Chains of one half propose $\theta + \gamma(\theta_a - \theta_b) + \epsilon$ with a, b from the
other half, which stands still meanwhile: proposals have the shape of the posterior, whatever its
scales and correlations, and $\gamma = 1$ leads from mode to mode.

Reference:
    C. J. F. ter Braak, Stat. Comput. 16, 239 (2006).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffhep.core.checks import require_shape
from diffhep.core.rng import key_for
from diffhep.core.typing import Key, Scalar

__citations__ = ("doi:10.1007/s11222-006-8769-1",)

JUMPS = 0.1
"""Fraction of proposals with gamma = 1, as in the reference."""

OPTIMAL_SCALE = 2.38
"""Gamma times the square root of twice the dimension, as in the reference."""

JITTER = 1e-4
"""Standard deviation of epsilon, over that of the chains."""


def evolve(
    log_density: Callable[[Array], Scalar],
    start: Float[Array, "chain param"],
    *,
    n_warmup: int,
    n_rounds: int,
    n_thin: int,
    key: Key,
) -> Float[Array, "round chain param"]:
    """Move chains, and keep all of them every few steps.

    Args:
        log_density: Log-density of one point, up to a constant.
        start: Where the chains start; an even number of them, many more than parameters.
        n_warmup: Steps before the first draws.
        n_rounds: How often all chains are kept.
        n_thin: Steps from one time to the next.
        key: Random key.

    Returns:
        The chains at each time.

    Raises:
        ShapeError: The number of chains is odd, or below four.
    """
    n_chains, n_params = start.shape
    good = n_chains >= 4 and n_chains % 2 == 0
    require_shape(good, "start", "hold an even number of chains, at least 4", f"{n_chains}")
    half = n_chains // 2
    scale = OPTIMAL_SCALE / (2.0 * n_params) ** 0.5
    density = jax.vmap(log_density)

    def move(still: Array, theta: Array, log_p: Array, key: Key) -> tuple[Array, Array]:
        first = jax.random.randint(key_for(key, "first"), (half,), 0, half)
        shift = jax.random.randint(key_for(key, "second"), (half,), 1, half)
        difference = still[first] - still[(first + shift) % half]
        jumps = jax.random.bernoulli(key_for(key, "jump"), JUMPS, (half, 1))
        noise = jax.random.normal(key_for(key, "noise"), theta.shape) * jnp.std(still, axis=0)
        proposed = theta + jnp.where(jumps, 1.0, scale) * difference + JITTER * noise
        new = density(proposed)
        log_u = jnp.log(jax.random.uniform(key_for(key, "accept"), (half,)))
        accepted = log_u < new - log_p
        return jnp.where(accepted[:, None], proposed, theta), jnp.where(accepted, new, log_p)

    def step(state: tuple, key: Key) -> tuple[tuple, None]:
        (a, b), (log_a, log_b) = state
        a, log_a = move(b, a, log_a, key_for(key, "a"))
        b, log_b = move(a, b, log_b, key_for(key, "b"))
        return ((a, b), (log_a, log_b)), None

    def advance(state: tuple, key: Key, n_steps: int) -> tuple:
        return jax.lax.scan(step, state, jax.random.split(key, n_steps))[0]

    def keep(state: tuple, key: Key) -> tuple[tuple, Array]:
        state = advance(state, key, n_thin)
        return state, jnp.concatenate(state[0])

    halves = (start[:half], start[half:])
    state = advance((halves, tuple(map(density, halves))), key_for(key, "warm-up"), n_warmup)
    return jax.lax.scan(keep, state, jax.random.split(key_for(key, "rounds"), n_rounds))[1]
