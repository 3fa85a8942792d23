"""HMC: reversibility, volume, energy conservation, the exact average of exp(-dH), adaptation."""

import zlib

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erfc

from diffhep.core.errors import ConfigError, ShapeError
from diffhep_lattice.actions.wilson import WilsonAction
from diffhep_lattice.geometry import Lattice
from diffhep_lattice.groups import kinetic_energy, random_momentum
from diffhep_lattice.samplers.adaptation import adapt_step_size
from diffhep_lattice.samplers.hmc import hmc
from diffhep_lattice.samplers.integrators import leapfrog, omelyan2, omelyan4
from diffhep_lattice.samplers.latent_hmc import flow_hmc
from tests.systems.circle_flow import CircleFlow
from tests.systems.exact_fields import exact_fields

pytestmark = pytest.mark.fast

_LATTICE = Lattice((8, 8))
_BETA = 2.0
_N_FIELDS = 2048
_N_PROPOSALS = 10_000
"""Of which one in three is kept."""

_SCHEMES = {"leapfrog": leapfrog(), "omelyan2": omelyan2(), "omelyan4": omelyan4()}


@pytest.fixture(params=_SCHEMES)
def integrator(request):
    return _SCHEMES[request.param]


@pytest.fixture(scope="module")
def equilibrium():
    """Independent fields from the exact density."""
    key = jax.random.key(zlib.crc32(__name__.encode()))
    return exact_fields(_LATTICE.shape, _BETA, _N_PROPOSALS, key=key)[:_N_FIELDS]


@eqx.filter_jit
@eqx.filter_vmap(in_axes=(None, 0, 0))
def step(algorithm, key, state):
    return algorithm.step(key, state)


@eqx.filter_jit
def energy_changes(algorithm, fields, key):
    """dH of one trajectory from every field; the same momenta whatever the step size."""

    def change(U, key):
        group = algorithm.action.group
        momentum = random_momentum(group, U, key=key)
        V, final = algorithm.trajectory(U, momentum)
        return (
            algorithm.action(V)
            - algorithm.action(U)
            + kinetic_energy(final)
            - kinetic_energy(momentum)
        )

    return jax.vmap(change)(fields, jax.random.split(key, fields.shape[0]))


def test_trajectory_is_reversible(equilibrium, integrator, key):
    U = equilibrium[0]
    algorithm = hmc(WilsonAction(_BETA), step_size=0.04, n_steps=50, integrator=integrator)
    momentum = random_momentum(algorithm.action.group, U, key=key)
    trajectory = eqx.filter_jit(algorithm.trajectory)
    forth, momentum_forth = trajectory(U, momentum)
    back, momentum_back = trajectory(forth, -momentum_forth)
    assert float(jnp.max(jnp.abs(forth - U))) > 0.5
    assert float(jnp.max(jnp.abs(back - U))) < 1e-10
    assert float(jnp.max(jnp.abs(momentum_back + momentum))) < 1e-10


def test_trajectory_preserves_phase_space_volume(integrator, key):
    algorithm = hmc(WilsonAction(_BETA), step_size=0.2, n_steps=4, integrator=integrator)
    start = jax.random.normal(key, (2, 2, 2, 2))

    def flow(x):
        return jnp.stack(algorithm.trajectory(*x.reshape(2, 2, 2, 2))).ravel()

    jacobian = jax.jit(jax.jacfwd(flow))(start.ravel())
    sign, log_det = jnp.linalg.slogdet(jacobian)
    assert float(sign) == 1.0
    assert abs(float(log_det)) < 1e-10


@pytest.mark.parametrize(
    ("scheme", "counts", "order"),
    [
        ("leapfrog", (20, 40, 80), 2),
        ("omelyan4", (8, 16, 32), 4),
    ],
)
def test_energy_error_scales_with_the_order(equilibrium, scheme, counts, order, key):
    fields = equilibrium[:32]
    rms = []
    for n_steps in counts:
        algorithm = hmc(
            WilsonAction(_BETA),
            step_size=1.0 / n_steps,
            n_steps=n_steps,
            integrator=_SCHEMES[scheme],
        )
        changes = np.asarray(energy_changes(algorithm, fields, key))
        rms.append(np.sqrt(np.mean(changes**2)))
    fitted = -np.polyfit(np.log(counts), np.log(rms), 1)[0]
    assert fitted == pytest.approx(order, abs=0.15)


def test_minimum_norm_schemes_are_worth_their_forces(equilibrium, key):
    """At equal cost in forces the energy error falls from one scheme to the next."""
    fields = equilibrium[:32]
    rms = []
    for integrator in _SCHEMES.values():
        n_steps = 40 // integrator.n_forces
        algorithm = hmc(
            WilsonAction(_BETA), step_size=1.0 / n_steps, n_steps=n_steps, integrator=integrator
        )
        changes = np.asarray(energy_changes(algorithm, fields, key))
        rms.append(np.sqrt(np.mean(changes**2)))
    assert rms[1] < 0.5 * rms[0]
    assert rms[2] < 0.5 * rms[1]


def test_exponential_of_the_energy_change_averages_to_one(equilibrium, integrator, key):
    """<exp(-dH)> = 1 in equilibrium; independent chains, 3 sigma: one false alarm in 370."""
    # Steps so coarse that dH is of order one: else the average says nothing.
    step_size = {1: 0.32, 2: 0.55, 5: 0.8}[integrator.n_forces]
    algorithm = hmc(
        WilsonAction(_BETA),
        step_size=step_size,
        n_steps=max(1, round(1.0 / step_size)),
        integrator=integrator,
    )
    changes = np.asarray(energy_changes(algorithm, equilibrium, key))
    weights = np.exp(-changes)
    error = weights.std() / np.sqrt(_N_FIELDS)
    assert 0.2 < changes.std() < 2.0
    assert changes.mean() > 0.0
    assert abs(weights.mean() - 1.0) < 3.0 * error


def test_mean_acceptance_is_that_of_a_gaussian_energy_change(equilibrium, key):
    """<min(1, e^-dH)> = erfc(sqrt(<dH>/4)) for a normal dH: a check of the Metropolis test."""
    fields = equilibrium
    algorithm = hmc(WilsonAction(_BETA), step_size=0.32, n_steps=3)
    states = jax.vmap(algorithm.init)(fields)
    _, info = step(algorithm, jax.random.split(key, _N_FIELDS), states)
    probability = np.asarray(info.acceptance_probability)
    accepted = np.asarray(info.accepted, float)
    expected = erfc(np.sqrt(np.asarray(info.energy_change).mean() / 4.0))
    assert probability.mean() == pytest.approx(expected, abs=0.03)
    # 4 sigma of the binomial: one false alarm in 16,000.
    error = np.sqrt(np.mean(probability * (1.0 - probability)) / _N_FIELDS)
    assert abs(accepted.mean() - probability.mean()) < 4.0 * error
    np.testing.assert_allclose(probability, np.exp(-np.maximum(info.energy_change, 0.0)))


def test_rejected_trajectories_leave_the_state(equilibrium, key):
    """With a huge step almost everything is refused; what is refused moves nothing."""
    fields = equilibrium[:16]
    algorithm = hmc(WilsonAction(_BETA), step_size=2.0, n_steps=5)
    states = jax.vmap(algorithm.init)(fields)
    new, info = step(algorithm, jax.random.split(key, 16), states)
    accepted = np.asarray(info.accepted)
    assert not accepted.all()
    np.testing.assert_array_equal(new.position[~accepted], fields[~accepted])
    np.testing.assert_array_equal(new.action[~accepted], states.action[~accepted])


def test_a_diverging_trajectory_is_refused_and_no_error(equilibrium, key):
    """A step size that overflows: the proposal is not finite, the chain stays and is finite."""
    U = equilibrium[0]
    algorithm = hmc(WilsonAction(_BETA), step_size=1e308, n_steps=3)
    state, info = eqx.filter_jit(algorithm.step)(key, algorithm.init(U))
    assert not bool(info.accepted)
    assert bool(info.is_finite)
    assert float(info.acceptance_probability) == 0.0
    assert np.isposinf(info.energy_change)
    np.testing.assert_array_equal(state.position, U)


@eqx.filter_jit
def mean_acceptance(algorithm, positions, key):
    """Of 60 steps of every chain."""

    def chain(key, position):
        def body(state, key):
            state, info = algorithm.step(key, state)
            return state, info.acceptance_probability

        return jax.lax.scan(body, algorithm.init(position), jax.random.split(key, 60))[1]

    return jnp.mean(jax.vmap(chain)(jax.random.split(key, positions.shape[0]), positions))


@pytest.mark.parametrize("first_guess", [0.02, 1.0])
@pytest.mark.parametrize("kind", ["hmc", "flow_hmc"])
def test_adaptation_reaches_its_target(equilibrium, kind, first_guess, key):
    action = WilsonAction(_BETA)
    target = 0.75
    algorithm = (
        hmc(action, step_size=first_guess, n_steps=5)
        if kind == "hmc"
        else flow_hmc(CircleFlow(_LATTICE, 0.3), action, step_size=first_guess, n_steps=5)
    )
    fields = equilibrium[:32]
    tuned, positions = adapt_step_size(
        algorithm, fields, key=jax.random.fold_in(key, 1), n_steps=120, target=target
    )
    assert jax.tree.structure(tuned) == jax.tree.structure(algorithm)
    assert positions.shape == fields.shape
    assert float(mean_acceptance(tuned, positions, key)) == pytest.approx(target, abs=0.06)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"step_size": 0.0}, "step_size"),
        ({"step_size": -0.1}, "step_size"),
        ({"step_size": float("nan")}, "step_size"),
        ({"n_steps": 0}, "n_steps"),
        ({"n_steps": -3}, "n_steps"),
    ],
)
def test_bad_trajectories_are_refused(arguments, name):
    with pytest.raises(ConfigError, match=f"Argument `{name}` must"):
        hmc(WilsonAction(1.0), **arguments)
    with pytest.raises(ConfigError, match=f"Argument `{name}` must"):
        flow_hmc(CircleFlow(_LATTICE, 0.3), WilsonAction(1.0), **arguments)


def test_bad_fields_are_refused():
    algorithm = hmc(WilsonAction(1.0))
    with pytest.raises(ShapeError, match="Argument `U` must"):
        algorithm.init(jnp.zeros((3, 4, 4)))
    with jax.enable_x64(False), pytest.raises(ConfigError, match="jax_enable_x64"):
        algorithm.init(jnp.zeros((2, 4, 4)))


def test_bad_adaptation_is_refused(key):
    fields = jnp.zeros((2, 2, 4, 4))
    for arguments, name in (({"target": 1.0}, "target"), ({"n_steps": 0}, "n_steps")):
        with pytest.raises(ConfigError, match=f"Argument `{name}` must"):
            adapt_step_size(hmc(WilsonAction(1.0)), fields, key=key, **arguments)
