"""Eigenangles in canonical order and spectral maps of single matrices."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from diffhep.core.errors import ConfigError
from diffhep_lattice.comb_training import PlaquetteKL
from diffhep_lattice.exact import sun_log_partition
from diffhep_lattice.flows.eigenangles import eigenangles, from_gaps, gaps, with_eigenangles
from diffhep_lattice.flows.spectral import SpectralMap
from diffhep_lattice.groups import SUN
from diffhep_lattice.groups.algebra import algebra_coefficients
from diffhep_lattice.groups.matrices import multiply, multiply_dagger
from tests.systems.perturbed import perturb

pytestmark = pytest.mark.fast

_N_MATRICES = 64
COLORS = (2, 3)


def matrices(n, key):
    """Haar distributed matrices, colour axes first."""
    return SUN(n).haar((1, _N_MATRICES), key=key)[0]


@functools.cache
def spectral_map(n):
    """A map with two channels of context, far from the identity."""
    key = jax.random.key(0)
    return perturb(SpectralMap(n, 2, n_bins=3, hidden=(4,), key=key), 0.2, key=key)


@eqx.filter_jit
def angles_of(W):
    return eigenangles(W)


@eqx.filter_jit
def push(model, W, context):
    return model.forward_and_log_det(W, context)


@eqx.filter_jit
def pull(model, W, context):
    return model.inverse_and_log_det(W, context)


@pytest.mark.parametrize("n", COLORS)
def test_eigenangles_are_those_of_a_library(n, key):
    W = matrices(n, key)
    found = np.asarray(angles_of(W))
    known = np.linalg.eigvals(np.moveaxis(np.asarray(W), -1, 0))
    ours = np.sort(np.angle(np.exp(1j * found.T)), axis=1)
    np.testing.assert_allclose(ours, np.sort(np.angle(known), axis=1), atol=1e-11)
    np.testing.assert_allclose(found.sum(0), 0.0, atol=1e-13)
    assert np.all(np.diff(found, axis=0) < 0)
    assert np.all(found[0] - found[-1] < 2 * np.pi)
    np.testing.assert_allclose(from_gaps(gaps(jnp.asarray(found))), found, atol=1e-13)


@pytest.mark.parametrize("n", COLORS)
def test_half_the_angles_make_the_square_root(n, key):
    W = matrices(n, key)
    angles = angles_of(W)
    root = with_eigenangles(W, angles, 0.5 * angles)
    np.testing.assert_allclose(multiply(root, root, 0), W, atol=1e-10)


@pytest.mark.parametrize(("n", "bad"), [(4, 4), (1, 1)])
def test_other_groups_are_refused(n, bad, key):
    with pytest.raises(ConfigError, match=f"n_colors.*2 or 3.*{bad}"):
        SpectralMap(n, key=key)


@pytest.mark.parametrize("n", COLORS)
def test_map_is_a_bijection_that_commutes_with_conjugation(n, key):
    keys = jax.random.split(key, 3)
    model, W = spectral_map(n), matrices(n, keys[0])
    context = jax.random.normal(keys[1], (2, _N_MATRICES))
    image, log_det = push(model, W, context)
    back, back_log_det = pull(model, image, context)
    np.testing.assert_allclose(back, W, atol=1e-9)
    np.testing.assert_allclose(back_log_det, -log_det, atol=1e-8)
    X = matrices(n, keys[2])
    turned = multiply_dagger(multiply(X, W, 0), X, 0)
    found, same_log_det = push(model, turned, context)
    expected = multiply_dagger(multiply(X, image, 0), X, 0)
    np.testing.assert_allclose(found, expected, atol=1e-10)
    np.testing.assert_allclose(same_log_det, log_det, atol=1e-9)
    assert float(jnp.max(jnp.abs(image - W))) > 0.1


@pytest.mark.parametrize("n", COLORS)
def test_log_det_and_gradient(n, key):
    """Against the Jacobian in algebra coordinates by autodiff, and against differences."""
    keys = jax.random.split(key, 2)
    W = matrices(n, keys[0])[..., :4]
    context = jax.random.normal(keys[1], (2, 4))
    params, rest = eqx.partition(spectral_map(n), eqx.is_inexact_array)
    flat, unravel = ravel_pytree(params)
    center, log_det = push(spectral_map(n), W, context)
    p = jnp.zeros((n * n - 1, 4))

    def image(flat, p):
        moved = SUN(n).move(W[None], p[None])[0]
        return eqx.combine(unravel(flat), rest).forward_and_log_det(moved, context)

    @jax.jit
    def jacobian(p):
        def coordinates(p):
            return algebra_coefficients(multiply_dagger(image(flat, p)[0], center, 0), axis=0)

        return jax.jacfwd(coordinates)(p)

    @jax.jit
    def value_and_gradient(flat, p):
        def objective(flat, p):
            V, log_det = image(flat, p)
            return jnp.sum(V.real**3 + V.imag) + jnp.sum(log_det)

        return jax.value_and_grad(objective, (0, 1))(flat, p)

    J = np.asarray(jacobian(p))
    blocks = np.stack([J[:, i, :, i] for i in range(4)])
    np.testing.assert_allclose(np.linalg.slogdet(blocks)[1], log_det, atol=1e-8)
    if n == 2:  # the gradient takes the same code for both, but for the angles
        return
    _, (of_flat, of_p) = value_and_gradient(flat, p)
    rng = np.random.default_rng(1)
    along_flat, along_p = rng.normal(size=flat.shape), rng.normal(size=p.shape)
    h = 1e-6
    plus, minus = (value_and_gradient(flat + t * along_flat, p + t * along_p)[0] for t in (h, -h))
    slope = float(jnp.vdot(of_flat, along_flat) + jnp.vdot(of_p, along_p))
    assert float((plus - minus) / (2 * h)) == pytest.approx(slope, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("n", COLORS)
def test_coinciding_eigenvalues_are_no_exception(n):
    """The centre of the group stays where it is; a degenerate pair stays a pair."""
    model, context = spectral_map(n), jnp.zeros((2, _N_MATRICES))
    special = [np.exp(2j * np.pi * k / n) * np.eye(n) for k in range(n)]
    if n == 3:
        special += [np.diag(np.exp(1j * a * np.array([1, 1, -2]))) for a in (0.3, -1.7, np.pi)]
        special += [np.diag([1j, -1j, 1.0])[:, [0, 1, 2]]]
    W = np.stack(special + [np.eye(n)] * (_N_MATRICES - len(special)), axis=-1).astype(complex)
    image, log_det = push(model, jnp.asarray(W), context)
    assert np.all(np.isfinite(log_det))
    square = np.einsum("ij...,kj...->ik...", image, np.conj(image))
    np.testing.assert_allclose(square - np.eye(n)[..., None], 0.0, atol=1e-4)
    # A triple root is known to the cube root of the rounding error only.
    np.testing.assert_allclose(image[..., :n], W[..., :n], atol=1e-4)
    if n == 3:
        pair = np.asarray(image)[..., n : n + 3]
        np.testing.assert_allclose(pair[0, 0], pair[1, 1], atol=1e-6)


@pytest.mark.parametrize("n", COLORS)
def test_divergence_of_the_identity_is_that_of_the_haar_measure(n, key):
    r"""$\log z(\beta)$, as the mean of Re tr W vanishes; z is a large torus to the power 1/V."""
    identity = jax.tree.map(
        lambda x: jnp.zeros_like(x) if eqx.is_inexact_array(x) else x, SpectralMap(n, key=key)
    )
    loss = eqx.filter_jit(PlaquetteKL(2.5))(identity, key, jnp.asarray(0))
    volume = 10_000
    assert float(loss) == pytest.approx(sun_log_partition(n, 2.5, volume) / volume, abs=1e-5)
