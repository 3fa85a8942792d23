"""The vertex fit beside other ways to its minimum and to its derivatives, and what it costs."""

import time
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import optimize

from diffhep.core.typing import Key, Scalar
from diffhep.detector.reconstruction import BeamSpot, perigee, vertex_fit
from papers.smith2023.jets import FIELD_T, SPREAD, expected_track

N_TRACKS = 4
CORRELATION = 0.3
"""Entries beside the diagonal of the roots of the tracks' covariances, over the errors."""

SPOT = BeamSpot(jnp.zeros(3), jnp.diag(jnp.array([100.0, 100.0, 2500.0])))
AXIS = jnp.array([0.3, -0.7, 0.2])
"""The vertex along this axis is what is differentiated."""

N_UNROLLED = 10
"""Steps of the fit that is differentiated step by step."""


class Given(NamedTuple):
    """What a vertex depends on, one or many of them.

    Attributes:
        track: Perigee parameters.
        covariance: Of each track.
        weight: Of each track.
        field_T: Along z.
    """

    track: Float[Any, "*vertex track 5"]
    covariance: Float[Any, "*vertex track 5 5"]
    weight: Float[Any, "*vertex track"]
    field_T: Float[Any, "*vertex"]


def draw_given(n: int, n_tracks: int, *, key: Key) -> Given:
    """Tracks of vertices near the beam, with full covariances and weights from 1/2 to 1."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    shape = (n, n_tracks)
    vertex = rng.normal(size=(n, 3)) * [1.0, 1.0, 20.0]
    phi, theta = rng.uniform(-3.0, 3.0, shape), rng.uniform(0.5, 2.6, shape)
    charge_over_p = rng.choice([-1.0, 1.0], shape) / rng.uniform(0.5, 5.0, shape)
    track = expected_track(vertex.T[:, :, None], phi, theta, charge_over_p, FIELD_T)
    mixed = CORRELATION * np.tril(rng.normal(size=(*shape, 5, 5)), -1)
    root = SPREAD[:, None] * (np.eye(5) + mixed)
    track += np.einsum("ntij,ntj->nti", root, rng.normal(size=(*shape, 5)))
    covariance, weight = root @ np.swapaxes(root, -1, -2), rng.uniform(0.5, 1.0, shape)
    given = Given(track, covariance, weight, np.full(n, FIELD_T))
    return jax.tree.map(jnp.asarray, given)


def directions(given: Given, *, key: Key) -> dict[str, Given]:
    """Changes of one input at a time, of the size of its error."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    turned = 0.1 * rng.normal(size=given.covariance.shape) * SPREAD[:, None] * SPREAD
    changes = Given(
        jnp.asarray(SPREAD * rng.normal(size=given.track.shape)),
        jnp.asarray(turned + np.swapaxes(turned, -1, -2)),
        jnp.asarray(0.3 * rng.normal(size=given.weight.shape)),
        jnp.ones_like(given.field_T),
    )
    none = Given(*map(jnp.zeros_like, given))
    names = "tracks", "covariances", "weights", "field"
    fields = zip(names, Given._fields, changes, strict=True)
    return {name: none._replace(**{field: change}) for name, field, change in fields}


def figure(given: Given) -> tuple[Scalar, Array]:
    """The vertex along an axis, and all unknowns of the fit, by this library."""
    fit = vertex_fit(*given[:2], weight=given.weight, field_T=given.field_T, beam_spot=SPOT)
    return fit.position_mm @ AXIS, jnp.append(fit.position_mm, fit.momentum.ravel())


_QUICK = {"xla_backend_optimization_level": 0}
"""Some vertices are fitted: the programs take longer to compile than to run."""

with_slope = jax.jit(jax.vmap(jax.value_and_grad(figure, has_aux=True)), compiler_options=_QUICK)


def slope_along(slope: Given, direction: Given) -> np.ndarray:
    """Of every vertex."""
    parts = jax.tree.map(
        lambda s, d: jnp.sum((s * d).reshape(len(s), -1), axis=1), slope, direction
    )
    return np.asarray(sum(parts))


def difference_slope(given: Given, direction: Given, step: float = 4e-3) -> np.ndarray:
    """By finite differences of sixth order."""

    def at(size: float) -> np.ndarray:
        moved = jax.tree.map(lambda x, dx: x + size * dx, given, direction)
        return np.asarray(with_slope(moved)[0][0])

    slopes = [(at(s) - at(-s)) / (2.0 * s) for s in (step, 2.0 * step, 3.0 * step)]
    return 1.5 * slopes[0] - 0.6 * slopes[1] + 0.1 * slopes[2]


def _dense_residual(unknowns: Array, given: Given) -> Array:
    """All residuals in one vector, whitened."""
    expected = jax.vmap(perigee, (None, 0, None))(
        unknowns[:3], unknowns[3:].reshape(-1, 3), given.field_T
    )
    r = jnp.linalg.solve(jnp.linalg.cholesky(given.covariance), (given.track - expected)[..., None])
    away = unknowns[:3] / jnp.sqrt(jnp.diagonal(SPOT.covariance_mm2))
    return jnp.append((jnp.sqrt(given.weight)[:, None] * r[..., 0]).ravel(), away)


def _unrolled(given: Given) -> Scalar:
    """The same figure by steps of one dense system, each of which is differentiated."""

    def step(unknowns, _):
        r, J = _dense_residual(unknowns, given), jax.jacfwd(_dense_residual)(unknowns, given)
        return unknowns - jnp.linalg.solve(J.T @ J, J.T @ r), None

    start = jnp.append(SPOT.position_mm, given.track[:, 2:].ravel())
    return jax.lax.scan(step, start, None, length=N_UNROLLED)[0][:3] @ AXIS


@partial(jax.jit, compiler_options=_QUICK)
def unrolled_slope(given: Given, direction: Given) -> Float[Array, " vertex"]:
    """Of the unrolled fit, one vertex after another."""
    return jax.lax.map(lambda pair: jax.jvp(_unrolled, pair[:1], pair[1:])[1], (given, direction))


def scipy_minimum(given: Given) -> np.ndarray:
    """Unknowns of one vertex by SciPy, from expected parameters written in NumPy."""
    track, weight, field = (np.asarray(x) for x in (given.track, given.weight, given.field_T))
    root = np.linalg.inv(np.linalg.cholesky(np.asarray(given.covariance)))
    width = np.sqrt(np.diagonal(SPOT.covariance_mm2))

    def residual(unknowns: Any) -> Any:
        phi, theta, charge_over_p = unknowns[3:].reshape(-1, 3).T
        r = track - expected_track(unknowns[:3], phi, theta, charge_over_p, field)
        r = np.sqrt(weight)[:, None] * np.einsum("tij,tj->ti", root, r)
        return np.append(r.ravel(), unknowns[:3] / width)

    def slope(unknowns: Any) -> Any:
        steps = 1e-30j * np.eye(unknowns.size)
        J = np.array([residual(unknowns + step).imag for step in steps]) / 1e-30
        return J @ residual(unknowns)

    start = np.append(np.zeros(3), track[:, 2:])
    near = optimize.least_squares(
        residual, start, jac="cs", x_scale="jac", xtol=1e-15, ftol=1e-15, gtol=1e-15
    )
    # A cost that no longer falls leaves half of the digits; where its slope vanishes has all.
    return optimize.root(slope, near.x, tol=1e-15).x


class Cost(NamedTuple):
    """Of a vertex with all derivatives, for each number of tracks.

    Attributes:
        operations: That XLA counts in the program.
        memory: In bytes, beside inputs and outputs.
        seconds: The shortest of some rounds.
    """

    operations: np.ndarray
    memory: np.ndarray
    seconds: np.ndarray


def costs(n_tracks: tuple[int, ...], n_rounds: int, *, key: Key) -> Cost:
    """What vertices of many tracks cost."""
    rows = []
    for n in n_tracks:
        given = jax.tree.map(lambda x: x[0], draw_given(1, n, key=key))
        program: Any = jax.jit(jax.value_and_grad(figure, has_aux=True)).lower(given).compile()
        times = []
        for _ in range(n_rounds):
            start = time.perf_counter()
            jax.block_until_ready(program(given))
            times.append(time.perf_counter() - start)
        memory = program.memory_analysis().temp_size_in_bytes
        rows.append([program.cost_analysis()["flops"], memory, min(times)])
    return Cost(*np.array(rows, dtype=float).T)
