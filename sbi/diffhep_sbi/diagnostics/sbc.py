"""Simulation-based calibration: ranks of the truth among posterior draws.

With theta from the prior and x from the simulator, the rank of each theta among draws from the
posterior of x is uniform if the posterior is right on average.

Reference:
    S. Talts et al., arXiv:1804.06788.
"""

import numpy as np
from jaxtyping import Array, Float

from diffhep_sbi.diagnostics.uniformity import Ranks, as_trials, uniformity_p_value

__citations__ = ("arXiv:1804.06788",)


def sbc(
    theta: Float[Array, "trial param"] | Float[np.ndarray, "trial param"],
    samples: Float[Array, "trial draw param"] | Float[np.ndarray, "trial draw param"],
) -> Ranks:
    """Ranks of each parameter, and whether they are uniform.

    Draws of a chain must be thinned to independent ones first: correlated ranks are not uniform.

    Args:
        theta: The truth of each trial, from the prior.
        samples: Posterior draws of each trial.

    Returns:
        The ranks, and a p-value of each parameter.

    Raises:
        ShapeError: `theta` and `samples` do not fit.
        DataError: An entry is not finite.
    """
    truth, draws = as_trials(theta, samples)
    ranks = np.sum(draws < truth[:, None], axis=1)
    n_draws = draws.shape[1]
    p_value = np.array([uniformity_p_value(column, n_draws) for column in ranks.T])
    return Ranks(ranks, n_draws, p_value)
