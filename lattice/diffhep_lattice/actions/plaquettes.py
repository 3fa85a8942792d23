r"""Sums over the plaquettes of SU(N) links, and their derivatives, in any dimension.

For every plane two half plaquettes, $A = U_\mu(x)\,U_\nu(x+\hat\mu)$ and
$B = U_\nu(x)\,U_\mu(x+\hat\nu)$, serve all four links: the loop $A B^\dagger$ starts with
$U_\mu(x)$ and its adjoint with $U_\nu(x)$, while $A^\dagger U_\nu(x)$ and $B^\dagger U_\mu(x)$ are
the staples of the two opposite links. That makes five products a plane and one a link: 34 a site in
four dimensions, where staples taken one by one need 76.

The loops are summed in a layout with one or two site axes in front of the colour axes and the
others behind. The fields of one plane must stay in the cache, so on CPUs the force is taken for a
few rows of the first axis at a time; one row's contribution to the next is handed on.
"""

import math
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float

from diffhep.core.typing import Scalar
from diffhep_lattice.actions.boundary import LoopWeights
from diffhep_lattice.groups.algebra import algebra_coefficients
from diffhep_lattice.groups.matrices import dagger_multiply, multiply, multiply_dagger
from diffhep_lattice.links import ahead

__citations__ = ("doi:10.1103/PhysRevD.10.2445",)

_BLOCK_SITES = 4096
"""Sites of a block on CPUs: on two cores with 2 MB of cache each, a lattice of 8^4 sites takes 1.5
times as long in eight blocks as at once, one of 16^4 twice as long at once as in sixteen."""


Staples: TypeAlias = tuple[Array, ...]
"""What one row adds to the next: a field for every direction but the first."""


def plaquette_sum(
    U: Complex[Array, "mu row column *site"], weights: LoopWeights | None = None
) -> Scalar:
    r"""$\sum_{x,\mu<\nu} w\,\mathrm{Re\,tr}\,P_{\mu\nu}(x)$, computed in double precision.

    Args:
        U: Links.
        weights: Weights $w$; one if left out.

    Returns:
        The sum, without a factor 1/N.
    """
    U = U.astype(jnp.complex128)
    dimension = U.shape[0]
    total = jnp.zeros(())
    for mu in range(dimension):
        for nu in range(mu + 1, dimension):
            A = multiply(U[mu], ahead(U[nu], mu), axis=0)
            B = multiply(U[nu], ahead(U[mu], nu), axis=0)
            traces = jnp.sum(A.real * B.real + A.imag * B.imag, axis=(0, 1))
            if weights is not None:
                traces = traces * weights.of_plaquette(nu, dimension).astype(jnp.float64)
            total = total + jnp.sum(traces)
    return total


def plaquette_force(
    U: Complex[Array, "mu row column *site"], weights: LoopWeights | None = None
) -> Float[Array, "mu algebra *site"]:
    r"""Algebra coefficients of the sums of the loops that start with each link.

    $2\,\mathrm{Im\,tr}\,T_a \sum w\,P$ over the $2(d-1)$ plaquettes $P$ that start with the link,
    which is minus twice the derivative of `plaquette_sum` along $T_a$.

    Args:
        U: Links.
        weights: Weights $w$; one if left out.

    Returns:
        Coefficients in the basis of `diffhep_lattice.groups.algebra`.
    """
    rows = U.shape[3]
    whole = _force_by_blocks(rows)
    n_rows = _rows_per_block(U.shape[3:])
    if n_rows == rows:
        return whole(U, weights)
    # Elsewhere than on a CPU the kernels want the whole lattice at once.
    return jax.lax.platform_dependent(U, weights, cpu=_force_by_blocks(n_rows), default=whole)


def _rows_per_block(site: tuple[int, ...]) -> int:
    """The largest divisor of the first length that keeps a block within its size, at least 1."""
    most = max(1, _BLOCK_SITES // math.prod(site[1:]))
    return max(n for n in range(1, site[0] + 1) if site[0] % n == 0 and n <= max(most, 1))


class _Layout(NamedTuple):
    """Matrix fields with `n_front` site axes, the colour axes, then the other site axes."""

    n_front: int

    def roll(self, field: Array, direction: int, distance: int) -> Array:
        """The field at the neighbours."""
        axis = direction if direction < self.n_front else direction + 2
        return jnp.roll(field, -distance, axis)

    def load(self, U: Array, start: Any, n_rows: int) -> list[Array]:
        """Links of some rows from the common layout (mu, row, column, *site)."""
        rows = jax.lax.dynamic_slice_in_dim(U, start, n_rows, 3) if n_rows < U.shape[3] else U
        moved = jnp.moveaxis(rows, (1, 2), (1 + self.n_front, 2 + self.n_front))
        return [jax.lax.optimization_barrier(moved[mu]) for mu in range(U.shape[0])]

    def store(self, loops: list[Array]) -> Array:
        """Coefficients of the loops of some rows, as (mu, algebra, *site)."""
        coefficients = [algebra_coefficients(loop, self.n_front) for loop in loops]
        return jnp.moveaxis(jnp.stack(coefficients), 1 + self.n_front, 1)


def _force_by_blocks(n_rows: int) -> Any:
    """`plaquette_force` with so many rows of the first axis at a time."""

    def force(U: Array, weights: LoopWeights | None) -> Array:
        layout = _Layout(min(2, U.shape[0] - 1))
        if weights is not None:
            weights = LoopWeights(*(w.astype(U.real.dtype) for w in weights))
        rows = U.shape[3]
        if n_rows == rows:
            links = layout.load(U, 0, rows)
            following = [jnp.roll(link, -1, 0) for link in links]
            return layout.store(_loops(layout, links, following, None, weights)[0])

        def block(carry: tuple[Staples, Array], start: Array) -> tuple[tuple[Staples, Array], None]:
            arriving, force = carry
            links = layout.load(U, start, n_rows)
            after = layout.load(U, (start + n_rows) % rows, 1)
            following = [
                jnp.concatenate([link[1:], row]) for link, row in zip(links, after, strict=True)
            ]
            loops, leaving = _loops(layout, links, following, arriving, weights)
            new = layout.store(loops)
            return (leaving, jax.lax.dynamic_update_slice_in_dim(force, new, start, 2)), None

        arriving = _staples_of_next_row(layout, layout.load(U, rows - 1, 1), weights)
        n_algebra = U.shape[1] ** 2 - 1
        empty = jnp.zeros((U.shape[0], n_algebra, *U.shape[3:]), U.real.dtype)
        starts = jnp.arange(0, rows, n_rows)
        return jax.lax.scan(block, (arriving, empty), starts)[0][1]

    return force


def _staples_of_next_row(
    layout: _Layout, links: list[Array], weights: LoopWeights | None
) -> Staples:
    """What one row adds to the staples of the next."""
    n, first = layout.n_front, links[0]
    found = []
    for nu in range(1, len(links)):
        B = multiply(links[nu], layout.roll(first, nu, 1), n)
        staple = dagger_multiply(B, first, n)
        found.append(staple if weights is None else staple * weights.of_plaquette(nu, len(links)))
    return tuple(found)


def _loops(
    layout: _Layout,
    links: list[Array],
    following: list[Array],
    arriving: Staples | None,
    weights: LoopWeights | None,
) -> tuple[list[Array], Staples]:
    """Sums of the loops starting with the links of a block, and the staples for the next one.

    `following` are the links one row further, `arriving` the staples from the row before; None
    closes the block on itself.
    """
    n, dimension = layout.n_front, len(links)
    loops: list[Any] = [0.0] * dimension
    staples: list[Any] = [0.0] * dimension
    leaving = []
    for mu in range(dimension):
        for nu in range(mu + 1, dimension):
            X, Y = links[mu], links[nu]
            A = multiply(X, following[nu] if mu == 0 else layout.roll(Y, mu, 1), n)
            B = multiply(Y, layout.roll(X, nu, 1), n)
            loop = multiply_dagger(A, B, n)
            staple_mu, staple_nu = dagger_multiply(A, Y, n), dagger_multiply(B, X, n)
            if weights is not None:
                w = weights.of_plaquette(nu, dimension)
                loop, staple_mu, staple_nu = w * loop, w * staple_mu, w * staple_nu
            loops[mu] += loop
            # Minus the loop and its adjoint have the same part in the algebra.
            loops[nu] -= loop
            staples[mu] += layout.roll(staple_mu, nu, -1)
            if mu == 0:
                last = staple_nu[-1:]
                leaving.append(last)
                before = last if arriving is None else arriving[nu - 1]
                staples[nu] += jnp.concatenate([before, staple_nu[:-1]])
            else:
                staples[nu] += layout.roll(staple_nu, mu, -1)
    sums = [loops[mu] + multiply(links[mu], staples[mu], n) for mu in range(dimension)]
    return sums, tuple(leaving)


def link_staples(
    U: Complex[Array, "mu row column *site"], mu: int, weights: LoopWeights | None = None
) -> Complex[Array, "row column *site"]:
    r"""Sums $V$ of the staples of the links of one direction, so that $U_\mu V$ are plaquettes.

    $V(x) = \sum_{\nu\ne\mu} w\,[U_\nu(x+\hat\mu)\,U_\mu^\dagger(x+\hat\nu)\,U_\nu^\dagger(x)
    + U_\nu^\dagger(x+\hat\mu-\hat\nu)\,U_\mu^\dagger(x-\hat\nu)\,U_\nu(x-\hat\nu)]$.

    Args:
        U: Links.
        mu: Direction of the links.
        weights: Weights $w$ of the plaquettes; one if left out.

    Returns:
        One matrix per site.
    """
    X = U[mu]
    total: Any = 0.0
    for nu in range(U.shape[0]):
        if nu == mu:
            continue
        Y, Y_ahead = U[nu], ahead(U[nu], mu)
        forward = multiply_dagger(Y_ahead, multiply(Y, ahead(X, nu), 0), 0)
        backward = dagger_multiply(multiply(X, Y_ahead, 0), Y, 0)
        if weights is not None:
            w = weights.of_plaquette(max(mu, nu), U.shape[0]).astype(U.real.dtype)
            forward, backward = w * forward, w * backward
        total = total + forward + ahead(backward, nu, -1)
    return total
