"""Gradients of two cross-entropies at the exact ratio; trainings are those of brehmer2018."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.typing import Scalar
from diffhep_sbi import Gold
from diffhep_sbi.losses import METHODS
from papers.brehmer2018.stages import Place


@eqx.filter_jit
def gradients(place: Place, gold: Gold, method: str) -> Float[Array, " event"]:
    """The derivative of each event's loss with respect to its log-ratio, at the exact one."""

    def exact(x: Float[Array, " feature"], theta: Float[Array, " param"]) -> Scalar:
        return place.problem.log_prob(x, theta) - place.problem.log_prob(x, place.theta1)

    def of_one(event: Gold) -> Scalar:
        row = jax.tree.map(lambda leaf: leaf[None], event)

        def loss(shift: Scalar) -> Scalar:
            return METHODS[method].loss(lambda x, theta: exact(x, theta) + shift, row, 0.0)

        return jax.grad(loss)(jnp.zeros(()))

    return jax.lax.map(of_one, gold, batch_size=1000)


def spread_left(gold: Gold) -> Float[np.ndarray, " event"]:
    r"""$s(1-s)$ with the class probability s of each history: what labels add to the variance."""
    s = 1.0 / (1.0 + np.exp(np.asarray(gold.log_ratio)))
    return s * (1.0 - s)
