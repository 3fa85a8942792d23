r"""Fisher information from scores, profiled over nuisance parameters, and the distance it defines.

The information of $\nu$ expected events is
$I_{ij} = \frac{\partial_i\nu\,\partial_j\nu}{\nu} + \nu\,\langle t_i t_j\rangle$ with the score
$t = \nabla_\theta\log p(x|\theta)$, exact or learned by SALLY. Constraint terms add theirs. As a
metric it gives the distance between two points in standard deviations, whatever the
parametrisation.

Reference:
    J. Brehmer, K. Cranmer, F. Kling, T. Plehn, arXiv:1612.05261; arXiv:1805.00020.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from diffhep.core.checks import as_integer, concrete, require, require_shape
from diffhep.core.errors import ConvergenceError, DataError
from diffhep.core.typing import Scalar

__citations__ = ("arXiv:1612.05261", "arXiv:1805.00020")

PATH_TOLERANCE = 1e-8
"""Relative change of the path's energy at which its shape is settled."""


class FisherInformation(NamedTuple):
    """An information matrix and its statistical error.

    Attributes:
        value: The matrix.
        error: Standard error of each entry, from the spread of the events.
    """

    value: Float[Array, "param param"]
    error: Float[Array, "param param"]


def fisher_information(
    scores: Float[Array, "event param"],
    *,
    weight: ArrayLike | None = None,
    expected_events: float | Scalar = 1.0,
    rate_gradient: ArrayLike | None = None,
) -> FisherInformation:
    r"""The expected information from scores of events drawn at the same parameters.

    $\langle t_i t_j\rangle = \sum_e w_e t_{ei} t_{ej} / \sum_e w_e$; weights may have either sign.

    Args:
        scores: $t = \nabla_\theta\log p(x|\theta)$ of each event.
        weight: Weights of the events; equal where left out.
        expected_events: $\nu$; 1 gives the information of one event.
        rate_gradient: $\nabla_\theta\nu$; left out where only shapes inform.

    Returns:
        The information and its statistical error.

    Raises:
        ShapeError: The weights or the gradient do not fit the scores.
        DataError: A score is not finite, or the weights' sum is not positive.
    """
    t = jnp.asarray(scores, dtype=float)
    require_shape(t.ndim == 2, "scores", "be of shape (event, param)", f"shape {t.shape}")
    known = concrete(t)
    if known is not None and not np.all(np.isfinite(known)):
        event, column = (int(index) for index in np.argwhere(~np.isfinite(known))[0])
        raise DataError(
            f"Argument `scores` must be finite, but event {event} has {known[event, column]} in "
            f"column {column}."
        )
    w = jnp.ones(t.shape[0]) if weight is None else jnp.asarray(weight, dtype=float)
    rule = f"hold one weight for each of the {t.shape[0]} events"
    require_shape(w.shape == t.shape[:1], "weight", rule, f"shape {w.shape}")
    total = concrete(jnp.sum(w))
    if total is not None and not float(total) > 0.0:
        raise DataError(f"Argument `weight` must have a positive sum, but it is {float(total):g}.")
    slope = jnp.zeros(t.shape[1]) if rate_gradient is None else jnp.asarray(rate_gradient, float)
    rule = f"hold one slope for each of the {t.shape[1]} parameters"
    require_shape(slope.shape == t.shape[1:], "rate_gradient", rule, f"shape {slope.shape}")
    share = w / jnp.sum(w)
    products = t[:, :, None] * t[:, None, :]
    mean = jnp.einsum("e,eij->ij", share, products)
    variance = jnp.einsum("e,eij->ij", share**2, (products - mean) ** 2)
    rate = jnp.asarray(expected_events, dtype=float)
    value = rate * mean + jnp.outer(slope, slope) / rate
    return FisherInformation(value, rate * jnp.sqrt(variance))


def profiled_information(
    information: Float[Array, "param param"], keep: Sequence[int]
) -> Float[Array, "kept kept"]:
    r"""The information that is left when the other parameters are profiled.

    $I_{kk} - I_{kn} I_{nn}^{-1} I_{nk}$: the inverse of the kept block of the covariance.

    Args:
        information: The information of all parameters, constraints included.
        keep: Indices of the parameters of interest.

    Returns:
        The information of those, in their order.

    Raises:
        ConfigError: An index is not one of a parameter, or is there twice.
        ShapeError: `information` is no square.
    """
    shape = information.shape
    good = len(shape) == 2 and shape[0] == shape[1]
    require_shape(good, "information", "be square", f"shape {shape}")
    chosen = [as_integer(index, "keep", low=0) for index in keep]
    rule = f"hold different indices below {shape[0]}"
    good = bool(chosen) and len(set(chosen)) == len(chosen) and max(chosen) < shape[0]
    require(good, "keep", rule, chosen)
    others = [index for index in range(shape[0]) if index not in chosen]
    kept = information[np.ix_(chosen, chosen)]
    if not others:
        return kept
    cross = information[np.ix_(chosen, others)]
    return kept - cross @ jnp.linalg.solve(information[np.ix_(others, others)], cross.T)


def local_distance(
    information: Float[Array, "param param"],
    theta: Float[Array, " param"],
    other: Float[Array, " param"],
) -> Scalar:
    r"""The distance in one tangent space, $\sqrt{(\theta-\theta')^\top I\,(\theta-\theta')}$.

    Args:
        information: The information at one of the points.
        theta: One point.
        other: The other point.

    Returns:
        The distance in standard deviations.
    """
    difference = theta - other
    return jnp.sqrt(difference @ information @ difference)


@eqx.filter_jit
def _shortest(
    metric: Callable[[Array], Array], theta: Array, other: Array, n_steps: int
) -> tuple[Array, optx.RESULTS]:
    share = jnp.linspace(0.0, 1.0, n_steps + 1)[1:-1, None]
    straight = theta + share * (other - theta)

    def energy(inner: Array, _: None) -> Scalar:
        return jnp.sum(_squared_steps(metric, theta, inner, other))

    # Of all paths in equal times the geodesic has the least energy.
    solver = optx.BFGS(rtol=PATH_TOLERANCE, atol=PATH_TOLERANCE)
    found = optx.minimise(energy, solver, straight, max_steps=1000, throw=False)
    length = jnp.sum(jnp.sqrt(_squared_steps(metric, theta, found.value, other)))
    return length, found.result


def _squared_steps(
    metric: Callable[[Array], Array], theta: Array, inner: Array, other: Array
) -> Float[Array, " step"]:
    """Squared lengths of the steps of a path, with the metric at their middles."""
    path = jnp.concatenate([theta[None], inner, other[None]])
    step, middle = jnp.diff(path, axis=0), (path[1:] + path[:-1]) / 2.0
    return jnp.einsum("si,sij,sj->s", step, jax.vmap(metric)(middle), step)


def information_distance(
    metric: Callable[[Array], Array],
    theta: Float[Array, " param"],
    other: Float[Array, " param"],
    *,
    n_steps: int = 32,
) -> float:
    r"""The length of the geodesic between two points, with the information as the metric.

    $d = \min \int ds\,\sqrt{\dot\theta^\top I(\theta(s))\,\dot\theta}$ over paths, discretised in
    steps with the metric at their middles; the error falls as $1/n^2$.

    Args:
        metric: The information at a point.
        theta: One end.
        other: The other end.
        n_steps: Steps of the path.

    Returns:
        The distance in standard deviations.

    Raises:
        ConfigError: `n_steps` is below 2.
        ShapeError: The ends have different shapes.
        ConvergenceError: The path did not settle, or its length is not finite.
    """
    n_steps = as_integer(n_steps, "n_steps", low=2)
    require_shape(theta.shape == other.shape, "other", f"be like {theta.shape}", other.shape)
    length, result = _shortest(metric, theta, other, n_steps)
    if result != optx.RESULTS.successful or not np.isfinite(float(length)):
        raise ConvergenceError(f"The geodesic did not settle; its length is {float(length):g}.")
    return float(length)
