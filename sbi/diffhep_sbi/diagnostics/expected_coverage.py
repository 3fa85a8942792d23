"""Expected coverage of the highest-density regions of posteriors.

The credibility of the smallest region that holds the truth is the fraction of draws of higher
density; over trials it is uniform if the posterior is right. Below the diagonal the posteriors are
overconfident.

Reference:
    J. Hermans et al., arXiv:2110.06581.
"""

import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checks import require_shape
from diffhep.core.errors import DataError
from diffhep_sbi.diagnostics.uniformity import CoverageCurve, coverage_curve

__citations__ = ("arXiv:2110.06581",)


def expected_coverage(
    log_prob_truth: Float[Array, " trial"] | Float[np.ndarray, " trial"],
    log_prob_samples: Float[Array, "trial draw"] | Float[np.ndarray, "trial draw"],
) -> CoverageCurve:
    """Coverage of highest-density regions, from densities at the truth and at posterior draws.

    Args:
        log_prob_truth: Log-density of the posterior at the truth of each trial; a constant of
            the trial, such as its evidence, cancels.
        log_prob_samples: The same at draws from that posterior.

    Returns:
        The coverage at levels from 0 to 1, and the p-value of its ranks.

    Raises:
        ShapeError: The arrays do not fit.
        DataError: An entry is NaN.
    """
    truth, draws = np.asarray(log_prob_truth, float), np.asarray(log_prob_samples, float)
    good = truth.ndim == 1 and draws.ndim == 2 and draws.shape[0] == truth.shape[0]
    require_shape(good, "log_prob_samples", "be of shape (trial, draw)", f"shape {draws.shape}")
    if np.any(np.isnan(truth)) or np.any(np.isnan(draws)):
        raise DataError("Argument `log_prob_samples` must not hold NaN, nor `log_prob_truth`.")
    ranks = np.sum(draws > truth[:, None], axis=1)
    return coverage_curve(ranks, draws.shape[1])
