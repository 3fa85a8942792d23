"""Errors of functions of mean values, such as ratios and logarithms, by the Gamma method."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Array, Float, Shaped

from diffhep.core.checks import require_shape
from diffhep.core.errors import DataError
from diffhep.core.stats import GammaResult, finite_array, gamma_method

__citations__ = ("arXiv:hep-lat/0306017",)


def gamma_method_of(
    function: Callable[[np.ndarray], float | np.floating | Float[Array, ""]],
    x: Shaped[np.ndarray, "*chain step observable"] | Shaped[Array, "*chain step observable"],
    s_tau: float = 1.5,
) -> GammaResult:
    r"""A function of the means of several correlated series, its error and autocorrelation time.

    To first order $f(\bar x) - f(\langle x\rangle) = \sum_a f_a\,(\bar x_a - \langle x_a\rangle)$
    with $f_a = \partial f/\partial x_a$, so that the error is that of the mean of the projected
    series $\sum_a f_a x_a$, correlations among the observables and in time included. The
    derivatives are central differences over one naive standard error of each observable, the scale
    on which the function must be smooth.

    Args:
        function: Maps the means, shape (observable,), to a number.
        x: Measurements, shape (step, observable) or (chain, step, observable).
        s_tau: As in `gamma_method`.

    Returns:
        The function at the means in place of the mean, its error, the integrated autocorrelation
        time of the projected series in steps with its error, and the window.

    Raises:
        ShapeError: `x` is not of rank 2 or 3, or has fewer than 8 steps.
        DataError: An entry, or the function near the means, is not finite.
        ConfigError: `s_tau` is not positive.

    Reference:
        U. Wolff, Comput. Phys. Commun. 156 (2004) 143, arXiv:hep-lat/0306017.
    """
    array = finite_array(x, "x")
    rule = "be of shape (step, observable) or (chain, step, observable)"
    require_shape(array.ndim in (2, 3), "x", rule, f"shape {array.shape}")
    axes = tuple(range(array.ndim - 1))
    mean = array.mean(axis=axes)
    n_measured = array[..., 0].size
    scale = np.sqrt(array.var(axis=axes) / n_measured)
    slopes = np.zeros_like(mean)
    for index in np.flatnonzero(scale):
        shift = np.zeros_like(mean)
        shift[index] = scale[index]
        rise = float(function(mean + shift)) - float(function(mean - shift))
        slopes[index] = rise / (2.0 * scale[index])
    value = float(function(mean))
    if not (np.isfinite(value) and np.all(np.isfinite(slopes))):
        raise DataError(
            "Argument `function` must be finite within a standard error of the means, but at "
            f"the means it is {value}, and its slopes are {slopes.tolist()}."
        )
    found = gamma_method((array - mean) @ slopes, s_tau)
    return found._replace(mean=value)
