"""Odd monotone maps of the real line, the kernels of the couplings of scalar fields.

Their parameters come from a network, raw and unconstrained; all zero they make the identity.
`Dilation` and `SinhArcsinh` take parameters that are common to all numbers as well.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffhep.core.checks import require
from diffhep_lattice.flows import rational_quadratic
from diffhep_lattice.flows.kernels import AbstractKernel, AbstractOddSpline
from diffhep_lattice.flows.rational_quadratic import Spline

__citations__ = ("arXiv:1906.04032", "arXiv:1904.12072", "doi:10.1093/biomet/asp053")


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
        self, angle: Float[Array, "*shape"], raw: Float[Array, "raw *#shape"]
    ) -> tuple[Float[Array, "*shape"], Float[Array, "*#shape"]]:
        """The image of numbers and the logarithm of the slope."""
        return angle * jnp.exp(raw[0]), raw[0]

    def inverse_and_log_slope(
        self, angle: Float[Array, "*shape"], raw: Float[Array, "raw *#shape"]
    ) -> tuple[Float[Array, "*shape"], Float[Array, "*#shape"]]:
        """The preimage of numbers and the logarithm of the inverse's slope."""
        return angle * jnp.exp(-raw[0]), -raw[0]


class SinhArcsinh(AbstractKernel):
    r"""$\phi\mapsto e^a\,w\sinh(\delta\,\mathrm{arsinh}(\phi/w))$, smooth on the whole line.

    Three parameters, $a$, $\log\delta$ and the logarithm of $w$ over `extent`: a dilation around
    zero, and far out the power $|\phi|^\delta$, which thins or thickens the tails. It costs four
    transcendental functions, a small part of a spline.

    Attributes:
        extent: Where the power sets in at the start, in units of the field.

    Reference:
        M. C. Jones, A. Pewsey, Biometrika 96 (2009) 761.
    """

    extent: float = eqx.field(static=True, default=0.5)

    def __check_init__(self) -> None:
        require(self.extent > 0, "extent", "be positive", self.extent)

    @property
    def n_raw(self) -> int:
        """Dilation, power and extent."""
        return 3

    def forward_and_log_slope(
        self, angle: Float[Array, "*shape"], raw: Float[Array, "raw *#shape"]
    ) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        """The image of numbers and the logarithm of the slope."""
        image, log_slope = self._bend(angle, raw[1], raw[2])
        return image * jnp.exp(raw[0]), log_slope + raw[0]

    def inverse_and_log_slope(
        self, angle: Float[Array, "*shape"], raw: Float[Array, "raw *#shape"]
    ) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        """The preimage of numbers and the logarithm of the inverse's slope."""
        preimage, log_slope = self._bend(angle * jnp.exp(-raw[0]), -raw[1], raw[2])
        return preimage, log_slope - raw[0]

    def _bend(
        self,
        x: Float[Array, "*shape"],
        log_power: Float[Array, "*#shape"],
        log_extent: Float[Array, "*#shape"],
    ) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        """The map without its dilation; the opposite power undoes it."""
        extent = self.extent * jnp.exp(log_extent)
        y = x / extent
        root = jnp.sqrt(1.0 + y**2)
        grown = jnp.exp(jnp.exp(log_power) * jnp.arcsinh(y))
        image = 0.5 * extent * (grown - 1.0 / grown)
        return image, log_power + jnp.log(0.5 * (grown + 1.0 / grown) / root)


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
