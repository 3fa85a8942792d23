"""The groups SU(N), their elements stored as complex matrices."""

import math
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from diffhep.core.checks import as_integer, require_shape
from diffhep.core.typing import Key
from diffhep_lattice.groups import matrices
from diffhep_lattice.groups.algebra import algebra_coefficients, hermitian_matrix
from diffhep_lattice.groups.base import AbstractGroup
from diffhep_lattice.groups.exponential import exponential

__citations__ = ("doi:10.1103/PhysRevD.10.2445",)

Links = Complex[Array, "mu row column *site"]
"""Matrices for every direction and site."""

Velocities = Float[Array, "mu algebra *site"]
"""Coefficients in the basis of `diffhep_lattice.groups.algebra`."""


class SUN(AbstractGroup):
    r"""The group of special unitary matrices of `n` colours.

    A field has the shape (mu, n, n, *site), row index first. An element of the algebra is the
    matrix $X = i\,p^a T_a$ with $\mathrm{tr}\,T_a T_b = \frac12\delta_{ab}$, stored as its
    $n^2 - 1$ real coefficients $p^a$ in a field (mu, n^2 - 1, *site).

    Attributes:
        n: Number of colours, at least 2.

    Raises:
        ConfigError: `n` is no integer or less than 2.
    """

    n: int = eqx.field(static=True, converter=partial(as_integer, name="n", low=2))

    @property
    def n_colors(self) -> int:
        """The number of colours."""
        return self.n

    @property
    def element_shape(self) -> tuple[int, int]:
        """Row and column."""
        return (self.n, self.n)

    @property
    def algebra_shape(self) -> tuple[int]:
        """One axis of coefficients."""
        return (self.n * self.n - 1,)

    def haar(self, shape: tuple[int, ...], *, key: Key, dtype: jnp.dtype | type = float) -> Links:
        """Matrices drawn from the Haar measure.

        The columns of a matrix of independent normal numbers, made orthonormal one after the other
        with positive norms, are a Haar distributed unitary matrix; its determinant is taken out of
        the last column.

        Args:
            shape: Number of directions, then the lengths of the site axes.
            key: Random key; a site draws the same on any layout of devices.
            dtype: Precision, real or complex.

        Returns:
            A field of shape (shape[0], n, n, *shape[1:]).
        """
        n = self.n
        real = jnp.finfo(dtype).dtype
        draws = jax.random.normal(key, (2, shape[0], n, n, *shape[1:]), real)
        unitary = _orthonormalise(jax.lax.complex(draws[0], draws[1]))
        phase = matrices.determinant(unitary)
        return unitary.at[:, :, -1].multiply(jnp.conj(phase / jnp.abs(phase))[:, None])

    def multiply(self, a: Links, b: Links) -> Links:
        """The products a b; a field with one direction broadcasts."""
        return matrices.multiply(a, b)

    def inverse(self, a: Links) -> Links:
        """The adjoint matrices."""
        return matrices.dagger(a)

    def exponential(self, velocity: Velocities) -> Links:
        r"""The matrices $e^{i p^a T_a}$, unitary to rounding, with finite derivatives."""
        return exponential(velocity, self.n)

    def logarithm(self, a: Links) -> Velocities:
        r"""Coefficients $p^a$ of the shortest $X = i p^a T_a$ with $e^X = a$.

        The eigenvalues come from a Hermitian eigenproblem for every link, which is slow: this is no
        operation for an inner loop. Its derivative is not finite where eigenvalues coincide.

        Args:
            a: Special unitary matrices.

        Returns:
            The coefficients. Eigenphases lie in $[-\\pi, \\pi]$, but for the one that has to give
            way for their sum to vanish.
        """
        self._check(a)
        return algebra_coefficients(1j * _eigenphase_matrix(a, self.n))

    def move(self, a: Links, velocity: Velocities) -> Links:
        r"""The matrices $e^{i p^a T_a}\,a$."""
        return matrices.multiply(self.exponential(velocity), a)

    def project(self, a: Links) -> Links:
        """The unitary polar factors, with the phase of their determinants divided out evenly.

        For matrices near the group these are the nearest elements. Singular matrices have none.
        """
        self._check(a)
        unitary = matrices.polar_unitary(a)
        phase = jnp.angle(matrices.determinant(unitary)) / self.n
        rotation = jax.lax.complex(jnp.cos(phase), -jnp.sin(phase))
        return unitary * rotation[:, None, None]

    def real_trace(self, a: Links) -> Float[Array, "mu *site"]:
        """Real part of the trace, without a factor 1/N."""
        return matrices.trace(a).real

    def algebra_matrix(self, velocity: Velocities) -> Links:
        r"""The anti-Hermitian matrices $X = i p^a T_a$."""
        return 1j * hermitian_matrix(velocity, self.n)

    def algebra_projection(self, a: Links) -> Velocities:
        r"""Coefficients $2\,\mathrm{Im\,tr}\,T_a M$ of the traceless anti-Hermitian part of M."""
        return algebra_coefficients(a)

    def _check(self, a: Links) -> None:
        """Raise a `ShapeError` unless a field holds matrices of these colours."""
        good = a.ndim >= 3 and a.shape[1:3] == (self.n, self.n)
        rule = f"have the shape (mu, {self.n}, {self.n}, *site)"
        require_shape(good, "a", rule, f"shape {a.shape}")


def SU2() -> SUN:
    """The group SU(2)."""
    return SUN(2)


def SU3() -> SUN:
    """The group SU(3)."""
    return SUN(3)


def _orthonormalise(vectors: Links) -> Links:
    """The columns made orthonormal from left to right, by Gram and Schmidt."""

    def add_column(index: Array, columns: Array) -> Array:
        column = vectors[:, :, index]
        # The second pass takes the rounding errors of the first out; columns to come are zero.
        for _ in range(2):
            overlaps = jnp.sum(jnp.conj(columns) * column[:, :, None], axis=1, keepdims=True)
            column = column - jnp.sum(columns * overlaps, axis=2)
        norm = jnp.sqrt(matrices.add_entries(jnp.square(jnp.abs(column)), 1))[:, None]
        return columns.at[:, :, index].set(column / norm)

    return jax.lax.fori_loop(0, vectors.shape[1], add_column, jnp.zeros_like(vectors))


def _eigenphase_matrix(a: Links, n: int) -> Links:
    """Traceless Hermitian matrices K with exp(iK) = a.

    The Cayley transform i(1 - V)/(1 + V) of V = a times a phase is Hermitian with the eigenvalues
    tan(theta/2), which are distinct where the phases are. Of a few turns the one that keeps V
    farthest from -1 is taken; the eigenphases themselves are those of a in the eigenbasis.
    """
    U = jnp.moveaxis(a, (1, 2), (-2, -1))
    one = jnp.eye(n, dtype=a.dtype)
    turns = jnp.exp(2j * math.pi * np.arange(2 * n) / (2 * n)).astype(a.dtype)
    turned = turns.reshape(2 * n, *(1,) * U.ndim) * U
    distance = jnp.abs(jnp.linalg.det(one + turned))
    best = jnp.argmax(distance, axis=0)[None, ..., None, None]
    V = jnp.take_along_axis(turned, best, axis=0)[0]
    cayley = 1j * jnp.linalg.solve(one + V, one - V)
    _, vectors = jnp.linalg.eigh(0.5 * (cayley + jnp.conj(jnp.swapaxes(cayley, -2, -1))))
    rotated = jnp.sum(jnp.conj(vectors) * (U @ vectors), axis=-2)
    phases = jnp.angle(rotated)
    # The phases add up to a multiple of 2 pi; that many of the outermost ones go once around.
    excess = jnp.round(jnp.sum(phases, axis=-1, keepdims=True) / (2 * math.pi))
    rank = jnp.argsort(jnp.argsort(-jnp.sign(excess) * phases, axis=-1), axis=-1)
    phases = phases - 2 * math.pi * jnp.sign(excess) * (rank < jnp.abs(excess))
    K = (vectors * phases[..., None, :]) @ jnp.conj(jnp.swapaxes(vectors, -2, -1))
    return jnp.moveaxis(K, (-2, -1), (1, 2))
