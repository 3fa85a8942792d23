r"""Neyman's construction with toys: intervals that cover at any sample size and at bounds.

At each $\mu$ toys are drawn at $(\mu, \hat{\hat\alpha}(\mu))$, nuisance parameters as profiled on
the data, and $p_\mu$ is the fraction of toys whose test statistic is not below that of the data.
The interval is where $p_\mu \ge 1 - \mathrm{level}$. With the statistic "t_tilde" its ordering is
that of Feldman and Cousins, which turns from a limit to an interval by itself.

Reference:
    J. Neyman, Phil. Trans. R. Soc. A 236 (1937) 333; arXiv:physics/9711021; ATLAS,
    arXiv:2412.01600.
"""

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from scipy.stats import chi2

from diffhep.core.checks import as_integer, require, require_shape, require_x64
from diffhep.core.rng import check_key, key_at, key_for
from diffhep.core.typing import Key, Scalar
from diffhep_sbi.asymptotic import Interval
from diffhep_sbi.likelihood import Likelihood, Observation, sample_toys
from diffhep_sbi.mle import require_converged
from diffhep_sbi.profile_statistics import Statistic, evaluate_statistic
from diffhep_sbi.verdict import Verdict, require_gates

__citations__ = ("doi:10.1098/rsta.1937.0005", "arXiv:physics/9711021", "arXiv:2412.01600")

TIE = 1e-6
"""Statistics closer than this are equal: fits end with less rounding, and counts do tie."""

MOST_FAILED = 0.01
"""Fraction of toys whose fits may fail; they count as more extreme than the data."""


class NeymanScan(NamedTuple):
    """What Neyman's construction found.

    Attributes:
        values: Values of the parameter of interest.
        p_value: Fraction of toys not below the data, the data counted as one of them.
        statistic: The statistic of the data.
        toys: The statistics of the toys.
        failed: Fraction of toys whose fits failed.
        interval: Where the p-value is at least 1 - level, its ends interpolated.
    """

    values: Float[Array, " grid"]
    p_value: Float[Array, " grid"]
    statistic: Float[Array, " grid"]
    toys: Float[Array, "grid toy"]
    failed: Float[Array, " grid"]
    interval: Interval


class Coverage(NamedTuple):
    """How often intervals hold the truth.

    Attributes:
        level: Confidence levels.
        neyman: Fraction of experiments whose Neyman interval holds the truth, at each level.
        wilks: The same of the interval from the asymptotic distribution.
        neyman_error: Binomial standard error at the nominal level.
        n_experiments: Experiments.
        failed: Fraction of fits that failed.
    """

    level: Float[np.ndarray, " level"]
    neyman: Float[np.ndarray, " level"]
    wilks: Float[np.ndarray, " level"]
    neyman_error: Float[np.ndarray, " level"]
    n_experiments: int
    failed: float


def _toy_statistics(
    kind: Statistic, likelihood: Likelihood, value: Scalar, theta: Array, n_toys: int, key: Key
) -> tuple[Float[Array, " toy"], Bool[Array, " toy"]]:
    """Statistics of toys drawn at a point."""
    toys = sample_toys(likelihood, theta, n_toys, key=key)

    def one(toy: Observation) -> tuple[Array, Array]:
        found = evaluate_statistic(kind, likelihood, value, toy)
        return found.statistic, found.is_converged

    return jax.vmap(one)(toys)


def _p_value(statistic: Scalar, toys: Array, good: Array) -> Scalar:
    """Fraction of toys not below the data, which count as one of them."""
    extreme = (toys >= statistic - TIE) | ~good
    return (1.0 + jnp.sum(extreme)) / (1.0 + toys.shape[0])


@eqx.filter_jit
def _scan(
    kind: Statistic,
    likelihood: Likelihood,
    values: Array,
    observation: Observation,
    n_toys: int,
    key: Key,
) -> tuple[Array, Array, Array, Array, Array]:
    def at(index: Array) -> tuple[Array, Array, Array, Array, Array]:
        data = evaluate_statistic(kind, likelihood, values[index], observation)
        theta = data.constrained.theta
        toys, good = _toy_statistics(
            kind, likelihood, values[index], theta, n_toys, key_at(key, index)
        )
        p_value = _p_value(data.statistic, toys, good)
        return p_value, data.statistic, toys, jnp.mean(~good), data.is_converged

    # One value at a time: the toys of one fill the machine, and memory stays that of one.
    return jax.lax.map(at, jnp.arange(values.shape[0]))


def neyman(
    likelihood: Likelihood,
    values: Float[Array, " grid"] | Float[np.ndarray, " grid"] | Sequence[float],
    observation: Observation | None = None,
    *,
    key: Key,
    level: float = 0.95,
    n_toys: int = 1000,
    statistic: Statistic = "t_tilde",
    report: Verdict | None = None,
    allow_failed: bool = False,
) -> NeymanScan:
    """A confidence interval by Neyman's construction with toys, nuisance parameters profiled.

    Cost: two fits a toy, `n_toys` times the number of values, in one compiled program.

    Args:
        likelihood: The likelihood.
        values: Values of the parameter of interest, rising; the interval is searched within them.
        observation: The data; the observed ones where left out.
        key: Random key.
        level: Confidence level.
        n_toys: Toys at each value.
        statistic: What orders the toys: "t_tilde" after Feldman and Cousins, "t" without a bound
            at 0, "q" or "q_tilde" for upper limits.
        report: Verdict on the ratio; a failed one is refused.
        allow_failed: Go on with a failed report or outside the trained range.

    Returns:
        The interval, and the p-values and toys behind it.

    Raises:
        ConfigError: The level is no probability, `values` do not rise, the report failed, a
            value is outside the trained range, there are no data, or x64 is off.
        ConvergenceError: Fits of the data, or more than a hundredth of the toys', failed.
    """
    require_x64("limits")
    check_key(key)
    require(0.0 < level < 1.0, "level", "lie between 0 and 1", level)
    n_toys = as_integer(n_toys, "n_toys", low=2)
    grid = np.asarray(values, dtype=float)
    require_shape(grid.ndim == 1 and grid.size >= 2, "values", "be a row", f"shape {grid.shape}")
    require(bool(np.all(np.diff(grid) > 0.0)), "values", "rise", grid.tolist())
    require_gates(likelihood, {likelihood.poi: grid}, report, allow_failed)
    data = likelihood.data(observation)
    p_value, found, toys, failed, good = _scan(
        statistic, likelihood, jnp.asarray(grid), data, n_toys, key
    )
    require_converged(good & (failed <= MOST_FAILED), "Neyman construction")
    interval = _interval(grid, np.asarray(p_value), level)
    return NeymanScan(jnp.asarray(grid), p_value, found, toys, failed, interval)


def _interval(values: np.ndarray, p_value: np.ndarray, level: float) -> Interval:
    """The outermost values whose p-value is high enough, interpolated to where it is."""
    margin = p_value - (1.0 - level)
    inside = np.flatnonzero(margin >= 0.0)
    if not inside.size:
        return Interval(np.nan, np.nan, level, False, False)
    first, last = int(inside[0]), int(inside[-1])

    def edge(good: int, bad: int) -> float:
        share = margin[good] / (margin[good] - margin[bad])
        return float(values[good] + share * (values[bad] - values[good]))

    is_first, is_last = first == 0, last == values.size - 1
    low = float(values[0]) if is_first else edge(first, first - 1)
    high = float(values[-1]) if is_last else edge(last, last + 1)
    return Interval(low, high, level, is_first, is_last)


@eqx.filter_jit
def _cover(
    kind: Statistic,
    likelihood: Likelihood,
    theta: Array,
    experiments: Observation | None,
    counts: tuple[int, int],
    key: Key,
) -> tuple[Array, Array, Array]:
    n_experiments, n_toys = counts
    value = theta[likelihood.index(likelihood.poi)]

    def experiment(index: Array) -> tuple[Array, Array, Array]:
        own = key_at(key, index)
        if experiments is None:
            data = likelihood.sample(theta, key=key_for(own, "experiment"))
        else:
            data = jax.tree.map(lambda leaf: leaf[index], experiments)
        found = evaluate_statistic(kind, likelihood, value, data)
        at, beside = found.constrained.theta, key_for(own, "toys")
        toys, good = _toy_statistics(kind, likelihood, value, at, n_toys, beside)
        p_value = _p_value(found.statistic, toys, good)
        return p_value, found.statistic, jnp.mean(~good) + ~found.is_converged

    return jax.lax.map(experiment, jnp.arange(n_experiments))


def coverage(
    likelihood: Likelihood,
    theta: Float[Array, " param"],
    *,
    key: Key,
    levels: Sequence[float] = (0.68, 0.95),
    n_experiments: int = 1000,
    n_toys: int = 500,
    statistic: Statistic = "t_tilde",
    experiments: Observation | None = None,
) -> Coverage:
    """How often Neyman's and Wilks' intervals hold the truth, over experiments drawn at it.

    Cost: two fits for each toy of each experiment. The truth is in an interval where its p-value
    is at least 1 - level, so that only this one value is tested.

    Args:
        likelihood: The likelihood; its data are not looked at.
        theta: The truth.
        key: Random key.
        levels: Confidence levels.
        n_experiments: Experiments.
        n_toys: Toys of each.
        statistic: As in `neyman`.
        experiments: Experiments drawn elsewhere, every array with a leading axis; they take the
            place of those that the likelihood draws, whose simulation may not be the truth.

    Returns:
        Fractions of experiments at each level.

    Raises:
        ConfigError: A level is no probability, a count is too small, or x64 is off.
        ConvergenceError: More than a hundredth of the fits failed.
    """
    require_x64("limits")
    check_key(key)
    for level in levels:
        require(0.0 < level < 1.0, "levels", "lie between 0 and 1", level)
    if experiments is not None:
        n_experiments = jax.tree.leaves(experiments)[0].shape[0]
    counts = (
        as_integer(n_experiments, "n_experiments", low=2),
        as_integer(n_toys, "n_toys", low=2),
    )
    p_value, found, failed = _cover(
        statistic, likelihood, jnp.asarray(theta), experiments, counts, key
    )
    require_converged(jnp.mean(failed) <= MOST_FAILED, "coverage")
    nominal = np.asarray(levels, dtype=float)
    p_values, statistics = np.asarray(p_value)[:, None], np.asarray(found)[:, None]
    return Coverage(
        level=nominal,
        neyman=np.mean(p_values >= 1.0 - nominal - 1e-12, axis=0),
        wilks=np.mean(statistics <= chi2.ppf(nominal, 1), axis=0),
        neyman_error=np.sqrt(nominal * (1.0 - nominal) / counts[0]),
        n_experiments=counts[0],
        failed=float(jnp.mean(failed)),
    )
