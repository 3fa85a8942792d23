r"""Whether observed data could have come from a simulator: a kernel two-sample test.

$\mathrm{MMD}^2 = \|\langle\phi\rangle_\mathrm{obs} - \langle\phi\rangle_\mathrm{sim}\|^2$ in the
space of a Gaussian kernel, its width the median distance; the p-value is that of a permutation
test. A learned ratio says nothing of data unlike what it was trained on.

Reference:
    M. Schmitt et al., arXiv:2112.08866; A. Gretton et al., J. Mach. Learn. Res. 13 (2012) 723.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checks import as_integer, require_shape
from diffhep.core.rng import check_key
from diffhep.core.typing import Key
from diffhep_sbi.events import require_finite_features

__citations__ = ("arXiv:2112.08866", "doi:10.5555/2188385.2188410")


class Misspecification(NamedTuple):
    """A test of observed against simulated data.

    Attributes:
        distance: Squared maximum mean discrepancy.
        null: Its values where observed and simulated events are exchanged at random.
        p_value: Fraction of those not below it, the data counted as one.
    """

    distance: float
    null: Float[np.ndarray, " permutation"]
    p_value: float


def misspecification(
    observed: Float[Array, "event feature"] | Float[np.ndarray, "event feature"],
    simulated: Float[Array, "other feature"] | Float[np.ndarray, "other feature"],
    *,
    key: Key,
    n_permutations: int = 500,
) -> Misspecification:
    """Test whether observed events have the distribution of simulated ones.

    Simulate at the best fit: with other parameters a good model fails, too. Cost: memory and time
    of a kernel matrix of all events, so pass a few thousand at most.

    Args:
        observed: Observed events, or summaries of them.
        simulated: Simulated ones, in the same columns.
        key: Random key.
        n_permutations: Random exchanges.

    Returns:
        The discrepancy and its p-value.

    Raises:
        ShapeError: The tables do not have the same columns.
        DataError: A feature is not finite; the message names event and column.
        ConfigError: `n_permutations` is below 1.
    """
    check_key(key)
    n_permutations = as_integer(n_permutations, "n_permutations", low=1)
    seen, drawn = np.asarray(observed, float), np.asarray(simulated, float)
    good = seen.ndim == drawn.ndim == 2 and len(seen) > 0 and len(drawn) > 1
    require_shape(good, "observed", "be a table like `simulated`", f"shape {seen.shape}")
    rule = f"have the {drawn.shape[1]} columns of `simulated`"
    require_shape(seen.shape[1] == drawn.shape[1], "observed", rule, f"shape {seen.shape}")
    require_finite_features(seen)
    require_finite_features(drawn)
    spread = drawn.std(axis=0)
    spread = np.where(spread > 0.0, spread, 1.0)
    pooled = jnp.asarray(np.concatenate([seen, drawn]) / spread)
    share = np.concatenate(
        [np.full(len(seen), 1 / len(seen)), np.full(len(drawn), -1 / len(drawn))]
    )
    found, null = map(np.asarray, _distances(pooled, jnp.asarray(share), n_permutations, key))
    p_value = (1.0 + np.sum(null >= found)) / (1.0 + n_permutations)
    return Misspecification(float(found), null, float(p_value))


@eqx.filter_jit
def _distances(pooled: Array, share: Array, n_permutations: int, key: Key) -> tuple[Array, Array]:
    """The discrepancy of the data and of random exchanges."""
    square = jnp.sum(pooled**2, axis=1)
    distance = jnp.maximum(square[:, None] + square - 2.0 * pooled @ pooled.T, 0.0)
    upper = distance[jnp.triu_indices(pooled.shape[0], 1)]
    width = jnp.median(upper)
    kernel = jnp.exp(-distance / (2.0 * jnp.where(width > 0.0, width, 1.0)))

    def exchanged(key: Key) -> Array:
        mixed = jax.random.permutation(key, share)
        return mixed @ kernel @ mixed

    null = jax.lax.map(exchanged, jax.random.split(key, n_permutations), batch_size=32)
    return share @ kernel @ share, null
