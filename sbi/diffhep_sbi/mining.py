"""Mining gold: joint ratios and scores by differentiating a simulator's own density."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checks import as_integer, require, require_shape
from diffhep.core.errors import DataError
from diffhep.core.rng import check_key, key_for
from diffhep.core.typing import Key, Keys
from diffhep_sbi.gold import Gold, gold_from_pairs, require_finite_events
from diffhep_sbi.simulator import AbstractSimulator, as_simulator, dependence

__citations__ = ("arXiv:1805.12244", "arXiv:1805.00013")

_BATCH = 65_536
"""Events simulated at once, to bound the memory of their histories."""


def mine(
    simulator: Any,
    theta0: Any,
    theta1: Any,
    *,
    n_events: int = 10_000,
    key: Key,
) -> Gold:
    r"""Simulate under two parameter points, and mine joint ratio and score of every event.

    $\log r = \log p(x,z|\theta_0) - \log p(x,z|\theta_1)$ and
    $t = \nabla_\theta\log p(x,z|\theta)$ at $\theta_0$, by reverse-mode differentiation of the
    density at fixed history. Half of the events are drawn under $\theta_0$ (label 0), half under
    $\theta_1$ (label 1).

    Args:
        simulator: A numpyro program `program(theta) -> x`, or an `AbstractSimulator`.
        theta0: Numerator, shape (param,), or (event, param) for another one in every event.
        theta1: Denominator, as `theta0`.
        n_events: Events from each of the two; where `theta0` or `theta1` has an event axis, its
            length is taken.
        key: Random key; event i depends on the key, on i and on its parameters alone.

    Returns:
        Gold of `2 n_events` rows, those under `theta0` first.

    Raises:
        ConfigError: The simulator is none, or its events depend on theta beyond their history.
        ShapeError: The parameters have other shapes.
        DataError: A simulated feature is not finite, or a history that is possible under one
            point is impossible under the other, so that the ratio does not exist.

    Reference:
        J. Brehmer, G. Louppe, J. Pavez, K. Cranmer, arXiv:1805.12244.
    """
    check_key(key)
    source = as_simulator(simulator)
    first, second, n = _pairs(theta0, theta1, as_integer(n_events, "n_events", low=1))
    numerators, denominators = jnp.tile(first, (2, 1)), jnp.tile(second, (2, 1))
    label = jnp.repeat(jnp.arange(2), n)
    drawn_at = jnp.where(label[:, None] == 0, numerators, denominators)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key_for(key, "events"), jnp.arange(2 * n))
    x, log_ratio, score, slope = _mine(source, drawn_at, numerators, denominators, keys)
    rule = "return an event that is a function of its sample sites alone, not of theta"
    worst = float(jnp.max(slope))
    require(worst == 0.0, "simulator", rule, f"one with |dx/dtheta| of {worst:g}")
    require_finite_events(x)
    _require_common_support(np.asarray(log_ratio), np.asarray(score))
    return Gold(
        x=x,
        log_ratio=log_ratio,
        score=score,
        weight=jnp.ones(2 * n),
        event_id=jnp.arange(2 * n),
        theta0=numerators,
        theta1=denominators,
        label=label,
    )


def _pairs(theta0: Any, theta1: Any, n_events: int) -> tuple[Array, Array, int]:
    """The two parameter points of every event, and how many there are."""
    points = {"theta0": jnp.asarray(theta0, float), "theta1": jnp.asarray(theta1, float)}
    for name, point in points.items():
        rule = "be of shape (param,) or (event, param)"
        require_shape(point.ndim in (1, 2), name, rule, f"shape {point.shape}")
        require(bool(jnp.all(jnp.isfinite(point))), name, "be finite", point.tolist())
    lengths = {point.shape[0] for point in points.values() if point.ndim == 2}
    widths = {point.shape[-1] for point in points.values()}
    require_shape(len(lengths) <= 1, "theta0, theta1", "have as many events", f"{lengths}")
    require_shape(len(widths) == 1, "theta0, theta1", "have as many parameters", f"{widths}")
    n = lengths.pop() if lengths else n_events
    shape = (n, widths.pop())
    first, second = (jnp.broadcast_to(point, shape) for point in points.values())
    return first, second, n


@eqx.filter_jit
def _mine(
    simulator: AbstractSimulator,
    drawn_at: Float[Array, "event param"],
    theta0: Float[Array, "event param"],
    theta1: Float[Array, "event param"],
    keys: Keys,
) -> tuple[Array, Array, Array, Array]:
    """Events, log-ratios, scores, and how much the events depend on theta at fixed history."""

    def mine_one(arguments: tuple) -> tuple[Array, Array, Array, Array]:
        at, numerator, denominator, key = arguments
        x, latents = jax.lax.stop_gradient(simulator.sample(at, key=key))
        log_joint, score = jax.value_and_grad(simulator.log_joint)(numerator, x, latents)
        log_ratio = log_joint - simulator.log_joint(denominator, x, latents)
        return x, log_ratio, score, dependence(simulator, numerator, x, latents)

    batch = min(_BATCH, keys.shape[0])
    return jax.lax.map(mine_one, (drawn_at, theta0, theta1, keys), batch_size=batch)


def _require_common_support(log_ratio: np.ndarray, score: np.ndarray) -> None:
    bad = ~np.isfinite(log_ratio) | ~np.isfinite(score).all(axis=1)
    if bad.any():
        event = int(np.argmax(bad))
        raise DataError(
            "Argument `simulator` must give every history a density under both parameter points, "
            f"but event {event} has log-ratio {log_ratio[event]:g} and score {score[event]}."
        )


def simulate(simulator: Any, theta: Any, *, n_events: int = 10_000, key: Key) -> Array:
    """Draw events without mining them.

    Args:
        simulator: As in `mine`.
        theta: Parameters, shape (param,), or (event, param) for others in every event.
        n_events: Number of events; the length of `theta` where it has an event axis.
        key: Random key.

    Returns:
        Features, shape (event, *feature).

    Raises:
        ConfigError: The simulator is none.
        ShapeError: The parameters have another shape.
        DataError: A feature is not finite.
    """
    check_key(key)
    points, _, n = _pairs(theta, theta, as_integer(n_events, "n_events", low=1))
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(n))
    x = _simulate(as_simulator(simulator), points, keys)
    require_finite_events(x)
    return x


def simulate_pairs(simulator: Any, prior: Any, *, n_events: int = 10_000, key: Key) -> Gold:
    """Draw parameters from a prior and an event under each.

    Args:
        simulator: As in `mine`.
        prior: A numpyro distribution of vectors, such as `Uniform(low, high).to_event(1)`.
        n_events: Number of pairs.
        key: Random key.

    Returns:
        Gold of pairs, for the methods that need no mined quantities.

    Raises:
        ConfigError: The simulator is none.
        DataError: A feature is not finite.
    """
    check_key(key)
    n_events = as_integer(n_events, "n_events", low=1)
    theta = prior.sample(key_for(key, "theta"), (n_events,))
    return gold_from_pairs(simulate(simulator, theta, key=key_for(key, "x")), theta)


@eqx.filter_jit
def _simulate(
    simulator: AbstractSimulator, theta: Float[Array, "event param"], keys: Keys
) -> Float[Array, "event *feature"]:
    def draw(arguments: tuple) -> Array:
        return simulator.sample(arguments[0], key=arguments[1])[0]

    return jax.lax.map(draw, (theta, keys), batch_size=min(_BATCH, keys.shape[0]))
