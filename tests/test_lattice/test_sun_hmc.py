"""HMC of SU(3): reversibility, order and the exact average of exp(-dH), in both precisions."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConfigError
from diffhep_lattice.actions import SumAction, WilsonAction
from diffhep_lattice.groups import SU3, kinetic_energy, random_momentum
from diffhep_lattice.samplers.hmc import hmc
from diffhep_lattice.samplers.integrators import (
    force_gradient,
    leapfrog,
    nested,
    omelyan2,
    omelyan4,
)

pytestmark = pytest.mark.fast

_BETA = 2.0
_SITE = (2, 2)
_N_FIELDS = 1024
_N_STEPS = 2

# Schemes, a step so coarse that dH is a tenth to one, and one in the asymptotic regime.
_SCHEMES = {
    "leapfrog": (leapfrog(), 0.8, 0.1),
    "omelyan2": (omelyan2(), 1.0, 0.1),
    "omelyan4": (omelyan4(), 1.4, 0.2),
    "force_gradient": (force_gradient(), 1.0, 0.2),
    "nested": (nested(omelyan2(), omelyan2(), n_inner=2), 1.2, 0.1),
}


def build(name, md_dtype=None):
    action = WilsonAction(_BETA, SU3())
    if name == "nested":
        action = SumAction(WilsonAction(0.3 * _BETA, SU3()), WilsonAction(0.7 * _BETA, SU3()))
    return hmc(
        action, step_size=1.0, n_steps=_N_STEPS, integrator=_SCHEMES[name][0], md_dtype=md_dtype
    )


@eqx.filter_jit
@eqx.filter_vmap(in_axes=(0,))
def draw(key):
    """A Haar distributed field, its momenta, and the plaquettes' weight."""
    field_key, momentum_key = jax.random.split(key)
    U = SU3().haar((2, *_SITE), key=field_key, dtype=float)
    return U, random_momentum(SU3(), U, key=momentum_key), -WilsonAction(_BETA, SU3())(U)


@eqx.filter_jit
@eqx.filter_vmap(in_axes=(None, 0, 0))
def follow(algorithm, U, momentum):
    """The end of a trajectory on the group, the momenta there, and dH."""
    in_md = algorithm.in_md_precision(U)
    p = momentum.astype(in_md.real.dtype)
    end, final = algorithm.trajectory(in_md, p)
    V = algorithm.action.group.project(end.astype(U.dtype))
    kinetic = kinetic_energy(final) - kinetic_energy(p)
    return V, final.astype(momentum.dtype), algorithm.action(V) - algorithm.action(U) + kinetic


def with_step(algorithm, step_size):
    return eqx.tree_at(lambda a: a.step_size, algorithm, jnp.asarray(step_size))


def assert_average_is_one(changes, log_weights):
    """<exp(-dH)> over fields of weight exp(-S); 4.5 sigma: one false alarm in 150,000."""
    weights = np.exp(log_weights - log_weights.max())
    ratio = np.exp(-changes)
    residuals = weights * (ratio - 1.0)
    error = residuals.std() / np.sqrt(len(residuals)) / weights.mean()
    assert weights.sum() ** 2 / np.sum(weights**2) > 200
    assert 0.1 < changes.std() < 2.0
    assert error < 0.1
    assert abs(residuals.mean()) / weights.mean() < 4.5 * error


@pytest.fixture(scope="module")
def start():
    """Fields from the Haar measure and momenta: with the weight exp(-S) they are in equilibrium."""
    return draw(jax.random.split(jax.random.key(20), _N_FIELDS))


@pytest.mark.parametrize("name", _SCHEMES)
def test_trajectories(name, start):
    U, momentum, log_weights = start
    integrator, coarse, fine = _SCHEMES[name]
    algorithm = build(name)
    coarsely, finely, halved = (with_step(algorithm, h) for h in (coarse, fine, fine / 2))
    V, final, changes = map(np.asarray, follow(coarsely, U, momentum))
    assert_average_is_one(changes, np.asarray(log_weights))
    back, reverse, _ = follow(coarsely, V, -final)
    assert np.max(np.abs(V - U)) > 0.5
    np.testing.assert_allclose(back, U, atol=1e-9)
    np.testing.assert_allclose(reverse, -momentum, atol=1e-9)
    # For a fixed number of steps the time shrinks with the step: one order more.
    rms = [float(jnp.std(follow(each, U, momentum)[2])) for each in (finely, halved)]
    assert np.log2(rms[0] / rms[1]) == pytest.approx(integrator.order + 1, abs=0.4)


def test_single_precision_trajectories(start):
    """The same dH as in double precision up to rounding, reversible up to rounding.

    Rounding violates detailed balance by the dH that is left over after going there and back.
    """
    U, momentum, log_weights = start
    wide = with_step(build("omelyan2"), _SCHEMES["omelyan2"][1])
    narrow = with_step(build("omelyan2", jnp.float32), _SCHEMES["omelyan2"][1])
    V, final, changes = map(np.asarray, follow(narrow, U, momentum))
    assert V.dtype == np.complex128
    assert_average_is_one(changes, np.asarray(log_weights))
    reference = np.asarray(follow(wide, U, momentum)[2])
    assert 1e-9 < np.max(np.abs(changes - reference)) < 1e-3
    assert np.sqrt(np.mean((changes - reference) ** 2)) < 1e-4
    back, reverse, undone = follow(narrow, V, -final)
    np.testing.assert_allclose(back, U, atol=1e-4)
    np.testing.assert_allclose(reverse, -momentum, atol=1e-3)
    assert np.sqrt(np.mean((changes + np.asarray(undone)) ** 2)) < 1e-4


def test_states_keep_their_precision(key):
    algorithm = hmc(WilsonAction(_BETA), n_steps=2, md_dtype="float32")
    state = algorithm.init(jax.random.normal(key, (2, 4, 4)))
    state, info = eqx.filter_jit(algorithm.step)(key, state)
    assert (state.position.dtype, state.action.dtype) == (jnp.float64, jnp.float64)
    assert info.energy_change.dtype == jnp.float64
    assert float(state.action) == pytest.approx(float(algorithm.action(state.position)), rel=1e-14)
    for dtype in (int, complex):
        with pytest.raises(ConfigError, match="`md_dtype` must be a real floating dtype"):
            build("omelyan2", dtype)
