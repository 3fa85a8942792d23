"""How often each topological sector occurs: what a flow leaves out shows here."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from diffhep.core.checks import require_shape

__citations__ = ("arXiv:2003.06413",)


class Sectors(NamedTuple):
    r"""Probabilities of the topological sectors, estimated from a sample.

    Attributes:
        charge: The charges that occur, in increasing order.
        probability: The weighted fraction of the sample in each sector, sums to one.
        error: Its standard error for independent configurations. A sector that does not occur
            has none, so that a mode left out is no small error but a missing charge.
    """

    charge: Int[np.ndarray, " charge"]
    probability: Float[np.ndarray, " charge"]
    error: Float[np.ndarray, " charge"]

    def of(self, charge: int) -> tuple[float, float]:
        """Probability and error of one sector; zeros where it does not occur."""
        found = self.charge == charge
        return float(self.probability[found].sum()), float(self.error[found].sum())


def count_sectors(charges: ArrayLike, log_weights: ArrayLike | None = None) -> Sectors:
    r"""$P(Q) = \sum_i w_i\,\delta_{Q_i Q}/\sum_i w_i$ of independent configurations.

    Compare the flow's own sectors, the reweighted ones, those of another sampler and
    `exact.u1_charge_distribution`: a flow that leaves out a sector has a weighted distribution that
    is as narrow as its own, whatever its effective sample size.

    Args:
        charges: Topological charges, rounded to integers.
        log_weights: $\log w_i$, as in `FlowReport`; equal weights if left out.

    Returns:
        Probabilities of the charges that occur, with errors
        $\sqrt{\sum_i w_i^2(\delta_{Q_i Q} - P(Q))^2}/\sum_i w_i$.

    Raises:
        ShapeError: There is no configuration, or not one weight for each.
    """
    values = np.rint(np.asarray(charges, np.float64)).astype(int)
    good = values.ndim == 1 and values.size >= 1
    require_shape(good, "charges", "hold one charge per configuration", f"shape {values.shape}")
    log_w = np.zeros(values.size) if log_weights is None else np.asarray(log_weights, np.float64)
    rule = "hold one number per charge"
    require_shape(log_w.shape == values.shape, "log_weights", rule, f"shape {log_w.shape}")
    weights = np.exp(log_w - log_w.max())
    weights /= weights.sum()
    charge = np.unique(values)
    inside = values[None] == charge[:, None]
    probability = inside @ weights
    error = np.sqrt(((inside - probability[:, None]) ** 2) @ weights**2)
    return Sectors(charge, probability, error)
