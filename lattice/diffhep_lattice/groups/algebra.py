r"""The Lie algebra of SU(N): real coefficients and matrices.

The basis is that of Gell-Mann generalised, Hermitian and traceless generators with
$\mathrm{tr}\,T_a T_b = \frac12\delta_{ab}$: for N = 2 half the Pauli matrices, for N = 3 half the
Gell-Mann matrices, in their standard order. For every column b = 2..N come the pairs
$\frac12(E_{ab}+E_{ba})$, $\frac{1}{2i}(E_{ab}-E_{ba})$ for a < b, then the diagonal
$(E_{11}+\dots+E_{b-1,b-1}-(b-1)E_{bb})/\sqrt{2b(b-1)}$. Coefficients stand for the
anti-Hermitian matrix $X = i\,p^a T_a$, so that $-2\,\mathrm{tr}\,X^2 = \sum p^2$.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from diffhep_lattice.groups.matrices import entry


def generators(n: int) -> Complex[np.ndarray, "algebra row column"]:
    r"""The generators $T_a$ of SU(n)."""
    found = []
    for b in range(1, n):
        for a in range(b):
            pair = np.zeros((2, n, n), complex)
            pair[0, a, b] = pair[0, b, a] = 0.5
            pair[1, a, b], pair[1, b, a] = -0.5j, 0.5j
            found.extend(pair)
        diagonal = np.concatenate([np.ones(b), [-b], np.zeros(n - b - 1)])
        found.append(np.diag(diagonal / math.sqrt(2 * b * (b + 1))).astype(complex))
    return np.stack(found)


def hermitian_matrix(p: Float[Array, "..."], n: int, axis: int = 1) -> Complex[Array, "..."]:
    r"""The Hermitian matrices $p^a T_a$ of coefficients on one axis, which two colour axes replace.

    Args:
        p: Coefficients, the axis of the algebra at `axis`.
        n: Number of colours.
        axis: Position of the algebra's axis, and of the row index of the result.

    Returns:
        The matrices, in the complex dtype of the coefficients' precision.
    """
    parts = iter(jnp.moveaxis(p, axis, 0))
    zero = jnp.zeros_like(jnp.moveaxis(p, axis, 0)[0])
    rows: list[list[Array]] = [[zero] * n for _ in range(n)]
    diagonal = [zero] * n
    for b in range(1, n):
        for a in range(b):
            real, imaginary = 0.5 * next(parts), 0.5 * next(parts)
            rows[a][b] = jax.lax.complex(real, -imaginary)
            rows[b][a] = jax.lax.complex(real, imaginary)
        part = next(parts) / math.sqrt(2 * b * (b + 1))
        diagonal = [d + part if i < b else d for i, d in enumerate(diagonal)]
        diagonal[b] = -b * part
    for i, d in enumerate(diagonal):
        rows[i][i] = jax.lax.complex(d, zero)
    stacked = jnp.stack([jnp.stack(row, axis) for row in rows], axis)
    return jax.lax.optimization_barrier(stacked)


def algebra_coefficients(a: Complex[Array, "..."], axis: int = 1) -> Float[Array, "..."]:
    r"""Coefficients $p^a = 2\,\mathrm{Im\,tr}\,T_a M$ of the projection of M onto the algebra.

    That is the traceless anti-Hermitian part of any matrices M, without the Hermitian one.

    Args:
        a: Matrices $M$ with the row index at `axis` and the column index after it.
        axis: Position of the row index, and of the algebra's axis in the result.

    Returns:
        The coefficients, real.
    """
    n = a.shape[axis]
    coefficients = []
    diagonal = entry(a, 0, 0, axis).imag
    for column in range(1, n):
        for row in range(column):
            upper, lower = entry(a, row, column, axis), entry(a, column, row, axis)
            coefficients += [upper.imag + lower.imag, upper.real - lower.real]
        last = entry(a, column, column, axis).imag
        norm = math.sqrt(2.0 / (column * (column + 1)))
        coefficients.append(norm * (diagonal - column * last))
        diagonal = diagonal + last
    return jnp.stack(coefficients, axis)
