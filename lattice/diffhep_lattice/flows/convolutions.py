r"""Convolutions on a plane with kernels that have every symmetry of the square lattice.

A kernel $K(x)$ that is even along both axes is diagonal in the basis
$\mathrm{cas}(k_0x_0)\,\mathrm{cas}(k_1x_1)$, $\mathrm{cas} = \cos+\sin$, with the eigenvalues
$\hat K(k) = \sum_x K(x)\cos k_0x_0\cos k_1x_1$. The transform is real, orthogonal and its own
inverse; as two products with small matrices, with the batch as the last axis, a CPU does it fast.

Kernels are given on the orbits of displacements $(a, b)$, $0\le b\le a\le$ `reach`, under
rotations and reflections. On a small torus they are wrapped around it: the parameters are those of
the infinite lattice, good for any size.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.typing import Scalar
from diffhep_lattice.flows.base import AbstractBijection

__citations__ = ("arXiv:2207.00283",)


def n_orbits(reach: int) -> int:
    """Number of displacements up to `reach` along each axis that no symmetry relates."""
    return (reach + 1) * (reach + 2) // 2


def orbit_symbols(shape: tuple[int, ...], reach: int) -> Float[np.ndarray, "orbit L T"]:
    r"""Eigenvalues of the convolution with the mean over each orbit, zero displacement first.

    $\frac12[\cos ak_0\cos bk_1 + \cos bk_0\cos ak_1]$; an orbit with weight c adds c to the sum
    of the kernel over all displacements.
    """
    k, q = (2 * np.pi * np.arange(n) / n for n in shape)

    def pair(a: int, b: int) -> np.ndarray:
        return np.outer(np.cos(a * k), np.cos(b * q))

    orbits = [(a, b) for a in range(reach + 1) for b in range(a + 1)]
    return np.stack([0.5 * (pair(a, b) + pair(b, a)) for a, b in orbits])


def hartley(x: Float[Array, "L T *rest"]) -> Float[Array, "L T *rest"]:
    """The separable transform along the first two axes; it is its own inverse."""
    first, second = (_cas(n).astype(x.dtype) for n in x.shape[:2])
    return jnp.einsum("kx,ly,xy...->kl...", first, second, x, optimize="optimal")


def _cas(n: int) -> np.ndarray:
    angle = 2 * np.pi * np.outer(np.arange(n), np.arange(n)) / n
    return (np.cos(angle) + np.sin(angle)) / np.sqrt(n)


class FreeField(AbstractBijection):
    r"""The linear map of white noise to the free field, $\phi(k) = z(k)/\sqrt{2(\hat k^2+m^2)}$.

    It brings in correlations of any length at no cost, with one parameter.

    Attributes:
        log_mass_squared: $\log m^2$ in lattice units.
    """

    log_mass_squared: Scalar = eqx.field(converter=jnp.asarray)

    def forward_and_log_det(
        self, z: Float[Array, "L T *batch"]
    ) -> tuple[Float[Array, "L T *batch"], Float[Array, "*batch"]]:
        """The free field of white noise."""
        return self._scale(z, -0.5)

    def inverse_and_log_det(
        self, phi: Float[Array, "L T *batch"]
    ) -> tuple[Float[Array, "L T *batch"], Float[Array, "*batch"]]:
        """The white noise of a free field."""
        return self._scale(phi, 0.5)

    def _scale(
        self, x: Float[Array, "L T *batch"], power: float
    ) -> tuple[Float[Array, "L T *batch"], Float[Array, "*batch"]]:
        k_squared = sum(
            np.ix_(*(4 * np.sin(np.pi * np.arange(n) / n) ** 2 for n in x.shape[:2])),
            np.zeros(x.shape[:2]),
        )
        mass_squared = jnp.exp(self.log_mass_squared.astype(float))
        log_scale = power * jnp.log(2 * (jnp.asarray(k_squared) + mass_squared))
        scale = jnp.exp(log_scale).astype(x.dtype)
        scaled = hartley(hartley(x) * scale.reshape(*scale.shape, *[1] * (x.ndim - 2)))
        return scaled, jnp.broadcast_to(jnp.sum(log_scale), x.shape[2:])
