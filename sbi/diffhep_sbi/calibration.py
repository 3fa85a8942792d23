"""Calibration: what a learned ratio says, replaced by how often it is right on held-out events."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import interpolate, optimize

from diffhep.core.checks import as_integer, require
from diffhep.core.errors import DataError
from diffhep.core.typing import Scalar
from diffhep_sbi.gold import Gold, check_gold

__citations__ = ("arXiv:1506.02169", "arXiv:2412.01548")

_N_KNOTS = 100
"""Points at which a curve is kept, at equal fractions of the events."""

_RIDGE = 1e-3
"""Penalty on a spline's second differences, per event."""

Curve = tuple[np.ndarray, np.ndarray]
"""Learned log-ratios, and calibrated ones in their place."""


class CalibratedRatio(eqx.Module):
    r"""A learned ratio whose values are mapped to calibrated ones at every $\theta$.

    At a calibrated point $\theta_g$ the log-ratio l becomes $c_g(l)$; in between the corrections
    $c_g(l) - l$ are averaged with weights $|\theta-\theta_g|^{-4}$, distances in units of the
    spread of the points. Beyond the last knots a correction stays as it is there.

    Attributes:
        ratio: What was learned.
        thetas: Points at which there are held-out events.
        knots: Learned log-ratios, ascending, of every point.
        values: Calibrated ones in their place.
    """

    ratio: Any
    thetas: Float[Array, "point param"]
    knots: Float[Array, "point knot"]
    values: Float[Array, "point knot"]

    @property
    def theta1(self) -> Float[Array, " param"]:
        """Denominator."""
        return self.ratio.theta1

    def log_ratio(
        self, x: Float[Array, "event *feature"], theta: Float[Array, " param"]
    ) -> Float[Array, " event"]:
        """The calibrated log-ratio of every event to `theta1`."""
        return self._calibrate(self.ratio.log_ratio(x, theta), theta)

    def spread(
        self, x: Float[Array, "event *feature"], theta: Float[Array, " param"]
    ) -> Float[Array, " event"]:
        """That of what was learned."""
        return self.ratio.spread(x, theta)

    def score(
        self, x: Float[Array, "event *feature"], theta: Float[Array, " param"]
    ) -> Float[Array, "event param"]:
        """Derivative of the calibrated log-ratio with respect to theta."""

        def of_one(event: Float[Array, "*feature"]) -> Float[Array, " param"]:
            return jax.grad(lambda point: self.log_ratio(event[None], point)[0])(theta)

        return jax.vmap(of_one)(x)

    def distance_outside(self, theta: Any) -> float:
        """How far theta lies outside the trained range, as for what was learned."""
        return self.ratio.distance_outside(theta)

    def warn_outside(self, theta: Any) -> None:
        """Warn as what was learned does."""
        self.ratio.warn_outside(theta)

    def _calibrate(
        self, log_r: Float[Array, " event"], theta: Float[Array, " param"]
    ) -> Float[Array, " event"]:
        def correction(knots: Array, values: Array) -> Array:
            return jnp.interp(log_r, knots, values - knots)

        corrections = jax.vmap(correction)(self.knots, self.values)
        return log_r + self._weights(theta) @ corrections

    def _weights(self, theta: Float[Array, " param"]) -> Float[Array, " point"]:
        spread = jnp.std(self.thetas, axis=0)
        scaled = (theta - self.thetas) / jnp.where(spread > 0, spread, 1.0)
        # The tiny number makes the weight of a point at its own place 1, and derivatives finite.
        inverse = 1.0 / (jnp.sum(scaled**2, axis=1) + 1e-9) ** 2
        return inverse / jnp.sum(inverse)


def calibrate(
    ratio: Any, gold: Gold, method: str = "spline", *, n_bins: int = 20
) -> CalibratedRatio:
    r"""Calibrate a learned ratio on events that it was not trained on.

    At every distinct theta0 of the gold: with l the learned log-ratio of the events,
    $c(l) = \ln\frac{p(l|\theta_0)}{p(l|\theta_1)}$ from the events themselves. By Neyman and
    Pearson's lemma nothing is lost if l was a function of the true ratio, and the result is
    normalised whatever l was.

    Args:
        ratio: A `RatioEnsemble`, or anything with its `log_ratio`.
        gold: Held-out events: of label 0 at a few points theta0, of label 1 at the reference.
        method: "histogram", bins of equal content; "isotonic", any rising function; "spline", a
            smooth one.
        n_bins: Bins of the histogram, or pieces of the spline.

    Returns:
        The calibrated ratio.

    Raises:
        ConfigError: The method is not known, or a number is out of range.
        DataError: Gold is not finite, or a point has fewer than 10 `n_bins` events of a class.

    Reference:
        K. Cranmer, J. Pavez, G. Louppe, arXiv:1506.02169; ATLAS, arXiv:2412.01548.
    """
    require(method in _METHODS, "method", f"be one of {', '.join(_METHODS)}", method)
    n_bins = as_integer(n_bins, "n_bins", low=2)
    check_gold(gold)
    thetas = np.unique(np.asarray(gold.theta0), axis=0)
    curves = [_curve(ratio, gold, theta, method, n_bins) for theta in thetas]
    knots, values = (jnp.asarray(np.stack(rows)) for rows in zip(*curves, strict=True))
    return CalibratedRatio(ratio, jnp.asarray(thetas), knots, values)


def _curve(ratio: Any, gold: Gold, theta: np.ndarray, method: str, n_bins: int) -> Curve:
    """The curve at one point, on the common number of knots."""
    at_point = (np.asarray(gold.theta0) == theta).all(axis=1)
    is_numerator = at_point & (np.asarray(gold.label) == 0)
    # Events of the reference know nothing of theta0: all of them serve every point.
    is_denominator = np.asarray(gold.label) == 1
    log_ratio = eqx.filter_jit(ratio.log_ratio)
    parts = [gold.take(mask) for mask in (is_numerator, is_denominator)]
    for label, part in enumerate(parts):
        if part.n_events < 10 * n_bins:
            raise DataError(
                f"Argument `gold` must have at least {10 * n_bins} events of class {label} at "
                f"theta0 = {theta.tolist()} for {n_bins} bins, but it has {part.n_events}."
            )
    logs = [np.asarray(log_ratio(part.x, jnp.asarray(theta))) for part in parts]
    weights = [np.asarray(part.weight) / float(part.weight.sum()) for part in parts]
    order = np.argsort(np.concatenate(logs), kind="stable")
    log_r, weight = (np.concatenate(rows)[order] for rows in (logs, weights))
    is_first = np.repeat([1.0, 0.0], [part.n_events for part in parts])[order]
    ends, corrected = _METHODS[method](log_r, is_first, weight, n_bins)
    knots = np.unique(np.quantile(log_r, np.linspace(0, 1, _N_KNOTS)))
    # Equal values (a ratio with few levels) leave fewer knots; the last is repeated.
    knots = np.concatenate([knots, np.full(_N_KNOTS - knots.size, knots[-1])])
    offset = np.interp(knots, ends, corrected - ends)
    return knots, knots + offset


def _log_odds(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Of sums of weights, each class normalised to 1, kept finite where one is empty."""
    least = 0.5 * min(x[x > 0].min(initial=1.0) for x in (numerator, denominator))
    return np.log(np.maximum(numerator, least)) - np.log(np.maximum(denominator, least))


def _histogram(log_r: np.ndarray, is_first: np.ndarray, weight: np.ndarray, n_bins: int) -> Curve:
    index = np.minimum(np.arange(log_r.size) * n_bins // log_r.size, n_bins - 1)
    sums = [
        np.bincount(index, weight * chosen, minlength=n_bins)
        for chosen in (is_first, 1.0 - is_first)
    ]
    centres = np.bincount(index, log_r, minlength=n_bins) / np.bincount(index, minlength=n_bins)
    return centres, _log_odds(*sums)


def _isotonic(log_r: np.ndarray, is_first: np.ndarray, weight: np.ndarray, n_bins: int) -> Curve:
    if (weight <= 0).any():
        raise DataError(
            "Argument `gold` must have positive weights for isotonic calibration, "
            f"but the smallest is {weight.min():g}; use 'histogram' or 'spline'."
        )
    fraction = optimize.isotonic_regression(is_first, weights=weight).x
    blocks = np.unique(fraction, return_inverse=True)[1]
    sums = [np.bincount(blocks, weight * chosen) for chosen in (is_first, 1.0 - is_first)]
    centres = np.bincount(blocks, log_r) / np.bincount(blocks)
    return centres, _log_odds(*sums)


def _spline(log_r: np.ndarray, is_first: np.ndarray, weight: np.ndarray, n_bins: int) -> Curve:
    """Logistic regression on cubic B-splines, the second differences penalised, by Newton steps."""
    inner = np.unique(np.quantile(log_r, np.linspace(0, 1, n_bins + 1)))
    if inner.size < 2:
        return np.array([log_r[0] - 1.0, log_r[0] + 1.0]), np.zeros(2)
    edges = np.concatenate([[inner[0]] * 3, inner, [inner[-1]] * 3])
    design = interpolate.BSpline.design_matrix(log_r, edges, 3).toarray()
    n = design.shape[1]
    second = np.diff(np.eye(n), 2, axis=0)
    penalty = _RIDGE * second.T @ second + 1e-9 * np.eye(n)
    offset = np.zeros(n)
    for _ in range(30):
        rate = 1.0 / (1.0 + np.exp(-(log_r + design @ offset)))
        slope = design.T @ (weight * (is_first - rate)) - penalty @ offset
        curvature = (design * (weight * rate * (1.0 - rate))[:, None]).T @ design + penalty
        step = np.linalg.solve(curvature, slope)
        offset += step
        if np.abs(step).max() < 1e-8:
            break
    knots = np.quantile(log_r, np.linspace(0, 1, _N_KNOTS))
    at_knots = interpolate.BSpline.design_matrix(knots, edges, 3) @ offset
    return knots, knots + at_knots


_METHODS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray, int], Curve]] = {
    "histogram": _histogram,
    "isotonic": _isotonic,
    "spline": _spline,
}


def normalisation(
    log_ratio: Float[Array, " event"] | np.ndarray, weight: Float[Array, " event"] | np.ndarray
) -> tuple[float, float]:
    r"""$E_{\theta_1}[\hat r]$, which is 1 for a true ratio, and its standard error.

    Args:
        log_ratio: Learned log-ratios of events drawn under theta1.
        weight: Their weights.

    Returns:
        Mean and error.
    """
    ratio, weight = np.exp(np.asarray(log_ratio)), np.asarray(weight)
    mean = float(np.sum(weight * ratio) / np.sum(weight))
    deviation = weight * (ratio - mean)
    return mean, float(np.sqrt(np.sum(deviation**2)) / abs(np.sum(weight)))


def effective_sample_size(log_ratio: Scalar | np.ndarray | Array) -> float:
    r"""$(\sum r)^2/\sum r^2$ of events reweighted by their ratio.

    Args:
        log_ratio: Log-ratios of events drawn under theta1.

    Returns:
        A number between 1 and that of the events.
    """
    log_r = np.asarray(log_ratio, float)
    ratio = np.exp(log_r - log_r.max())
    return float(ratio.sum() ** 2 / np.sum(ratio**2))
