"""Observables of U(1) against a link-by-link count, and their symmetries."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConfigError, ShapeError
from diffhep_lattice import observables
from diffhep_lattice.geometry import Lattice
from diffhep_lattice.samplers.instanton import uniform_flux

pytestmark = pytest.mark.instant

_SHAPES = [(4, 6), (2, 2), (2, 5), (3, 3)]
"""A lattice of length 2 has doubled links, a trap for neighbour bookkeeping."""


@pytest.fixture(params=_SHAPES, ids=str)
def U(request, key):
    return 3.0 * jax.random.normal(key, (2, *request.param))


def walk(U, x, t, path):
    """Sum of link angles along a path of steps such as (0, +1), from (x, t)."""
    U = np.asarray(U)
    shape, site, total = U.shape[1:], [x, t], 0.0
    for direction, sign in path:
        if sign < 0:
            site[direction] = (site[direction] - 1) % shape[direction]
            total -= U[direction, site[0], site[1]]
        else:
            total += U[direction, site[0], site[1]]
            site[direction] = (site[direction] + 1) % shape[direction]
    return total


def rectangle(R, T):
    return [(0, 1)] * R + [(1, 1)] * T + [(0, -1)] * R + [(1, -1)] * T


def walks(U, R, T):
    """Walks around an R x T rectangle from every site, shape (L, T)."""
    _, length_0, length_1 = U.shape
    path = rectangle(R, T)
    return np.array([[walk(U, x, t, path) for t in range(length_1)] for x in range(length_0)])


def test_plaquettes_are_walks_around_one_site(U):
    walked = walks(U, 1, 1)
    phases = np.exp(1j * np.asarray(observables.plaquette_angles(U)))
    np.testing.assert_allclose(np.exp(1j * walked), phases, atol=1e-13)
    assert float(observables.plaquette(U)) == pytest.approx(np.cos(walked).mean(), abs=1e-14)


def test_loops_are_walks_around_a_rectangle(U):
    for R, T in [(1, 2), (2, 1), (2, 2), U.shape[1:]]:
        expected = np.cos(walks(U, R, T)).mean()
        assert float(observables.wilson_loop(U, R, T)) == pytest.approx(expected, abs=1e-13)


def test_loop_of_one_plaquette_is_the_plaquette(U):
    assert float(observables.wilson_loop(U, 1, 1)) == pytest.approx(
        float(observables.plaquette(U)), abs=1e-15
    )


def test_observables_are_gauge_invariant(U, key):
    g = 3.0 * jax.random.normal(jax.random.fold_in(key, 1), U.shape[1:])
    V = observables.gauge_transform(U, g)
    assert not np.allclose(U, V)
    np.testing.assert_allclose(
        np.exp(1j * observables.plaquette_angles(V)),
        np.exp(1j * observables.plaquette_angles(U)),
        atol=1e-13,
    )
    for observe in (
        observables.plaquette,
        observables.topological_charge,
        lambda U: observables.wilson_loop(U, 2, 1),
    ):
        assert float(observe(V)) == pytest.approx(float(observe(U)), abs=1e-13)


def test_gauge_transformations_compose_and_act_on_each_link(U, key):
    g, h = 3.0 * jax.random.normal(key, (2, *U.shape[1:]))
    twice = observables.gauge_transform(observables.gauge_transform(U, g), h)
    np.testing.assert_allclose(twice, observables.gauge_transform(U, g + h), atol=1e-13)
    V = np.asarray(observables.gauge_transform(U, g))
    x, t = U.shape[1] - 1, 1
    assert V[0, x, t] == pytest.approx(float(U[0, x, t] + g[x, t] - g[0, t]), abs=1e-14)
    assert V[1, x, t] == pytest.approx(
        float(U[1, x, t] + g[x, t] - g[x, (t + 1) % U.shape[2]]), abs=1e-14
    )


def test_charge_is_an_integer_and_the_sum_of_its_density(key):
    fields = 3.0 * jax.random.normal(key, (200, 2, 6, 6))
    charge = np.asarray(jax.vmap(observables.topological_charge)(fields))
    density = np.asarray(jax.vmap(observables.charge_density)(fields))
    np.testing.assert_array_equal(charge, np.round(charge))
    np.testing.assert_allclose(density.sum(axis=(1, 2)), charge, atol=1e-12)
    assert len(set(charge)) > 3


@pytest.mark.parametrize("shape", [(4, 6), (3, 5), (8, 4)])
@pytest.mark.parametrize("charge", [0, 1, -1, 3])
def test_uniform_flux_has_its_charge_and_is_uniform(shape, charge):
    U = jnp.asarray(uniform_flux(Lattice(shape), charge))
    volume = shape[0] * shape[1]
    np.testing.assert_allclose(
        observables.plaquette_angles(U), 2 * np.pi * charge / volume, atol=1e-13
    )
    assert float(observables.topological_charge(U)) == charge


def test_charge_changes_sign_under_reflection(key):
    U = 3.0 * jax.random.normal(key, (2, 4, 6))
    # Charge conjugation reverses all angles.
    assert float(observables.topological_charge(-U)) == -float(observables.topological_charge(U))


def test_susceptibility_is_the_mean_square_charge_per_plaquette():
    charges = np.array([[0.0, 1.0], [-2.0, 1.0]])
    assert float(observables.susceptibility(charges, 16)) == 1.5 / 16


def test_single_precision_fields_are_measured_in_double(key):
    U = jax.random.normal(key, (2, 4, 6), jnp.float32)
    assert observables.plaquette_angles(U).dtype == jnp.float32
    for value in (observables.plaquette(U), observables.wilson_loop(U, 2, 2)):
        assert value.dtype == jnp.float64
    assert observables.topological_charge(U).dtype == jnp.float64


def test_observables_need_double_precision():
    with jax.enable_x64(False), pytest.raises(ConfigError, match="jax_enable_x64"):
        observables.plaquette(jnp.zeros((2, 4, 4)))


def test_bad_arguments_are_named():
    U = jnp.zeros((2, 4, 6))
    for R, T, name in ((0, 1, "R"), (5, 1, "R"), (1, 7, "T")):
        with pytest.raises(ConfigError, match=f"Argument `{name}` must"):
            observables.wilson_loop(U, R, T)
    with pytest.raises(ConfigError, match="Argument `volume` must"):
        observables.susceptibility(np.ones(3), 0)
    with pytest.raises(ShapeError, match="Argument `U` must"):
        observables.plaquette(jnp.zeros((3, 4, 6)))
