r"""Intervals with a coverage that holds whatever the forecaster: split conformal prediction.

Reference:
    V. Vovk, A. Gammerman, G. Shafer, Algorithmic Learning in a Random World, Springer 2005; for
    drifting data I. Gibbs and E. Candes, arXiv:2106.00170.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from diffhep.core.checks import require, require_shape

__citations__ = ("doi:10.1007/b106715", "arXiv:2106.00170")


class Coverage(NamedTuple):
    """How often an interval held what was measured.

    Attributes:
        share: Of the cycles.
        stderr: Its standard error, by the jackknife over sequences of cycles where there are
            several, otherwise as of independent cycles.
        half_width: Mean of the intervals.
    """

    share: float
    stderr: float
    half_width: float


def conformal_intervals(
    errors: Float[np.ndarray, "cycle *horizon"], level: float = 0.9
) -> Float[np.ndarray, "*horizon"]:
    r"""Half-width of an interval around a forecast that holds the next cycle's value.

    The $\lceil(n+1)\,\mathrm{level}\rceil$-th smallest of $n$ absolute errors: if the next cycle is
    exchangeable with those, its error is smaller with a probability of at least `level` and less
    than `level` + 1/(n + 1). Samples within a cycle are not exchangeable: one error for each cycle,
    or one for each horizon of a cycle.

    Args:
        errors: Of cycles that the forecaster did not learn from.
        level: Probability.

    Returns:
        Half-widths; infinite where there are too few cycles for the level.

    Raises:
        ConfigError: The level does not lie in (0, 1).
        ShapeError: There is no cycle.
    """
    require(0.0 < level < 1.0, "level", "lie in (0, 1)", level)
    errors = np.abs(np.asarray(errors, float))
    good = errors.ndim >= 1 and errors.shape[0] >= 1
    require_shape(good, "errors", "have one row for every cycle", f"shape {errors.shape}")
    n = errors.shape[0]
    # Rounding must not make of 0.9 * 10 the tenth smallest.
    rank = math.ceil(level * (n + 1) - 1e-9)
    if rank > n:
        return np.full(errors.shape[1:], np.inf)
    return np.asarray(np.sort(errors, axis=0)[rank - 1])


def adaptive_intervals(
    calibration: Float[np.ndarray, " past"],
    errors: Float[np.ndarray, " cycle"],
    level: float = 0.9,
    *,
    rate: float = 0.02,
) -> Float[np.ndarray, " cycle"]:
    r"""Half-widths that follow a drift: each cycle's outcome moves the level of the next.

    $\alpha_{t+1} = \alpha_t + \gamma(1 - \mathrm{level} - \mathrm{miss}_t)$, and the half-width is
    the quantile of the errors so far at $1 - \alpha_t$. The long-run share of misses goes to
    1 - level whatever the errors do.

    Args:
        calibration: Errors before the first cycle.
        errors: Of the cycles in their order; each is used for those after it only.
        level: Probability.
        rate: $\gamma$; 0 never adapts the level.

    Returns:
        One half-width for each cycle.

    Raises:
        ConfigError: The level does not lie in (0, 1), or the rate is negative.
    """
    require(0.0 < level < 1.0, "level", "lie in (0, 1)", level)
    require(0.0 <= rate < math.inf, "rate", "be finite and at least 0", rate)
    seen = list(np.abs(calibration))
    alpha, widths = 1.0 - level, []
    for error in np.abs(errors):
        widths.append(_quantile(seen, 1.0 - alpha))
        alpha += rate * (1.0 - level - float(error > widths[-1]))
        seen.append(float(error))
    return np.array(widths)


def coverage(
    errors: Float[np.ndarray, " cycle"],
    half_width: Float[np.ndarray, " cycle"] | float,
    sequence: np.ndarray | None = None,
) -> Coverage:
    """How often intervals held what was measured.

    Args:
        errors: Of the forecasts.
        half_width: Of the interval, for all cycles or for each.
        sequence: Which sequence each cycle belongs to.

    Returns:
        Share, its error, and the mean half-width.
    """
    inside = np.abs(errors) <= half_width
    share = float(np.mean(inside))
    labels = np.zeros(0) if sequence is None else np.unique(sequence)
    if labels.size >= 2:
        without = [np.mean(inside[sequence != label]) for label in labels]
        stderr = math.sqrt((labels.size - 1) * float(np.var(without)))
    else:
        stderr = math.sqrt(share * (1.0 - share) / inside.size)
    return Coverage(share, stderr, float(np.mean(half_width)))


def _quantile(seen: list[float], level: float) -> float:
    if level >= 1.0:
        return math.inf
    return 0.0 if level <= 0.0 else float(conformal_intervals(np.array(seen), level))
