"""Vertex fits with their gradient beside a loop of scipy fits, and their cost by tracks."""

import time

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import least_squares

from benchmarks.conftest import Row
from diffhep.detector.reconstruction import perigee, vertex_fit

_N_VERTICES = 10_000
_N_TRACKS = 10
_PEER_VERTICES = 3
"""Vertices of the loop: its time is proportional to their number."""

_ROUNDS = 3
_LEAST_RATIO = 20.0
_LARGEST_SLOPE = 1.1
_SPREAD = np.array([0.02, 0.05, 1e-3, 1e-3, 1e-2])
_FIELD_T = 2.0
_AXIS = np.array([0.3, -0.7, 0.2])
"""The figure that is differentiated: the vertex along this axis."""


def tracks(n_vertices, n_tracks):
    rng = np.random.default_rng(0)
    vertex = jnp.asarray(rng.normal(size=(n_vertices, 3)) * [1.0, 1.0, 20.0])
    shape = (n_vertices, n_tracks)
    phi, theta = rng.uniform(-3.0, 3.0, shape), rng.uniform(0.5, 2.6, shape)
    charge_over_p = rng.choice([-1.0, 1.0], shape) / rng.uniform(0.5, 5.0, shape)
    momentum = jnp.asarray(np.stack([phi, theta, charge_over_p], axis=-1))
    at = jax.vmap(jax.vmap(perigee, (None, 0, None)), (0, 0, None))
    track = jax.jit(at)(vertex, momentum, jnp.asarray(_FIELD_T))
    track += _SPREAD * rng.normal(size=(*shape, 5))
    covariance = jnp.zeros((*shape, 5, 5)) + jnp.diag(jnp.asarray(_SPREAD**2))
    return track, covariance


@jax.jit
def with_gradient(track, covariance):
    """Vertices, and derivatives by tracks, covariances, weights and field."""

    def figure(track, covariance, weight, field_T):
        def one(track, covariance, weight):
            return vertex_fit(track, covariance, weight=weight, field_T=field_T).position_mm

        position = jax.vmap(one)(track, covariance, weight)
        return jnp.sum(position @ _AXIS), position

    given = track, covariance, jnp.ones(track.shape[:2]), jnp.asarray(_FIELD_T)
    return jax.grad(figure, argnums=(0, 1, 2, 3), has_aux=True)(*given)


def seconds(run, *given):
    """The shortest of some rounds: other programs run beside this one."""
    jax.block_until_ready(run(*given))
    times = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        jax.block_until_ready(run(*given))
        times.append(time.perf_counter() - start)
    return min(times)


def expected(vertex, phi, theta, charge_over_p):
    """Perigee parameters by NumPy."""
    k = -2.99792458e-4 * _FIELD_T * charge_over_p / np.sin(theta)
    x, y, z = vertex
    across, along = (y * np.cos(phi) - x * np.sin(phi), x * np.cos(phi) + y * np.sin(phi))
    twice = 2.0 * across + k * (x**2 + y**2)
    d0 = twice / (1.0 + np.sqrt(1.0 + k * twice))
    turn = np.arctan(k * along / (1.0 + k * across))
    return np.stack([d0, z - turn / k / np.tan(theta), phi - turn, theta, charge_over_p], axis=1)


def scipy_vertex(track, start):
    def residual(unknowns):
        momentum = unknowns[3:].reshape(-1, 3).T
        return ((track - expected(unknowns[:3], *momentum)) / _SPREAD).ravel()

    return least_squares(residual, start, x_scale="jac").x


def scipy_gradient(track):
    """The vertex and forward differences by the tracks' parameters alone: 51 fits for 10 tracks.

    Every fit starts from the first one's result.
    """
    found = scipy_vertex(track, np.append(np.zeros(3), track[:, 2:]))
    gradient = np.zeros(track.shape)
    for index in np.ndindex(track.shape):
        moved = track.copy()
        moved[index] += 1e-2 * _SPREAD[index[1]]
        change = scipy_vertex(moved, found)[:3] - found[:3]
        gradient[index] = _AXIS @ change / (1e-2 * _SPREAD[index[1]])
    return found[:3], gradient


def test_vertices_beside_a_loop_of_scipy_fits(report):
    track, covariance = tracks(_N_VERTICES, _N_TRACKS)
    ours = seconds(with_gradient, track, covariance)
    gradient, position = with_gradient(track, covariance)
    start = time.perf_counter()
    for index in range(_PEER_VERTICES):
        found, slope = scipy_gradient(np.asarray(track[index]))
        np.testing.assert_allclose(position[index], found, atol=1e-4)
        np.testing.assert_allclose(gradient[0][index], slope, rtol=0.05, atol=0.02)
    loop = (time.perf_counter() - start) * _N_VERTICES / _PEER_VERTICES
    ours = min(ours, seconds(with_gradient, track, covariance))
    report(
        Row(
            "10,000 vertices of 10 tracks with gradient: time of a loop over scipy's fit over ours",
            loop / ours,
            "",
            _LEAST_RATIO,
            detail=f"{ours:.3g} s with all derivatives against {loop:.4g} s with those of tracks",
        )
    )


def test_cost_is_linear_in_tracks(report):
    """The same number of tracks in fewer vertices."""
    counts = (10, 100, 1000)
    times = [seconds(with_gradient, *tracks(10_000 // n, n)) for n in counts]
    slope = 1.0 + np.polyfit(np.log(counts), np.log(times), 1)[0]
    shown = ", ".join(f"{n}: {1e2 * t:.3g}" for n, t in zip(counts, times, strict=True))
    what = "vertex fit with gradient: slope of time in the number of tracks"
    report(Row(what, slope, "", _LARGEST_SLOPE, True, f"us a track at {shown}"))
