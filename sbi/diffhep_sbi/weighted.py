"""Gold from tables of event weights, as generators write them for several couplings."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checks import as_integer, require_shape
from diffhep.core.errors import DataError
from diffhep.core.rng import check_key, key_for
from diffhep.core.typing import Key
from diffhep_sbi.gold import Gold, join, require_finite_events
from diffhep_sbi.morphing import Morpher

__citations__ = ("arXiv:1805.00020", "arXiv:1907.10621")


def gold_from_weights(
    x: Float[Array, "event *feature"] | Float[np.ndarray, "event *feature"],
    weights: Float[Array, "event benchmark"] | Float[np.ndarray, "event benchmark"],
    morpher: Morpher,
    theta0: Any,
    theta1: Any,
    *,
    n_events: int,
    key: Key,
) -> Gold:
    r"""Draw events under two points from one weighted sample, with joint ratio and score.

    The weights of event i at the benchmarks give those at any coupling, $W_i(\theta)$, by morphing,
    and $\sigma(\theta) = \sum_i W_i$. Events are drawn with probability $|W_i|/\sum_j|W_j|$ and
    keep the sign of theirs as their weight. $r = \frac{W(\theta_0)/\sigma(\theta_0)}
    {W(\theta_1)/\sigma(\theta_1)}$ and $t = \nabla W/W - \nabla\sigma/\sigma$.

    Args:
        x: Features.
        weights: Of every event at every benchmark of the morpher, of either sign.
        morpher: Polynomial and benchmarks.
        theta0: Numerator, shape (param,).
        theta1: Denominator, shape (param,).
        n_events: Events drawn under each of the two.
        key: Random key.

    Returns:
        Gold of `2 n_events` rows. An event drawn twice keeps its number, so that its copies are
        never on both sides of a split. Where an event drawn has weights of two signs at the two
        points, there is no joint ratio: `log_ratio` and `score` are None.

    Raises:
        ShapeError: Features, weights and benchmarks differ in number.
        DataError: A feature or weight is not finite, or a cross-section is not positive.
    """
    check_key(key)
    n_events = as_integer(n_events, "n_events", low=1)
    features, table = jnp.asarray(x, float), jnp.asarray(weights, float)
    expected = (features.shape[0], morpher.basis.shape[0])
    rule = f"have shape {expected}, events by benchmarks"
    require_shape(table.shape == expected, "weights", rule, f"shape {table.shape}")
    require_finite_events(features)
    require_finite_events(table, "weights")
    points = {"theta0": jnp.asarray(theta0, float), "theta1": jnp.asarray(theta1, float)}
    for name, point in points.items():
        good = point.shape == morpher.basis.shape[1:]
        rule = f"have shape {morpher.basis.shape[1:]}"
        require_shape(good, name, rule, f"shape {point.shape}")
        total = float(jnp.sum(morpher(table, point)))
        if not total > 0:
            raise DataError(
                f"Argument `weights` must sum to more than 0 at {name} = {point.tolist()}, "
                f"but it is {total:g}."
            )
    drawn = [
        _draw(features, table, morpher, points, label, n_events, key_for(key, name))
        for label, name in enumerate(points)
    ]
    event_id = jnp.concatenate([part.event_id for part in drawn])
    gold = join(*drawn)
    signs = jnp.concatenate([jnp.sign(_ratio(table, morpher, points)[i.event_id]) for i in drawn])
    mined = bool(jnp.all(signs > 0))
    return Gold(
        x=gold.x,
        log_ratio=gold.log_ratio if mined else None,
        score=gold.score if mined else None,
        weight=gold.weight,
        event_id=event_id,
        theta0=gold.theta0,
        theta1=gold.theta1,
        label=gold.label,
    )


def _ratio(table: Array, morpher: Morpher, points: dict[str, Array]) -> Float[Array, " event"]:
    """The joint ratio of every event, of either sign."""
    numerator, denominator = (morpher(table, point) for point in points.values())
    scale = jnp.sum(denominator) / jnp.sum(numerator)
    return scale * numerator / denominator


def _draw(
    x: Array,
    table: Array,
    morpher: Morpher,
    points: dict[str, Array],
    label: int,
    n_events: int,
    key: Key,
) -> Gold:
    theta0, theta1 = points.values()
    at_point = morpher(table, theta0 if label == 0 else theta1)
    rows = jax.random.choice(key, x.shape[0], (n_events,), p=jnp.abs(at_point))

    def log_density(theta: Float[Array, " param"]) -> Float[Array, " event"]:
        return jnp.log(jnp.abs(morpher(table, theta))) - jnp.log(jnp.sum(morpher(table, theta)))

    score = jax.jacfwd(log_density)(theta0)
    return Gold(
        x=x[rows],
        log_ratio=jnp.log(jnp.abs(_ratio(table, morpher, points)))[rows],
        score=score[rows],
        weight=jnp.sign(at_point)[rows],
        event_id=rows,
        theta0=jnp.broadcast_to(theta0, (n_events, theta0.size)),
        theta1=jnp.broadcast_to(theta1, (n_events, theta1.size)),
        label=jnp.full(n_events, label),
    )
