r"""Spectral maps: SU(2) and SU(3) matrices moved through their eigenangles alone.

$W = V e^{i\,\mathrm{diag}\,\theta}V^\dagger \mapsto V e^{i\,\mathrm{diag}\,\theta'}V^\dagger$ with
$\theta'$ a function of $\theta$ in canonical order and of gauge-invariant context. The map commutes
with conjugations, $XWX^\dagger\mapsto XW'X^\dagger$, and with permutations of the eigenvalues.

The gaps between the angles around the circle form a simplex, which breaking of a stick makes a box:
$y_1 = (\theta_1-\theta_N)/2\pi$, then the shares of the gaps in it. Monotone splines move one
coordinate after the other, each with parameters from those already moved. Faces of the simplex,
where eigenvalues coincide, stay where they are. With Weyl's measure
$\prod_{j<k}4\sin^2\frac{\theta_j-\theta_k}2\,d\theta$ the Jacobian on the group is
$\log\left|\frac{\partial\theta'}{\partial\theta}\right|
+ \sum_{j<k}2\log\left|\sin\frac{\theta'_j-\theta'_k}2/\sin\frac{\theta_j-\theta_k}2\right|$.

Reference:
    D. Boyda et al., arXiv:2008.05456.
"""

import functools
import operator

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checks import as_integer, require
from diffhep.core.typing import Key
from diffhep_lattice.flows import rational_quadratic
from diffhep_lattice.flows.eigenangles import (
    Angles,
    Matrices,
    eigenangles,
    from_gaps,
    gaps,
    with_eigenangles,
)
from diffhep_lattice.flows.networks import ConvolutionalNet
from diffhep_lattice.flows.rational_quadratic import Spline

__citations__ = ("arXiv:2008.05456",)

_LEAST_WIDTH = 1e-3
"""Smallest width and height of a bin."""

_N_HARMONICS = 3
"""The networks see cos(k pi y) of the coordinates moved before, for k up to this."""

Box = Float[Array, "coordinate *shape"]
Context = Float[Array, "channel *shape"]


class SpectralMap(eqx.Module):
    r"""A conjugation-equivariant map of SU(2) or SU(3) to itself.

    Attributes:
        conditioners: Networks from context and earlier coordinates to splines, one per coordinate.
        n_colors: Number of colours, 2 or 3.
        n_context: Channels of the context, may be 0.
        n_bins: Bins of each spline.
    """

    conditioners: tuple[ConvolutionalNet, ...]
    n_colors: int = eqx.field(static=True)
    n_context: int = eqx.field(static=True)
    n_bins: int = eqx.field(static=True)

    def __init__(
        self,
        n_colors: int,
        n_context: int = 0,
        *,
        n_bins: int = 8,
        hidden: tuple[int, ...] = (16, 16),
        key: Key,
    ) -> None:
        """Build a map near the identity.

        Args:
            n_colors: Number of colours, 2 or 3.
            n_context: Channels of gauge-invariant context.
            n_bins: Bins of each spline.
            hidden: Neurons of the networks' hidden layers.
            key: Random key.

        Raises:
            ConfigError: The number of colours has no closed form, or a count is out of range.
        """
        require(
            n_colors in (2, 3), "n_colors", "be 2 or 3 for eigenangles in closed form", n_colors
        )
        n_context = as_integer(n_context, "n_context", low=0)
        n_bins = as_integer(n_bins, "n_bins", low=1)
        self.n_colors, self.n_context, self.n_bins = n_colors, n_context, n_bins
        keys = jax.random.split(key, n_colors - 1)
        nets = []
        for k in range(n_colors - 1):
            n_in = n_context + _N_HARMONICS * k
            # Without anything to look at, the spline is a constant: one layer, fed with a one.
            layers = hidden if n_in else ()
            nets.append(ConvolutionalNet(max(n_in, 1), layers, 3 * n_bins + 1, 1, key=keys[k]))
        self.conditioners = tuple(nets)

    def forward_and_log_det(
        self, W: Matrices, context: Context | None = None
    ) -> tuple[Matrices, Float[Array, "*shape"]]:
        """The images, and the log-determinants on the group, one per matrix.

        Args:
            W: Special unitary matrices, the colour axes first.
            context: Invariants for each matrix; None where the map takes none.
        """
        old = eigenangles(W)
        new, log_det = self.forward_angles(old, context)
        return with_eigenangles(W, old, new), log_det

    def inverse_and_log_det(
        self, W: Matrices, context: Context | None = None
    ) -> tuple[Matrices, Float[Array, "*shape"]]:
        """The preimages, and the log-determinants of the inverse map on the group."""
        old = eigenangles(W)
        new, log_det = self.inverse_angles(old, context)
        return with_eigenangles(W, old, new), log_det

    def forward_angles(
        self, angles: Angles, context: Context | None = None
    ) -> tuple[Angles, Float[Array, "*shape"]]:
        """The eigenangles of the images in canonical order, and the log-determinants."""
        box = _to_box(angles)
        moved: list[Array] = []
        slopes = []
        for k, y in enumerate(box):
            spline = self._spline(k, moved, context, y.ndim)
            image, log_slope = rational_quadratic.forward_and_log_slope(y, spline)
            moved.append(image)
            slopes.append(log_slope)
        return self._finish(angles, jnp.stack(moved), slopes)

    def inverse_angles(
        self, angles: Angles, context: Context | None = None
    ) -> tuple[Angles, Float[Array, "*shape"]]:
        """The eigenangles of the preimages in canonical order, and the log-determinants."""
        box = _to_box(angles)
        found, slopes = [], []
        for k, y in enumerate(box):
            spline = self._spline(k, list(box[:k]), context, y.ndim)
            preimage, log_slope = rational_quadratic.inverse_and_log_slope(y, spline)
            found.append(preimage)
            slopes.append(log_slope)
        return self._finish(angles, jnp.stack(found), slopes)

    def _finish(
        self, angles: Angles, box: Box, slopes: list[Array]
    ) -> tuple[Angles, Float[Array, "*shape"]]:
        new = from_gaps(gaps(from_box(box)))
        change = log_volume(new) - log_volume(angles)
        return new, functools.reduce(operator.add, slopes) + change

    def _spline(self, k: int, earlier: list[Array], context: Context | None, ndim: int) -> Spline:
        """The spline of coordinate k for every matrix, on [0, 1]."""
        features = [
            jnp.cos(np.pi * order * y)[None]
            for y in earlier
            for order in range(1, _N_HARMONICS + 1)
        ]
        if self.n_context:
            features.insert(0, jnp.asarray(context))
        net = self.conditioners[k]
        one = jnp.ones((1,) * (ndim + 1), net.layers[0].weight.dtype)
        raw = net(jnp.concatenate(features) if features else one)
        n = self.n_bins
        free = 1.0 - n * _LEAST_WIDTH
        widths = _LEAST_WIDTH + free * jax.nn.softmax(raw[:n], axis=0)
        heights = _LEAST_WIDTH + free * jax.nn.softmax(raw[n : 2 * n], axis=0)
        return Spline(widths, heights, raw[2 * n :])


def _to_box(angles: Angles) -> Box:
    r"""$y_1 = 1 - g_N/2\pi$ and the share of every further gap in what is left of the circle."""
    shares = gaps(angles) * (0.5 / np.pi)
    n = angles.shape[0]
    rest = [sum(shares[j] for j in range(k, n - 1)) for k in range(n - 1)]
    return jnp.stack([rest[0], *(shares[k] / rest[k] for k in range(n - 2))])


def from_box(box: Box) -> Angles:
    """The angles of a point of the box."""
    rest, shares = box[0], []
    for y in box[1:]:
        shares.append(rest * y)
        rest = rest * (1 - y)
    return from_gaps(2 * np.pi * jnp.stack([*shares, rest, 1 - box[0]]))


def log_volume(angles: Angles) -> Float[Array, "*shape"]:
    """Log of Weyl's measure per volume of the box, up to a constant."""
    n = angles.shape[0]
    found = gaps(angles)
    total = jnp.zeros_like(angles[0])
    for j in range(n - 1):
        for k in range(j + 1, n):
            apart = functools.reduce(operator.add, [found[i] for i in range(j, k)])
            total = total + 2 * jnp.log(jnp.sin(0.5 * apart))
    for k in range(n - 2):
        total = total + jnp.log(functools.reduce(operator.add, [found[i] for i in range(k, n - 1)]))
    return total
