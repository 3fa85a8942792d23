r"""Intervals, limits and significances from the asymptotic distributions of test statistics.

Wilks: $t_\mu$ follows $\chi^2_1$. With the Asimov data of $\mu' = 0$ and their $q_A$, the modified
frequentist $CL_s = p_{s+b}/(1 - p_b)$, $p_{s+b} = 1 - \Phi(\sqrt{\tilde q_\mu})$ and
$1 - p_b = \Phi(\sqrt{q_A} - \sqrt{\tilde q_\mu})$, for $\tilde q_\mu \le q_A$. These hold for large
samples and away from bounds; `neyman` holds always.

Reference:
    arXiv:1007.1727; A. L. Read, J. Phys. G 28 (2002) 2693; S. S. Wilks, Ann. Math. Stat. 9 (1938)
    60.
"""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm
from jaxtyping import Array, Float
from scipy.optimize import root_scalar
from scipy.stats import chi2

from diffhep.core.checks import require, require_x64
from diffhep.core.errors import ConvergenceError
from diffhep.core.typing import Flag, Scalar
from diffhep_sbi.likelihood import Likelihood, Observation
from diffhep_sbi.mle import maximise_free_and_at, mle, profile, require_converged
from diffhep_sbi.profile_statistics import evaluate_statistic, order, profile_statistic
from diffhep_sbi.verdict import Verdict, require_gates

__citations__ = (
    "arXiv:1007.1727",
    "doi:10.1088/0954-3899/28/10/313",
    "doi:10.1214/aoms/1177732360",
)

BANDS = (-2.0, -1.0, 0.0, 1.0, 2.0)
"""Standard deviations of the background-only expectation that a band is given at."""

ROOT_TOLERANCE = 1e-6
"""Relative to the error of the parameter: far below what a limit is quoted to."""

MOST_WIDENINGS = 12
"""How often a bracket is doubled before a limit is given up."""


class CLs(NamedTuple):
    r"""A test of signal with the modified frequentist method.

    Attributes:
        observed: $CL_s$.
        expected: $CL_s$ where the data are -2, -1, 0, 1, 2 standard deviations of the
            background-only expectation.
        p_signal: $p_{s+b}$.
        p_background: $1 - p_b$.
        statistic: $\tilde q_\mu$.
        asimov_statistic: $q_A$.
        is_converged: Whether the fits found their maxima.
    """

    observed: Scalar
    expected: Float[Array, " band"]
    p_signal: Scalar
    p_background: Scalar
    statistic: Scalar
    asimov_statistic: Scalar
    is_converged: Flag


class Interval(NamedTuple):
    """A confidence interval.

    Attributes:
        low: Lower end.
        high: Upper end.
        level: Confidence level.
        low_is_bound: Whether the lower end is where the parameter or the scan ends.
        high_is_bound: The same of the upper end.
    """

    low: float
    high: float
    level: float
    low_is_bound: bool
    high_is_bound: bool


class Limit(NamedTuple):
    """An upper limit.

    Attributes:
        observed: The limit; NaN where only the expectation was asked for.
        expected: Its expectation without signal at -2, -1, 0, 1, 2 standard deviations.
        level: Confidence level.
    """

    observed: float
    expected: tuple[float, ...]
    level: float


@eqx.filter_jit
def _cls(likelihood: Likelihood, value: Scalar, observation: Observation) -> CLs:
    tested = jnp.stack([value, jnp.zeros(())])
    free, fixed = maximise_free_and_at(likelihood, observation, tested, 0.0)
    poi = free.theta[likelihood.index(likelihood.poi)]
    q = order("q_tilde", free.log_likelihood - fixed.log_likelihood[0], poi, value)
    asimov = evaluate_statistic("q_tilde", likelihood, value, likelihood.asimov(fixed.theta[1]))
    q_a = asimov.statistic
    root, root_a = jnp.sqrt(q), jnp.sqrt(q_a)
    # Beyond the Asimov value the best fit lies at the bound, and the distribution changes form.
    beyond = (q - q_a) / (2.0 * jnp.where(root_a > 0.0, root_a, 1.0))
    shifted = jnp.where(root <= root_a, root - root_a, beyond)
    p_signal, p_background = norm.sf(shifted + root_a), norm.sf(shifted)
    bands = jnp.asarray(BANDS)
    expected = norm.sf(root_a - bands) / norm.cdf(bands)
    good = free.is_converged & jnp.all(fixed.is_converged) & asimov.is_converged
    return CLs(p_signal / p_background, expected, p_signal, p_background, q, q_a, good)


def cls(
    likelihood: Likelihood,
    value: float,
    observation: Observation | None = None,
    *,
    report: Verdict | None = None,
    allow_failed: bool = False,
) -> CLs:
    r"""The asymptotic $CL_s$ of one value of the parameter of interest.

    The Asimov data are those of no signal, with nuisance parameters fitted to the data.

    Args:
        likelihood: The likelihood.
        value: Tested value.
        observation: The data; the observed ones where left out.
        report: Verdict on the ratio; a failed one is refused.
        allow_failed: Go on with a failed report or outside the trained range.

    Returns:
        $CL_s$, its expectation, and what it is made of.

    Raises:
        ConfigError: The report failed, the value is outside the trained range, there are no
            data, or x64 is off.
        ConvergenceError: A fit did not find its maximum.
    """
    require_x64("limits")
    # The Asimov data are those of no signal.
    require_gates(likelihood, {likelihood.poi: np.array([0.0, value])}, report, allow_failed)
    data = likelihood.data(observation)
    found = _cls(likelihood, jnp.asarray(value, dtype=float), data)
    require_converged(found.is_converged, "CLs")
    return found


def upper_limit(
    likelihood: Likelihood,
    observation: Observation | None = None,
    *,
    level: float = 0.95,
    report: Verdict | None = None,
    allow_failed: bool = False,
) -> Limit:
    r"""The asymptotic $CL_s$ upper limit, observed and expected.

    Args:
        likelihood: The likelihood.
        observation: The data; the observed ones where left out.
        level: Confidence level.
        report: Verdict on the ratio; a failed one is refused.
        allow_failed: Go on with a failed report or outside the trained range.

    Returns:
        The values at which $CL_s$ is 1 - level.

    Raises:
        ConfigError: The level is no probability, or as in `cls`.
        ConvergenceError: A fit failed, or no limit lies within the bounds of the parameter.
    """
    require(0.0 < level < 1.0, "level", "lie between 0 and 1", level)
    require_gates(likelihood, {}, report, allow_failed)
    data = likelihood.data(observation)
    index = likelihood.index(likelihood.poi)
    best = mle(likelihood, data)
    error = float(jnp.sqrt(best.covariance[index, index]))
    highest = float(likelihood.bounds[1][index])
    # A best fit at its bound has no covariance; its neighbours give the scale all the same.
    start = max(float(best.theta[index]), 0.0) + 2.0 * (error or 0.5 * _scale(likelihood, data))

    def excess(value: float, place: int | None) -> float:
        found = cls(likelihood, value, data, allow_failed=True)
        chosen = found.observed if place is None else np.asarray(found.expected)[place]
        return float(chosen) - (1.0 - level)

    places = (None, *range(len(BANDS)))
    ends = [_root(lambda v, p=place: excess(v, p), 0.0, start, highest) for place in places]
    require_gates(likelihood, {likelihood.poi: np.array([0.0, *ends])}, None, allow_failed)
    return Limit(ends[0], tuple(ends[1:]), level)


def expected_limit(
    likelihood: Likelihood,
    *,
    level: float = 0.95,
    report: Verdict | None = None,
    allow_failed: bool = False,
) -> Limit:
    """The upper limit expected without signal, at the starting values of nuisance parameters.

    Args:
        likelihood: The likelihood; its data are not looked at.
        level: Confidence level.
        report: Verdict on the ratio; a failed one is refused.
        allow_failed: Go on with a failed report or outside the trained range.

    Returns:
        The median expected limit and its bands; `observed` is NaN.

    Raises:
        ConfigError: As in `upper_limit`.
        ConvergenceError: As in `upper_limit`.
    """
    theta = likelihood.replace(likelihood.start, {likelihood.poi: 0.0})
    data = likelihood.asimov(theta)
    found = upper_limit(likelihood, data, level=level, report=report, allow_failed=allow_failed)
    return found._replace(observed=float("nan"))


def wilks_interval(
    likelihood: Likelihood,
    observation: Observation | None = None,
    *,
    level: float = 0.68,
    report: Verdict | None = None,
    allow_failed: bool = False,
) -> Interval:
    r"""The interval where $t_\mu$ is below the quantile of $\chi^2_1$.

    It covers at the stated level for large samples and away from bounds only.

    Args:
        likelihood: The likelihood.
        observation: The data; the observed ones where left out.
        level: Confidence level.
        report: Verdict on the ratio; a failed one is refused.
        allow_failed: Go on with a failed report or outside the trained range.

    Returns:
        The interval, cut off at the bounds of the parameter.

    Raises:
        ConfigError: The level is no probability, or as in `cls`.
        ConvergenceError: A fit did not find its maximum.
    """
    require(0.0 < level < 1.0, "level", "lie between 0 and 1", level)
    require_x64("limits")
    require_gates(likelihood, {}, report, allow_failed)
    data = likelihood.data(observation)
    index = likelihood.index(likelihood.poi)
    best = mle(likelihood, data)
    centre = float(best.theta[index])
    quantile = float(chi2.ppf(level, 1))
    error = float(jnp.sqrt(best.covariance[index, index])) or _scale(likelihood, data)

    def excess(value: float) -> float:
        return float(profile(likelihood, jnp.array([value]), data).t[0]) - quantile

    low_bound, high_bound = (float(bound[index]) for bound in likelihood.bounds)
    low, low_is_bound = _crossing(excess, centre, -error, low_bound)
    high, high_is_bound = _crossing(excess, centre, error, high_bound)
    ends = {likelihood.poi: np.array([low, high])}
    require_gates(likelihood, ends, None, allow_failed)
    return Interval(low, high, level, low_is_bound, high_is_bound)


def significance(
    likelihood: Likelihood,
    observation: Observation | None = None,
    *,
    report: Verdict | None = None,
    allow_failed: bool = False,
) -> float:
    r"""The asymptotic significance of a signal, $Z = \sqrt{q_0}$, in standard deviations.

    Args:
        likelihood: The likelihood.
        observation: The data; the observed ones where left out.
        report: Verdict on the ratio; a failed one is refused.
        allow_failed: Go on with a failed report or outside the trained range.

    Returns:
        Z.

    Raises:
        ConvergenceError: A fit did not find its maximum.
        ConfigError: As in `cls`.
    """
    require_gates(likelihood, {likelihood.poi: np.zeros(1)}, report, allow_failed)
    return float(jnp.sqrt(profile_statistic("q0", likelihood, 0.0, observation).statistic))


def _scale(likelihood: Likelihood, data: Observation) -> float:
    """The error of the parameter of interest at its start, where the best fit has none."""
    index = likelihood.index(likelihood.poi)
    curvature = jax.hessian(lambda theta: -likelihood.log_prob(theta, data))(likelihood.start)
    variance = float(jnp.linalg.pinv(curvature)[index, index])
    return float(np.sqrt(abs(variance))) or 1.0


def _crossing(
    excess: Callable[[float], float], centre: float, step: float, bound: float
) -> tuple[float, bool]:
    """Where a function that is negative at the centre turns positive, or the bound before it."""
    for _ in range(MOST_WIDENINGS):
        end = centre + step
        beyond = end >= bound if step > 0 else end <= bound
        if beyond and (not np.isfinite(bound) or excess(bound) <= 0.0):
            return bound, True
        end = bound if beyond else end
        if excess(end) > 0.0:
            low, high = sorted((centre, end))
            return _between(excess, low, high, ROOT_TOLERANCE * abs(step)), False
        step *= 2.0
    raise ConvergenceError(f"The interval has no end within {abs(step):g} of {centre:g}.")


def _root(excess: Callable[[float], float], low: float, start: float, highest: float) -> float:
    """Where a falling function crosses 0, searched upwards."""
    high = min(start, highest)
    for _ in range(MOST_WIDENINGS):
        if excess(high) < 0.0:
            return _between(excess, low, high, ROOT_TOLERANCE * high)
        if high >= highest:
            break
        low, high = high, min(2.0 * high, highest)
    raise ConvergenceError(f"No upper limit lies below {high:g}; raise the parameter's bound.")


def _between(excess: Callable[[float], float], low: float, high: float, tolerance: float) -> float:
    return float(root_scalar(excess, bracket=(low, high), method="brentq", xtol=tolerance).root)
