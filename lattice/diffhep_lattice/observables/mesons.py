r"""Chiral condensate and meson correlators of the Schwinger model.

They refer to fields normalised so that $D = 1 - \kappa H$. With $D = m_0 + 2 - \frac12H$, every
propagator is $2\kappa$ times that.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.typing import Scalar
from diffhep_lattice.fermions.determinant import fermion_determinant
from diffhep_lattice.fermions.dirac import GAMMA_5, WilsonDirac

__citations__ = ("doi:10.1103/PhysRevD.10.2445", "arXiv:2202.11712")


class MesonCorrelators(NamedTuple):
    r"""Correlators of pseudoscalars at zero momentum, $C(t)$ for $t = 0, \dots, T-1$.

    Attributes:
        condensate: $\frac1V\mathrm{Re\,Tr}\,D^{-1}$, as `chiral_condensate` gives it.
        pion: $\frac1L\sum_{x,y}\mathrm{tr}\,\gamma_5 S(x,y)\gamma_5 S(y,x)$ at distance $t$, which
            is $\frac1L\sum|S(x,y)|^2$: the flavour-nonsinglet.
        disconnected: $\frac1L\sum_{x,y}\mathrm{tr}[\gamma_5 S(x,x)]\,\mathrm{tr}[\gamma_5 S(y,y)]$.
    """

    condensate: Scalar
    pion: Float[Array, " time"]
    disconnected: Float[Array, " time"]

    def eta(self, n_flavours: int) -> Float[Array, " time"]:
        r"""The flavour singlet, $C_\pi(t) - N_f\,C_\mathrm{disconnected}(t)$."""
        return self.pion - n_flavours * self.disconnected


def chiral_condensate(U: Float[Array, "mu L T"], kappa: Any) -> Scalar:
    r"""$\frac1V\mathrm{Re\,Tr}\,D^{-1} = 2 - \frac{\kappa}{V}\partial_\kappa\log|\det D|$.

    This is $-\langle\bar\psi\psi\rangle$ of one flavour.

    Args:
        U: Link angles in radians.
        kappa: Hopping parameter, at least 0.

    Returns:
        The condensate of one configuration, float64.

    Raises:
        ShapeError: `U` is no gauge field in two dimensions.
        ConfigError: `kappa` is negative or not finite, or `jax_enable_x64` is off.
    """
    kappa = jnp.asarray(kappa, jnp.float64)
    slope = jax.grad(lambda k: fermion_determinant(U, k).log_abs)(kappa)
    return 2.0 - kappa * slope / (U.size // 2)


def meson_correlators(U: Float[Array, "mu L T"], kappa: Any) -> MesonCorrelators:
    """Correlators from the propagators between all sites, averaged over the time of the source.

    Costs the inverse of a (2V, 2V) matrix.

    Args:
        U: Link angles in radians.
        kappa: Hopping parameter, at least 0.

    Returns:
        The correlators of one configuration.

    Raises:
        ShapeError: `U` is no gauge field in two dimensions.
        ConfigError: `kappa` is negative or not finite.
    """
    _, length, time = U.shape
    S = _inverse(WilsonDirac(U, kappa).dense()).reshape(2, length, time, 2, length, time)
    squared = jnp.sum(S.real**2 + S.imag**2, axis=(0, 1, 3, 4))
    diagonal = jnp.einsum("axtaxt->at", S).real
    local = jnp.asarray(np.diag(GAMMA_5), diagonal.dtype) @ diagonal
    source = np.arange(time)
    sink = (source[:, None] + source) % time
    scale = 1.0 / (length * time)
    return MesonCorrelators(
        scale * jnp.sum(diagonal),
        scale * jnp.sum(squared[sink, source], axis=1),
        scale * jnp.sum(local[sink] * local[source], axis=1),
    )


@jax.custom_batching.sequential_vmap
def _inverse(matrix: Array) -> Array:
    """Of one matrix at a time: batches can deadlock, as `fermions.determinant` explains."""
    return jnp.linalg.inv(matrix)
