r"""Eddy currents: a linear lag behind the input, the sum of exponentials.

Reference:
    G. Bertotti, Hysteresis in Magnetism, Academic Press 1998, chapter 12.
"""

from typing import Literal, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checks import as_integer, concrete, require, require_shape
from diffhep.core.typing import Scalar
from diffhep.magnet.operators.base import AbstractOperator

__citations__ = ("doi:10.1016/B978-0-12-093270-2.X5048-X",)

Hold = Literal["linear", "constant"]
"""How the input goes from one sample to the next: straight, or by a jump at once."""

_SHORT = 1e-4
"""Below this many time constants the mean of the decay is taken from its series."""


class EddyState(NamedTuple):
    """Input and lags.

    Attributes:
        u: The input.
        lag: What each mode lags behind it.
    """

    u: Scalar
    lag: Float[Array, " mode"]


class EddyCascade(AbstractOperator[EddyState]):
    r"""$y = u - \sum_k a_k\ell_k$ with $\dot\ell_k = \dot u - \ell_k/\tau_k$.

    Exact at every time step for inputs that are piecewise straight, or constant. A step of height
    one has the response $1 - \sum a_k e^{-t/\tau_k}$; behind a ramp the output is late by
    $\sum a_k\tau_k$.

    Attributes:
        amplitude: $a_k$, dimensionless.
        tau_s: $\tau_k$ in seconds.
        hold: "linear" (first-order hold) or "constant" (zero-order hold).

    Raises:
        ConfigError: A time constant is not positive, or the hold has another name.
        ShapeError: There are not as many amplitudes as time constants.
    """

    amplitude: Float[Array, " mode"] = eqx.field(converter=jnp.asarray)
    tau_s: Float[Array, " mode"] = eqx.field(converter=jnp.asarray)
    hold: Hold = eqx.field(static=True, default="linear")

    def __check_init__(self) -> None:
        require(self.hold in ("linear", "constant"), "hold", 'be "linear" or "constant"', self.hold)
        shapes = f"shapes {self.amplitude.shape} and {self.tau_s.shape}"
        good = self.tau_s.ndim == 1 and self.amplitude.shape == self.tau_s.shape
        require_shape(good, "amplitude", "have one number for every time constant", shapes)
        known = concrete(self.tau_s)
        if known is not None:
            require(bool((known > 0).all()), "tau_s", "be positive", known.tolist())

    def rest(self, u0: Scalar) -> EddyState:
        """After a long time at the input."""
        return EddyState(u0, jnp.zeros(self.tau_s.shape, u0.dtype))

    def step(self, state: EddyState, u: Scalar, dt: Scalar) -> tuple[EddyState, Scalar]:
        """Exact for the input's hold."""
        decays = dt / self.tau_s
        kept = jnp.exp(-decays)
        gained = _mean_decay(decays) if self.hold == "linear" else kept
        lag = kept * state.lag + gained * (u - state.u)
        return EddyState(u, lag), u - self.amplitude @ lag


def lamination(
    thickness_m: float, permeability_H_m: float, conductivity_S_m: float, n_modes: int = 20
) -> EddyCascade:
    r"""The mean flux density in a lamination behind the field at its surface.

    $\tau_k = \mu\sigma d^2/[\pi^2(2k-1)^2]$ and $a_k = 8/[\pi^2(2k-1)^2]$. The modes that are left
    out are taken to follow at once; the lag behind a ramp, $\mu\sigma d^2/12$ of all of them, is
    short by $32\mu\sigma d^2/(\pi^4\,48\,n^3)$.

    Args:
        thickness_m: $d$ in m.
        permeability_H_m: $\mu$ in H/m, constant.
        conductivity_S_m: $\sigma$ in S/m.
        n_modes: Modes kept.

    Returns:
        The operator from the surface's flux density to the mean one.

    Raises:
        ConfigError: A number is not positive.
    """
    sizes = {
        "thickness_m": thickness_m,
        "permeability_H_m": permeability_H_m,
        "conductivity_S_m": conductivity_S_m,
    }
    for name, value in sizes.items():
        require(0 < value < float("inf"), name, "be finite and positive", value)
    odd = 2.0 * np.arange(1, as_integer(n_modes, "n_modes", low=1) + 1) - 1.0
    scale = permeability_H_m * conductivity_S_m * thickness_m**2
    return EddyCascade(8.0 / (np.pi * odd) ** 2, scale / (np.pi * odd) ** 2)


def _mean_decay(x: Float[Array, " mode"]) -> Float[Array, " mode"]:
    r"""$(1 - e^{-x})/x$."""
    small = x < _SHORT
    safe = jnp.where(small, 1.0, x)
    return jnp.where(small, 1.0 - x / 2.0 + x**2 / 6.0 - x**3 / 24.0, -jnp.expm1(-safe) / safe)
