r"""Products of fields of small complex matrices, laid out for long vector loops.

The two colour axes stand together before the last site axes, so that a loop over a product's inner
sites is contiguous. A product is a broadcast multiplication summed over the colour index: on a CPU
this is one vectorised loop per output element, thirty times as fast as `@` on matrices that come
last, and it compiles at once, unlike products written out element by element. The barrier after
each product keeps XLA from computing it again inside every one of its users.

`axis` is the position of the row index, which the column index follows: 1 for link fields
(mu, row, column, *site). Other axes broadcast.
"""

import functools
import itertools
import math
import operator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Inexact

_MAX_POLAR_STEPS = 60
"""A singular value grows by at least 1.49 a step while it is small: enough down to 1e-10."""

_POLAR_NORM = 2.5
"""Greatest squared singular value an iteration starts from; it converges below 3."""


def multiply(a: Inexact[Array, "..."], b: Inexact[Array, "..."], axis: int = 1) -> Array:
    """The products a b."""
    terms = jnp.expand_dims(a, axis + 2) * jnp.expand_dims(b, axis)
    return jax.lax.optimization_barrier(jnp.sum(terms, axis + 1))


def multiply_dagger(a: Inexact[Array, "..."], b: Inexact[Array, "..."], axis: int = 1) -> Array:
    r"""The products $a\,b^\dagger$."""
    terms = jnp.expand_dims(a, axis + 1) * jnp.expand_dims(jnp.conj(b), axis)
    return jax.lax.optimization_barrier(jnp.sum(terms, axis + 2))


def dagger_multiply(a: Inexact[Array, "..."], b: Inexact[Array, "..."], axis: int = 1) -> Array:
    r"""The products $a^\dagger b$."""
    terms = jnp.expand_dims(jnp.conj(a), axis + 2) * jnp.expand_dims(b, axis + 1)
    return jax.lax.optimization_barrier(jnp.sum(terms, axis))


def dagger(a: Inexact[Array, "..."], axis: int = 1) -> Array:
    r"""The adjoints $a^\dagger$."""
    return jnp.conj(jnp.swapaxes(a, axis, axis + 1))


def entry(a: Inexact[Array, "..."], row: int, column: int, axis: int = 1) -> Array:
    """One entry of every matrix, without the colour axes."""
    return a[(slice(None),) * axis + (row, column)]


def trace(a: Inexact[Array, "..."], axis: int = 1) -> Array:
    """The traces."""
    return sum(entry(a, i, i, axis) for i in range(1, a.shape[axis])) + entry(a, 0, 0, axis)


def add_entries(a: Float[Array, "..."], *axes: int) -> Array:
    """The sum over short axes of a real field, its entries added one after the other.

    Of `jnp.sum`, XLA on CPU hands large fields but not small ones to a library that adds in another
    order: the parts of a field divided over devices would differ from the whole in their last bits.

    Args:
        a: The field.
        *axes: Axes of a few entries, not negative.

    Returns:
        The sum, without these axes.
    """
    ranges = [range(n) if axis in axes else [slice(None)] for axis, n in enumerate(a.shape)]
    return functools.reduce(operator.add, [a[index] for index in itertools.product(*ranges)])


def identity(n: int, ndim: int, axis: int = 1) -> Float[np.ndarray, "..."]:
    """The unit matrix, shaped to broadcast against a field of rank `ndim`."""
    shape = [1] * ndim
    shape[axis] = shape[axis + 1] = n
    return np.eye(n).reshape(shape)


def determinant(a: Complex[Array, "mu row column *site"]) -> Complex[Array, "mu *site"]:
    """The determinants; for more than three colours by the recursion of Faddeev and LeVerrier."""
    n = a.shape[1]
    if n == 2:
        return a[:, 0, 0] * a[:, 1, 1] - a[:, 0, 1] * a[:, 1, 0]
    if n == 3:
        minors = [
            a[:, 1, (i + 1) % 3] * a[:, 2, (i + 2) % 3]
            - a[:, 1, (i + 2) % 3] * a[:, 2, (i + 1) % 3]
            for i in range(3)
        ]
        return sum(a[:, 0, i] * minors[i] for i in range(1, 3)) + a[:, 0, 0] * minors[0]
    one = identity(n, a.ndim).astype(a.dtype)
    adjugate = jnp.broadcast_to(one, a.shape)
    coefficient = jnp.ones(())
    for k in range(1, n + 1):
        product = multiply(a, adjugate)
        coefficient = -trace(product) / k
        adjugate = product + coefficient[:, None, None] * one
    return (-1) ** n * coefficient


def polar_unitary(a: Complex[Array, "mu row column *site"]) -> Complex[Array, "..."]:
    r"""The unitary factors $W$ of $a = W P$ with $P$ positive, the nearest unitary matrices.

    Newton and Schulz's iteration $Y \to \frac12 Y(3 - Y^\dagger Y)$ squares the distance from
    unitarity at every step; one step takes rounding errors out. It stops for all matrices at once.

    Reference: N. J. Higham, Functions of Matrices (2008), section 8.3.
    """
    n = a.shape[1]
    one = identity(n, a.ndim).astype(a.dtype)
    tolerance = math.sqrt(float(jnp.finfo(a.dtype).eps))

    def unfinished(carry: tuple[Array, Array, Array]) -> Array:
        count, _, distance = carry
        return (count < _MAX_POLAR_STEPS) & (distance > tolerance)

    def improve(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        count, y, _ = carry
        gram = dagger_multiply(y, y)
        # Halving is exact: a compiler may fuse it with the sum or not, the bits are the same.
        improved = y + 0.5 * (y - multiply(y, gram))
        return count + 1, improved, jnp.max(jnp.abs(gram - one))

    gram = dagger_multiply(a, a)
    # The mean squared singular value becomes one, and the largest, by Gershgorin, at most 2.5.
    shrinking = n / trace(gram).real
    largest = jnp.max(add_entries(jnp.abs(gram * shrinking[:, None, None]), 1), axis=1)
    scale = jnp.sqrt(shrinking)
    scale = scale * jnp.minimum(1.0, jnp.sqrt(_POLAR_NORM / largest))
    start = jnp.zeros((), int), a * scale[:, None, None], jnp.asarray(jnp.inf, a.real.dtype)
    return jax.lax.while_loop(unfinished, improve, start)[1]
