"""Factorisations of small symmetric matrices, unrolled: they batch without a call per matrix.

A batch of thousands of 5 x 5 matrices spends its time on calls of LAPACK, one a matrix; a few
vector operations over the whole batch do the same work.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float


def cholesky(matrix: Float[Array, "n n"]) -> Float[Array, "n n"]:
    r"""The lower triangle $L$ of $A = LL^T$; not a number where the matrix is not positive.

    Args:
        matrix: $A$, symmetric and positive definite. The number of operations traced grows with
            its size: for at most some tens of rows.

    Returns:
        $L$.
    """
    rest, columns = matrix, []
    rows = jnp.arange(matrix.shape[0])
    for index in range(matrix.shape[0]):
        column = jnp.where(rows >= index, rest[:, index], 0.0) / jnp.sqrt(rest[index, index])
        rest = rest - column[:, None] * column[None, :]
        columns.append(column)
    return jnp.stack(columns, axis=1)


def whiten(lower: Float[Array, "n n"], values: Float[Array, "n *m"]) -> Float[Array, "n *m"]:
    r"""$L^{-1}b$ by forward substitution.

    Args:
        lower: $L$, a lower triangle.
        values: $b$, one column or several.

    Returns:
        $L^{-1}b$; its square is $b^TA^{-1}b$ for $A = LL^T$.
    """
    rest, found = values, []
    for index in range(lower.shape[0]):
        row = rest[index] / lower[index, index]
        column = lower[:, index].reshape((-1,) + (1,) * (values.ndim - 1))
        rest = rest - column * row
        found.append(row)
    return jnp.stack(found)


def inverse(matrix: Float[Array, "n n"]) -> Float[Array, "n n"]:
    r"""$A^{-1}$ of a symmetric positive definite matrix.

    Args:
        matrix: $A$.

    Returns:
        $A^{-1}$, symmetric to the last bit.
    """
    root = whiten(cholesky(matrix), jnp.eye(matrix.shape[0], dtype=matrix.dtype))
    return root.T @ root


def inverse_symmetric(matrix: Float[Array, "n n"]) -> Float[Array, "n n"]:
    r"""$A^{-1}$ of a symmetric matrix that need not be positive, by sweeps along its diagonal.

    Args:
        matrix: $A$; no leading minor may vanish.

    Returns:
        $A^{-1}$.
    """
    swept, rows = matrix, jnp.arange(matrix.shape[0])
    for index in range(matrix.shape[0]):
        pivot = swept[index, index]
        column = swept[:, index]
        rest = swept - column[:, None] * (swept[index] / pivot)[None, :]
        here = rows == index
        rest = jnp.where(here[:, None], (swept[index] / pivot)[None, :], rest)
        rest = jnp.where(here[None, :], (column / pivot)[:, None], rest)
        swept = jnp.where(here[:, None] & here[None, :], -1.0 / pivot, rest)
    return -swept
