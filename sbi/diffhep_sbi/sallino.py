r"""SALLINO: the ratio of one number an event, the local score projected onto the parameters.

SALLY's score $\hat t(x)$ at the reference makes the local ratio
$\hat h - \frac12\Delta\theta^\top I\,\Delta\theta$ of the projection
$\hat h = \hat t(x)\cdot\Delta\theta$, $\Delta\theta = \theta - \theta_\mathrm{ref}$. It is right
to second order in $\Delta\theta$. SALLINO takes from it the projection alone, and the ratio
$p(\hat h|\theta)/p(\hat h|\theta_\mathrm{ref})$ from events simulated at other parameters: a
density ratio of one variable for every direction, normalised far from the reference, too.

Reference:
    J. Brehmer, K. Cranmer, G. Louppe, J. Pavez, arXiv:1805.00020; J. Brehmer, G. Louppe, J. Pavez,
    K. Cranmer, arXiv:1805.12244.
"""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np

from diffhep.core.checks import require
from diffhep_sbi.calibration import CalibratedRatio, calibrate
from diffhep_sbi.gold import Gold
from diffhep_sbi.ratio import RatioEnsemble

__citations__ = ("arXiv:1805.00020", "arXiv:1805.12244")


def sallino(
    local: RatioEnsemble, gold: Gold, method: str = "spline", *, n_bins: int = 10
) -> CalibratedRatio:
    """The ratio of the projected score, on events of other parameters than the reference.

    Args:
        local: What `fit_ratio(..., "sally")` learned.
        gold: Events it was not trained on: of label 0 at parameters all over the range of
            interest, of label 1 at the reference. Joint ratios are used where there are any.
        method: "spline", which is smooth in the parameters as fits ask; "histogram" or "isotonic"
            at the distinct points of the gold. See `calibrate`.
        n_bins: As for `calibrate`.

    Returns:
        The ratio, whose trained range is that of the gold.

    Raises:
        ConfigError: `local` is no SALLY ratio, or gold has another reference; else as `calibrate`.
        DataError: As `calibrate`.
    """
    require(local.method == "sally", "local", "be learned by method 'sally'", local.method)
    same = local.theta1 is not None and bool(np.all(np.asarray(gold.theta1) == local.theta1))
    rule = f"be the reference {np.asarray(local.theta1).tolist()} of the local score"
    require(same, "gold.theta1", rule, "another point")
    theta0 = np.asarray(gold.theta0)
    low, high = jnp.asarray(theta0.min(axis=0)), jnp.asarray(theta0.max(axis=0))
    return calibrate(
        replace(local, low=low, high=high, method="sallino"), gold, method, n_bins=n_bins
    )
