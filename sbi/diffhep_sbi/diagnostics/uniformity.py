"""Whether ranks are uniform, as those of the truth among draws from a correct posterior are.

Reference:
    S. Talts et al., arXiv:1804.06788.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from scipy.stats import chi2

from diffhep.core.checks import as_integer, require_shape
from diffhep.core.errors import DataError

__citations__ = ("arXiv:1804.06788",)

MOST_BINS = 20
LEAST_PER_BIN = 10
"""Expected ranks in a bin, so that the chi-square distribution holds."""


class Ranks(NamedTuple):
    """Ranks of the truth among draws, one a trial and parameter.

    Attributes:
        ranks: How many draws lie below the truth, 0 to `n_draws`.
        n_draws: Draws of a trial.
        p_value: Probability of a chi-square at least as large, of each parameter, if the ranks
            are uniform.
    """

    ranks: Int[np.ndarray, "trial param"]
    n_draws: int
    p_value: Float[np.ndarray, " param"]


class CoverageCurve(NamedTuple):
    """How often credible regions hold the truth.

    Attributes:
        level: Credibility of the regions.
        coverage: Fraction of trials whose region holds the truth.
        error: Binomial standard error at the nominal level.
        p_value: Of the ranks behind it, as in `Ranks`.
    """

    level: Float[np.ndarray, " level"]
    coverage: Float[np.ndarray, " level"]
    error: Float[np.ndarray, " level"]
    p_value: float


def uniformity_p_value(ranks: Int[np.ndarray, " trial"], n_draws: int) -> float:
    """The p-value of a chi-square test that ranks are uniform on 0 to `n_draws`.

    Args:
        ranks: The ranks.
        n_draws: The largest one possible.

    Returns:
        The p-value; 1 where there are too few ranks for two bins.

    Raises:
        DataError: A rank is out of range.
    """
    if np.any((ranks < 0) | (ranks > n_draws)):
        raise DataError(f"Argument `ranks` must lie in 0 to {n_draws}, but some do not.")
    n_bins = min(MOST_BINS, n_draws + 1, len(ranks) // LEAST_PER_BIN)
    if n_bins < 2:
        return 1.0
    edges = np.linspace(0, n_draws + 1, n_bins + 1).astype(int)
    counts = np.histogram(ranks, np.concatenate([edges[:-1], [n_draws + 1]]))[0]
    expected = len(ranks) * np.diff(edges) / (n_draws + 1)
    return float(chi2.sf(np.sum((counts - expected) ** 2 / expected), n_bins - 1))


def coverage_curve(
    ranks: Int[np.ndarray, " trial"], n_draws: int, n_levels: int = 21
) -> CoverageCurve:
    """The coverage of nested regions, from how many draws lie inside of the truth's.

    Args:
        ranks: Draws in the smallest region that holds the truth, 0 to `n_draws`.
        n_draws: Draws of a trial.
        n_levels: Levels, evenly from 0 to 1.

    Returns:
        Coverage at each level.

    Raises:
        ConfigError: `n_levels` is below 2.
        DataError: A rank is out of range.
    """
    n_levels = as_integer(n_levels, "n_levels", low=2)
    level = np.linspace(0.0, 1.0, n_levels)
    p_value = uniformity_p_value(ranks, n_draws)
    # A truth between two draws is in all of the regions between their levels: half of them count.
    share = (ranks + 0.5) / (n_draws + 1)
    coverage = np.mean(share[:, None] <= level, axis=0)
    error = np.sqrt(level * (1.0 - level) / len(ranks))
    return CoverageCurve(level, coverage, error, p_value)


def as_trials(theta: ArrayLike, samples: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Truths and draws as checked arrays.

    Args:
        theta: The truth of each trial, (trial, param).
        samples: Draws of each trial, (trial, draw, param).

    Returns:
        Both as NumPy arrays.

    Raises:
        ShapeError: They do not fit.
        DataError: An entry is not finite.
    """
    truth, draws = np.asarray(theta, float), np.asarray(samples, float)
    require_shape(truth.ndim == 2, "theta", "be of shape (trial, param)", f"shape {truth.shape}")
    good = draws.ndim == 3 and draws.shape[::2] == truth.shape and draws.shape[1] > 0
    rule = f"be of shape ({truth.shape[0]}, draw, {truth.shape[1]})"
    require_shape(good, "samples", rule, f"shape {draws.shape}")
    for name, array in (("theta", truth), ("samples", draws)):
        if not np.all(np.isfinite(array)):
            index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
            raise DataError(f"Argument `{name}` must be finite, but entry {index} is not.")
    return truth, draws
