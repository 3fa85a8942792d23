r"""Odd monotone maps of the circle to itself, the kernels of the coupling layers.

A kernel maps an angle in $[-\pi,\pi)$, fixes 0 and $\pi$, and commutes with $y\to-y$, the charge
conjugation of the gauge action. (A coupling's shift and context need not commute with it.) The
circular spline has a continuous slope; log-densities have kinks at its knots. Parameters come from
a network, raw and unconstrained, in the form (n_raw, *shape); all zero they make the identity.
"""

import abc
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Array, Float

from diffhep.core.checks import as_integer, require, require_real
from diffhep_lattice.flows import rational_quadratic
from diffhep_lattice.flows.rational_quadratic import Spline

__citations__ = ("arXiv:2002.02428", "arXiv:1906.04032")

_LARGEST_LOG_DILATION = 30.0
"""Squares of dilations up to exp of this are numbers in single precision."""


class AbstractKernel(eqx.Module):
    """An odd monotone map of the circle, or of the line, with parameters of its own everywhere."""

    @property
    @abc.abstractmethod
    def n_raw(self) -> int:
        """Number of raw parameters per element."""

    @abc.abstractmethod
    def forward_and_log_slope(
        self, angle: Float[Array, "*shape"], raw: Float[Array, "raw *shape"]
    ) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        r"""The image of angles in $[-\pi,\pi)$, and the logarithm of the slope, per element."""

    @abc.abstractmethod
    def inverse_and_log_slope(
        self, angle: Float[Array, "*shape"], raw: Float[Array, "raw *shape"]
    ) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        """The preimage, and the logarithm of the slope of the inverse map, per element."""


class AbstractOddSpline(AbstractKernel):
    r"""A rational-quadratic spline from zero on, continued by $y\to-y$.

    Attributes:
        n_bins: Number of bins on each side of zero.

    Reference:
        C. Durkan, A. Bekasov, I. Murray, G. Papamakarios, arXiv:1906.04032.
    """

    n_bins: eqx.AbstractVar[int]

    @abc.abstractmethod
    def spline(self, raw: Float[Array, "raw *shape"]) -> Spline:
        """The spline of raw parameters, one for each element."""

    @property
    def n_raw(self) -> int:
        """Widths, heights and slopes."""
        return 3 * self.n_bins + 1

    def forward_and_log_slope(
        self, angle: Float[Array, "*shape"], raw: Float[Array, "raw *shape"]
    ) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        """The image of numbers and the logarithm of the slope."""
        image, log_slope = rational_quadratic.forward_and_log_slope(
            jnp.abs(angle), self.spline(raw)
        )
        return jnp.copysign(image, angle), log_slope

    def inverse_and_log_slope(
        self, angle: Float[Array, "*shape"], raw: Float[Array, "raw *shape"]
    ) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        """The preimage of numbers, in closed form, and the logarithm of the inverse's slope."""
        image, log_slope = rational_quadratic.inverse_and_log_slope(
            jnp.abs(angle), self.spline(raw)
        )
        return jnp.copysign(image, angle), log_slope


class CircularSpline(AbstractOddSpline):
    r"""An odd rational-quadratic spline on $[0,\pi]$, continued to the circle by $y\to-y$.

    The slope is continuous at 0 by oddness, and at $\pi$ because both ends carry the same slope.

    Attributes:
        n_bins: Number of bins on the half circle.
        smallest: Least width and height of a bin in units of $\pi$.

    Reference:
        D. J. Rezende et al., arXiv:2002.02428.
    """

    n_bins: int = eqx.field(
        static=True, converter=partial(as_integer, name="n_bins", low=1), default=8
    )
    smallest: float = eqx.field(static=True, default=1e-3)

    def __check_init__(self) -> None:
        limit = 1.0 / self.n_bins
        require_real(self.smallest, "smallest", f"lie in (0, {limit})")
        require(0 < self.smallest < limit, "smallest", f"lie in (0, {limit})", self.smallest)

    def spline(self, raw: Float[Array, "raw *shape"]) -> Spline:
        """Widths and heights are fractions of the half circle."""
        n = self.n_bins

        def fractions(logits: Float[Array, "bin *shape"]) -> Float[Array, "bin *shape"]:
            free = 1.0 - n * self.smallest
            return np.pi * (self.smallest + free * jax.nn.softmax(logits, axis=0))

        widths, heights, slopes = jax.lax.optimization_barrier(jnp.split(raw, (n, 2 * n)))
        return Spline(fractions(widths), fractions(heights), slopes)


class NonCompactProjection(AbstractKernel):
    r"""A mean of dilations of the projected angle.

    $y\mapsto\frac1K\sum_k 2\arctan(e^{a_k}\tan(y/2))$. The inverse is found by bisection.

    Attributes:
        n_components: Number $K$ of dilations.

    Reference:
        G. Kanwar et al., arXiv:2003.06413; D. J. Rezende et al., arXiv:2002.02428.
    """

    n_components: int = eqx.field(
        static=True, converter=partial(as_integer, name="n_components", low=1), default=6
    )

    @property
    def n_raw(self) -> int:
        """One log-dilation per component."""
        return self.n_components

    def forward_and_log_slope(
        self, angle: Float[Array, "*shape"], raw: Float[Array, "raw *shape"]
    ) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        """The image of angles and the logarithm of the slope."""
        half = 0.5 * angle
        dilation = jnp.exp(jnp.clip(raw, -_LARGEST_LOG_DILATION, _LARGEST_LOG_DILATION))
        cos, sin = jnp.cos(half), jnp.sin(half)
        # |y| <= pi, so cos(y/2) >= 0 and the two-argument arc tangent has no branch to choose.
        image = jnp.mean(2 * jnp.arctan2(dilation * sin, cos), axis=0)
        slope = jnp.mean(dilation / (cos**2 + (dilation * sin) ** 2), axis=0)
        return image, jnp.log(slope)

    def inverse_and_log_slope(
        self, angle: Float[Array, "*shape"], raw: Float[Array, "raw *shape"]
    ) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        """The preimage of angles and the logarithm of the inverse's slope.

        Derivatives come from the implicit function theorem, not from the iteration.
        """
        flat = raw.reshape(self.n_components, -1)
        preimage = jax.vmap(self._solve, in_axes=(0, 1))(angle.ravel(), flat)
        preimage = preimage.reshape(angle.shape)
        return preimage, -self.forward_and_log_slope(preimage, raw)[1]

    def _solve(self, image: Float[Array, ""], raw: Float[Array, " raw"]) -> Float[Array, ""]:
        def residual(y: Float[Array, ""], args: tuple) -> Float[Array, ""]:
            target, parameters = args
            return self.forward_and_log_slope(y, parameters)[0] - target

        eps = float(jnp.finfo(image.dtype).eps)
        # The map rises. Told so, the solver stops at an end where rounding hides the root.
        solver = optx.Bisection(rtol=4 * eps, atol=4 * eps, flip=False)
        options = {"lower": -np.pi - 1e-6, "upper": np.pi + 1e-6}
        solution = optx.root_find(
            residual, solver, image, (image, raw), options, max_steps=80, throw=False
        )
        return solution.value
