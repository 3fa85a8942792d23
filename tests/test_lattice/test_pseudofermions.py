"""Pseudofermions against the determinant: Zolotarev's function, heatbath, force, sampling."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConfigError
from diffhep.core.sampling import sample
from diffhep.core.stats import gamma_method
from diffhep_lattice import exact
from diffhep_lattice.actions.schwinger import SchwingerAction
from diffhep_lattice.fermions import WilsonDirac
from diffhep_lattice.fermions.rational import approximate_inverse_sqrt
from diffhep_lattice.groups import U1, random_momentum
from diffhep_lattice.observables import plaquette
from diffhep_lattice.samplers.hmc import hmc
from diffhep_lattice.samplers.pseudofermion_hmc import pseudofermion_hmc

pytestmark = pytest.mark.fast

_BETA, _KAPPA = 2.0, 0.2
_LOW = (1.0 - 4.0 * _KAPPA) ** 2
"""No eigenvalue of the normal operator is smaller, as the hopping term has norm 4 at most."""

_SIGMAS = 4.5
"""Standard errors allowed: 7e-6 false alarms a comparison."""

_SHAPE = (2, 4)


def build(n_flavours, **settings):
    action = SchwingerAction(_BETA, _KAPPA, n_flavours=n_flavours)
    return pseudofermion_hmc(
        action, **({"step_size": 0.25, "n_steps": 4, "spectrum_low": _LOW, "degree": 8} | settings)
    )


@eqx.filter_jit
def draw(fermions, U, key):
    return fermions.draw(U, key=key)


@eqx.filter_jit
def value_force_gradient(action, U):
    return action(U), action.force(U), jax.grad(action)(U)


@pytest.mark.parametrize(("low", "high", "degree"), [(1e-2, 1.0, 4), (1e-5, 4.4, 12)])
def test_rational_function_has_equal_extremes(low, high, degree):
    """2n + 2 of them with alternating signs: no rational function of that degree is better."""
    r = approximate_inverse_sqrt(low, high, degree)
    x = np.geomspace(low, high, 40_001)
    factors = (x[:, None] + r.numerator) / (x[:, None] + r.denominator)
    error = np.sqrt(x) * r.amplitude * np.prod(factors, axis=1) - 1.0
    turns = np.flatnonzero(np.diff(np.sign(np.diff(error)))) + 1
    extremes = error[[0, *turns, -1]]
    assert len(extremes) == 2 * degree + 2
    np.testing.assert_allclose(np.abs(extremes), r.error, rtol=1e-3)
    assert np.all(extremes[1:] * extremes[:-1] < 0.0)
    partial = r.amplitude * (1.0 + np.sum(r.residues() / (x[:, None] + r.denominator), axis=1))
    np.testing.assert_allclose(partial * np.sqrt(x) - 1.0, error, atol=1e-9)


@pytest.mark.parametrize("n_flavours", [1, 2])
def test_action_is_the_power_of_the_normal_operator(n_flavours, key):
    """And of a field from the heatbath it is the square of the normal field it was made of."""
    U = 2.0 * jax.random.normal(key, (2, *_SHAPE))
    action = draw(build(n_flavours).fermions, U, key)
    value, force, gradient = value_force_gradient(action, U)
    D = np.asarray(WilsonDirac(U, _KAPPA).dense())
    eigenvalues, vectors = np.linalg.eigh(D.conj().T @ D)
    assert eigenvalues[0] >= _LOW
    components = np.abs(vectors.conj().T @ np.asarray(action.phi).ravel()) ** 2
    expected = float(np.sum(components * eigenvalues ** (-n_flavours / 2)))
    tolerance = approximate_inverse_sqrt(_LOW, (1 + 4 * _KAPPA) ** 2, 8).error + 1e-9
    assert float(value) == pytest.approx(expected, rel=tolerance)
    eta = jax.random.normal(key, (2, *_SHAPE), jnp.complex128)
    assert float(value) == pytest.approx(float(jnp.sum(jnp.abs(eta) ** 2)), rel=1e-8)
    np.testing.assert_allclose(force, gradient, atol=1e-5)
    assert float(jnp.max(jnp.abs(force))) > 0.1


@pytest.mark.parametrize("n_flavours", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_hmc_samples_the_model(n_flavours, key):
    """The exact plaquette, which the determinant route is held against too."""
    chains = U1().haar((64, 2, 2, 2), key=key, dtype=jnp.float64)
    result = sample(
        build(n_flavours),
        chains,
        150,
        observe={"plaquette": plaquette},
        key=key,
        progress=False,
    )
    truth = exact.schwinger_2x2(_BETA, _KAPPA, n_flavours).plaquette
    for series, expected in (
        (result.observables["plaquette"][:, 20:], truth),
        (np.exp(-result.info["energy_change"][:, 20:]), 1.0),
    ):
        found = gamma_method(series)
        assert series.size / (2 * found.tau_int) > 400
        assert abs(found.mean - expected) < _SIGMAS * found.error


def test_both_routes_agree(key):
    """The determinant and pseudofermions, held against each other."""
    found = []
    for index, sampler in enumerate(
        (build(2), hmc(SchwingerAction(_BETA, _KAPPA), step_size=0.25, n_steps=4))
    ):
        own = jax.random.fold_in(key, index)
        chains = U1().haar((64, 2, 2, 2), key=own, dtype=jnp.float64)
        observe = {"plaquette": plaquette}
        result = sample(sampler, chains, 70, observe=observe, key=own, progress=False)
        found.append(gamma_method(result.observables["plaquette"][:, 20:]))
    assert all(64 * 50 / (2 * one.tau_int) > 400 for one in found)
    difference = found[0].mean - found[1].mean
    assert abs(difference) < _SIGMAS * np.hypot(found[0].error, found[1].error)


def test_trajectory_is_reversible_at_any_tolerance(key):
    U = 2.0 * jax.random.normal(key, (2, *_SHAPE))
    sampler = build(2, force_tolerance=1e-2)
    hmc = eqx.filter_jit(lambda s, U, key: s.with_fermions(U, key=key))(sampler, U, key)
    momentum = random_momentum(U1(), U, key=key)
    trajectory = eqx.filter_jit(lambda hmc, U, p: hmc.trajectory(U, p))
    forth, momentum_forth = trajectory(hmc, U, momentum)
    back, momentum_back = trajectory(hmc, forth, -momentum_forth)
    assert float(jnp.max(jnp.abs(forth - U))) > 0.1
    assert float(jnp.max(jnp.abs(back - U))) < 1e-10
    assert float(jnp.max(jnp.abs(momentum_back + momentum))) < 1e-10


def test_bad_arguments():
    for settings, name in (
        ({"tolerance": 0.0}, "tolerance"),
        ({"force_tolerance": 2.0}, "force_tolerance"),
        ({"degree": 0}, "degree"),
        ({"spectrum_low": -1.0}, "low"),
        ({"step_size": 0.0}, "step_size"),
    ):
        with pytest.raises(ConfigError, match=f"`{name}` must"):
            build(1, **settings)
