"""Creutz ratios of mean Wilson loops: the string tension without the loops' perimeters."""

import numpy as np
from jaxtyping import Float

from diffhep.core.checks import require_shape

__citations__ = ("doi:10.1103/PhysRevD.21.2308",)


def creutz_ratios(loops: Float[np.ndarray, "R T"]) -> Float[np.ndarray, "R-1 T-1"]:
    r"""$\chi(R,T) = -\ln\frac{W(R,T)\,W(R-1,T-1)}{W(R-1,T)\,W(R,T-1)}$ of mean Wilson loops.

    Perimeters and corners cancel; with an area law it is the string tension times $a^2$. Take the
    ratio of means, never the mean of ratios. For its error pass
    `lambda W: creutz_ratios(W.reshape(R, T))[r, t]` and the series of the R T loops to
    `diffhep.core.derived.gamma_method_of`.

    Args:
        loops: `loops[r, t]` is the mean `wilson_loop` of r + 1 by t + 1 links.

    Returns:
        `[r, t]` is $\chi(r + 2, t + 2)$, dimensionless; NaN where noise makes a loop negative.

    Raises:
        ShapeError: There are fewer than 2 by 2 loops.

    Reference:
        M. Creutz, Phys. Rev. D 21 (1980) 2308.
    """
    values = np.asarray(loops, dtype=np.float64)
    rule = "be a table of at least 2 by 2 loops"
    good = values.ndim == 2 and min(values.shape) >= 2
    require_shape(good, "loops", rule, f"shape {values.shape}")
    logs = np.full(values.shape, np.nan)
    np.log(values, out=logs, where=values > 0)
    return logs[:-1, 1:] + logs[1:, :-1] - logs[1:, 1:] - logs[:-1, :-1]
