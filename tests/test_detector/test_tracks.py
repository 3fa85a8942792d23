"""Helices, the Kalman filter, the helix fit and the tracker that feeds it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConfigError, ShapeError
from diffhep.detector import Beam, Design, Parameter, materials, particles
from diffhep.detector.reconstruction import (
    Layers,
    States,
    at_radius,
    helix_covariance,
    helix_fit,
    kalman_filter,
    kalman_smoother,
    perigee,
    plane_model,
    through_layers,
)
from diffhep.detector.scattering import highland_angle
from diffhep.detector.tracing import trace_planes
from diffhep.detector.tracker import BarrelTracker

pytestmark = pytest.mark.fast

SIGMAS = 4.5
"""Of a mean or a width of pulls; false alarm 1 in 10,000 for each file's fifteen of them."""


def assert_standard(pull):
    n = pull.shape[0]
    assert np.abs(pull.mean(axis=0)).max() < SIGMAS / np.sqrt(n)
    assert np.abs(pull.std(axis=0) - 1.0).max() < SIGMAS / np.sqrt(2.0 * n)


def test_highland():
    """A muon of 3 GeV through one radiation length: 4.5364 mrad; and no thickness."""
    beta = 3.0 / np.hypot(3.0, 0.1056583755)
    assert abs(float(highland_angle(3.0, beta, 1.0)) - 4.5364e-3) < 1e-7
    assert float(jax.grad(highland_angle, argnums=2)(3.0, beta, 0.0)) == 0.0


def test_perigee_and_crossing_are_of_one_helix():
    """Points of a helix in steps of its centre and radius."""
    field, theta, charge_over_p, d0, z0, phi0 = 1.5, 1.1, -0.8, 3.0, -20.0, 2.9
    k = -2.99792458e-4 * field * charge_over_p / np.sin(theta)
    s = np.linspace(50.0, 900.0, 5)
    centre = (d0 + 1.0 / k) * np.array([-np.sin(phi0), np.cos(phi0)])
    phi = phi0 + k * s
    x, y = centre[0] + np.sin(phi) / k, centre[1] - np.cos(phi) / k
    point = np.stack([x, y, z0 + s / np.tan(theta)], axis=1)
    momentum = np.stack([phi, np.full(5, theta), np.full(5, charge_over_p)], axis=1)
    param = np.array([d0, z0, phi0, theta, charge_over_p])
    both = jax.jit(
        jax.vmap(
            lambda point, momentum, radius: (
                perigee(point, momentum, jnp.asarray(field)),
                at_radius(jnp.asarray(param), radius, jnp.asarray(field)),
            )
        )
    )
    found, (crossing, direction) = both(
        jnp.asarray(point), jnp.asarray(momentum), jnp.asarray(np.hypot(x, y))
    )
    np.testing.assert_allclose(found, np.tile(param, (5, 1)), rtol=0, atol=1e-11)
    np.testing.assert_allclose(crossing, point, rtol=0, atol=1e-10)
    np.testing.assert_allclose(direction, momentum, rtol=0, atol=1e-13)


Z_mm = jnp.linspace(0.0, 1400.0, 6)
WIDE = jnp.array([5.0, 5.0, 0.1, 0.1, 0.3])


def plane_tracks(rng, n):
    """Tracks through planes, by their own steps: kicks, losses and bends one after another."""
    state = np.array([0.0, 0.0, 0.02, -0.03, 0.5]) + rng.normal(size=(n, 5)) * np.asarray(WIDE)
    truth, seen = [], []
    for index in range(6):
        truth.append(state.copy())
        seen.append(state[:, :2] + 0.05 * rng.normal(size=(n, 2)))
        if index < 5:
            state[:, 2:4] += 2e-3 * rng.normal(size=(n, 2))
            state[:, 4] = state[:, 4] * 1.02 + 1e-2 * rng.normal(size=n)
            dz, bend = 280.0, -2.99792458e-4 * 1.2 * 280.0 * state[:, 4]
            state[:, 0] += dz * (state[:, 2] + 0.5 * bend)
            state[:, 1] += dz * state[:, 3]
            state[:, 2] += bend
    return np.stack(truth, axis=1), jnp.asarray(np.stack(seen, axis=1))


def planes(z_mm):
    six = jnp.ones(6)
    return plane_model(
        z_mm,
        resolution_mm=0.05 * six,
        scattering=2e-3 * six,
        field_T=1.2,
        loss=0.02 * six,
        straggling=1e-2 * six,
    )


PRIOR = States(jnp.array([0.0, 0.0, 0.02, -0.03, 0.5]), jnp.diag(WIDE**2))


@jax.jit
def smoothed(z_mm, measured, alive):
    model = planes(z_mm)
    fit = jax.vmap(lambda m, a: kalman_filter(model, m, PRIOR, alive=a))(measured, alive)
    return fit, jax.vmap(kalman_smoother, in_axes=(None, 0))(model, fit)


def test_kalman_pulls_and_dense_least_squares():
    n, rng = 500, np.random.default_rng(3)
    truth, measured = plane_tracks(rng, n)
    alive = jnp.asarray(rng.uniform(size=(n, 6)) < 0.8)
    fit, smooth = smoothed(Z_mm, measured, alive)
    for states, plane in ((smooth, 0), (fit.filtered, 5)):
        width = jnp.sqrt(jnp.diagonal(states.covariance[:, plane], axis1=1, axis2=2))
        assert_standard(np.asarray((states.mean[:, plane] - truth[:, plane]) / width))
    chi2, n_free = np.asarray(fit.chi2.sum(axis=1)), 2.0 * np.asarray(alive.sum(axis=1))
    assert abs(np.sum(chi2 - n_free)) < SIGMAS * np.sqrt(2.0 * n_free.sum())
    # The joint covariance of all states and measurements of one track, and its conditional.
    model, there = planes(Z_mm), np.asarray(alive[0])
    mean, joint = [np.asarray(PRIOR.mean)], np.zeros((30, 30))
    F, Q = np.asarray(model.transition), np.asarray(model.process)
    joint[:5, :5] = np.asarray(PRIOR.covariance)
    for k in range(1, 6):
        here, before = slice(5 * k, 5 * k + 5), slice(5 * k - 5, 5 * k)
        mean.append(F[k] @ mean[-1])
        joint[here, : 5 * k] = F[k] @ joint[before, : 5 * k]
        joint[: 5 * k, here] = joint[here, : 5 * k].T
        joint[here, here] = F[k] @ joint[before, before] @ F[k].T + Q[k]
    H = np.kron(np.diag(there), np.eye(2, 5))[np.repeat(there, 2)]
    spread = H @ joint @ H.T + 0.05**2 * np.eye(H.shape[0])
    r = np.asarray(measured[0])[there].ravel() - H @ np.concatenate(mean)
    gain = joint @ H.T @ np.linalg.inv(spread)
    np.testing.assert_allclose(
        smooth.mean[0].ravel(), np.concatenate(mean) + gain @ r, rtol=1e-6, atol=1e-8
    )
    dense = joint - gain @ H @ joint
    np.testing.assert_allclose(smooth.covariance[0, 0], dense[:5, :5], rtol=1e-5, atol=1e-10)
    log_p = -0.5 * (r @ np.linalg.solve(spread, r) + np.linalg.slogdet(2 * np.pi * spread)[1])
    np.testing.assert_allclose(fit.log_likelihood[0], log_p, rtol=1e-8)


def test_kalman_bad_input(without_shape_checks):
    with pytest.raises(ShapeError, match="`measured` must have 6 planes"):
        jax.eval_shape(lambda z: kalman_filter(planes(z), jnp.zeros((5, 2)), PRIOR), Z_mm)


TRACKER = BarrelTracker(materials.get("Si"), 2.0, 2000.0, spot_mm=(0.1, 5.0))


def design(**changes):
    given = {"radius_mm": np.array([40.0, 80.0, 150.0, 300.0, 500.0, 800.0])}
    given |= {"resolution_mm": np.array([0.02, 0.05]), "thickness_mm": 0.5} | changes
    return Design(**{name: Parameter(value, "mm", 0.0) for name, value in given.items()})


@eqx.filter_jit
def fitted(design, key, n_events):
    beam = Beam(particles.get("mu-"), 3000.0, n_events)
    hits = TRACKER.simulate(design, beam, key=key)
    layers = TRACKER.layers(design)

    def fit(position, alive):
        return helix_fit(position, layers, field_T=2.0, alive=alive)

    return hits, TRACKER.tracks(beam, key=key), jax.vmap(fit)(hits.position_mm, hits.alive)


def test_helix_pulls(key):
    """400 muons of 3 GeV through the tracker, one layer of theirs dead."""
    n = 400
    hits, truth, fit = fitted(design(), key, n)
    assert bool(hits.alive.all())
    assert not bool(hits.any_overflow())
    width = jnp.sqrt(jnp.diagonal(fit.covariance, axis1=1, axis2=2))
    # The fit knows no energy loss: 0.2 MeV a layer of 3000, far below the error of 1/p.
    away = np.array(fit.param - truth)
    away[:, 2] = (away[:, 2] + np.pi) % (2.0 * np.pi) - np.pi
    assert_standard(away / np.asarray(width))
    n_free = 2 * 6 - 5
    assert abs(float(fit.chi2.mean()) - n_free) < SIGMAS * np.sqrt(2.0 * n_free / n)


def test_helix_fit_scatters_where_the_track_is():
    """Hits of a muon that turns by 0.6 rad: the covariance at the truth, not at a straight line."""
    layers = Layers(
        jnp.linspace(30.0, 1030.0, 6), jnp.tile(jnp.array([0.02, 0.1]), (6, 1)), jnp.full(6, 0.01)
    )
    truth = jnp.array([0.0, 0.0, 0.1, 1.4, 2.0])

    @jax.jit
    def both(truth):
        position, _ = through_layers(truth, layers.radius_mm, jnp.asarray(2.0), jnp.zeros((6, 2)))
        fit = helix_fit(position, layers, field_T=2.0)
        return fit, helix_covariance(truth, layers, field_T=2.0)

    fit, covariance = both(truth)
    np.testing.assert_allclose(fit.param, truth, atol=1e-9)
    np.testing.assert_allclose(fit.covariance, covariance, rtol=1e-6, atol=1e-15)
    assert float(fit.chi2) < 1e-12


def test_two_radii_make_no_helix():
    """Also where the third radius has no hit; a parabola takes three points."""
    layers = Layers(jnp.array([30.0, 30.0, 100.0, 200.0]), jnp.ones((4, 2)), jnp.zeros(4))
    alive = jnp.array([True, True, True, False])
    with pytest.raises(ConfigError, match=r"`layers` must have hits at three different radii"):
        helix_fit(jnp.ones((4, 3)), layers, field_T=2.0, alive=alive)
    with pytest.raises(ConfigError, match=r"`layers` must have hits at three .*, but it is 2"):
        helix_covariance(jnp.ones(5), jax.tree.map(lambda x: x[:3], layers), field_T=2.0)


@jax.jit
def shape(radius_mm, resolution_mm, softness):
    """A smooth figure of a soft tracker's hits, and what its hard twin has."""
    soft = BarrelTracker(materials.get("Si"), 2.0, 200.0, capacity=4, softness_mm=5.0)
    of = design().replace(radius_mm=radius_mm, resolution_mm=resolution_mm)
    beam, key = Beam(particles.get("mu-"), 150.0, 30), jax.random.key(1)
    hits = soft.simulate(of, beam, key=key)
    figure = jnp.sum(hits.energy_MeV * (1.0 + 1e-3 * hits.position_mm[..., 2])) * softness
    return figure, (hits, soft.hard().simulate(of, beam, key=key))


@pytest.mark.slow
def test_soft_tracker_has_a_gradient_and_a_hard_twin():
    """Slow muons that curl up in the field, more hits than places, layers that end."""
    radius = jnp.array([40.0, 80.0, 150.0, 300.0, 500.0, 800.0])
    resolution = jnp.array([0.02, 0.05])
    slope = jax.jit(jax.grad(lambda *at: shape(*at)[0], argnums=(0, 1)))
    by_radius, by_resolution = slope(radius, resolution, 1.0)
    assert np.isfinite(by_radius).all()
    assert np.isfinite(by_resolution).all()
    step = 1e-4
    direction = jnp.array([1.0, 0.5, -1.0, 0.3, 0.7, -0.4])
    ends = [float(shape(radius + s * direction, resolution, 1.0)[0]) for s in (step, -step)]
    assert abs((ends[0] - ends[1]) / (2.0 * step) - by_radius @ direction) < 1e-5
    ends = [float(shape(radius, resolution + s, 1.0)[0]) for s in (step, -step)]
    assert abs((ends[0] - ends[1]) / (2.0 * step) - by_resolution.sum()) < 1e-5
    _, (soft, hard) = shape(radius, resolution, 1.0)
    ends_before = np.abs(np.asarray(hard.position_mm[..., 2])) < 201.0
    assert ends_before[np.asarray(hard.alive)].all()
    assert int(hard.alive.sum()) < int(soft.alive.sum())
    assert int(hard.alive.sum(axis=1).min()) < 4
    assert np.isfinite(np.asarray(soft.position_mm)).all()
    full = np.asarray(soft.alive).all(axis=1)
    assert bool(soft.overflow.any())
    assert (np.asarray(soft.overflow) <= full).all()


def test_tracker_bad_input():
    with pytest.raises(ConfigError, match="`softness_mm` must not be negative"):
        BarrelTracker(materials.get("Si"), softness_mm=-1.0)


@pytest.mark.parametrize(
    ("radius", "thickness", "energy", "message"),
    [
        ([100.0, 60.0], 0.3, 3000.0, "`radius_mm` must be above zero and ascending"),
        ([60.0, 60.1], 0.3, 3000.0, "`radius_mm` must leave layers apart"),
        ([60.0, 90.0], -0.3, 3000.0, "`thickness_mm` must not be below zero"),
        ([60.0, 90.0], 0.3, 1.0, "`beam.energy_MeV` must be 4.68 MeV or more for the losses of a"),
    ],
)
def test_tracker_refuses_what_it_cannot_simulate(radius, thickness, energy, message, key):
    design = _tracker_design(radius, thickness)
    beam = Beam(particles.get("proton"), energy, 2)
    with pytest.raises(ConfigError, match=message):
        BarrelTracker(materials.get("Si")).simulate(design, beam, key=key)


def test_a_slow_proton_stops_and_leaves_all_it_has(key):
    """Of 5 MeV: its range in silicon is 0.2 mm."""
    design = _tracker_design([30.0, 60.0, 100.0], 1.0)
    beam = Beam(particles.get("proton"), 5.0, 2)
    hits = BarrelTracker(materials.get("Si")).simulate(design, beam, key=key)
    np.testing.assert_array_equal(hits.alive, [[True, False, False]] * 2)
    np.testing.assert_allclose(hits.energy_MeV[:, 0], 5.0, rtol=1e-6)


def test_no_helix_without_a_field():
    layers = Layers(jnp.array([30.0, 60.0, 100.0]), jnp.full((3, 2), 0.02), jnp.zeros(3))
    with pytest.raises(ConfigError, match="`field_T` must not be zero"):
        helix_fit(jnp.ones((3, 3)), layers, field_T=0.0)


def _tracker_design(radius, thickness):
    parts = {"radius_mm": radius, "resolution_mm": [0.02, 0.05], "thickness_mm": thickness}
    return Design(**{name: Parameter(value, "mm") for name, value in parts.items()})


@pytest.mark.slow
def test_tracing_through_a_uniform_field_is_a_circle():
    """In a field along y, and its derivative by the position of a plane."""
    charge_over_p, field = 0.4, 1.5
    state = jnp.array([1.0, 2.0, 0.1, 0.2, charge_over_p])

    def last(z):
        return trace_planes(state, z, lambda at: jnp.array([0.0, field, 0.0]) + 0.0 * at)[-1]

    z = jnp.array([0.0, 300.0, 800.0])
    found, slope = jax.jit(lambda z: (last(z), jax.jacrev(last)(z)[:, -1]))(z)
    length = np.sqrt(1.0 + 0.1**2 + 0.2**2)
    # sin of the angle in the plane across the field falls in proportion to z.
    across = np.sqrt(1.0 + 0.1**2)
    k = 2.99792458e-4 * field * charge_over_p * length / across
    sine = 0.1 / across - k * 800.0
    cosine, first = np.sqrt(1.0 - sine**2), 1.0 / across
    np.testing.assert_allclose(found[2], sine / cosine, rtol=1e-8)
    np.testing.assert_allclose(found[0], 1.0 + (cosine - first) / k, rtol=1e-7)
    np.testing.assert_allclose(slope[0], found[2], rtol=1e-6)
    np.testing.assert_allclose(slope[1], found[3], rtol=1e-6)
