"""SU(N): the algebra's basis, the exponential against SciPy, Haar moments, projections."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from diffhep.core.errors import ConfigError
from diffhep_lattice.groups import SU2, SU3, SUN, inner_product, random_momentum
from diffhep_lattice.groups.algebra import generators
from diffhep_lattice.groups.matrices import determinant, polar_unitary

pytestmark = pytest.mark.instant

_SHAPE = (2, 3, 4)


def stack_last(field):
    """NumPy matrices (..., row, column) of a field (mu, row, column, *site)."""
    return np.moveaxis(np.asarray(field), (1, 2), (-2, -1))


@eqx.filter_jit
def haar(group, key, shape=_SHAPE):
    return group.haar(shape, key=key, dtype=jnp.float64)


@eqx.filter_jit
def exponential(group, p):
    return group.exponential(p)


@eqx.filter_jit
def logarithm(group, a):
    return group.logarithm(a)


@eqx.filter_jit
def project(group, a):
    return group.project(a)


def velocities(n, key, scale=1.0):
    return scale * jax.random.normal(key, (2, n * n - 1, 3, 4))


def matrices_of(p, n):
    return np.einsum("ma...,aij->m...ij", np.asarray(p), generators(n))


@pytest.mark.parametrize("n", [2, 3, 5])
def test_generators_are_an_orthogonal_basis(n):
    T = generators(n)
    np.testing.assert_allclose(np.einsum("aij,bji->ab", T, T), np.eye(n * n - 1) / 2, atol=1e-15)
    np.testing.assert_array_equal(T, np.conj(np.swapaxes(T, 1, 2)))
    np.testing.assert_allclose(np.trace(T, axis1=1, axis2=2), 0.0, atol=1e-15)


def test_basis_is_that_of_pauli_and_gell_mann():
    pauli = [[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]]
    np.testing.assert_array_equal(2 * generators(2), pauli)
    last = np.diag([1, 1, -2]) / np.sqrt(3)
    np.testing.assert_allclose(2 * generators(3)[7], last, atol=1e-15)
    commutator = generators(3)[0] @ generators(3)[3] - generators(3)[3] @ generators(3)[0]
    np.testing.assert_allclose(commutator, 0.5j * generators(3)[6], atol=1e-15)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_algebra_maps_are_inverse(n, key):
    group, p = SUN(n), velocities(n, key)
    X = group.algebra_matrix(p)
    np.testing.assert_allclose(stack_last(X), 1j * matrices_of(p, n), atol=1e-15)
    np.testing.assert_allclose(group.algebra_projection(X), p, atol=1e-14)
    Y = X + (0.7 + 0.2j) * np.eye(n).reshape(1, n, n, 1, 1)
    np.testing.assert_allclose(group.algebra_projection(Y), p, atol=1e-14)
    q = velocities(n, jax.random.fold_in(key, 1))
    trace = np.einsum("mxyij,mxyji->", stack_last(X), stack_last(group.algebra_matrix(q)))
    assert float(inner_product(p, q)) == pytest.approx(-2 * trace.real, rel=1e-13)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_exponential_is_that_of_scipy(n, key):
    p = velocities(n, key)
    for scale in (1e-8, 0.1, 0.3, 1.0, 4.0, 20.0):
        expected = np.stack(
            [scipy.linalg.expm(1j * Q) for Q in matrices_of(scale * p, n).reshape(-1, n, n)]
        )
        found = stack_last(exponential(SUN(n), scale * p)).reshape(-1, n, n)
        error = 2e-15 * max(1.0, 2.0 * scale)
        np.testing.assert_allclose(found, expected, rtol=0, atol=error)
        unity = found @ np.conj(np.swapaxes(found, 1, 2))
        np.testing.assert_allclose(unity - np.eye(n), 0.0, atol=2 * error)


@functools.partial(jax.jit, static_argnums=0)
def gradient(n, p, weight):
    """Of a linear function of the exponential, in reverse mode."""
    return jax.grad(lambda p: jnp.vdot(weight, SUN(n).exponential(p)).real)(p)


@pytest.mark.parametrize("n", [2, 3])
def test_derivative_of_the_exponential(n, key):
    """Against SciPy's Frechet derivative, coinciding eigenvalues and zero among the matrices."""
    p = np.array(velocities(n, key))
    p[0, :, 0, 0] = 0.0
    p[0, :, 0, 1] = np.eye(n * n - 1)[-1]
    p[0, :, 0, 2] = -1.7 * np.eye(n * n - 1)[-1]
    weight = jax.random.normal(key, (2, n, n, 3, 4)) + 1j
    found = gradient(n, jnp.asarray(p), weight)
    w = stack_last(weight)
    for site in ((0, 0, 0), (0, 0, 1), (0, 0, 2), (1, 2, 3)):
        X = 1j * matrices_of(p, n)[site]
        slopes = [
            np.vdot(w[site], scipy.linalg.expm_frechet(X, 1j * T, compute_expm=False)).real
            for T in generators(n)
        ]
        np.testing.assert_allclose(found[site[0], :, site[1], site[2]], slopes, atol=1e-12)


def test_exponential_in_single_precision(key):
    p = velocities(3, key)
    narrow = exponential(SU3(), p.astype(jnp.float32))
    assert narrow.dtype == jnp.complex64
    np.testing.assert_allclose(narrow, exponential(SU3(), p), atol=2e-6)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_haar_matrices_are_special_unitary_with_the_right_moments(n, key):
    """<|tr|^2> = 1, <|tr|^4> = 2 and those of single entries; 5 sigma: one false alarm in 1.7e6."""
    group = SUN(n)
    U = stack_last(haar(group, key, (2, 10_000)))
    unity = U @ np.conj(np.swapaxes(U, -2, -1))
    np.testing.assert_allclose(unity, np.broadcast_to(np.eye(n), U.shape), atol=2e-15)
    np.testing.assert_allclose(np.linalg.det(U), 1.0, atol=2e-14)
    trace = np.abs(np.trace(U, axis1=-2, axis2=-1)).ravel()
    corner = np.abs(U[..., 0, 0]).ravel()
    for sample, expected in (
        (trace**2, 1.0),
        (trace**4, 2.0),
        (corner**2, 1 / n),
        (corner**4, 2 / (n * (n + 1))),
        (np.abs(U[..., -1, -1].ravel()) ** 4, 2 / (n * (n + 1))),
    ):
        assert abs(sample.mean() - expected) < 5 * sample.std() / np.sqrt(sample.size)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_determinant_and_polar_factor_are_those_of_numpy(n, key):
    draws = jax.random.normal(key, (2, 2, n, n, 3, 4))
    A = 1e-3 * (draws[0] + 1j * draws[1])
    det, polar = jax.jit(lambda A: (determinant(A), polar_unitary(A)))(A)
    np.testing.assert_allclose(det, np.linalg.det(stack_last(A)), rtol=1e-11)
    left, _, right = np.linalg.svd(stack_last(A))
    np.testing.assert_allclose(stack_last(polar), left @ right, atol=1e-11)


@pytest.mark.parametrize("n", [2, 3])
def test_projection_takes_small_errors_out(n, key):
    group = SUN(n)
    U = haar(group, key)
    noise = jax.random.normal(key, (2, *U.shape))
    V = project(group, U + 1e-6 * (noise[0] + 1j * noise[1]))
    np.testing.assert_allclose(V, U, atol=3e-5)
    unity = stack_last(group.multiply(V, group.inverse(V)))
    np.testing.assert_allclose(unity - np.eye(n), 0.0, atol=2e-15)
    np.testing.assert_allclose(determinant(V), 1.0, atol=2e-15)


def test_logarithm_of_special_elements():
    """Minus one, the centre, and phases whose plain logarithms add up to a full turn."""
    turn = np.exp(2j * np.pi / 3)
    phases = np.array([2.5, 2.4, 2 * np.pi - 4.9])
    of_su3 = [
        turn * np.eye(3),
        np.diag([-1.0, -1.0, 1.0]),
        np.diag(np.exp(1j * phases)),
        np.diag(np.exp(-1j * phases)),
    ]
    for group, elements in ((SU2(), [-np.eye(2)]), (SU3(), of_su3)):
        a = jnp.asarray(np.stack(elements, -1), complex)[None]
        p = logarithm(group, a)
        np.testing.assert_allclose(exponential(group, p), a, atol=1e-13)
    # The largest phase gives way, which is the shortest logarithm.
    shortest = np.array([2.5 - 2 * np.pi, 2.4, 2 * np.pi - 4.9])
    np.testing.assert_allclose(
        jnp.sum(p[0, :, 2:] ** 2, axis=0), 2 * np.sum(shortest**2), rtol=1e-12
    )


def test_momenta_are_real_coefficients(key):
    U = haar(SU3(), key)
    p = random_momentum(SU3(), U, key=key)
    assert p.shape == (2, 8, 3, 4)
    assert p.dtype == jnp.float64


@pytest.mark.parametrize("n", [1, 0, -3])
def test_bad_numbers_of_colours_are_refused(n):
    with pytest.raises(ConfigError, match="Argument `n` must be an integer of at least 2"):
        SUN(n)
