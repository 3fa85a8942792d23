r"""Losses of a core: the area of a static loop, and a regression for waveforms of a ferrite.

Reference:
    C. P. Steinmetz, Trans. AIEE 9 (1892) 3, whose power law in frequency and flux is the regression
    of first degree.
"""

import itertools
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checks import as_integer, require
from diffhep.core.errors import DataError
from diffhep.core.typing import Scalar

__citations__ = ("doi:10.1109/T-AIEE.1892.5570437",)

_RIDGE = 1e-9
"""Of the standardised columns, per waveform: keeps unneeded powers finite."""


class LoopFigures(NamedTuple):
    """What a data sheet says of a loop.

    Attributes:
        loss_J_m3: Its area, the energy lost in a cycle per volume.
        coercivity_A_m: Field strength at which the rising branch has no flux density.
        remanence_T: Flux density of the falling branch without field strength.
    """

    loss_J_m3: Scalar
    coercivity_A_m: Scalar
    remanence_T: Scalar


def loop_figures(
    h_A_m: Float[Array, " point"],
    rising_T: Float[Array, " point"],
    falling_T: Float[Array, " point"],
) -> LoopFigures:
    r"""Area, coercivity and remanence of a loop, straight between its points.

    The area is $\oint H\,\mathrm dB = \int(B_\downarrow - B_\uparrow)\,\mathrm dH$.

    Args:
        h_A_m: Field strengths, rising, the same for both branches.
        rising_T: Flux density on the way up, monotone.
        falling_T: Flux density on the way down.

    Returns:
        The figures; differentiable in both branches.
    """
    return LoopFigures(
        jnp.trapezoid(falling_T - rising_T, h_A_m),
        jnp.interp(0.0, rising_T, h_A_m),
        jnp.interp(0.0, h_A_m, falling_T),
    )


class CoreLossFit(eqx.Module):
    r"""$\log P$ as a polynomial in $\log f$, $\log\hat B$ and the duty.

    Attributes:
        coefficients: Of the powers.
        centre: Means of the three quantities in the data.
        scale: Their standard deviations.
        powers: The powers of the standardised quantities.
    """

    coefficients: Float[Array, " power"]
    centre: Float[Array, " quantity"]
    scale: Float[Array, " quantity"]
    powers: tuple[tuple[int, int, int], ...] = eqx.field(static=True)

    def __call__(
        self,
        frequency_Hz: Float[Array, " waveform"],
        amplitude_T: Float[Array, " waveform"],
        duty: Float[Array, " waveform"],
    ) -> Float[Array, " waveform"]:
        """Loss per volume in W/m^3; beyond the range of the data it is worth nothing."""
        x = (_quantities(frequency_Hz, amplitude_T, duty) - self.centre) / self.scale
        return jnp.exp(_columns(x, self.powers) @ self.coefficients)


def fit_core_loss(
    frequency_Hz: Float[Array, " waveform"],
    amplitude_T: Float[Array, " waveform"],
    duty: Float[Array, " waveform"],
    loss_W_m3: Float[Array, " waveform"],
    *,
    degree: int = 4,
) -> CoreLossFit:
    """Least squares for the relative errors of the loss.

    Args:
        frequency_Hz: Of each waveform.
        amplitude_T: Its largest flux density.
        duty: Share of the period in which the flux rises.
        loss_W_m3: Measured loss per volume.
        degree: Highest total degree; 1 is a power law.

    Returns:
        The fit.

    Raises:
        ConfigError: There are fewer waveforms than powers, or the degree is no positive integer.
        DataError: A number is not positive.
    """
    for name, column in {
        "frequency_Hz": frequency_Hz,
        "amplitude_T": amplitude_T,
        "duty": duty,
        "loss_W_m3": loss_W_m3,
    }.items():
        if not bool(jnp.all((column > 0) & jnp.isfinite(column))):
            index = int(jnp.argmin((column > 0) & jnp.isfinite(column)))
            raise DataError(
                f"Argument `{name}` must be finite and positive, but at index {index} it is "
                f"{float(column[index])}."
            )
    highest = as_integer(degree, "degree", low=1)
    every = itertools.product(range(highest + 1), repeat=3)
    powers = tuple((a, b, c) for a, b, c in every if a + b + c <= highest)
    rule = f"hold a waveform for each of {len(powers)} powers"
    require(len(powers) <= loss_W_m3.shape[0], "loss_W_m3", rule, loss_W_m3.shape[0])
    quantities = _quantities(frequency_Hz, amplitude_T, duty)
    centre, scale = jnp.mean(quantities, axis=0), jnp.std(quantities, axis=0)
    columns = np.asarray(_columns((quantities - centre) / scale, powers))
    normal = columns.T @ columns + _RIDGE * len(columns) * np.eye(len(powers))
    coefficients = np.linalg.solve(normal, columns.T @ np.log(np.asarray(loss_W_m3)))
    return CoreLossFit(jnp.asarray(coefficients), centre, scale, powers)


def _quantities(frequency: Array, amplitude: Array, duty: Array) -> Array:
    return jnp.stack([jnp.log(frequency), jnp.log(amplitude), duty], axis=-1)


def _columns(x: Array, powers: tuple[tuple[int, int, int], ...]) -> Array:
    return jnp.stack([jnp.prod(x ** jnp.array(power), axis=-1) for power in powers], axis=-1)
