"""The numbers of the shower's law: published ones by default, leaves that can be fitted."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

__citations__ = ("arXiv:hep-ex/0001020",)


def _numbers(*values: float) -> Any:
    """A field of floats that need not be an array when it is given."""
    return eqx.field(converter=lambda value: jnp.asarray(value, dtype=float), default=values)


class GflashParameters(eqx.Module):
    r"""Parameters of the law of Grindhammer and Peters, $y = E/E_c$.

    The defaults are the published constants, as in Geant4 11.4; `slope`, `resolution` and the
    factor of `response` are one and `warp` is zero there: what a fit may turn besides.

    Attributes:
        position: $c$ in $\langle\ln T\rangle = \ln(s\ln y + c)$.
        slope: $s$ of the same.
        shape: $(a_1, a_2, a_3)$ in $\langle\ln\alpha\rangle = \ln(a_1 + (a_2 + a_3/Z)\ln y)$.
        position_width: $(u, v)$ in $\sigma(\ln T) = 1/(u + v\ln y)$, homogeneous.
        shape_width: The same for $\ln\alpha$.
        correlation: $(r_1, r_2)$ in $\rho = r_1 + r_2\ln y$.
        sampling_position: Added to T: per thickness of a layer in $X_0$, and per $1 - e/mip$.
        sampling_shape: Added to $\alpha$ per thickness of a layer in $X_0$.
        sampling_position_width: As `position_width`, in a sampling calorimeter.
        sampling_shape_width: As `shape_width`, in a sampling calorimeter.
        sampling_correlation: As `correlation`, in a sampling calorimeter.
        core: Of the core's radius, $(z_1 + z_2\ln E) + (z_3 + z_4Z)\tau$.
        tail: Of the tail's radius,
            $(k_1 + k_2Z)[e^{k_4(\tau-k_3)} + e^{(k_5+k_6\ln E)(\tau-k_3)}]$.
        weight: Of the core's weight.
        sampling_core: Added to the core's radius: per $1 - e/mip$, and per layer in $X_0$ times
            $e^{-\tau}$.
        sampling_tail: The same for the tail.
        sampling_weight: The same for the weight, times $1 - e/mip$ and with $e^{-(\tau-1)^2}$.
        spots: Of the number of spots and their profile, homogeneous.
        sampling_spots: The same in a sampling calorimeter.
        warp: Of the profile: what is before a depth is not $u = P(\alpha, \beta t)$ but
            $u + \sum_k w_k\int_0^u P_k(2v-1)\,dv$ with Legendre polynomials of degree 1 to 4.
        response: $(r_1, r_2)$ in the factor $r_1 + r_2t$ on the visible fraction, with a layer's
            thickness t in $X_0$.
        resolution: Factor on the sampling term.
    """

    position: Float[Array, " number"] = _numbers(-0.812)
    slope: Float[Array, " number"] = _numbers(1.0)
    shape: Float[Array, " number"] = _numbers(0.81, 0.458, 2.26)
    position_width: Float[Array, " number"] = _numbers(-1.4, 1.26)
    shape_width: Float[Array, " number"] = _numbers(-0.58, 0.86)
    correlation: Float[Array, " number"] = _numbers(0.705, -0.023)
    sampling_position: Float[Array, " number"] = _numbers(-0.55, -0.69)
    sampling_shape: Float[Array, " number"] = _numbers(-0.476)
    sampling_position_width: Float[Array, " number"] = _numbers(-2.5, 1.25)
    sampling_shape_width: Float[Array, " number"] = _numbers(-0.82, 0.79)
    sampling_correlation: Float[Array, " number"] = _numbers(0.784, -0.023)
    core: Float[Array, " number"] = _numbers(0.0251, 0.00319, 0.1162, -0.000381)
    tail: Float[Array, " number"] = _numbers(0.659, -0.00309, 0.645, -2.59, 0.3585, 0.0412)
    weight: Float[Array, " number"] = _numbers(2.632, -0.00094, 0.401, 0.00187, 1.313, -0.0686)
    sampling_core: Float[Array, " number"] = _numbers(-0.0203, 0.0397)
    sampling_tail: Float[Array, " number"] = _numbers(-0.14, -0.495)
    sampling_weight: Float[Array, " number"] = _numbers(0.348, -0.642)
    spots: Float[Array, " number"] = _numbers(93.0, 0.876, 0.698, 0.00212, 0.639, 0.00334)
    sampling_spots: Float[Array, " number"] = _numbers(10.3, 0.959, 0.813, 0.0019, 0.844, 0.0026)
    warp: Float[Array, " number"] = _numbers(0.0, 0.0, 0.0, 0.0)
    response: Float[Array, " number"] = _numbers(1.0, 0.0)
    resolution: Float[Array, " number"] = _numbers(1.0)
