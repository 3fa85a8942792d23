"""Odd monotone maps of the real line, the kernels of the couplings of scalar fields.

Their parameters come from a network, raw and unconstrained; all zero they make the identity.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffhep.core.checks import require
from diffhep_lattice.flows import rational_quadratic
from diffhep_lattice.flows.kernels import AbstractKernel, AbstractOddSpline
from diffhep_lattice.flows.rational_quadratic import Spline

__citations__ = ("arXiv:1906.04032", "arXiv:1904.12072")


class Dilation(AbstractKernel):
    r"""$\phi\mapsto e^s\phi$; with a coupling's shift the affine map of a real NVP.

    Reference:
        L. Dinh, J. Sohl-Dickstein, S. Bengio, arXiv:1605.08803.
    """

    @property
    def n_raw(self) -> int:
        """The logarithm of the scale."""
        return 1

    def forward_and_log_slope(
        self, angle: Float[Array, "*shape"], raw: Float[Array, "raw *shape"]
    ) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        """The image of numbers and the logarithm of the slope."""
        return angle * jnp.exp(raw[0]), raw[0]

    def inverse_and_log_slope(
        self, angle: Float[Array, "*shape"], raw: Float[Array, "raw *shape"]
    ) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        """The preimage of numbers and the logarithm of the inverse's slope."""
        return angle * jnp.exp(-raw[0]), -raw[0]


class LineSpline(AbstractOddSpline):
    """An odd rational-quadratic spline around zero, continued by straight lines.

    Widths and heights of the bins are positive and free, so that the ends can move and scale.

    Attributes:
        n_bins: Number of bins on each side of zero.
        extent: Where the last knot is at the start, in units of the field.

    Reference:
        C. Durkan, A. Bekasov, I. Murray, G. Papamakarios, arXiv:1906.04032.
    """

    n_bins: int = eqx.field(static=True, default=6)
    extent: float = eqx.field(static=True, default=3.0)

    def __check_init__(self) -> None:
        require(self.n_bins >= 1, "n_bins", "be at least 1", self.n_bins)
        require(self.extent > 0, "extent", "be positive", self.extent)

    def spline(self, raw: Float[Array, "raw *shape"]) -> Spline:
        """Widths and heights are free."""
        n = self.n_bins
        widths, heights, slopes = jax.lax.optimization_barrier(jnp.split(raw, (n, 2 * n)))
        scale = self.extent / n
        positive = rational_quadratic.positive
        return Spline(scale * positive(widths), scale * positive(heights), slopes)
