r"""Moves $U' = e^{X(U)}\,U$ of single links along a gradient: Jacobian and inverse, exactly.

$X = i\,v^a(U)\,T_a$ where $v_a$ is the derivative of some real function of the link along $iT_a U$.
Under $U \to e^{i\delta_a T_a}\,U$ the image changes as $U' \to e^{i K_a\delta_a}\,U'$ with

$K = e^{\mathrm{ad}X} + \frac{e^{\mathrm{ad}X}-1}{\mathrm{ad}X}\,D$, $D_{ab} = \partial_b v_a$.

Second derivatives of a function on the group commute up to first derivatives, so that the
antisymmetric part of D is $-\frac12\mathrm{ad}X$, and with the symmetric part H

$K = e^{\frac12\mathrm{ad}X}\left[\cosh\tfrac12\mathrm{ad}X
+ \frac{\sinh\frac12\mathrm{ad}X}{\frac12\mathrm{ad}X}\,H\right]$.

The first factor is a rotation. The bracket is a power series in $(\mathrm{ad}X)^2$, entire and
short, and elimination gives its determinant: no derivative of an exponential is needed.
"""

import abc
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from diffhep_lattice.groups import SUN
from diffhep_lattice.groups.algebra import algebra_coefficients, generators
from diffhep_lattice.groups.matrices import multiply_dagger

__citations__ = ("arXiv:0907.5491",)

Matrices = Complex[Array, "row column *site"]
Coefficients = Float[Array, "algebra *site"]
Slopes = Float[Array, "algebra algebra *site"]

_COSH = [1.0 / math.factorial(2 * k) / 4**k for k in range(7)]
_SINHC = [c / (2 * k + 1) for k, c in enumerate(_COSH)]
r"""Series of $\cosh$ and $\sinh(x)/x$ at half the argument, in its square. The terms left out are
below $10^{-15}$ where eigenvalues of $X$ differ by 1, $10^{-11}$ where they differ by 2."""

_MAX_ITERATIONS = 200


class AbstractVelocity(eqx.Module):
    """A velocity of links, the gradient of a function of each, with what it depends on."""

    @abc.abstractmethod
    def __call__(self, links: Matrices) -> Coefficients:
        """The coefficients $v_a$ of one matrix per site."""

    @abc.abstractmethod
    def with_slopes(self, links: Matrices) -> tuple[Coefficients, Slopes]:
        r"""The same and $H_{ab} = \frac12(\partial_b v_a + \partial_a v_b)$."""


def move(links: Matrices, velocity: AbstractVelocity) -> tuple[Matrices, Float[Array, "*site"]]:
    r"""The moved links, and $\log|\det K|$ of each."""
    v, slopes = velocity.with_slopes(links)
    cosh, sinhc = _even_functions(_adjoint(v))
    log_det = _log_determinant(cosh + product(sinhc, slopes))
    return _turn(links, v), log_det.astype(float)


def unmove(moved: Matrices, velocity: AbstractVelocity) -> tuple[Matrices, Float[Array, "*site"]]:
    r"""The links that `move` brings to `moved`, and minus $\log|\det K|$ there.

    By the fixed point of $w \mapsto -v(e^{iw^aT_a}\,U')$, which a velocity with slopes below one
    has. A step of Newton's method with constant K follows: it has the derivatives of the solution.
    """
    links, inverse = _solve(*jax.lax.stop_gradient((moved, velocity)))
    image = _turn(links, velocity(links))
    error = algebra_coefficients(multiply_dagger(image, moved, axis=0), axis=0)
    links = _turn(links, -jnp.einsum("ab...,b...->a...", inverse, error))
    return links, -move(links, velocity)[1]


def _solve(moved: Matrices, velocity: AbstractVelocity) -> tuple[Matrices, Slopes]:
    """The links that are moved there, and the inverse of K."""
    # Newton's step squares what is left.
    tolerance = float(jnp.finfo(moved.real.dtype).eps) ** 0.75

    def unfinished(carry: tuple[Array, Array, Array]) -> Array:
        count, _, change = carry
        return (count < _MAX_ITERATIONS) & (change > tolerance)

    def again(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        count, w, _ = carry
        new = -velocity(_turn(moved, w))
        return count + 1, new, jnp.max(jnp.abs(new - w))

    start = jnp.zeros((), int), -velocity(moved), jnp.asarray(jnp.inf, moved.real.dtype)
    links = _turn(moved, jax.lax.while_loop(unfinished, again, start)[1])
    v, slopes = velocity.with_slopes(links)
    ad = _adjoint(v)
    cosh, sinhc = _even_functions(ad)
    back = cosh - 0.5 * product(ad, sinhc)
    return links, product(_eliminate(cosh + product(sinhc, slopes))[0], back)


def _turn(links: Matrices, v: Coefficients) -> Matrices:
    """The links times the exponentials of algebra elements."""
    return SUN(links.shape[0]).move(links[None], v[None])[0]


def slopes_of_loops(loops: Matrices) -> Slopes:
    r"""$-\mathrm{Re\,tr}\{T_a,T_b\}M$: the slopes of $v_a = -2\,\mathrm{Im\,tr}\,T_a M$.

    For matrices M that hold the link once and begin with it.
    """
    T = generators(loops.shape[0])
    both = -(np.einsum("aij,bjk->abki", T, T) + np.einsum("bij,ajk->abki", T, T))
    table = np.concatenate([both.real, -both.imag], axis=2)
    parts = jnp.concatenate([loops.real, loops.imag])
    return jnp.tensordot(jnp.asarray(table, parts.dtype), parts, 2)


def product(a: Float[Array, "..."], b: Float[Array, "..."]) -> Float[Array, "..."]:
    """Products of real matrices of about eight rows, the matrix axes first.

    `groups.matrices.multiply` is for fewer: sums of eight terms are no vectorised loop over sites.
    """
    return jnp.einsum("ij...,jk...->ik...", a, b)


def _adjoint(v: Coefficients) -> Slopes:
    r"""The matrices of $\mathrm{ad}X$: $[X, iT_b] = iT_a(\mathrm{ad}X)_{ab}$."""
    T = generators(math.isqrt(v.shape[0] + 1))
    commutators = np.einsum("cij,bjk->cbik", T, T) - np.einsum("bij,cjk->cbik", T, T)
    structure = (2j * np.einsum("aki,cbik->abc", T, commutators)).real
    return jnp.tensordot(jnp.asarray(structure, v.dtype), v, 1)


def _even_functions(ad: Slopes) -> tuple[Slopes, Slopes]:
    """Hyperbolic cosine and sinh(x)/x of half of matrices, from three powers of the square."""
    one = jnp.eye(ad.shape[0], dtype=ad.dtype).reshape(*ad.shape[:2], *(1,) * (ad.ndim - 2))
    square = product(ad, ad)
    fourth = product(square, square)
    sixth = product(square, fourth)

    def series(c: list[float]) -> Array:
        low = c[0] * one + c[1] * square + c[2] * fourth
        return low + product(sixth, c[3] * one + c[4] * square + c[5] * fourth + c[6] * sixth)

    return series(_COSH), series(_SINHC)


@jax.custom_jvp
def _log_determinant(a: Slopes) -> Float[Array, "*site"]:
    return _eliminate(a)[1]


@_log_determinant.defjvp
def _log_determinant_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    inverse, log_det = _eliminate(primals[0])
    return log_det, jnp.sum(jnp.swapaxes(inverse, 0, 1) * tangents[0], axis=(0, 1))


def _eliminate(a: Slopes) -> tuple[Slopes, Float[Array, "*site"]]:
    """Inverses and log-determinants of matrices whose symmetric part is positive.

    By Gauss and Jordan's elimination without exchange of rows: every step is one loop over all
    matrices, which come last.
    """

    def step(k: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        a, log_det = carry
        here = (jnp.arange(a.shape[0]) == k).reshape(-1, *(1,) * (a.ndim - 2))
        pivot, column = a[k, k], jnp.where(here, 0.0, a[:, k])
        row = jnp.where(here, 1.0, a[k]) / pivot
        rest = jnp.where(here[None], 0.0, a) - column[:, None] * row
        return jnp.where(here[:, None], row, rest), log_det + jnp.log(jnp.abs(pivot))

    return jax.lax.fori_loop(0, a.shape[0], step, (a, jnp.zeros(a.shape[2:], a.dtype)))
