r"""Sums over the rectangles of two plaquettes of SU(N) links, and their derivatives.

With the double links $D_\mu(x) = U_\mu(x)\,U_\mu(x+\hat\mu)$ a rectangle is a plaquette of $D_\mu$
and $U_\nu$, and it is summed like one: see `diffhep_lattice.actions.plaquettes`. What a loop sum is
for a double link, it is for the first of its two links as well, and for the second one after
transport along the first. That makes five products a rectangle and orientation and four a link.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Complex, Float

from diffhep.core.typing import Scalar
from diffhep_lattice.actions.boundary import LoopWeights
from diffhep_lattice.groups.algebra import algebra_coefficients
from diffhep_lattice.groups.matrices import dagger_multiply, multiply, multiply_dagger
from diffhep_lattice.links import ahead

__citations__ = ("doi:10.1007/BF01206178",)


def rectangle_sum(
    U: Complex[Array, "mu row column *site"], weights: LoopWeights | None = None
) -> Scalar:
    r"""$\sum_{x,\mu\ne\nu} w\,\mathrm{Re\,tr}\,R_{\mu\nu}(x)$, two links along $\mu$.

    Args:
        U: Links.
        weights: Weights $w$; one if left out.

    Returns:
        The sum in double precision, without a factor 1/N.
    """
    U = U.astype(jnp.complex128)
    dimension = U.shape[0]
    total = jnp.zeros(())
    for mu in range(dimension):
        D = multiply(U[mu], ahead(U[mu], mu), 0)
        for nu in _others(mu, dimension):
            A = multiply(D, ahead(U[nu], mu, 2), 0)
            B = multiply(U[nu], ahead(D, nu), 0)
            traces = jnp.sum(A.real * B.real + A.imag * B.imag, axis=(0, 1))
            if weights is not None:
                traces = traces * weights.of_rectangle(mu, nu, dimension)
            total = total + jnp.sum(traces)
    return total


def rectangle_force(
    U: Complex[Array, "mu row column *site"], weights: LoopWeights | None = None
) -> Float[Array, "mu algebra *site"]:
    r"""Algebra coefficients of the sums of the rectangles that start with each link.

    $2\,\mathrm{Im\,tr}\,T_a\sum w\,R$ over the $6(d-1)$ rectangles $R$ that start with the link,
    minus twice the derivative of `rectangle_sum` along $T_a$.

    Args:
        U: Links.
        weights: Weights $w$; one if left out.

    Returns:
        Coefficients in the basis of `diffhep_lattice.groups.algebra`.
    """
    dimension = U.shape[0]
    loops: list[Any] = [0.0] * dimension
    staples: list[Any] = [0.0] * dimension
    for mu in range(dimension):
        D = multiply(U[mu], ahead(U[mu], mu), 0)
        long_loops: Any = 0.0
        long_staples: Any = 0.0
        for nu in _others(mu, dimension):
            Y = U[nu]
            A = multiply(D, ahead(Y, mu, 2), 0)
            B = multiply(Y, ahead(D, nu), 0)
            loop = multiply_dagger(A, B, 0)
            staple_mu, staple_nu = dagger_multiply(A, Y, 0), dagger_multiply(B, D, 0)
            if weights is not None:
                w = weights.of_rectangle(mu, nu, dimension).astype(U.real.dtype)
                loop, staple_mu, staple_nu = w * loop, w * staple_mu, w * staple_nu
            long_loops += loop
            # Minus the loop and its adjoint have the same part in the algebra.
            loops[nu] -= loop
            long_staples += ahead(staple_mu, nu, -1)
            staples[nu] += ahead(staple_nu, mu, -2)
        long_loops += multiply(D, long_staples, 0)
        transported = dagger_multiply(U[mu], multiply(long_loops, U[mu], 0), 0)
        loops[mu] += long_loops + ahead(transported, mu, -1)
    sums = [loops[mu] + multiply(U[mu], staples[mu], 0) for mu in range(dimension)]
    return algebra_coefficients(jnp.stack(sums))


def _others(mu: int, dimension: int) -> list[int]:
    return [nu for nu in range(dimension) if nu != mu]
