r"""Two-point functions of a real scalar field and what is read off them.

All are functions of one configuration, $\frac1V\sum_y\phi(y)\phi(y+x)$ and its parts, whose means
over an ensemble are the two-point functions; time is the last axis.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checks import require_shape
from diffhep_lattice.geometry import lattice_of_scalars

__citations__ = ("arXiv:1904.12072",)


def two_point_function(phi: Float[Array, "*site"]) -> Float[Array, "*site"]:
    r"""$G(x) = \frac1V\sum_y\phi(y)\,\phi(y+x)$, by a Fourier transform.

    Args:
        phi: The field.

    Returns:
        G at every displacement, zero first.

    Raises:
        ShapeError: `phi` is no real field.
        ConfigError: A site axis is shorter than 2.
    """
    volume = lattice_of_scalars(phi).volume
    return jnp.fft.ifftn(jnp.abs(jnp.fft.fftn(phi)) ** 2).real / volume


def zero_momentum_correlator(phi: Float[Array, "*space time"]) -> Float[Array, " time"]:
    r"""$C(t) = \frac{1}{V_sT}\sum_{t_0}\Phi(t_0)\,\Phi(t_0+t)$ with $\Phi$ the sum over a slice.

    The mean is `correlator` of `exact.phi4` and `exact.free_scalar`; its sum over t is the
    susceptibility.

    Args:
        phi: The field.

    Returns:
        C at every distance in time.

    Raises:
        ShapeError: `phi` is no real field.
        ConfigError: A site axis is shorter than 2.
    """
    volume = lattice_of_scalars(phi).volume
    slices = jnp.sum(phi, axis=tuple(range(phi.ndim - 1)))
    return jnp.fft.ifft(jnp.abs(jnp.fft.fft(slices)) ** 2).real / volume


def two_point_susceptibility(phi: Float[Array, "*site"]) -> Float[Array, ""]:
    r"""$\chi_2 = \frac1V(\sum_x\phi)^2$, the sum of the two-point function.

    Args:
        phi: The field.

    Returns:
        Its value, accumulated in double precision where that is on.

    Raises:
        ShapeError: `phi` is no real field.
        ConfigError: A site axis is shorter than 2.
    """
    volume = lattice_of_scalars(phi).volume
    return jnp.sum(phi.astype(float)) ** 2 / volume


def effective_mass(correlator: Float[np.ndarray, " time"]) -> Float[np.ndarray, " inner"]:
    r"""$m(t) = \mathrm{arcosh}\frac{C(t-1)+C(t+1)}{2C(t)}$ of a mean correlator on a torus.

    A single state, $C\propto\cosh m(t-T/2)$, has the same mass at every t. For its error pass
    `lambda C: effective_mass(C)[t]` and the series of C to `diffhep.core.derived.gamma_method_of`.

    Args:
        correlator: The mean correlator at distances 0 to T - 1.

    Returns:
        Masses in lattice units at t = 1 to T - 2; NaN where noise leaves no real one.

    Raises:
        ShapeError: There are fewer than 3 distances.
    """
    values = np.asarray(correlator, dtype=np.float64)
    require_shape(
        values.ndim == 1 and values.size >= 3,
        "correlator",
        "hold at least 3 distances",
        values.shape,
    )
    ratio = (values[:-2] + values[2:]) / (2.0 * values[1:-1])
    with np.errstate(invalid="ignore"):
        return np.arccosh(ratio)
