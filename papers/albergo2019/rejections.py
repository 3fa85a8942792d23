r"""The autocorrelation that rejections alone make.

A chain of independence Metropolis stays at a field of weight w with the probability r(w), and goes
to a fresh sample otherwise. An observable that knows nothing of the weights therefore has the
autocorrelation function $\rho(t) = \langle r^t\rangle_p$, which is the probability of t rejections
in a row, and $\tau_\mathrm{int} = \frac12 + \langle\frac{r}{1-r}\rangle_p$.
"""

import numpy as np
from jaxtyping import Float


def rejection_rates(log_weights: Float[np.ndarray, " sample"]) -> Float[np.ndarray, " sample"]:
    r"""$r_i = 1 - \frac1N\sum_j\min(1, w_j/w_i)$, in N log N operations.

    Args:
        log_weights: $\log w$ of samples of the flow.

    Returns:
        The probability of a rejection at each sample.
    """
    order = np.argsort(log_weights)
    w = np.exp(log_weights[order] - log_weights.max())
    n = len(w)
    accepted = (np.cumsum(w) / w + np.arange(n - 1, -1, -1)) / n
    rates = np.empty(n)
    rates[order] = 1.0 - accepted
    return rates


def tau_of_rejections(log_weights: Float[np.ndarray, " sample"]) -> float:
    r"""$\frac12 + \langle r/(1-r)\rangle_p$ in transitions, by reweighting.

    Args:
        log_weights: $\log w$ of samples of the flow.

    Returns:
        The integrated autocorrelation time; 1/2 for a flow without error.
    """
    rates = rejection_rates(log_weights)
    w = np.exp(log_weights - log_weights.max())
    return float(0.5 + np.sum(w * rates / (1.0 - rates)) / np.sum(w))
