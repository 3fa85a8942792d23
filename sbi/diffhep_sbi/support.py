"""Parameters within the support of a prior, and coordinates in which it has no boundary."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.errors import DataError
from diffhep.core.typing import Scalar
from diffhep_sbi.gold import Split
from diffhep_sbi.standardisation import Standard

__citations__ = ("arXiv:1905.07488",)


def constrain(z: Float[Array, "sample param"], prior: Any, params: Standard) -> Array:
    """Parameters within the support of the prior, from standardised unconstrained coordinates.

    Args:
        z: The coordinates.
        prior: The prior.
        params: Their standardisation.

    Returns:
        The parameters.
    """
    from numpyro.distributions import biject_to

    return jax.vmap(biject_to(prior.support))(z * params.scale + params.shift)


def unconstrain(theta: Any, prior: Any) -> np.ndarray:
    """Unconstrained coordinates of training parameters.

    Args:
        theta: The parameters, shape (event, param).
        prior: The prior.

    Returns:
        The coordinates.

    Raises:
        DataError: A parameter lies outside the support of the prior or on its boundary.
    """
    from numpyro.distributions import biject_to

    theta = jnp.asarray(theta, float)
    z = np.asarray(jax.vmap(biject_to(prior.support).inv)(theta))
    bad = ~np.asarray(jax.vmap(prior.support.check)(theta)) | ~np.isfinite(z).all(axis=1)
    if bad.any():
        event = int(np.argmax(bad))
        raise DataError(
            f"Argument `gold.theta0` must lie inside the support of the prior, but event {event} "
            f"has {np.asarray(theta)[event].tolist()}; {int(bad.sum())} events are affected."
        )
    return z


def constrained_log_prob(
    log_prob: Any, prior: Any, params: Standard, theta: Float[Array, "sample param"]
) -> Float[Array, " sample"]:
    """Log-densities per unit of theta, from one of standardised unconstrained coordinates.

    Args:
        log_prob: Log-density of one point.
        prior: The prior, which gives the support.
        params: Standardisation of the coordinates.
        theta: The parameters.

    Returns:
        The log-densities; minus infinity outside the support.
    """
    from numpyro.distributions import biject_to

    transform = biject_to(prior.support)
    inside = transform(jnp.zeros(theta.shape[1]))

    def of_one(theta: Float[Array, " param"]) -> Scalar:
        z = transform.inv(theta)
        good = prior.support.check(theta) & jnp.all(jnp.isfinite(z))
        safe = jnp.where(good, theta, inside)
        z = transform.inv(safe)
        volume = jnp.sum(transform.log_abs_det_jacobian(z, safe)) + jnp.sum(jnp.log(params.scale))
        return jnp.where(good, log_prob(params(z)) - volume, -jnp.inf)

    return jax.vmap(of_one)(theta)


def unconstrained(parts: Split, prior: Any) -> Split:
    """The parts with parameters in coordinates without a boundary; scores are left out.

    Args:
        parts: The parts.
        prior: The prior.

    Returns:
        Both parts.

    Raises:
        DataError: Parameters lie outside the prior.
    """
    rows = (unconstrain(part.theta0, prior) for part in parts)
    return Split(
        *(
            eqx.tree_at(
                lambda gold: (gold.theta0, gold.score),
                part,
                (z, None),
                is_leaf=lambda leaf: leaf is None,
            )
            for part, z in zip(parts, rows, strict=True)
        )
    )
