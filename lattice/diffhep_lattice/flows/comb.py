r"""A spectral flow along a comb of plaquettes, for SU(2) and SU(3) in two dimensions.

In two dimensions the plaquettes of a gauge field are independent but for one constraint: they close
to a torus. From Haar links, the links of axis 0 move one row after the other down to the second
one, each by $U' = W'W^\dagger U$ with the plaquette W above it and a spectral map
$W\mapsto W'$ that knows nothing but W: these plaquettes are then distributed as alone, and the
plaquettes below, which no move has had as its own yet, are Haar distributed still. The links of
axis 1 in the last row then do the same along the row. Only the last few plaquettes of the row feel
the constraint. Their product, the loop S around k of them, is given when the outermost one is
drawn, with the density $\propto f(W)f_{k-1}(W^\dagger S)$ where $f_k$ is the density of a loop
around k plaquettes. `ChainSplit` models that by spectral maps of $W S^{-\alpha}$: for SU(2) and
k = 2 the density is a function of the class of $WS^{-1/2}$, exactly.

The divergence from the theory is that of one plaquette times their number, which a fit makes as
small as one likes, and that of the few conditional densities once, whatever the volume. No
parameter refers to the size of the lattice. All that rests on the independence of plaquettes: the
construction exists in two dimensions only, and breaks the translations at one row and one site.

Reference:
    The spectral maps are those of D. Boyda et al., arXiv:2008.05456.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float

from diffhep.core.checks import as_integer, require
from diffhep.core.rng import key_for
from diffhep.core.typing import Key
from diffhep_lattice.flows.base import AbstractBijection, require_lattice
from diffhep_lattice.flows.compose import stack
from diffhep_lattice.flows.coupling import CouplingFlow
from diffhep_lattice.flows.eigenangles import Angles, Matrices, eigenangles, with_eigenangles
from diffhep_lattice.flows.spectral import SpectralMap
from diffhep_lattice.geometry import Lattice
from diffhep_lattice.groups import SUN
from diffhep_lattice.groups.matrices import dagger_multiply, multiply, multiply_dagger

__citations__ = ("arXiv:2008.05456",)

CENTRES = (0.5, 0.0, 1.0)
r"""Exponents $\alpha$ of the maps of a split, in turn."""

_N_CONTEXT = 4

Links = Complex[Array, "mu row column L T *batch"]


class ChainSplit(eqx.Module):
    r"""The conditional density of one loop W given a loop S around it and others.

    Maps $W S^{-\alpha}\mapsto h(WS^{-\alpha})$ for several $\alpha$ in turn, each with parameters
    from invariants of S.

    Attributes:
        maps: The spectral maps h, stacked: they run by a scan, compiled once.
        centres: Their exponents $\alpha$.
    """

    maps: SpectralMap
    centres: tuple[float, ...] = eqx.field(static=True)

    def forward_and_log_det(
        self, W: Matrices, S: Matrices
    ) -> tuple[Matrices, Float[Array, "*shape"]]:
        """The image of a loop given S, and the log-determinant."""
        return self._scan(SpectralMap.forward_and_log_det, W, S, reverse=False)

    def inverse_and_log_det(
        self, W: Matrices, S: Matrices
    ) -> tuple[Matrices, Float[Array, "*shape"]]:
        """The preimage, and the log-determinant of the inverse map."""
        return self._scan(SpectralMap.inverse_and_log_det, W, S, reverse=True)

    def _scan(
        self, method: Callable[..., tuple[Array, Array]], W: Matrices, S: Matrices, *, reverse: bool
    ) -> tuple[Matrices, Float[Array, "*shape"]]:
        angles = eigenangles(S)
        context = _context(angles)
        arrays, static = eqx.partition(self.maps, eqx.is_array)

        def apply(loop: Array, at: tuple[Array, SpectralMap]) -> tuple[Array, Array]:
            C = with_eigenangles(S, angles, at[0] * angles)
            image, log_det = method(
                eqx.combine(at[1], static), multiply_dagger(loop, C, 0), context
            )
            return multiply(image, C, 0), log_det

        centres = jnp.asarray(self.centres, angles.dtype)
        W, log_dets = jax.lax.scan(apply, W, (centres, arrays), reverse=reverse)
        return W, jnp.sum(log_dets, axis=0)


def _context(angles: Angles) -> Float[Array, "4 *shape"]:
    r"""Real and imaginary parts of $\mathrm{tr}\,S/N$ and $\mathrm{tr}\,S^{1/2}/N$."""
    parts = [f(scale * angles).mean(0) for scale in (1.0, 0.5) for f in (jnp.cos, jnp.sin)]
    return jnp.stack(parts)


class Comb(AbstractBijection):
    """The moves of all rows, then those of the plaquettes of the last row.

    Attributes:
        plaquette: The map of a plaquette that feels no constraint.
        splits: The conditional maps for k = `n_constrained` down to 2, stacked; None without any.
        n_constrained: Number of plaquettes at the end of the comb that feel the constraint.
    """

    plaquette: SpectralMap
    splits: ChainSplit | None
    n_constrained: int = eqx.field(static=True)

    def forward_and_log_det(self, U: Links) -> tuple[Links, Float[Array, "*batch"]]:
        """The field after all moves, and the log-determinant."""
        U0, column_log_det = self._columns(U[0], U[1])
        side, row_log_det = self._row(_Row(U0, U[1]))
        return jnp.stack([U0, U[1].at[:, :, :, 0].set(side)]), column_log_det + row_log_det

    def inverse_and_log_det(self, U: Links) -> tuple[Links, Float[Array, "*batch"]]:
        """The field before the moves, all plaquettes at once, and the inverse's log-determinant."""
        U0, column_log_det = self._columns_back(U[0], U[1])
        side, row_log_det = self._row_back(_Row(U[0], U[1]))
        return jnp.stack([U0, U[1].at[:, :, :, 0].set(side)]), column_log_det + row_log_det

    def _columns(self, U0: Array, U1: Array) -> tuple[Array, Float[Array, "*batch"]]:
        rows, sides = jnp.moveaxis(U0, 3, 0), jnp.moveaxis(U1, 3, 0)

        def move(above: Array, row: tuple[Array, Array]) -> tuple[Array, tuple[Array, Array]]:
            link, side = row
            rest = _rest(above, side)
            image, log_det = self.plaquette.forward_and_log_det(multiply(link, rest, 0))
            moved = multiply_dagger(image, rest, 0)
            return moved, (moved, _sum_first(log_det))

        _, (moved, log_dets) = jax.lax.scan(move, rows[0], (rows[1:], sides[1:]), reverse=True)
        rows = jnp.concatenate([rows[:1], moved])
        return jnp.moveaxis(rows, 0, 3), jnp.sum(log_dets, axis=0)

    def _columns_back(self, U0: Array, U1: Array) -> tuple[Array, Float[Array, "*batch"]]:
        rest = _rest(jnp.roll(U0, -1, axis=3), U1)[:, :, :, 1:]
        loops = multiply(U0[:, :, :, 1:], rest, 0)
        preimage, log_det = self.plaquette.inverse_and_log_det(loops)
        moved = multiply_dagger(preimage, rest, 0)
        total = _sum_first(_sum_first(log_det))
        return jnp.concatenate([U0[:, :, :, :1], moved], axis=3), total

    def _row(self, row: "_Row") -> tuple[Array, Float[Array, "*batch"]]:
        n_free = self._first_constrained(row.length)
        sides = jnp.moveaxis(row.side, 2, 0)
        bottoms, tops = jnp.moveaxis(row.bottom, 2, 0), jnp.moveaxis(row.top, 2, 0)

        def rest_of(ahead: Array, at: tuple[Array, ...]) -> Array:
            return multiply_dagger(multiply(at[0], ahead, 0), at[1], 0)

        def move(ahead: Array, at: tuple[Array, ...]) -> tuple[Array, tuple[Array, Array]]:
            rest = rest_of(ahead, at)
            image, log_det = self.plaquette.forward_and_log_det(multiply_dagger(rest, at[2], 0))
            moved = dagger_multiply(image, rest, 0)
            return moved, (moved, log_det.astype(float))

        ahead, kept, total = sides[0], [], jnp.zeros(sides.shape[3:], float)
        if n_free + 1 < row.length:
            part = tuple(x[n_free + 1 :] for x in (bottoms, tops, sides))
            ahead, (moved, log_dets) = jax.lax.scan(move, ahead, part, reverse=True)
            kept, total = [moved], jnp.sum(log_dets, axis=0)
        if n_free:

            def split(carry: tuple[Array, Array], at: tuple) -> tuple:
                (ahead, S), (bottom, top, side, before, arrays) = carry, at
                rest = rest_of(ahead, (bottom, top))
                one = eqx.combine(arrays, static)
                image, log_det = one.forward_and_log_det(multiply_dagger(rest, side, 0), S)
                moved = dagger_multiply(image, rest, 0)
                return (moved, _next_parent(S, image, before)), (moved, log_det.astype(float))

            arrays, static = self._split_arrays(n_free)
            S = row.parent(n_free, ahead)
            part = [_backwards(x, n_free) for x in (bottoms, tops, sides)]
            before = bottoms[:n_free][::-1]
            _, (moved, log_dets) = jax.lax.scan(split, (ahead, S), (*part, before, arrays))
            kept.insert(0, moved[::-1])
            total = total + jnp.sum(log_dets, axis=0)
        return jnp.moveaxis(jnp.concatenate([sides[:1], *kept]), 0, 2), total

    def _row_back(self, row: "_Row") -> tuple[Array, Float[Array, "*batch"]]:
        n_free = self._first_constrained(row.length)
        ahead = jnp.roll(row.side, -1, axis=2)
        rest = multiply_dagger(multiply(row.bottom, ahead, 0), row.top, 0)
        loops = multiply_dagger(rest, row.side, 0)
        found, total = [], jnp.zeros(loops.shape[3:], float)
        if n_free + 1 < row.length:
            preimage, log_det = self.plaquette.inverse_and_log_det(loops[:, :, n_free + 1 :])
            found, total = [preimage], _sum_first(log_det)
        if n_free:

            def split(S: Array, at: tuple) -> tuple[Array, tuple[Array, Array]]:
                image, before, arrays = at
                one = eqx.combine(arrays, static)
                preimage, log_det = one.inverse_and_log_det(image, S)
                return _next_parent(S, image, before), (preimage, log_det.astype(float))

            arrays, static = self._split_arrays(n_free)
            S = row.parent(n_free, ahead[:, :, n_free])
            part = _backwards(jnp.moveaxis(loops, 2, 0), n_free)
            before = jnp.moveaxis(row.bottom, 2, 0)[:n_free][::-1]
            _, (preimages, log_dets) = jax.lax.scan(split, S, (part, before, arrays))
            found.insert(0, jnp.moveaxis(preimages[::-1], 0, 2))
            total = total + jnp.sum(log_dets, axis=0)
        moved = dagger_multiply(jnp.concatenate(found, axis=2), rest[:, :, 1:], 0)
        return jnp.concatenate([row.side[:, :, :1], moved], axis=2), total

    def _first_constrained(self, length: int) -> int:
        """Where along the row the constraint sets in: the plaquettes 1 to this one feel it."""
        return min(self.n_constrained, length) - 1

    def _split_arrays(self, n_splits: int) -> tuple[ChainSplit, ChainSplit]:
        """The last splits, in order, and what is static of them."""
        arrays, static = eqx.partition(self.splits, eqx.is_array)
        return jax.tree.map(lambda x: x[x.shape[0] - n_splits :], arrays), static


class _Row(eqx.Module):
    """The links around the plaquettes of the last row, along axis 0."""

    bottom: Array
    top: Array
    side: Array

    def __init__(self, U0: Array, U1: Array) -> None:
        self.bottom, self.top, self.side = U0[:, :, :, 0], U0[:, :, :, 1], U1[:, :, :, 0]

    @property
    def length(self) -> int:
        return self.side.shape[2]

    def parent(self, x: int, ahead: Array) -> Matrices:
        """The loop around the plaquettes 0 to x that starts at x, its far side given."""
        bottoms, tops = self.bottom[:, :, 0], self.top[:, :, 0]
        for i in range(1, x):
            bottoms = multiply(bottoms, self.bottom[:, :, i], 0)
            tops = multiply(tops, self.top[:, :, i], 0)
        tops = multiply(tops, self.top[:, :, x], 0)
        far = multiply(self.bottom[:, :, x], ahead, 0)
        near = dagger_multiply(self.side[:, :, 0], bottoms, 0)
        return multiply(multiply_dagger(far, tops, 0), near, 0)


def _rest(above: Array, side: Array) -> Matrices:
    """What closes the links of a row to plaquettes: right, back along the row above, left."""
    ahead = jnp.roll(side, -1, axis=2)
    return multiply_dagger(multiply_dagger(ahead, above, 0), side, 0)


def _next_parent(S: Matrices, image: Matrices, before: Matrices) -> Matrices:
    """The loop around one plaquette less, carried one link along the row."""
    inner = dagger_multiply(image, S, 0)
    return multiply_dagger(multiply(before, inner, 0), before, 0)


def _backwards(values: Array, last: int) -> Array:
    """The entries last, ..., 1 of the first axis."""
    return values[1 : last + 1][::-1]


def _sum_first(values: Float[Array, "site ..."]) -> Float[Array, "..."]:
    """The sum over the first axis in double precision."""
    return jnp.sum(values.astype(float), axis=0)


def comb_flow(
    lattice: Lattice,
    n_colors: int,
    *,
    key: Key,
    n_constrained: int = 4,
    n_bins: int = 6,
    hidden: tuple[int, ...] = (12, 12),
    centres: tuple[float, ...] = CENTRES,
) -> CouplingFlow:
    """A flow from Haar links along a comb of plaquettes, near the identity.

    Its parameters do not refer to the lattice: `CouplingFlow(other, flow.bijection, flow.group)` is
    the same flow on another one. For three colours the defaults make fewer than ten thousand.

    Args:
        lattice: A two-dimensional lattice.
        n_colors: Number of colours, 2 or 3.
        key: Random key.
        n_constrained: Number of plaquettes whose density knows of the others, at least 1: a loop
            around so many is treated as Haar distributed.
        n_bins: Bins of each spline.
        hidden: Neurons of the networks' hidden layers.
        centres: Exponents of the maps of each conditional density.

    Returns:
        The flow.

    Raises:
        ConfigError: The lattice is not two-dimensional, there are neither two nor three colours, or
            a count is out of range.
    """
    require_lattice(lattice)
    require(lattice.dimension == 2, "shape", "have two directions for a comb", lattice.shape)
    n_constrained = as_integer(n_constrained, "n_constrained", low=1)
    options = {"n_bins": n_bins, "hidden": hidden}
    plaquette = SpectralMap(n_colors, key=key_for(key, "plaquette"), **options)
    splits = []
    for k in range(n_constrained, 1, -1):
        maps = [
            SpectralMap(n_colors, _N_CONTEXT, key=key_for(key, f"split {k} {i}"), **options)
            for i in range(len(centres))
        ]
        splits.append(ChainSplit(stack(maps), tuple(centres)))
    comb = Comb(plaquette, stack(splits) if splits else None, n_constrained)
    return CouplingFlow(lattice, comb, SUN(n_colors))
