r"""A flow over Wilson loops of the two-dimensional torus, from the largest to the plaquettes.

The torus is bisected again and again, along axis 0 and axis 1 in turn. A loop with angle s around a
region is split into two children, $a = s/2 + y$ and $s - a$, with y drawn given s; the plaquette
angles at the end fix the links up to a gauge transformation and two holonomies, which are Haar
distributed. In two dimensions the plaquettes are independent but for one constraint, so the density
of a child depends on its parent alone: the construction exploits that and does not carry over to
higher dimensions or to matter fields. Charge conjugation makes y symmetric about 0.

The map from a normal variable z to y is $y = \pi\,\mathrm{erf}(h(z)/\sqrt2)$, uniform on the
circle for $h(z) = z$, with h an odd rational-quadratic spline on the real line. All its slopes are
of order one, for narrow densities too: that is what lets HMC run in the latent space. (A spline in
the quantile of y has slopes of the order of the inverse density in the tails.)
"""

import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffhep.core.checks import as_integer, require
from diffhep.core.rng import key_for
from diffhep.core.typing import Key
from diffhep_lattice.flows import rational_quadratic
from diffhep_lattice.flows.base import AbstractFlow, require_lattice
from diffhep_lattice.flows.networks import ConvolutionalNet
from diffhep_lattice.flows.rational_quadratic import Spline, positive
from diffhep_lattice.geometry import Lattice, neighbour
from diffhep_lattice.groups import wrap
from diffhep_lattice.observables.loops import transform_angles

__citations__ = ("arXiv:2002.02428", "arXiv:1906.04032")

_LAST_KNOT = 4.0
"""Where the splines end, in standard deviations of z; straight lines follow."""

_LEAST_WIDTH = 1e-3
"""Smallest width of a bin in units of the last knot."""

_N_HARMONICS = 3
"""The networks see cos(k s / 2) for k up to this."""

_LOG_TWO_PI = math.log(2 * math.pi)


class LoopSplit(eqx.Module):
    r"""The conditional density of one level: where a child loop lies given its parent.

    Attributes:
        network: From $\cos(ks/2)$ to the spline of h.
        n_bins: Bins of h on the positive half line.
    """

    network: ConvolutionalNet
    n_bins: int = eqx.field(static=True)

    def __init__(self, n_bins: int, width: int, *, key: Key) -> None:
        """Build a split that starts near the uniform density.

        Args:
            n_bins: Bins of the spline.
            width: Neurons of the network's two hidden layers.
            key: Random key.

        Raises:
            ConfigError: `n_bins` or `width` is no positive integer.
        """
        n_bins = as_integer(n_bins, "n_bins", low=1)
        width = as_integer(width, "width", low=1)
        self.network = ConvolutionalNet(
            _N_HARMONICS, (width, width), 3 * n_bins + 1, width=1, key=key
        )
        self.n_bins = n_bins

    def spline(self, parent: Float[Array, "*shape"]) -> Spline:
        """The spline of h for every parent loop, angles in [-pi, pi)."""
        harmonics = jnp.stack([jnp.cos(0.5 * k * parent) for k in range(1, _N_HARMONICS + 1)])
        raw = self.network(harmonics)
        n = self.n_bins
        free = 1.0 - n * _LEAST_WIDTH
        widths = _LAST_KNOT * (_LEAST_WIDTH + free * jax.nn.softmax(raw[:n], axis=0))
        heights = _LAST_KNOT / n * positive(raw[n : 2 * n])
        return Spline(widths, heights, raw[2 * n :])

    def forward_and_log_slope(
        self, z: Float[Array, "*shape"], parent: Float[Array, "*shape"]
    ) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        r"""The angle y of normal variables, and $\log dy/dz$."""
        h, log_slope = rational_quadratic.forward_and_log_slope(jnp.abs(z), self.spline(parent))
        y = jnp.pi * jax.lax.erf(h * math.sqrt(0.5))
        return jnp.copysign(y, z), log_slope + 0.5 * (_LOG_TWO_PI - h * h)

    def inverse_and_log_slope(
        self, y: Float[Array, "*shape"], parent: Float[Array, "*shape"]
    ) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        r"""The normal variable of angles y in $[-\pi,\pi)$, and $\log dz/dy$."""
        # At y = -pi exactly z would be infinite; the nearest number inside is as good.
        inside = 1.0 - float(jnp.finfo(y.dtype).epsneg)
        h = math.sqrt(2.0) * jax.lax.erf_inv(jnp.minimum(jnp.abs(y) / math.pi, inside))
        z, log_slope = rational_quadratic.inverse_and_log_slope(h, self.spline(parent))
        return jnp.copysign(z, y), log_slope - 0.5 * (_LOG_TWO_PI - h * h)


class LoopLatent(NamedTuple):
    """Latent variables of a gauge field on the torus.

    Attributes:
        loops: Standard normal variables, one per split; the coarsest first.
        holonomy: Angles of the two loops around the torus, uniform.
        gauge: Angles of the gauge transformation at every site but the first, uniform.
    """

    loops: Float[Array, "split *batch"]
    holonomy: Float[Array, "2 *batch"]
    gauge: Float[Array, "site *batch"]


class MultiscaleFlow(AbstractFlow):
    r"""The flow over Wilson loops.

    Attributes:
        lattice: The lattice of the fields; lengths are powers of 2.
        splits: One conditional density per level, the coarsest first.
    """

    lattice: Lattice
    splits: tuple[LoopSplit, ...]

    def sample_latent(self, key: Key) -> LoopLatent:
        """Normal loops, Haar holonomies and Haar gauge."""
        n = self.lattice.volume - 1

        def uniform(name: str, size: int) -> Float[Array, " n"]:
            return jax.random.uniform(key_for(key, name), (size,), self.dtype, -jnp.pi, jnp.pi)

        loops = jax.random.normal(key_for(key, "loops"), (n,), self.dtype)
        return LoopLatent(loops, uniform("holonomy", 2), uniform("gauge", n))

    def log_prob_latent(self, z: LoopLatent) -> Float[Array, "*batch"]:
        r"""The normal density of the loops times $2\pi$ for each: Haar measure is dy/2 pi."""
        squares = jnp.sum(jnp.square(z.loops).astype(float), axis=0)
        return 0.5 * (z.loops.shape[0] * _LOG_TWO_PI - squares)

    def forward_and_log_det(
        self, z: LoopLatent
    ) -> tuple[Float[Array, "mu L T *batch"], Float[Array, "*batch"]]:
        """The field of latent variables, and the sum of log dy/dz."""
        plaquettes, log_det = self._plaquettes(z.loops)
        U = links_from_plaquettes(plaquettes, z.holonomy)
        gauge = jnp.concatenate([jnp.zeros_like(z.gauge[:1]), z.gauge])
        return wrap(transform_angles(U, gauge.reshape(U.shape[1:]))), log_det

    def inverse_and_log_det(
        self, U: Float[Array, "mu L T *batch"]
    ) -> tuple[LoopLatent, Float[Array, "*batch"]]:
        """The latent variables of a field, and the sum of log dz/dy."""
        loops, log_det = self._normal_loops(_plaquettes(U))
        gauge, holonomy = _gauge_and_holonomy(U)
        flat = gauge.reshape(-1, *gauge.shape[2:])
        return LoopLatent(loops, holonomy, flat[1:]), log_det

    def _plaquettes(
        self, z: Float[Array, "split *batch"]
    ) -> tuple[Float[Array, "L T *batch"], Float[Array, "*batch"]]:
        loops = jnp.zeros((1, 1, *z.shape[1:]), z.dtype)
        log_det = jnp.zeros(z.shape[1:], float)
        for split, axis, part in zip(
            self.splits, split_axes(self.lattice), self._parts(), strict=True
        ):
            normal = z[part].reshape(loops.shape)
            y, log_slope = split.forward_and_log_slope(normal, loops)
            first = 0.5 * loops + y
            loops = wrap(_interleave(first, loops - first, axis))
            log_det = log_det + jnp.sum(log_slope.astype(float), axis=(0, 1))
        return loops, log_det

    def _normal_loops(
        self, loops: Float[Array, "L T *batch"]
    ) -> tuple[Float[Array, "split *batch"], Float[Array, "*batch"]]:
        parts, log_det = [], jnp.zeros(loops.shape[2:], float)
        axes = split_axes(self.lattice)
        for split, axis in zip(reversed(self.splits), reversed(axes), strict=True):
            first, second = _halves(loops, axis)
            parent = wrap(first + second)
            if parent.shape[:2] == (1, 1):
                parent = jnp.zeros_like(parent)
            z, log_slope = split.inverse_and_log_slope(wrap(first - 0.5 * parent), parent)
            parts.append(z.reshape(-1, *z.shape[2:]))
            log_det = log_det + jnp.sum(log_slope.astype(float), axis=(0, 1))
            loops = parent
        return jnp.concatenate(parts[::-1]), log_det

    def _parts(self) -> list[slice]:
        """Where each level's latent variables lie: 1, 2, 4, ... of them."""
        return [slice(2**level - 1, 2 ** (level + 1) - 1) for level in range(len(self.splits))]


def split_axes(lattice: Lattice) -> list[int]:
    """The axis along which each level bisects its regions, the coarsest first."""
    remaining = list(lattice.shape)
    axes = []
    while max(remaining) > 1:
        axis = remaining.index(max(remaining))
        remaining[axis] //= 2
        axes.append(axis)
    return axes


def _plaquettes(U: Float[Array, "mu L T *batch"]) -> Float[Array, "L T *batch"]:
    return wrap(U[0] + neighbour(U[1], 0) - neighbour(U[0], 1) - U[1])


def _interleave(
    first: Float[Array, "a b *batch"], second: Float[Array, "a b *batch"], axis: int
) -> Float[Array, "c d *batch"]:
    """Children beside each other, in place of their parents."""
    both = jnp.stack([first, second], axis=axis + 1)
    shape = list(first.shape)
    shape[axis] *= 2
    return both.reshape(shape)


def _halves(
    loops: Float[Array, "c d *batch"], axis: int
) -> tuple[Float[Array, "a b *batch"], Float[Array, "a b *batch"]]:
    shape = list(loops.shape)
    shape[axis] //= 2
    shape.insert(axis + 1, 2)
    pairs = loops.reshape(shape)
    return jnp.take(pairs, 0, axis=axis + 1), jnp.take(pairs, 1, axis=axis + 1)


def links_from_plaquettes(
    plaquettes: Float[Array, "L T *batch"], holonomy: Float[Array, "2 *batch"]
) -> Float[Array, "mu L T *batch"]:
    r"""A gauge field with given plaquettes and holonomies, in a fixed gauge.

    $U_1 = 0$ but on the last slice of axis 1, and $U_0(x, 0) = 0$ but at the last x: what is not
    zero lies off a maximal tree, each link with unit coefficient, so the Jacobian is one.

    Args:
        plaquettes: Plaquette angles in radians; their sum is a multiple of 2 pi.
        holonomy: Angles of the links that close the tree around axis 0 and axis 1, in radians.

    Returns:
        Link angles in radians, not wrapped.
    """
    before = jnp.cumsum(plaquettes, axis=1) - plaquettes
    bottom = jnp.zeros_like(plaquettes[:, :1]).at[-1, 0].set(holonomy[0])
    U0 = bottom - before
    # On the last slice U_1(x+1) = U_1(x) + P(x) - U_0(x, last) + U_0(x, 0) = U_1(x) + column sum.
    columns = jnp.sum(plaquettes, axis=1)
    last = holonomy[1] + jnp.cumsum(columns, axis=0) - columns
    U1 = jnp.zeros_like(plaquettes).at[:, -1].set(last)
    return jnp.stack([U0, U1])


def _gauge_and_holonomy(
    U: Float[Array, "mu L T *batch"],
) -> tuple[Float[Array, "L T *batch"], Float[Array, "2 *batch"]]:
    """The gauge transformation from the fixed gauge to a field, and the field's holonomies."""
    # Along the tree g(x + mu) = g(x) - U_mu(x): first axis 0 at the bottom, then up axis 1.
    along_0 = jnp.cumsum(U[0, :, 0], axis=0) - U[0, :, 0]
    along_1 = jnp.cumsum(U[1], axis=1) - U[1]
    gauge = -(along_0[:, None] + along_1)
    holonomy = jnp.stack([jnp.sum(U[0, :, 0], axis=0), jnp.sum(U[1, 0], axis=0)])
    return wrap(gauge), wrap(holonomy)


def multiscale_flow(
    lattice: Lattice, *, key: Key, n_bins: int = 10, width: int = 16
) -> MultiscaleFlow:
    """A flow over Wilson loops that starts near the Haar measure.

    Args:
        lattice: A two-dimensional lattice whose lengths are powers of 2.
        key: Random key.
        n_bins: Bins of each spline.
        width: Neurons of each network's two hidden layers.

    Returns:
        The flow.

    Raises:
        ConfigError: The lattice cannot be bisected down to its plaquettes, or `n_bins` or `width`
            is no positive integer.
    """
    require_lattice(lattice)
    good = lattice.dimension == 2 and all(n & (n - 1) == 0 for n in lattice.shape)
    rule = "hold two powers of 2 for a flow over bisected loops"
    require(good, "shape", rule, lattice.shape)
    splits = tuple(
        LoopSplit(n_bins, width, key=key_for(key, f"split {level}"))
        for level in range(len(split_axes(lattice)))
    )
    return MultiscaleFlow(lattice, splits)
