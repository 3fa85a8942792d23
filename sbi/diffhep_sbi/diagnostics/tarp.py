"""Tests of accuracy with random points: coverage of balls around them.

For a random point, the fraction of posterior draws that lie closer to it than the truth does is
uniform if the posterior is right; unlike ranks of single parameters this also fails where a wrong
posterior has the right marginals or ignores the data.

Reference:
    P. Lemos et al., arXiv:2302.03026.
"""

import jax
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checks import require_shape
from diffhep.core.rng import check_key, key_for
from diffhep.core.typing import Key
from diffhep_sbi.diagnostics.uniformity import CoverageCurve, as_trials, coverage_curve

__citations__ = ("arXiv:2302.03026",)


def tarp(
    theta: Float[Array, "trial param"] | Float[np.ndarray, "trial param"],
    samples: Float[Array, "trial draw param"] | Float[np.ndarray, "trial draw param"],
    *,
    key: Key,
    references: Float[Array, "trial param"] | Float[np.ndarray, "trial param"] | None = None,
) -> CoverageCurve:
    """Coverage of balls around random points.

    Distances are Euclidean in units of the range of the truths.

    Args:
        theta: The truth of each trial.
        samples: Posterior draws of each trial.
        key: Random key of the points.
        references: The points instead; points that depend on the data find more faults.

    Returns:
        The coverage at levels from 0 to 1, and the p-value of its ranks.

    Raises:
        ShapeError: The arrays do not fit.
        DataError: An entry is not finite.
    """
    check_key(key)
    truth, draws = as_trials(theta, samples)
    low, width = truth.min(axis=0), np.ptp(truth, axis=0)
    width = np.where(width > 0.0, width, 1.0)
    if references is None:
        # A stream of its own: truths drawn with the same key must not be met again.
        points = low + width * np.asarray(jax.random.uniform(key_for(key, "tarp"), truth.shape))
    else:
        points = np.asarray(references, float)
    rule = f"be of shape {truth.shape}"
    require_shape(points.shape == truth.shape, "references", rule, f"shape {points.shape}")
    of_truth = np.linalg.norm((truth - points) / width, axis=-1)
    of_draws = np.linalg.norm((draws - points[:, None]) / width, axis=-1)
    ranks = np.sum(of_draws < of_truth[:, None], axis=1)
    return coverage_curve(ranks, draws.shape[1])
