"""The vertex fit against scipy, an unrolled dense fit, finite differences and its own errors."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import least_squares

from diffhep.core.errors import ConfigError, ShapeError
from diffhep.detector.reconstruction import BeamSpot, VertexFit, perigee, vertex_fit

pytestmark = pytest.mark.fast

N_TRACKS = 3
SPREAD = np.array([0.02, 0.05, 1e-3, 1e-3, 1e-2])
"""Errors of perigee parameters in mm, rad and 1/GeV."""

FIELD_T = jnp.asarray(2.0)


def drawn():
    """Tracks of one vertex with full covariances."""
    rng = np.random.default_rng(0)
    vertex = jnp.asarray(rng.normal(size=3) * [1.0, 1.0, 20.0])
    phi, theta = rng.uniform(-3.0, 3.0, N_TRACKS), rng.uniform(0.5, 2.6, N_TRACKS)
    charge_over_p = rng.choice([-1.0, 1.0], N_TRACKS) / rng.uniform(0.5, 5.0, N_TRACKS)
    momentum = jnp.asarray(np.stack([phi, theta, charge_over_p], axis=1))
    track = jax.jit(jax.vmap(perigee, in_axes=(None, 0, None)))(vertex, momentum, FIELD_T)
    mixed = 0.3 * np.tril(rng.normal(size=(N_TRACKS, 5, 5)), -1)
    root = SPREAD[:, None] * (np.eye(5) + mixed)
    noise = np.einsum("tij,tj->ti", root, rng.normal(size=(N_TRACKS, 5)))
    return track + noise, jnp.asarray(root @ root.transpose(0, 2, 1))


def figure(fit):
    """One number that depends on everything a fit returns."""
    c = jnp.array([0.3, -0.7, 0.2])
    found = c @ fit.position_mm + 10.0 * fit.momentum[0] @ c + 0.1 * fit.chi2
    return found + jnp.trace(fit.covariance_mm2) + 0.01 * fit.track_chi2[1]


def dot(gradient, direction):
    """Slope along a direction."""
    return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, gradient, direction)))


@jax.jit
@partial(jax.value_and_grad, has_aux=True)
def fitted(given):
    track, covariance, weight, field_T, beam = given
    fit = vertex_fit(track, covariance, weight=weight, field_T=field_T, beam_spot=BeamSpot(*beam))
    return figure(fit), fit


def dense_residual(unknowns, given):
    """Whitened residuals of everything in one vector, by another way of writing them."""
    track, covariance, weight, field_T, (centre, spot) = given
    expected = jax.vmap(perigee, in_axes=(None, 0, None))(
        unknowns[:3], unknowns[3:].reshape(-1, 3), field_T
    )
    # Several systems in one batch, with those of the beam spot beside them: one factorisation.
    away = jnp.zeros((1, 5)).at[0, :3].set(unknowns[:3] - centre)
    wide = jnp.eye(5).at[:3, :3].set(spot)
    root = jnp.linalg.cholesky(jnp.concatenate([covariance, wide[None]]))
    r = jnp.concatenate([track - expected, away])
    r = jax.lax.linalg.triangular_solve(root, r[..., None], left_side=True, lower=True)[..., 0]
    return (jnp.append(jnp.sqrt(weight), 1.0)[:, None] * r).ravel()


@pytest.fixture(scope="module")
def given():
    track, covariance = drawn()
    beam = jnp.array([0.1, -0.2, 3.0]), jnp.diag(jnp.array([0.5, 0.5, 400.0]))
    return track, covariance, jnp.array([1.0, 0.6, 0.8]), FIELD_T, beam


@pytest.fixture(scope="module")
def direction(given):
    """A change of everything that is given, of the size of its error."""
    rng = np.random.default_rng(1)
    track, covariance, weight, field_T, (centre, spot) = given
    turned = jnp.asarray(0.1 * rng.normal(size=covariance.shape)) * SPREAD[:, None] * SPREAD
    return (
        jnp.asarray(rng.normal(size=track.shape)) * SPREAD,
        turned + turned.transpose(0, 2, 1),
        jnp.asarray(0.3 * rng.normal(size=weight.shape)),
        jnp.ones_like(field_T),
        (jnp.array([0.1, 0.2, 1.0]), 0.1 * spot + 0.0 * centre[0]),
    )


def test_minimum_is_scipys(given):
    (_, fit), _ = fitted(given)
    assert bool(fit.converged)
    start = np.append(np.zeros(3), np.asarray(given[0][:, 2:]))
    residual = jax.jit(partial(dense_residual, given=given))
    found = least_squares(
        residual, start, jax.jacfwd(residual), x_scale="jac", xtol=1e-15, ftol=1e-15, gtol=1e-15
    )
    np.testing.assert_allclose(fit.position_mm, found.x[:3], rtol=0, atol=1e-8)
    np.testing.assert_allclose(fit.momentum.ravel(), found.x[3:], rtol=0, atol=1e-8)
    np.testing.assert_allclose(fit.chi2, 2.0 * found.cost, rtol=1e-8)
    # By propagation of errors from the dense fit's own information.
    covariance = np.linalg.inv(found.jac.T @ found.jac)[:3, :3]
    np.testing.assert_allclose(fit.covariance_mm2, covariance, rtol=1e-6, atol=1e-12)


def test_gradient_is_that_of_finite_differences(given, direction):
    """Along tracks, covariances, weights, field and beam spot, one at a time."""
    (_, _), gradient = fitted(given)
    for index in range(5):
        only = [jax.tree.map(jnp.zeros_like, part) for part in direction]
        only[index] = direction[index]

        def at(step, only=tuple(only)):
            moved = jax.tree.map(lambda x, dx: x + step * dx, given, only)
            return float(fitted(moved)[0][0])

        step = 2e-3
        slopes = [(at(s) - at(-s)) / (2.0 * s) for s in (step, 2.0 * step, 3.0 * step)]
        # The error is of sixth order in the step.
        numeric = 1.5 * slopes[0] - 0.6 * slopes[1] + 0.1 * slopes[2]
        exact = dot(gradient, tuple(only))
        assert abs(numeric - exact) < 1e-6 * abs(exact), index


def test_gradient_is_that_of_an_unrolled_fit(given, direction):
    """Ten steps of the dense fit, differentiated one by one."""

    def unrolled(given):
        def step(carry, _):
            unknowns, _ = carry
            r = dense_residual(unknowns, given)
            J = jax.jacfwd(dense_residual)(unknowns, given)
            right = jnp.concatenate([(J.T @ r)[:, None], jnp.eye(unknowns.size)], axis=1)
            solved = jnp.linalg.solve(J.T @ J, right)
            return (unknowns - solved[:, 0], solved[:3, 1:4]), None

        start = jnp.append(given[4][0], given[0][:, 2:].ravel()), jnp.zeros((3, 3))
        (unknowns, covariance), _ = jax.lax.scan(step, start, None, length=10)
        r = dense_residual(unknowns, given).reshape(-1, 5)
        by_track = (r**2).sum(axis=1)[:-1] / given[2]
        momentum = unknowns[3:].reshape(-1, 3)
        chi2 = (r**2).sum()
        nothing = jnp.zeros((), int), jnp.ones((), bool)
        return figure(VertexFit(unknowns[:3], covariance, momentum, by_track, chi2, *nothing))

    value, slope = jax.jit(partial(jax.jvp, unrolled))((given,), (direction,))
    (ours, _), gradient = fitted(given)
    np.testing.assert_allclose(ours, value, rtol=1e-10)
    np.testing.assert_allclose(dot(gradient, direction), slope, rtol=1e-6)


def test_a_track_without_weight_is_not_there(given):
    track, covariance, weight, field_T, beam = given
    weight = weight.at[2].set(0.0)
    (_, fit), gradient = fitted((track, covariance, weight, field_T, beam))
    (_, other), _ = fitted((track.at[2, 0].add(5.0), covariance, weight, field_T, beam))
    np.testing.assert_allclose(other.position_mm, fit.position_mm, rtol=0, atol=1e-10)
    assert float(other.track_chi2[2]) > 10.0 * float(fit.track_chi2[2])
    # What it would pull with, were its weight more: not zero.
    assert np.isfinite(gradient[2]).all()
    assert abs(float(gradient[2][2])) > 1e-6


def test_pulls_of_straight_tracks():
    """Pulls of 300 vertices and the mean chi-squared; false alarm 1 in 10,000 in all.

    The last vertex has parallel tracks, which no vertex belongs to.
    """
    n = 300
    rng = np.random.default_rng(2)
    vertex = rng.normal(size=(n, 3)) * [1.0, 1.0, 20.0]
    phi, theta = rng.uniform(-3.0, 3.0, (n, 4)), rng.uniform(0.5, 2.6, (n, 4))
    x, y, z = vertex.T[:, :, None]
    along = (x * np.cos(phi) + y * np.sin(phi)) / np.tan(theta)
    track = np.stack([y * np.cos(phi) - x * np.sin(phi), z - along, phi, theta], axis=2)
    track += SPREAD[:4] * rng.normal(size=track.shape)
    track[-1] = track[-1, 0]
    covariance = jnp.zeros((n, 4, 4, 4)) + jnp.diag(jnp.asarray(SPREAD[:4] ** 2))
    fit = jax.jit(jax.vmap(vertex_fit))(jnp.asarray(track), covariance)
    assert bool(fit.converged[:-1].all())
    good = slice(None, -1)
    pull = (fit.position_mm - vertex)[good] / jnp.sqrt(
        jnp.diagonal(fit.covariance_mm2[good], axis1=1, axis2=2)
    )
    assert np.abs(pull.mean(axis=0)).max() < 4.5 / np.sqrt(n)
    assert np.abs(pull.std(axis=0) - 1.0).max() < 4.5 / np.sqrt(2.0 * n)
    n_free = 4 * 2 - 3
    assert abs(float(fit.chi2[good].mean()) - n_free) < 4.5 * np.sqrt(2.0 * n_free / n)
    assert not bool(fit.converged[-1]) or float(fit.covariance_mm2[-1].max()) > 1e6


def test_bad_input(given):
    track, covariance, *_ = given
    with pytest.raises(ShapeError, match=r"`track` must have 4 or 5 parameters"):
        vertex_fit(track[:, :3], covariance[:, :3, :3])
    with pytest.raises(ConfigError, match="`max_steps`"):
        vertex_fit(track, covariance, max_steps=0)


def test_shapes_that_do_not_belong_together(given, without_shape_checks):
    track, covariance, *_ = given
    with pytest.raises(ShapeError, match=r"`covariance` must have a matrix for every track"):
        vertex_fit(track, covariance[:1])
    with pytest.raises(ShapeError, match=r"`weight` must have one number a track"):
        vertex_fit(track, covariance, weight=jnp.ones(2))
