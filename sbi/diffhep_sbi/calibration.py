"""Calibration: what a learned ratio says, replaced by how often it is right on held-out events."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import interpolate, optimize, special

from diffhep.core.checks import as_integer, require
from diffhep.core.errors import ConvergenceError, DataError
from diffhep.core.typing import Scalar
from diffhep_sbi.adjusted import AbstractAdjustedRatio
from diffhep_sbi.corrections import (
    N_POWERS,
    Curve,
    NearestCurves,
    SmoothCorrection,
    tabulate,
)
from diffhep_sbi.gold import Gold, check_gold
from diffhep_sbi.morphing import monomial_powers
from diffhep_sbi.standardisation import balanced_weights

__citations__ = ("arXiv:1506.02169", "arXiv:2412.01548")

_N_KNOTS = 50
"""Points at which a curve is kept, at equal fractions of the events."""

_EXPECTED, _EXPECTED_BEND = 0.1, 0.03
"""Standard deviations of a normal prior: of corrections, and of their second differences.

Without it the noise of every piece would be fitted; where events say more they win.
"""

_NEWTON_STEPS = 50

_BATCH = 65_536
"""Events evaluated at once, to bound memory."""

Points = tuple[np.ndarray, np.ndarray]
"""Learned log-ratios, and calibrated ones in their place."""


class CalibratedRatio(AbstractAdjustedRatio):
    r"""A learned ratio whose values are mapped to calibrated ones at every $\theta$.

    $\log r = l + \delta(l, \theta)$ with the learned log-ratio l.

    Attributes:
        ratio: What was learned.
        correction: $\delta$.
    """

    ratio: Any
    correction: NearestCurves | SmoothCorrection

    def log_ratio(
        self, x: Float[Array, "event *feature"], theta: Float[Array, " param"]
    ) -> Float[Array, " event"]:
        """The calibrated log-ratio of every event to `theta1`."""
        log_r = self.ratio.log_ratio(x, theta)
        return log_r + self.correction(log_r, theta)


def calibrate(
    ratio: Any, gold: Gold, method: str = "spline", *, n_bins: int = 10
) -> CalibratedRatio:
    r"""Calibrate a learned ratio on events that it was not trained on.

    With l the learned log-ratio of an event, $\ln\frac{p(l|\theta_0)}{p(l|\theta_1)}$ from the
    events themselves. By Neyman and Pearson's lemma nothing is lost if l was a function of the true
    ratio, and the result is normalised whatever l was.

    | method | curve | in theta |
    |---|---|---|
    | spline | cubic, by logistic regression | quadratic and smooth; all events at once |
    | histogram | bins of equal content | one at every distinct theta0, nearest points count most |
    | isotonic | any rising function | the same |

    Where gold has joint ratios, they take the place of labels: the same means, far less noise.
    Errors of one event add up over many: for a likelihood of N events the curve must be known to
    better than 1/N, and be smooth in theta, as the spline is. The other two are for a look at
    single points.

    Args:
        ratio: A `RatioEnsemble`, or anything with its `log_ratio`.
        gold: Held-out events: of label 0 at points theta0, of label 1 at the reference.
        method: "spline", "histogram" or "isotonic".
        n_bins: Bins of the histogram, or pieces of the spline.

    Returns:
        The calibrated ratio.

    Raises:
        ConfigError: The method is not known, a number is out of range, or the ratio has another
            denominator than gold.
        DataError: Gold is not finite, or there are fewer than 10 `n_bins` events of a class, of
            each point for histogram and isotonic.

    Reference:
        K. Cranmer, J. Pavez, G. Louppe, arXiv:1506.02169; ATLAS, arXiv:2412.01548.
    """
    known = ("spline", *_POINTWISE)
    require(method in known, "method", f"be one of {', '.join(known)}", method)
    n_bins = as_integer(n_bins, "n_bins", low=2)
    check_gold(gold)
    require_denominator(ratio, gold)
    host = jax.tree.map(np.asarray, gold)
    if method == "spline":
        return _calibrate_smoothly(ratio, host, n_bins)
    thetas = np.unique(host.theta0, axis=0)
    curves = [_curve(ratio, host, theta, method, n_bins) for theta in thetas]
    stacked = jax.tree.map(lambda *rows: jnp.stack(rows), *curves)
    return CalibratedRatio(ratio, NearestCurves(jnp.asarray(thetas), stacked))


def require_denominator(ratio: Any, gold: Gold) -> None:
    """Raise a `ConfigError` where events of class 1 are not those of a ratio's denominator.

    Args:
        ratio: A ratio; one that does not say its denominator is not looked at.
        gold: Events it is compared with.

    Raises:
        ConfigError: The denominators differ, or the ratio's is the marginal.
    """
    if not hasattr(ratio, "theta1"):
        return
    found = np.unique(np.asarray(gold.theta1), axis=0)
    rule = "have a denominator theta1, but not the marginal of x,"
    require(ratio.theta1 is not None, "ratio", rule, "one to the marginal")
    expected = np.asarray(ratio.theta1)
    same = len(found) == 1 and np.allclose(found[0], expected)
    rule = f"be the denominator {expected.tolist()} of the ratio"
    require(same, "gold.theta1", rule, found[:3].tolist())


def _first_class(gold: Gold) -> np.ndarray:
    """The probability of label 0 given the history where it was mined, the label itself else."""
    if gold.log_ratio is None:
        return np.asarray(gold.label == 0, float)
    return special.expit(np.asarray(gold.log_ratio))


def _require_events(part: Gold, label: int, n_bins: int, where: str) -> None:
    if part.n_events < 10 * n_bins:
        raise DataError(
            f"Argument `gold` must have at least {10 * n_bins} events of class {label}{where} "
            f"for {n_bins} bins, but it has {part.n_events}."
        )


def _calibrate_smoothly(ratio: Any, gold: Gold, n_bins: int) -> CalibratedRatio:
    """Logistic regression of the label, with l as a fixed term beside the smooth correction."""
    for label in (0, 1):
        _require_events(gold.take(gold.label == label), label, n_bins, "")
    thetas = jnp.asarray(gold.theta0)
    log_r = np.asarray(_paired_log_ratios(ratio, jnp.asarray(gold.x), thetas))
    start = _no_correction(log_r, np.asarray(gold.theta0), np.asarray(gold.theta1[0]))
    columns = np.asarray(start.columns(jnp.asarray(log_r), thetas)).reshape(log_r.size, -1)
    edges = _edges(log_r, n_bins)
    at_zero = interpolate.BSpline.design_matrix(np.clip([0.0], edges[0], edges[-1]), edges, 3)
    splines = interpolate.BSpline.design_matrix(log_r, edges, 3).toarray() - at_zero.toarray()
    n_splines = splines.shape[1]
    weight = balanced_weights(gold)
    weight *= 2.0 / weight.sum()
    bends = np.diff(np.eye(n_splines, n_splines + columns.shape[1]), 2, axis=0)
    design = np.concatenate([splines, columns], axis=1)
    found = _logistic_offset(log_r, _first_class(gold), weight, design, bends)
    curve = interpolate.BSpline(edges, found[:n_splines], 3)
    # With its breaks among the knots the table is the spline itself, also where few events at the
    # ends have most of the range.
    knots = np.union1d(np.linspace(edges[0], edges[-1], _N_KNOTS), edges)
    values = curve(knots) - (at_zero @ found[:n_splines])[0]
    coefficients = jnp.asarray(found[n_splines:].reshape(start.coefficients.shape))
    correction = SmoothCorrection(
        tabulate(knots, values, curve.derivative()(knots)),
        coefficients,
        start.theta1,
        start.scale,
        start.bound,
        start.powers,
    )
    return CalibratedRatio(ratio, correction)


def _edges(log_r: np.ndarray, n_bins: int) -> np.ndarray:
    """Knots of a cubic spline, the outer ones four times."""
    inner = np.unique(np.quantile(log_r, np.linspace(0, 1, n_bins + 1)))
    if inner.size < 2:
        inner = np.array([inner[0] - 1.0, inner[0] + 1.0])
    return np.concatenate([[inner[0]] * 3, inner, [inner[-1]] * 3])


def _no_correction(log_r: np.ndarray, theta0: np.ndarray, theta1: np.ndarray) -> SmoothCorrection:
    """Zero, with the units of the events."""
    distance = np.sqrt(np.mean((theta0 - theta1) ** 2, axis=0))
    powers = tuple(tuple(int(p) for p in row) for row in monomial_powers(theta1.size)[1:])
    nothing = jnp.zeros(2)
    return SmoothCorrection(
        curve=Curve(jnp.arange(2.0), nothing, nothing),
        coefficients=jnp.zeros((len(powers), N_POWERS)),
        theta1=jnp.asarray(theta1),
        scale=jnp.asarray(np.where(distance > 0, distance, 1.0)),
        bound=jnp.asarray(3.0 * np.sqrt(np.mean(log_r**2)) or 1.0),
        powers=powers,
    )


@eqx.filter_jit
def _paired_log_ratios(ratio: Any, x: Array, thetas: Array) -> Float[Array, " event"]:
    """Of every event at its own parameters."""

    def of_one(pair: tuple[Array, Array]) -> Scalar:
        return ratio.log_ratio(pair[0][None], pair[1])[0]

    return jax.lax.map(of_one, (x, thetas), batch_size=min(_BATCH, x.shape[0]))


def _logistic_offset(
    log_r: np.ndarray,
    is_first: np.ndarray,
    weight: np.ndarray,
    design: np.ndarray,
    second: np.ndarray,
) -> np.ndarray:
    """Coefficients of what is to be added to l, the likeliest under their prior, by Newton."""
    # The weights of a class sum to 1, so that a prior counts as one event among them.
    n_events = 0.5 * log_r.size
    bends = second.T @ second / _EXPECTED_BEND**2
    penalty = (bends + np.eye(design.shape[1]) / _EXPECTED**2) / n_events
    offset = np.zeros(design.shape[1])
    step = offset
    for _ in range(_NEWTON_STEPS):
        rate = special.expit(log_r + design @ offset)
        slope = design.T @ (weight * (is_first - rate)) - penalty @ offset
        curvature = (design * (weight * rate * (1.0 - rate))[:, None]).T @ design + penalty
        step = np.linalg.solve(curvature, slope)
        offset += step
        if np.abs(step).max() < 1e-8:
            return offset
    raise ConvergenceError(
        f"The regression of `calibrate` did not converge in {_NEWTON_STEPS} Newton steps; "
        f"its last step was {np.abs(step).max():.1e}. Use fewer `n_bins` or more events."
    )


def _curve(ratio: Any, gold: Gold, theta: np.ndarray, method: str, n_bins: int) -> Curve:
    """The curve at one point, on the common number of knots."""
    at_point = (np.asarray(gold.theta0) == theta).all(axis=1)
    # Without joint ratios, events of the reference know nothing of theta0 and serve every point.
    of_reference = gold.label == 1 if gold.log_ratio is None else at_point & (gold.label == 1)
    parts = [gold.take(mask) for mask in (at_point & (gold.label == 0), of_reference)]
    log_ratio = eqx.filter_jit(ratio.log_ratio)
    for label, part in enumerate(parts):
        _require_events(part, label, n_bins, f" at theta0 = {theta.tolist()}")
    logs = [np.asarray(log_ratio(jnp.asarray(part.x), jnp.asarray(theta))) for part in parts]
    weights = [np.asarray(part.weight) / float(part.weight.sum()) for part in parts]
    order = np.argsort(np.concatenate(logs), kind="stable")
    log_r, weight = (np.concatenate(rows)[order] for rows in (logs, weights))
    is_first = np.concatenate([_first_class(part) for part in parts])[order]
    ends, corrected = _POINTWISE[method](log_r, is_first, weight, n_bins)
    knots = np.unique(np.quantile(log_r, np.linspace(0, 1, _N_KNOTS)))
    offset = np.interp(knots, ends, corrected - ends)
    slopes = np.zeros_like(knots)
    if knots.size > 2:
        slopes[1:-1] = np.gradient(offset, knots)[1:-1]
    # Equal values (a ratio with few levels) leave fewer knots; the last is repeated.
    padded = [np.pad(row, (0, _N_KNOTS - knots.size), "edge") for row in (knots, offset, slopes)]
    return tabulate(*padded)


def _log_odds(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Of sums of weights, each class normalised to 1, kept finite where one is empty."""
    least = 0.5 * min(x[x > 0].min(initial=1.0) for x in (numerator, denominator))
    return np.log(np.maximum(numerator, least)) - np.log(np.maximum(denominator, least))


def _histogram(log_r: np.ndarray, is_first: np.ndarray, weight: np.ndarray, n_bins: int) -> Points:
    index = np.minimum(np.arange(log_r.size) * n_bins // log_r.size, n_bins - 1)
    sums = [
        np.bincount(index, weight * chosen, minlength=n_bins)
        for chosen in (is_first, 1.0 - is_first)
    ]
    centres = np.bincount(index, log_r, minlength=n_bins) / np.bincount(index, minlength=n_bins)
    return centres, _log_odds(*sums)


def _isotonic(log_r: np.ndarray, is_first: np.ndarray, weight: np.ndarray, n_bins: int) -> Points:
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


_POINTWISE: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray, int], Points]] = {
    "histogram": _histogram,
    "isotonic": _isotonic,
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


def effective_sample_size(
    log_ratio: Scalar | np.ndarray | Array, weight: np.ndarray | Array | float = 1.0
) -> float:
    r"""$(\sum w r)^2/\sum (w r)^2$ of events reweighted by their ratio.

    Args:
        log_ratio: Log-ratios of events drawn under theta1.
        weight: Their weights.

    Returns:
        A number between 1 and that of the events; smaller where weights have both signs.
    """
    log_r = np.asarray(log_ratio, float)
    ratio = np.asarray(weight) * np.exp(log_r - log_r.max())
    return float(ratio.sum() ** 2 / np.sum(ratio**2))
