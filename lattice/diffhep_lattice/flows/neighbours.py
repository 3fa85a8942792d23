r"""Couplings of a scalar field with its nearest neighbours: few parameters, as cheap as a force.

On the sites of one parity, with the sum $s(x)$ of the neighbours' fields,
$\phi'(x) = k(e^{c\,u(s)}\phi(x)) + s\,(t_1 + t_3\,u(s))$, $u(s) = s^2/(1+s^2)$, with one odd
kernel k and the same numbers c, $t_1$, $t_3$ on the whole lattice. A pair of them, one for each
parity, is a map for a short step of the action, as the maps of stochastic flows are; they need no
network, and their parameters mean the same on every lattice and in every dimension.

Reference:
    After M. S. Albergo, G. Kanwar, P. E. Shanahan, arXiv:1904.12072, and, for maps of few
    parameters between updates, M. Caselle, E. Cellini, A. Nada, M. Panero, arXiv:2201.08862.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from diffhep.core.checks import as_integer, require_shape
from diffhep.core.typing import Scalar
from diffhep_lattice.flows.base import AbstractBijection
from diffhep_lattice.flows.compose import Chain
from diffhep_lattice.flows.kernels import AbstractKernel
from diffhep_lattice.flows.line_kernels import SinhArcsinh
from diffhep_lattice.flows.scalar import site_sum

__citations__ = ("arXiv:1904.12072", "arXiv:2201.08862")


class NeighbourCoupling(AbstractBijection):
    r"""One coupling, on the sites of one parity.

    It commutes with all translations, rotations and reflections that keep the parities and with
    the change of sign of the field.

    Attributes:
        parity: 0 or 1, that of the coordinate sum of the sites that move.
        raw: Parameters of the kernel.
        shift: $t_1$ and $t_3$.
        growth: $c$.
        kernel: The map of a site that moves, one that takes parameters common to all sites:
            `SinhArcsinh` or `Dilation`.
        dimension: Number of site axes, which come first in a field.
    """

    parity: Int[Array, ""] = eqx.field(converter=jnp.asarray)
    raw: Float[Array, " raw"]
    shift: Float[Array, "2"]
    growth: Scalar = eqx.field(converter=jnp.asarray)
    kernel: AbstractKernel
    dimension: int = eqx.field(static=True)

    def forward_and_log_det(
        self, phi: Float[Array, "..."]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """The field after the move, and the log-determinant."""
        moves, shift, log_scale, raw = self._parts(phi)
        image, log_slope = self.kernel.forward_and_log_slope(jnp.exp(log_scale) * phi, raw)
        return self._result(moves, image + shift, phi, log_slope + log_scale)

    def inverse_and_log_det(
        self, phi: Float[Array, "..."]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """The field before the move, and the log-determinant of the inverse."""
        moves, shift, log_scale, raw = self._parts(phi)
        preimage, log_slope = self.kernel.inverse_and_log_slope(phi - shift, raw)
        image = jnp.exp(-log_scale) * preimage
        return self._result(moves, image, phi, log_slope - log_scale)

    def _parts(
        self, phi: Float[Array, "..."]
    ) -> tuple[Bool[Array, "..."], Float[Array, "..."], Float[Array, "..."], Float[Array, "..."]]:
        """Which sites move, how they are shifted and scaled, and the kernel's parameters."""
        shape = phi.shape[: self.dimension]
        even = len(shape) == self.dimension and all(n % 2 == 0 for n in shape)
        rule = f"have even lengths along its first {self.dimension} axes"
        require_shape(even, "phi", rule, f"shape {phi.shape}")
        ones = (1,) * (phi.ndim - self.dimension)
        parity = np.indices(shape).sum(axis=0) % 2
        moves = (jnp.asarray(parity) == self.parity).reshape(*shape, *ones)
        neighbours = sum(
            jnp.roll(phi, 1, axis) + jnp.roll(phi, -1, axis) for axis in range(self.dimension)
        )
        square = neighbours**2
        bounded = square / (1.0 + square)
        shift = neighbours * (self.shift[0] + self.shift[1] * bounded)
        return moves, shift, self.growth * bounded, self.raw.reshape(-1, *(1,) * phi.ndim)

    def _result(
        self,
        moves: Bool[Array, "..."],
        image: Float[Array, "..."],
        phi: Float[Array, "..."],
        log_slope: Float[Array, "..."],
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        log_det = site_sum(jnp.where(moves, log_slope, 0.0), self.dimension)
        return jnp.where(moves, image, phi), log_det


def neighbour_couplings(dimension: int = 2, *, kernel: AbstractKernel | None = None) -> Chain:
    """A coupling of each parity in turn, the even sites first, both the identity.

    Args:
        dimension: Dimension of the lattice.
        kernel: `SinhArcsinh()` if left out, or `Dilation()`.

    Returns:
        The map, one of the `bijections` of a `stochastic_flow`.

    Raises:
        ConfigError: `dimension` is no positive integer; when it is applied, ShapeError where a
            length of the lattice is odd.
    """
    dimension = as_integer(dimension, "dimension", low=1)
    kernel = kernel or SinhArcsinh()
    return Chain(
        tuple(
            NeighbourCoupling(
                jnp.asarray(parity),
                jnp.zeros(kernel.n_raw),
                jnp.zeros(2),
                jnp.zeros(()),
                kernel,
                dimension,
            )
            for parity in (0, 1)
        )
    )
