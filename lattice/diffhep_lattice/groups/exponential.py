r"""The exponential of SU(N), by the theorem of Cayley and Hamilton.

A traceless Hermitian matrix obeys $Q^N = \sum_{k=0}^{N-2} c_k Q^k$ with real coefficients, so that
$e^{iQ} = \sum_{k=0}^{N-1} f_k(c)\,Q^k$: everything but the powers of $Q$ is arithmetic of a few
numbers per link. The $f_k$ are a Taylor series where $|Q| \le \frac12$; larger matrices are halved
first and the polynomial is squared back, modulo the characteristic one.

The closed form by roots of the characteristic polynomial (C. Morningstar, M. Peardon,
arXiv:hep-lat/0311018) costs several trigonometric functions and has removable singularities, of
which autodiff makes NaN, at coinciding eigenvalues. This series has none of them and is, on a CPU,
the faster one; both agree to rounding.
"""

import functools
import math
import operator
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float, Int

from diffhep_lattice.groups.algebra import hermitian_matrix
from diffhep_lattice.groups.matrices import add_entries, identity, multiply

__citations__ = ("arXiv:hep-lat/0311018",)

_RADIUS = 0.5
"""Largest eigenvalue for the Taylor series."""

_ORDERS = {jnp.dtype(jnp.float64): 14, jnp.dtype(jnp.float32): 8}
"""Order of the series by precision: the first term left out is below 3e-17, or 6e-9."""

_MAX_SQUARINGS = 60
_SQUARINGS_OF_DERIVATIVE = 8
"""The derivative squares this often whatever the matrix, up to eigenvalues of 128."""


def exponential(p: Float[Array, "mu algebra *site"], n: int) -> Complex[Array, "mu n n *site"]:
    r"""The matrices $e^{i p^a T_a}$, accurate to rounding times the largest eigenvalue.

    Args:
        p: Coefficients in the basis of `diffhep_lattice.groups.algebra`.
        n: Number of colours.

    Returns:
        Matrices unitary to rounding, with derivatives of every order everywhere.
    """
    Q, f = _polynomial(p, n)
    one = identity(n, Q.ndim).astype(p.dtype)
    total = f[n - 1] * Q + f[n - 2] * one
    for k in range(n - 3, -1, -1):
        total = multiply(Q, total) + f[k] * one
    return jax.lax.optimization_barrier(total)


def _polynomial(
    p: Float[Array, "mu algebra *site"], n: int
) -> tuple[Complex[Array, "mu n n *site"], Complex[Array, "n mu #n #n *site"]]:
    """Matrices Q and f_k with the sum of the f_k Q^k the exponential.

    Q is halved until the series converges at once, for all links alike: powers of two change no
    digit, and the f_k need not be scaled back.
    """
    # The sum of the squared eigenvalues is half that of p, and no one exceeds (N-1)/N of it.
    largest = jnp.sqrt(jnp.max(add_entries(p * p, 1)) * (n - 1) / (2 * n))
    wanted = jnp.ceil(jnp.log2(largest / _RADIUS))
    n_squarings = jnp.where(wanted > 0, jnp.minimum(wanted, _MAX_SQUARINGS), 0).astype(int)
    small = p * jnp.ldexp(jnp.ones((), p.dtype), -n_squarings)
    Q = hermitian_matrix(small, n)
    f = _coefficients(_characteristic(small, Q, n), n_squarings)
    return Q, f[:, :, None, None]


def _characteristic(
    p: Float[Array, "mu algebra *site"], Q: Complex[Array, "mu n n *site"], n: int
) -> Float[Array, "k mu *site"]:
    """The coefficients c_k of Q^N, k = 0..N-2: half the trace of Q^2, for N = 3 the determinant."""
    half_square = 0.25 * add_entries(p * p, 1)
    if n == 2:
        c = [half_square]
    elif n == 3:
        c = [_hermitian_determinant(Q), half_square]
    else:
        c = _characteristic_by_traces(p, Q, n)
    return jax.lax.optimization_barrier(jnp.stack(c))


def _hermitian_determinant(Q: Complex[Array, "mu n n *site"]) -> Float[Array, "mu *site"]:
    """The determinants of Hermitian matrices of three colours."""
    x, y, z = (Q[:, i, i].real for i in range(3))
    a, b, c = Q[:, 0, 1], Q[:, 1, 2], Q[:, 2, 0]
    squares = [entry.real * entry.real + entry.imag * entry.imag for entry in (a, b, c)]
    triangle = (a * b * c).real
    return x * y * z + 2.0 * triangle - (z * squares[0] + x * squares[1] + y * squares[2])


def _characteristic_by_traces(
    p: Float[Array, "mu algebra *site"], Q: Complex[Array, "mu n n *site"], n: int
) -> list[Float[Array, "mu *site"]]:
    """The c_k by Newton's identities from the traces of powers."""
    powers = [Q]
    for _ in range(2, (n + 1) // 2 + 1):
        powers.append(multiply(powers[-1], Q))
    traces = [jnp.zeros_like(p[:, 0]), 0.5 * add_entries(p * p, 1)]
    for k in range(3, n + 1):
        left, right = powers[k // 2 - 1], powers[k - k // 2 - 1]
        # The powers are Hermitian, so the trace of a product is a sum over entries.
        overlap = left.real * right.real + left.imag * right.imag
        traces.append(add_entries(overlap, 1, 2))
    symmetric = [jnp.ones_like(p[:, 0])]
    for k in range(1, n + 1):
        terms = [(-1) ** (i - 1) * symmetric[k - i] * traces[i - 1] for i in range(1, k + 1)]
        symmetric.append(functools.reduce(operator.add, terms) / k)
    return [(-1) ** (n - k - 1) * symmetric[n - k] for k in range(n - 1)]


@jax.custom_jvp
def _coefficients(
    c: Float[Array, "k mu *site"], n_squarings: Int[Array, ""]
) -> Complex[Array, "n mu *site"]:
    """The f_k of the exponential squared so often."""

    def unfinished(carry: tuple[Array, Array]) -> Array:
        return carry[0] < n_squarings

    def double(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        return carry[0] + 1, _square(c, carry[1])

    return jax.lax.while_loop(unfinished, double, (jnp.zeros((), int), _taylor(c)))[1]


@_coefficients.defjvp
def _coefficients_jvp(
    primals: tuple[Float[Array, "k mu *site"], Int[Array, ""]], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    """A loop whose length depends on its data has no reverse mode; a fixed one has."""
    c, n_squarings = primals
    n = c.shape[0] + 1
    scale = jnp.ldexp(jnp.ones((), c.dtype), n_squarings)

    def by_fixed_squarings(c: Array) -> Array:
        large = _rescale(c, scale, range(n, 1, -1))
        return _rescale(_coefficients_by_fixed_squarings(large), scale, range(n))

    return _coefficients(c, n_squarings), jax.jvp(by_fixed_squarings, (c,), tangents[:1])[1]


def _coefficients_by_fixed_squarings(c: Float[Array, "k mu *site"]) -> Complex[Array, "..."]:
    r"""The f_k of $e^{iQ}$ by loops of fixed lengths: slower, but they have a reverse mode.

    The series is summed by Horner's rule, f -> 1 + iQ f / m for m = order, ..., 1.
    """
    n = c.shape[0] + 1
    order = _ORDERS[c.dtype]
    scale = jnp.asarray(0.5**_SQUARINGS_OF_DERIVATIVE, c.dtype)
    small = _rescale(c, scale, range(n, 1, -1))
    one = jnp.zeros((n, *c.shape[1:]), jnp.result_type(c, 1j)).at[0].set(1.0)

    def horner(index: Array, f: Array) -> Array:
        carried = jnp.concatenate([jnp.zeros_like(f[:1]), f[:-1]])
        return one + (1j / (order - index)) * carried.at[:-1].add(small * f[-1:])

    f = jax.lax.fori_loop(0, order, horner, one)
    f = jax.lax.fori_loop(0, _SQUARINGS_OF_DERIVATIVE, lambda _, f: _square(small, f), f)
    return _rescale(f, scale, range(n))


def _rescale(values: Array, scale: Array, powers: range) -> Array:
    """One coefficient after the other times these powers of `scale`."""
    factors = jnp.stack([scale**power for power in powers])
    return values * factors.reshape(len(powers), *(1,) * (values.ndim - 1))


def _taylor(c: Float[Array, "k mu *site"]) -> Complex[Array, "n mu *site"]:
    r"""The f_k by the series in the complete symmetric polynomials h_j of the eigenvalues.

    $Q^m = \sum_k Q^k \sum_{j\le k} c_j\,h_{m-N-k+j}$ for $m \ge N$, with the recursion
    $h_j = \sum_k c_k\,h_{j-N+k}$ and $h_0 = 1$: one sequence of numbers for all k.
    """
    n = c.shape[0] + 1
    order = _ORDERS[c.dtype]
    h: list[Array | None] = [jnp.ones_like(c[0])]
    for j in range(1, order - n + 1):
        h.append(_sum(_product(c[k], h[j - n + k]) for k in range(n - 1) if j - n + k >= 0))

    def series(parity: int, k: int) -> Array:
        """Part of f_k: even powers of iQ are real, odd ones imaginary."""
        total = jnp.full_like(c[0], _signed_inverse_factorial(k) if k % 2 == parity else 0.0)
        for j in range(min(k, n - 2) + 1):
            terms = (
                _product(_signed_inverse_factorial(m), h[m - n - k + j])
                for m in range(n + k - j, order + 1)
                if m % 2 == parity
            )
            inner = _sum(terms)
            if inner is not None:
                total = total + c[j] * inner
        return total

    # The barrier keeps XLA from summing the series again for every entry of the matrices.
    real, imaginary = jax.lax.optimization_barrier(
        tuple(jnp.stack([series(parity, k) for k in range(n)]) for parity in (0, 1))
    )
    return jax.lax.complex(real, imaginary)


def _product(a: Any, b: Array | None) -> Array | None:
    """The product, where None is zero."""
    return None if b is None else a * b


def _sum(terms: Iterable[Array | None]) -> Array | None:
    """The sum, where None is zero."""
    found = [term for term in terms if term is not None]
    return functools.reduce(operator.add, found) if found else None


def _signed_inverse_factorial(m: int) -> float:
    """i^m / m! without its factor i where m is odd."""
    return (-1.0) ** (m // 2) / math.factorial(m)


def _square(
    c: Float[Array, "k mu *site"], f: Complex[Array, "n mu *site"]
) -> Complex[Array, "n mu *site"]:
    """The square of the polynomial f, modulo the characteristic one."""
    n = c.shape[0] + 1
    square: list[Any] = [0.0] * (2 * n - 1)
    for k in range(n):
        square[2 * k] += f[k] * f[k]
        for j in range(k):
            square[k + j] += 2.0 * f[k] * f[j]
    for degree in range(2 * n - 2, n - 1, -1):
        highest = square.pop()
        for k in range(n - 1):
            square[degree - n + k] += c[k] * highest
    return jnp.stack(square)
