"""Actions with a defect in the boundary, by hand and against exact values along a ladder."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import iv

from diffhep.core.errors import ConfigError
from diffhep.core.sampling import sample
from diffhep.core.stats import effective_samples, gamma_method, pull
from diffhep_lattice import exact
from diffhep_lattice.actions.defect import DefectAction
from diffhep_lattice.actions.phi4 import Phi4Action
from diffhep_lattice.actions.wilson import WilsonAction
from diffhep_lattice.groups import SU2, U1
from diffhep_lattice.observables import plaquette_angles, topological_charge
from diffhep_lattice.samplers.alternate import alternate
from diffhep_lattice.samplers.hmc import hmc
from diffhep_lattice.samplers.replica_exchange import replica_exchange
from diffhep_lattice.samplers.translation import translation

pytestmark = pytest.mark.fast

MAX_PULL = 4.5
"""One false alarm in 150,000 per number."""

LENGTH, BETA, EXTENT = 4, 4.0, 1
STRENGTHS = (0.0, 0.3, 1.0)
N_CHAINS, BURN_IN = 64, 60


def by_hand(U, beta, strength, extent):
    """The action of SU(N) links, plaquette by plaquette."""
    d, n, site = U.shape[0], U.shape[1], U.shape[3:]
    total = 0.0
    for x in itertools.product(*map(range, site)):
        for mu, nu in itertools.combinations(range(d), 2):
            links = []
            for direction, at in ((mu, x), (nu, _next(x, mu, site))):
                links.append(U[(direction, slice(None), slice(None), *at)])
            for direction, at in ((mu, _next(x, nu, site)), (nu, x)):
                links.append(U[(direction, slice(None), slice(None), *at)].conj().T)
            crosses = nu == d - 1 and x[-1] == site[-1] - 1 and max(x[:-1]) < extent
            weight = strength if crosses else 1.0
            total -= beta / n * weight * np.trace(np.linalg.multi_dot(links)).real
    return total


def _next(x, mu, site):
    return tuple((c + (axis == mu)) % site[axis] for axis, c in enumerate(x))


@eqx.filter_jit
def value_and_forces(action, U, direction):
    """The action, its force, and the derivative along one direction of the algebra."""

    def moved(time):
        return action(action.group.move(U, time * direction))

    return action(U), action.force(U), jax.grad(moved)(0.0)


def test_defect_of_matrices_in_three_dimensions(key):
    shape, extent = (2, 3, 2), 2
    action = DefectAction(2.0, 0.3, SU2(), extent)
    U = SU2().haar((3, *shape), key=key)
    direction = jax.random.normal(key, (3, 3, *shape))
    value, force, slope = value_and_forces(action, U, direction)
    assert float(value) == pytest.approx(by_hand(np.asarray(U), 2.0, 0.3, extent), abs=1e-11)
    assert float(jnp.sum(force * direction)) == pytest.approx(float(slope), abs=1e-10)


def test_defect_of_angles(key):
    U = U1().haar((2, 3, 4), key=key)
    direction = jax.random.normal(key, U.shape)
    value, force, slope = value_and_forces(DefectAction(BETA, 0.3, extent=2), U, direction)
    weights = np.ones((3, 4))
    weights[:2, -1] = 0.3
    angles = jax.jit(plaquette_angles)(U)
    assert float(value) == pytest.approx(-BETA * np.sum(weights * np.cos(angles)), abs=1e-12)
    assert float(jnp.sum(force * direction)) == pytest.approx(float(slope), abs=1e-11)


def test_limits_are_the_periodic_and_in_two_dimensions_the_open_lattice(key):
    """With the same program for both strengths."""
    U = SU2().haar((2, 3, 2), key=key)
    for strength, boundary in ((1.0, "periodic"), (0.0, "open")):
        there = WilsonAction(2.0, SU2(), boundary)
        found, known = (
            value_and_forces(action, U, jnp.ones((2, 3, 3, 2)))
            for action in (DefectAction(2.0, strength, SU2()), there)
        )
        for a, b in zip(found, known, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-11)


def exact_means(strength):
    r"""The action over beta and $\langle Q^2\rangle$ of U(1) with V - 1 plaquettes and a weak one.

    $Z(\theta) = \sum_n c_n(\beta,\theta)^{V-1} c_n(c\beta,\theta)$ with the integrals of
    `exact.u1_charge_squared`; the charge is $-\partial^2\log Z/\partial\theta^2$ at zero.
    """
    volume, orders = LENGTH**2, np.arange(-12, 13)

    def z(beta, strength, theta):
        def coefficient(n, beta):
            nu = n + theta / (2 * np.pi)
            return quad(lambda x: np.exp(beta * np.cos(x)) * np.cos(nu * x), 0, np.pi)[0] / np.pi

        weak = [coefficient(n, strength * beta) for n in orders]
        strong = np.array([coefficient(n, beta) for n in orders])
        return np.sum(strong ** (volume - 1) * weak)

    h = 0.05
    values = [z(BETA, strength, t * h) for t in (-2, -1, 0, 1, 2)]
    second = (-values[0] + 16 * values[1] - 30 * values[2] + 16 * values[3] - values[4]) / 12
    slope = (np.log(z(BETA + h, strength, 0)) - np.log(z(BETA - h, strength, 0))) / (2 * h)
    return slope, -second / h**2 / values[2]


def test_the_formula_of_the_test_agrees_with_the_periodic_one():
    slope, charge = exact_means(1.0)
    assert charge == pytest.approx(exact.u1_charge_squared(BETA, LENGTH**2), rel=1e-4)
    assert slope == pytest.approx(LENGTH**2 * exact.u1_plaquette(BETA, LENGTH**2), rel=1e-4)
    # Without the weak plaquette the others are independent.
    assert exact_means(0.0)[0] == pytest.approx(15 * iv(1, BETA) / iv(0, BETA), rel=1e-4)


def test_replica_exchange_in_the_defect_has_the_exact_values(key):
    """U(1) on 4x4 at beta = 4, where HMC alone changes the charge once in some hundred steps."""
    actions = [DefectAction(BETA, strength, extent=EXTENT) for strength in STRENGTHS]
    algorithm = replica_exchange(
        [alternate(hmc(a, step_size=0.2, n_steps=5), translation(a)) for a in actions]
    )

    def energies(U):
        return jnp.stack([-a(x) / BETA for a, x in zip(actions, U, strict=True)])

    result = sample(
        algorithm,
        jnp.zeros((N_CHAINS, len(STRENGTHS), 2, LENGTH, LENGTH)),
        BURN_IN + 240,
        observe={"energy": energies, "charge": jax.vmap(topological_charge)},
        key=key,
        progress=False,
    )
    for rung, strength in enumerate(STRENGTHS):
        for name, reference in zip(("energy", "charge"), exact_means(strength), strict=True):
            series = result.observables[name][:, BURN_IN:, rung]
            found = gamma_method(series**2 if name == "charge" else series)
            assert effective_samples(series.size, found.tau_int) > 200
            assert abs(pull(found.mean, found.error, reference)) < MAX_PULL
    rates = [
        result.info[f"updates/{rung}/parts/translation/acceptance_probability"].mean()
        for rung in range(len(STRENGTHS))
    ]
    assert rates[-1] == pytest.approx(1.0, abs=1e-9)
    assert rates[0] < 0.95
    assert result.info["swaps/0/acceptance_probability"].mean() > 0.1


def test_translations_move_every_axis_and_change_nothing_else(key):
    U = U1().haar((2, 3, 4), key=key)
    algorithm = translation(WilsonAction(2.0))

    @jax.jit
    def moved(keys):
        state = algorithm.init(U)
        return jax.vmap(lambda key: algorithm.step(key, state)[0].position)(keys)

    seen = {field.tobytes() for field in np.asarray(moved(jax.random.split(key, 200)))}
    distances = itertools.product(range(3), range(4))
    assert seen == {np.roll(U, distance, (-2, -1)).tobytes() for distance in distances}


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: DefectAction(2.0, 1.5), "`strength` must lie in"),
        (lambda: DefectAction(-2.0, 0.5), "`beta` must be finite"),
        (lambda: DefectAction(2.0, 0.5, extent=0), "`extent` must be an integer"),
        (lambda: translation(Phi4Action(1.0, 1.0)), "`action.group` must be that of a gauge"),
    ],
)
def test_bad_input(build, message):
    with pytest.raises(ConfigError, match=message):
        build()
