"""Parameters within the support of a prior, and coordinates in which it has no boundary."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.errors import DataError
from diffhep.core.rng import key_at
from diffhep.core.typing import Key, Scalar
from diffhep_sbi.gold import Split
from diffhep_sbi.standardisation import Standard

__citations__ = ("arXiv:1905.07488",)


COORDINATES = ("unconstrained", "parameters")
"""What a flow of parameters is a density of."""

MOST_ROUNDS = 500
"""Of draws again where some were outside: one in a hundred inside is found but 0.7 % of times."""


def coordinates_of(prior: Any, coordinates: str) -> Any:
    """The map from the coordinates of a flow to parameters.

    Args:
        prior: The prior.
        coordinates: "unconstrained", in which the support has no boundary, or "parameters".

    Returns:
        A transform of numpyro.
    """
    from numpyro.distributions import biject_to
    from numpyro.distributions.transforms import IdentityTransform

    return biject_to(prior.support) if coordinates == "unconstrained" else IdentityTransform()


def draw_inside(
    draw: Callable[[Key], Float[Array, "sample param"]], prior: Any, key: Key
) -> Float[Array, "sample param"]:
    """Draws within the support of a prior; those outside are drawn again.

    Args:
        draw: Makes draws of a key, as many every time.
        prior: The prior.
        key: Random key.

    Returns:
        The draws; NaN where none of 500 was inside.
    """
    check = jax.vmap(prior.support.check)

    def again(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        theta, good, n_rounds = state
        new = draw(key_at(key, n_rounds))
        theta = jnp.where(good[:, None], theta, new)
        return theta, good | check(new), n_rounds + 1

    first = draw(key_at(key, 0))
    theta, good, _ = jax.lax.while_loop(
        lambda state: ~jnp.all(state[1]) & (state[2] < MOST_ROUNDS),
        again,
        (first, check(first), jnp.asarray(1)),
    )
    return jnp.where(good[:, None], theta, jnp.nan)


def constrain(z: Float[Array, "sample param"], transform: Any, params: Standard) -> Array:
    """Parameters, from the standardised coordinates of a flow.

    Args:
        z: The coordinates.
        transform: What `coordinates_of` returns.
        params: Their standardisation.

    Returns:
        The parameters.
    """
    return jax.vmap(transform)(z * params.scale + params.shift)


def unconstrain(theta: Any, prior: Any, transform: Any) -> np.ndarray:
    """A flow's coordinates of training parameters.

    Args:
        theta: The parameters, shape (event, param).
        prior: The prior.
        transform: What `coordinates_of` returns.

    Returns:
        The coordinates.

    Raises:
        DataError: A parameter lies outside the support of the prior or on its boundary.
    """
    theta = jnp.asarray(theta, float)
    z = np.asarray(jax.vmap(transform.inv)(theta))
    bad = ~np.asarray(jax.vmap(prior.support.check)(theta)) | ~np.isfinite(z).all(axis=1)
    if bad.any():
        event = int(np.argmax(bad))
        raise DataError(
            f"Argument `gold.theta0` must lie inside the support of the prior, but event {event} "
            f"has {np.asarray(theta)[event].tolist()}; {int(bad.sum())} events are affected."
        )
    return z


def constrained_log_prob(
    log_prob: Any,
    prior: Any,
    transform: Any,
    params: Standard,
    theta: Float[Array, "sample param"],
) -> Float[Array, " sample"]:
    """Log-densities per unit of theta, from one of a flow's standardised coordinates.

    Args:
        log_prob: Log-density of one point.
        prior: The prior, which gives the support.
        transform: What `coordinates_of` returns.
        params: Standardisation of the coordinates.
        theta: The parameters.

    Returns:
        The log-densities; minus infinity outside the support.
    """
    inside = transform(jnp.zeros(theta.shape[1]))

    def of_one(theta: Float[Array, " param"]) -> Scalar:
        z = transform.inv(theta)
        good = prior.support.check(theta) & jnp.all(jnp.isfinite(z))
        safe = jnp.where(good, theta, inside)
        z = transform.inv(safe)
        volume = jnp.sum(transform.log_abs_det_jacobian(z, safe)) + jnp.sum(jnp.log(params.scale))
        return jnp.where(good, log_prob(params(z)) - volume, -jnp.inf)

    return jax.vmap(of_one)(theta)


def unconstrained(parts: Split, prior: Any, transform: Any) -> Split:
    """The parts with parameters in a flow's coordinates; scores are left out.

    Args:
        parts: The parts.
        prior: The prior.
        transform: What `coordinates_of` returns.

    Returns:
        Both parts.

    Raises:
        DataError: Parameters lie outside the prior.
    """
    rows = (unconstrain(part.theta0, prior, transform) for part in parts)
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
