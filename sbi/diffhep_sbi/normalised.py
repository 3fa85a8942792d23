r"""Ratios normalised on events of their reference: $E_{\theta_1}[r] = 1$ at every $\theta$."""

import itertools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checks import as_integer, require
from diffhep_sbi.adjusted import AbstractAdjustedRatio
from diffhep_sbi.gold import Gold
from diffhep_sbi.morphing import Morpher

__citations__ = ("arXiv:1805.00020", "arXiv:2412.01548")


class NormalisedRatio(AbstractAdjustedRatio):
    r"""$\log r - c(\theta)$ with $c = \log E_{\theta_1}[r]$, a polynomial in $\theta$.

    Attributes:
        ratio: What was learned.
        morpher: The polynomial, through as many points as it has terms.
        log_means: c at these points.
        shift: Centre of the box of the points.
        scale: Its half-widths.
    """

    ratio: Any
    morpher: Morpher
    log_means: Float[Array, " benchmark"]
    shift: Float[Array, " param"]
    scale: Float[Array, " param"]

    def log_ratio(
        self, x: Float[Array, "event *feature"], theta: Float[Array, " param"]
    ) -> Float[Array, " event"]:
        """The normalised log-ratio of every event to `theta1`."""
        place = (theta - self.shift) / self.scale
        return self.ratio.log_ratio(x, theta) - self.morpher(self.log_means, place)


def normalise(ratio: Any, gold: Gold, *, order: int = 4) -> NormalisedRatio:
    r"""Normalise a learned ratio on the events of the reference.

    An error of the ratio that all events share adds up over them, and is the one that is known
    best: the mean of $\hat r(x|\theta)$ over events of $\theta_1$ must be 1, and varies far less
    from sample to sample than labels or joint ratios do. Events that have trained the ratio do.
    $\log E[\hat r]$ is taken at the Chebyshev nodes of the trained box and interpolated.

    Args:
        ratio: A `RatioEnsemble`, or anything with its `log_ratio`, `low` and `high`.
        gold: Events of the reference are those of label 1; a copy counts once.
        order: Of the polynomial, in each parameter.

    Returns:
        The normalised ratio.

    Raises:
        ConfigError: The order is out of range, or there are no events of label 1.
    """
    order = as_integer(order, "order", low=1)
    label = np.asarray(gold.label) == 1
    require(bool(label.any()), "gold", "have events of label 1", "without")
    rows = np.flatnonzero(label)
    rows = rows[np.unique(np.asarray(gold.event_id)[rows], return_index=True)[1]]
    x, weight = jnp.asarray(gold.x)[rows], jnp.asarray(gold.weight)[rows]
    low, high = np.asarray(ratio.low), np.asarray(ratio.high)
    nodes = np.cos(np.pi * (np.arange(order + 1) + 0.5) / (order + 1))
    basis = np.array(list(itertools.product(nodes, repeat=low.size)))
    powers = list(itertools.product(range(order + 1), repeat=low.size))
    shift, scale = 0.5 * (low + high), 0.5 * (high - low)
    log_means = _log_means(ratio, x, weight, jnp.asarray(shift + scale * basis))
    return NormalisedRatio(
        ratio, Morpher(basis, powers), log_means, jnp.asarray(shift), jnp.asarray(scale)
    )


@eqx.filter_jit
def _log_means(
    ratio: Any,
    x: Float[Array, "event *feature"],
    weight: Float[Array, " event"],
    thetas: Float[Array, "point param"],
) -> Float[Array, " point"]:
    def of_one(theta: Float[Array, " param"]) -> Float[Array, ""]:
        mean = jnp.sum(weight * jnp.exp(ratio.log_ratio(x, theta))) / jnp.sum(weight)
        return jnp.log(mean)

    return jax.lax.map(of_one, thetas)
