r"""Heatbath and overrelaxation of SU(N) links, one SU(2) subgroup after the other.

With the sum $V$ of its staples and $W = U V$, a link multiplied from the left by $\alpha$ in an
SU(2) subgroup has the density $e^{\frac\beta N\mathrm{Re\,tr}\,\alpha W}$. The block of $W$ in that
subgroup is, up to a part without influence, $k\,\hat w$ with $k \ge 0$ and $\hat w$ in SU(2), so
that $x = \alpha\hat w$ has the density $e^{2 k\beta x_0/N}$. Elements of SU(2) are written
$x_0 + i\,\vec x\cdot\vec\sigma$, as arrays (quaternion, *site).

Links of one direction $\mu$ whose coordinates across it have an even sum, or an odd one, are in no
plaquette together; those of one parity are packed into half as many sites and drawn at once.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float

from diffhep.core.typing import Count, Key, Scalar
from diffhep_lattice.actions.boundary import loop_weights
from diffhep_lattice.actions.plaquettes import link_staples
from diffhep_lattice.actions.wilson import WilsonAction
from diffhep_lattice.groups.matrices import multiply

__citations__ = ("doi:10.1016/0370-2693(82)90696-7", "doi:10.1016/0370-2693(85)91632-6")

_MAX_ROUNDS = 64
"""Rounds of rejection: an element is left as it was once in 0.34**64 = 1e-30 updates."""

_CROSSOVER = 1.7
"""Concentration from which Kennedy's and Pendleton's proposals are accepted more often."""

_LEAST_CONCENTRATION = 1e-9
"""Stands for zero: the density is the same to rounding."""

Matrices = Complex[Array, "row column *site"]
Links = Complex[Array, "mu row column *site"]
Quaternions = Float[Array, "quaternion *site"]


def heatbath_sweep(action: WilsonAction, U: Links, *, key: Key) -> tuple[Links, Scalar]:
    """Every subgroup of every link drawn once from its density given all others.

    Args:
        action: Wilson's action of SU(N).
        U: Links.
        key: Random key.

    Returns:
        The new links, projected, and the fraction of the draws refused in all rounds.
    """
    n = action.group.n_colors
    scale = 2.0 / n * action.beta.astype(U.real.dtype)

    def draw(key: Key, w: Quaternions, norm: Array) -> tuple[Quaternions, Count]:
        x, accepted = _draw(scale * norm, key=key)
        # A refused draw leaves the link alone: x = w is alpha = 1.
        return _multiply(jnp.where(accepted, x, w), _inverse(w)), jnp.sum(~accepted)

    U, n_kept = _sweep(action, U, draw, key)
    n_draws = U.size // (n * n) * (n * (n - 1) // 2)
    return U, n_kept / n_draws


def overrelaxation_sweep(action: WilsonAction, U: Links) -> Links:
    r"""Every subgroup reflected: $\alpha = \hat w^{-2}$ keeps $\mathrm{Re\,tr}\,\alpha W$.

    Args:
        action: Wilson's action of SU(N).
        U: Links.

    Returns:
        The new links, projected.
    """

    def reflect(key: Key, w: Quaternions, norm: Array) -> tuple[Quaternions, Count]:
        inverse = _inverse(w)
        return _multiply(inverse, inverse), jnp.zeros((), int)

    return _sweep(action, U, reflect, jax.random.key(0))[0]


def _sweep(action: WilsonAction, U: Links, update: Any, key: Key) -> tuple[Links, Count]:
    """Update all links, one direction and parity after the other; counts what is refused."""
    weights = loop_weights(action.boundary, U.shape[-1])

    def half_sweep(
        mu: int, packing: _Packing, carry: tuple[Links, Count], parity: Array
    ) -> tuple[tuple[Links, Count], None]:
        U, total = carry
        staples = packing.pack(link_staples(U, mu, weights), parity)
        links, others = packing.pack(U[mu], parity), packing.pack(U[mu], 1 - parity)
        part_key = jax.random.fold_in(key, 2 * mu + parity)
        links, n_kept = _update_subgroups(links, staples, update, part_key)
        return (U.at[mu].set(packing.unpack(links, others, parity)), total + n_kept), None

    total = jnp.zeros((), int)
    for mu in range(U.shape[0]):
        step = functools.partial(half_sweep, mu, _Packing(mu, U.shape[3:]))
        (U, total), _ = jax.lax.scan(step, (U, total), jnp.arange(2))
    return action.group.project(U), total


class _Packing:
    """Every second site along one axis, by the parity of the coordinates across a direction."""

    def __init__(self, mu: int, site: tuple[int, ...]) -> None:
        self.axis = max(nu for nu in range(len(site)) if nu != mu)
        rest = [n // 2 if nu == self.axis else n for nu, n in enumerate(site)]
        coordinates = np.indices(rest)
        self.is_odd_row = (
            sum(coordinates[nu] for nu in range(len(site)) if nu not in (mu, self.axis))
            + np.zeros(rest, int)
        ) % 2 == 1

    def pack(self, field: Matrices, parity: Array) -> Complex[Array, "row column *half"]:
        """The matrices of one parity, the packed axis half as long."""
        even, odd = (self._every_second(field, start) for start in (0, 1))
        return jnp.where(self.is_odd_row == (parity == 1), even, odd)

    def unpack(
        self, field: Matrices, others: Matrices, parity: Array
    ) -> Complex[Array, "row column *whole"]:
        """The whole field from its matrices of one parity and of the other."""
        is_even_site = self.is_odd_row == (parity == 1)
        even, odd = jnp.where(is_even_site, field, others), jnp.where(is_even_site, others, field)
        axis = self.axis + 2
        both = jnp.stack([even, odd], axis + 1)
        return both.reshape(*field.shape[:axis], -1, *field.shape[axis + 1 :])

    def _every_second(self, field: Matrices, start: int) -> Complex[Array, "row column *half"]:
        index: list[Any] = [slice(None)] * field.ndim
        index[self.axis + 2] = slice(start, None, 2)
        return field[tuple(index)]


def _update_subgroups(
    links: Matrices, staples: Matrices, update: Any, key: Key
) -> tuple[Matrices, Count]:
    """Multiply the links from the left in one SU(2) subgroup after the other."""
    n = links.shape[0]
    pairs = np.array([(i, j) for i in range(n) for j in range(i + 1, n)])

    def one(carry: Any, item: tuple[Array, Array]) -> tuple[Any, None]:
        links, W, total = carry
        (i, j), index = item
        block = W[:, i], W[:, j]
        w, norm = _project(block[0][i], block[1][i], block[0][j], block[1][j])
        alpha, n_kept = update(jax.random.fold_in(key, index), w, norm)
        links, W = (_rotate(rows, alpha, i, j) for rows in (links, W))
        return (links, W, total + n_kept), None

    start = (links, multiply(links, staples, 0), jnp.zeros((), int))
    (links, _, total), _ = jax.lax.scan(one, start, (jnp.asarray(pairs), jnp.arange(len(pairs))))
    return links, total


def _project(a: Array, b: Array, c: Array, d: Array) -> tuple[Quaternions, Float[Array, "*site"]]:
    """The element of SU(2) along a block [[a, b], [c, d]], and the length of that part."""
    w = 0.5 * jnp.stack([(a + d).real, (b + c).imag, (b - c).real, (a - d).imag])
    norm = jnp.sqrt(jnp.sum(w * w, axis=0))
    one = jnp.asarray([1.0, 0.0, 0.0, 0.0], w.dtype).reshape(4, *(1,) * norm.ndim)
    is_long = norm > float(jnp.finfo(w.dtype).tiny)
    return jnp.where(is_long, w / jnp.where(is_long, norm, 1.0), one), norm


def _rotate(rows: Matrices, alpha: Quaternions, i: Array, j: Array) -> Matrices:
    """Rows i and j multiplied by an element of SU(2)."""
    diagonal = jax.lax.complex(alpha[0], alpha[3])
    off_diagonal = jax.lax.complex(alpha[2], alpha[1])
    upper = diagonal * rows[i] + off_diagonal * rows[j]
    lower = jnp.conj(diagonal) * rows[j] - jnp.conj(off_diagonal) * rows[i]
    return rows.at[i].set(upper).at[j].set(lower)


def _inverse(x: Quaternions) -> Quaternions:
    return jnp.concatenate([x[:1], -x[1:]])


def _multiply(x: Quaternions, y: Quaternions) -> Quaternions:
    """The product of the matrices x_0 + i x.sigma and y_0 + i y.sigma."""
    scalar = x[0] * y[0] - jnp.sum(x[1:] * y[1:], axis=0)
    vector = x[:1] * y[1:] + y[:1] * x[1:] - jnp.cross(x[1:], y[1:], axis=0)
    return jnp.concatenate([scalar[None], vector])


def _draw(
    concentration: Float[Array, "*site"], *, key: Key
) -> tuple[Quaternions, Bool[Array, "*site"]]:
    r"""Elements of SU(2) with the density $e^{a x_0}$ against the Haar measure.

    $x_0$ has the density $\sqrt{1-x_0^2}\,e^{a x_0}$ and is drawn by rejection: from the
    exponential where $a$ is small, after Creutz, else from a Gamma density in $1 - x_0$, after
    Kennedy and Pendleton.
    """
    a = jnp.maximum(concentration, _LEAST_CONCENTRATION)
    direction_key, key = jax.random.split(key)

    def unfinished(carry: tuple[Array, Array, Array]) -> Array:
        count, _, accepted = carry
        return (count < _MAX_ROUNDS) & ~jnp.all(accepted)

    def one_round(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        count, x, accepted = carry
        draws = jax.random.uniform(jax.random.fold_in(key, count), (4, *a.shape), a.dtype)
        cosine = jnp.cos(2.0 * math.pi * draws[1])
        gamma = -(jnp.log(draws[0]) + cosine * cosine * jnp.log(draws[2])) / a
        exponential = jnp.log1p(draws[0] * jnp.expm1(-2.0 * a)) / a
        is_gamma = a > _CROSSOVER
        new = 1.0 + jnp.where(is_gamma, -gamma, exponential)
        probability = jnp.where(is_gamma, 0.5 * (1.0 + new), 1.0 - new * new)
        passes = draws[3] * draws[3] <= probability
        return count + 1, jnp.where(accepted, x, new), accepted | passes

    start = (jnp.zeros((), int), jnp.ones_like(a), jnp.zeros(a.shape, bool))
    _, x, accepted = jax.lax.while_loop(unfinished, one_round, start)
    turn, height = jax.random.uniform(direction_key, (2, *a.shape), a.dtype)
    radius = jnp.sqrt(jnp.maximum(0.0, 1.0 - x * x))
    height = 2.0 * height - 1.0
    across = radius * jnp.sqrt(1.0 - height * height)
    angle = 2.0 * math.pi * turn
    vector = across * jnp.cos(angle), across * jnp.sin(angle), radius * height
    return jnp.stack([x, *vector]), accepted
