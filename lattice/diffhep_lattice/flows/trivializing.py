r"""The gradient flow of a trial action of few Wilson loops, for SU(N) in two dimensions.

$\dot U_\ell = Z_\ell(U, t)\,U_\ell$, $Z^a = \partial^a\sum_i c_i(t)\,W_i$ takes Haar distributed
links at t = 0 to those of an action at t = 1 if the $c_i$ are well chosen; M. Lüscher finds them in
powers of t, training finds them for few loops. With the plaquettes P, open at a corner, and pairs
of plaquettes P, P' with one link in common, which both begin with,

| i | $W_i$ | order in t |
|---|---|---|
| 0 | $2\sum\mathrm{Re\,tr}\,P$ | leading |
| 1 | $\frac2N\sum\lvert\mathrm{tr}\,P\rvert^2$ | next |
| 2 | $2\sum\mathrm{Re\,tr}\,P P'^\dagger$: rectangles | next |
| 3 | $\frac2N\sum\mathrm{Re}\,\mathrm{tr}\,P\,(\mathrm{tr}\,P')^*$ | next |
| 4 | $2\sum\mathrm{Re\,tr}\,P P'$: the common link twice | next |
| 5 | $\frac2N\sum\mathrm{Re}\,\mathrm{tr}\,P\,\mathrm{tr}\,P'$ | next |
| 6 | $\frac2N\sum\mathrm{Re}\,(\mathrm{tr}\,P)^2$ | next |

For SU(3), $\mathrm{tr}\,P^2 = (\mathrm{tr}\,P)^2 - 2(\mathrm{tr}\,P)^*$ is no loop of its own, and
for SU(2), where traces are real, neither are rows 4 to 6. Chairs need three dimensions.

A step moves eight sets of links in turn, one direction and one residue of $x_\nu + 2x_\mu$ modulo 4
at a time: no loop holds two links of a set, so that every link has a Jacobian of its own, and the
log-determinant is that of the map which is used, whatever the step size. The sets are taken in
order and then in reverse. Maps commute with gauge transformations, charge conjugation and
translations by four sites; other translations, reflections and rotations exchange the sets, and
what breaks them vanishes with the square of the step size.

Reference:
    M. Lüscher, arXiv:0907.5491; S. Bacchio, P. Kessel, S. Schaefer, L. Vaitl, arXiv:2212.08469.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int

from diffhep.core.checks import as_integer, require, require_real, require_shape
from diffhep_lattice.flows.base import AbstractBijection, require_lattice
from diffhep_lattice.flows.coupling import CouplingFlow
from diffhep_lattice.flows.link_moves import (
    AbstractVelocity,
    move,
    product,
    slopes_of_loops,
    unmove,
)
from diffhep_lattice.geometry import Lattice
from diffhep_lattice.groups import SUN
from diffhep_lattice.groups.algebra import algebra_coefficients, generators
from diffhep_lattice.groups.matrices import (
    dagger,
    dagger_multiply,
    identity,
    multiply,
    multiply_dagger,
    trace,
)

__citations__ = ("arXiv:0907.5491", "arXiv:2212.08469")

N_LOOPS = 7
"""Kinds of loops up to the next-to-leading order in two dimensions."""

LARGEST_SLOPE = 0.75
"""Of a link's velocity; below one, the map of every link is one to one."""

_SLOPES = np.array([2.0, 8.0, 6.0, 10.0, 10.0, 10.0, 8.0])
"""Bounds of the slopes of the velocities of the loops, per unit of their coefficients."""

_PERIOD = 4

Links = Complex[Array, "mu row column L T *batch"]


class LoopFlow(AbstractBijection):
    r"""The gradient flow of a combination of loops, in exact steps.

    Attributes:
        coefficients: $c_i$ at equally spaced times from 0 to 1, between which they are linear; one
            time makes them constant. Loops left out at the end are not there.
        n_steps: Steps, each of eight sets of links.
    """

    coefficients: Float[Array, "knot loop"] = eqx.field(converter=jnp.asarray)
    n_steps: int = eqx.field(static=True, default=6)

    def __check_init__(self) -> None:
        shape = self.coefficients.shape
        good = len(shape) == 2 and shape[0] >= 1 and 1 <= shape[1] <= N_LOOPS
        rule = f"have shape (knot, loop) with at most {N_LOOPS} loops"
        require_shape(good, "coefficients", rule, f"shape {shape}")
        as_integer(self.n_steps, "n_steps", low=1)

    def forward_and_log_det(self, U: Links) -> tuple[Links, Float[Array, "*batch"]]:
        """The field at time 1, and the log-determinant of the steps."""
        return self._scan(U, move, forwards=True)

    def inverse_and_log_det(self, U: Links) -> tuple[Links, Float[Array, "*batch"]]:
        """The field at time 0, link by link by fixed-point iteration, and the log-determinant."""
        return self._scan(U, unmove, forwards=False)

    def _scan(
        self, U: Links, function: Callable[..., tuple[Array, Array]], *, forwards: bool
    ) -> tuple[Links, Float[Array, "*batch"]]:
        lattice, batch = Lattice(U.shape[3:5]), U.shape[5:]
        lattice.require_divisible(_PERIOD, "the sets of links of a loop flow")
        tables = jax.tree.map(jnp.asarray, _tables(lattice))
        links = jnp.moveaxis(U, 0, 2).reshape(*U.shape[1:3], 2 * lattice.volume, -1)

        def coupling(links: Array, x: tuple[Array, Array]) -> tuple[Array, Array]:
            number, coefficients = x
            at = jax.tree.map(lambda table: table[number], tables)
            velocity = _velocity(links, at, coefficients)
            moved, log_det = function(links[:, :, at.active], velocity)
            return links.at[:, :, at.active].set(moved), jnp.sum(log_det, axis=0)

        numbers, times = _schedule(self.n_steps)
        coefficients = self._at(times).astype(U.real.dtype) / self.n_steps
        links, log_dets = jax.lax.scan(
            jax.checkpoint(coupling), links, (numbers, coefficients), reverse=not forwards
        )
        links = jnp.moveaxis(links.reshape(*U.shape[1:3], 2, *U.shape[3:]), 2, 0)
        return links, jnp.sum(log_dets, axis=0).reshape(batch)

    def _at(self, times: np.ndarray) -> Float[Array, "time loop"]:
        """All coefficients, as large as the step size allows."""
        knots, n_loops = self.coefficients.shape
        place = times * (knots - 1)
        lower = np.minimum(place.astype(int), max(knots - 2, 0))
        share = jnp.asarray((place - lower)[:, None])
        upper = np.minimum(lower + 1, knots - 1)
        c = (1 - share) * self.coefficients[lower] + share * self.coefficients[upper]
        slope = jnp.sum(jnp.abs(c) * _SLOPES[:n_loops], axis=1, keepdims=True) / self.n_steps
        c = c * jnp.minimum(1.0, LARGEST_SLOPE / jnp.maximum(slope, LARGEST_SLOPE))
        return jnp.pad(c, [(0, 0), (0, N_LOOPS - n_loops)])


class _Velocity(AbstractVelocity):
    """The velocity of links whose loops hold no other of them.

    Attributes:
        staples: What closes each link to its two plaquettes.
        rest: What closes it to all loops that hold it once.
        coefficients: Of the loops, times the step size.
    """

    staples: Complex[Array, "row column 2 link batch"]
    rest: Complex[Array, "row column link batch"]
    coefficients: Float[Array, " loop"]

    def __call__(self, links: Array) -> Array:
        return -algebra_coefficients(self._loops(links)[1], axis=0)

    def with_slopes(self, links: Array) -> tuple[Array, Array]:
        P, loops = self._loops(links)
        slopes = slopes_of_loops(loops) + self._slopes_of_pairs(P)
        return -algebra_coefficients(loops, axis=0), slopes

    def _loops(self, links: Array) -> tuple[Array, Array]:
        """Both plaquettes, and the sum of all loops as often as they hold the link."""
        _, same, _, apart, twice, along, square = self.coefficients
        P = multiply(links[:, :, None], self.staples, axis=0)
        z = trace(P, axis=0) / links.shape[0]
        other = z[::-1]
        weight = 2 * same * z.conj() + apart * other.conj() + along * other + 2 * square * z
        doubled = jnp.sum(multiply(P, P[:, :, ::-1], axis=0), axis=2)
        once = multiply(links, self.rest, axis=0) + jnp.sum(weight * P, axis=2)
        return P, once + twice * doubled

    def _slopes_of_pairs(self, P: Array) -> Array:
        r"""The slopes from moving the link at two places of a loop, or in both of two traces.

        With $u_a = \mathrm{tr}\,T_aP$ of either plaquette, products of their real and imaginary
        parts, and $\mathrm{Re\,tr}\,T_aPT_bP'$ of the loops that hold the link twice.
        """
        n = P.shape[0]
        _, same, _, apart, twice, along, square = self.coefficients
        y, x = (0.5 * algebra_coefficients(m, axis=0) for m in (P, 1j * P))
        x_with = (same - square) * x + 0.5 * (apart - along) * x[:, ::-1]
        y_with = (same + square) * y + 0.5 * (apart + along) * y[:, ::-1]
        turned = jnp.tensordot(jnp.asarray(generators(n), P.dtype), P, 1)
        first, second = turned[:, :, :, 0], jnp.swapaxes(turned[:, :, :, 1], 1, 2)
        entries = (-1, n * n, *first.shape[3:])
        first, second = first.reshape(entries), second.reshape(entries)
        left = [2 / n * x, 2 / n * y, -2 * twice * first.real, 2 * twice * first.imag]
        right = [x_with, y_with, second.real, second.imag]
        half = product(jnp.concatenate(left, 1), jnp.swapaxes(jnp.concatenate(right, 1), 0, 1))
        return half + jnp.swapaxes(half, 0, 1)


class _Table(NamedTuple):
    r"""Where the links of a set, of direction $\mu$, and those around them are among all links.

    On either side, with $\nu$ the direction there and $V_\nu(x)$ the link that leaves x to it:
    `straight` holds $U_\mu$ at $x+\nu$, $x+2\nu$, $x+\mu$, $x+\mu+\nu$, $x-\mu$, $x-\mu+\nu$, and
    `across` holds $V_\nu$ at $x$, $x+\mu$, $x+2\mu$, $x-\mu$, $x+\nu$, $x+\mu+\nu$.
    """

    active: Int[Any, "*set link"]
    straight: Int[Any, "*set 6 2 link"]
    across: Int[Any, "*set 6 2 link"]


_STRAIGHT = ((0, 1), (0, 2), (1, 0), (1, 1), (-1, 0), (-1, 1))
_ACROSS = ((0, 0), (1, 0), (2, 0), (-1, 0), (0, 1), (1, 1))


def _tables(lattice: Lattice) -> _Table:
    """The tables of all eight sets."""
    sites = np.indices(lattice.shape).reshape(2, -1)
    found: list[tuple] = []
    for mu in (0, 1):
        residues = (sites[1 - mu] + 2 * sites[mu]) % _PERIOD
        for residue in range(_PERIOD):
            chosen = sites[:, residues == residue]

            def number(
                direction: int, along: int, over: int, at: Any = chosen, mu: int = mu
            ) -> Any:
                """The links of a direction at so many steps from the chosen sites."""
                x = at.copy()
                x[mu] += along
                x[1 - mu] += over
                place = np.ravel_multi_index(tuple(x), lattice.shape, mode="wrap")
                return direction * lattice.volume + place

            straight = [[number(mu, a, s * b) for s in (1, -1)] for a, b in _STRAIGHT]
            # The link that leaves x backwards is the one that arrives there, daggered later.
            across = [[number(1 - mu, a, b), number(1 - mu, a, -b - 1)] for a, b in _ACROSS]
            found.append((number(mu, 0, 0), np.array(straight), np.array(across)))
    return _Table(*(np.stack(table) for table in zip(*found, strict=True)))


def _schedule(n_steps: int) -> tuple[Int[np.ndarray, " move"], Float[np.ndarray, " move"]]:
    """The set of every move and its time: in order in even steps, in reverse in odd ones."""
    order = np.arange(2 * _PERIOD)
    numbers = [order if step % 2 == 0 else order[::-1] for step in range(n_steps)]
    times = (np.arange(n_steps) + 0.5) / n_steps
    return np.concatenate(numbers), np.repeat(times, order.size)


def _velocity(links: Array, at: _Table, coefficients: Float[Array, " loop"]) -> _Velocity:
    r"""The velocity of a set of links, from the plaquettes beside, behind and before theirs.

    A loop around two plaquettes is the one that holds the link with a loop q around the other one,
    or $q^\dagger$, where they touch; a product of their traces is it times a number there.
    """
    n = links.shape[0]
    one = identity(n, 5, axis=0).astype(links.dtype)
    _, _, rectangle, apart, twice, along, _ = coefficients

    def mixed(q: Array) -> Array:
        z = trace(q, axis=0)[None, None] / n
        return rectangle * q + twice * dagger(q, axis=0) + (apart * z + along * z.conj()) * one

    above, top, ahead, ahead_above, behind, behind_above = _columns(links, at.straight)
    sides = links[:, :, at.across]
    sides = jnp.concatenate([sides[:, :, :, :1], dagger(sides[:, :, :, 1:], axis=0)], axis=3)
    here, front, far, back, left, right = (sides[:, :, i] for i in range(6))

    half = multiply_dagger(front, above, axis=0)
    staples = multiply_dagger(half, here, axis=0)
    first = _product(ahead, far, front, ahead_above)
    second = _product(above, right, left, top)
    third = multiply_dagger(here, behind_above, axis=0)
    third = multiply(third, dagger_multiply(back, behind, axis=0), axis=0)
    rest = multiply(mixed(first), staples, axis=0) + multiply(staples, mixed(third), axis=0)
    rest += multiply_dagger(multiply(half, mixed(second), axis=0), here, axis=0)
    rest += coefficients[0] * staples
    return _Velocity(staples, jnp.sum(rest, axis=2), coefficients)


def _columns(links: Array, index: Array) -> list[Array]:
    """The links of every row of a table."""
    return [links[:, :, row] for row in index]


def _product(a: Array, b: Array, c: Array, d: Array) -> Array:
    r"""The loops $a\,b\,(c\,d)^\dagger$."""
    return multiply_dagger(multiply(a, b, axis=0), multiply(c, d, axis=0), axis=0)


def trivializing_flow(
    lattice: Lattice,
    n_colors: int,
    *,
    beta: float,
    n_knots: int = 2,
    n_loops: int | None = None,
    n_steps: int = 6,
) -> CouplingFlow:
    r"""The flow from Haar links of a trial action of few loops, at the leading order to begin with.

    There $c_0 = \frac{\beta}{4(N^2-1)}$ and all others vanish. Its parameters know no lattice:
    train on a small one, go on with `flow.on(larger)`.

    Args:
        lattice: A two-dimensional lattice with lengths divisible by 4.
        n_colors: Number of colours, at least 2.
        beta: Coupling of Wilson's action to begin with.
        n_knots: Number of times at which there are coefficients, at least 1: 1 makes them constant,
            2 linear in time.
        n_loops: How many kinds of loops, from 1 to 7; all that are independent if left out, 7, or 4
            for two colours.
        n_steps: Steps; an even number makes the error of second order.

    Returns:
        The flow, with n_knots x n_loops parameters.

    Raises:
        ConfigError: The lattice does not fit the sets of links, or a number is out of its range.
    """
    require_lattice(lattice)
    require(lattice.dimension == 2, "shape", "have two directions for this flow", lattice.shape)
    lattice.require_divisible(_PERIOD, "the sets of links of a loop flow")
    group = SUN(n_colors)
    require_real(beta, "beta", "be finite")
    n_knots, n_steps = as_integer(n_knots, "n_knots", low=1), as_integer(n_steps, "n_steps", low=1)
    n_loops = (4 if group.n == 2 else N_LOOPS) if n_loops is None else n_loops
    n_loops = as_integer(n_loops, "n_loops", low=1)
    require(n_loops <= N_LOOPS, "n_loops", f"be at most {N_LOOPS}", n_loops)
    coefficients = jnp.zeros((n_knots, n_loops)).at[:, 0].set(beta / (4 * (group.n**2 - 1)))
    return CouplingFlow(lattice, LoopFlow(coefficients, n_steps), group)
