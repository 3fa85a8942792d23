"""Morphing to rounding, bases without rank, and gold from tables of weights of either sign."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConfigError, DataError, ShapeError
from diffhep_sbi import ExactRatio, Morpher, choose_basis, gold_from_weights, problems, simulate
from diffhep_sbi.morphing import monomial_powers

pytestmark = pytest.mark.fast


@pytest.fixture(scope="module")
def morpher():
    return choose_basis([-0.3, -0.3], [0.3, 0.3], n_points=50, key=jax.random.key(0))


@pytest.fixture(scope="module")
def table(morpher):
    """Events of the first benchmark with their weights at all."""
    problem = problems.DrellYan(n_nodes=65)
    key = jax.random.key(1)
    x = simulate(problem.simulator, morpher.basis[0], n_events=4000, key=key)

    @eqx.filter_jit
    def cross_section(theta):
        return jax.vmap(lambda event: jnp.sum(problem.differential(event, theta)))(x)

    weights = jnp.stack([cross_section(theta) for theta in morpher.basis], axis=1)
    return problem, x, weights / weights[:, :1], lambda t: cross_section(t) / weights[:, 0]


def test_weights_reproduce_the_distribution_at_any_coupling(morpher, table):
    _, _, weights, exact = table
    for theta in ([0.17, -0.05], [-0.3, 0.3], [0.5, 0.4]):
        theta = jnp.array(theta)
        np.testing.assert_allclose(morpher(weights, theta), exact(theta), rtol=1e-12)
        assert float(jnp.sum(morpher.weights(theta))) == pytest.approx(1.0, abs=1e-12)
    at_basis = morpher.weights(morpher.basis[2])
    np.testing.assert_allclose(at_basis, np.eye(6)[2], atol=1e-10)


def test_gradient_of_the_weights_is_the_finite_difference(morpher):
    theta, h = jnp.array([0.1, -0.2]), 1e-5
    slopes = jax.jacfwd(morpher.weights)(theta)
    for index, step in enumerate(h * np.eye(2)):
        rise = morpher.weights(theta + step) - morpher.weights(theta - step)
        np.testing.assert_allclose(slopes[:, index], rise / (2 * h), rtol=1e-6, atol=1e-7)


def test_second_derivatives_at_zero_are_numbers(morpher):
    """The weights are quadratic: their curvature is the same everywhere."""
    curvatures = [jax.hessian(morpher.weights)(jnp.array(t)) for t in ([0.0, 0.0], [0.1, 0.2])]
    np.testing.assert_allclose(*curvatures, rtol=1e-10, atol=1e-10)


def test_chosen_basis_inflates_variances_less_than_any_of_a_hundred_random_ones(morpher, key):
    points = jax.random.uniform(key, (50, 2), minval=-0.3, maxval=0.3)

    @jax.jit
    def inflation(basis):
        matrix = Morpher.monomials(morpher, basis)
        weights = jnp.linalg.solve(matrix.T, Morpher.monomials(morpher, points).T)
        return jnp.mean(jnp.log(jnp.sum(weights**2, axis=0)))

    bases = jax.random.uniform(jax.random.fold_in(key, 1), (100, 6, 2), minval=-0.3, maxval=0.3)
    assert float(inflation(morpher.basis)) < min(float(inflation(basis)) for basis in bases)


def test_number_of_components_is_that_of_the_monomials():
    for n_params in (1, 2, 3, 5):
        assert len(monomial_powers(n_params)) == (n_params + 1) * (n_params + 2) // 2
    assert monomial_powers(1, 4).tolist() == [[0], [1], [2], [3], [4]]


def test_a_basis_that_cannot_morph_is_refused():
    powers = monomial_powers(2)
    line = np.stack([np.linspace(-1, 1, 6), np.linspace(-1, 1, 6)], axis=1)
    with pytest.raises(ConfigError, match="`basis` must span all monomials"):
        Morpher(line, powers)
    with pytest.raises(ConfigError, match="`basis` must be finite"):
        Morpher(np.full((6, 2), np.nan), powers)
    with pytest.raises(ShapeError, match=r"`basis` must be of shape \(6, 2\)"):
        Morpher(np.zeros((5, 2)), powers)
    with pytest.raises(ConfigError, match="`high` must lie above"):
        choose_basis([0.0], [0.0], key=jax.random.key(0))


def test_gold_of_a_weight_table_has_the_exact_ratio(morpher, table, key):
    """Up to the cross-sections, which the table knows to the accuracy of its events."""
    problem, x, weights, exact = table
    theta0, theta1 = jnp.array([0.1, -0.05]), jnp.zeros(2)
    gold = gold_from_weights(x, weights, morpher, theta0, theta1, n_events=500, key=key)
    truth = ExactRatio(problem, theta1)
    offset = np.log(np.mean(exact(theta1)) / np.mean(exact(theta0)))
    sections = [float(jnp.sum(problem.cross_sections(t))) for t in (theta0, theta1)]
    expected = np.asarray(truth.log_ratio(gold.x, theta0)) + offset
    expected += np.log(sections[0] / sections[1])
    np.testing.assert_allclose(gold.log_ratio, expected, atol=1e-10)
    np.testing.assert_array_equal(gold.x, x[gold.event_id])
    assert set(np.unique(gold.weight)) == {1.0}
    score = truth.score(gold.x, theta0)
    difference = np.asarray(gold.score - score)
    # The slope of the cross-section is that of the table: one number for all events.
    np.testing.assert_allclose(difference, difference[:1].repeat(1000, 0), atol=1e-9)


def test_weights_of_both_signs_give_unbiased_events_without_a_joint_ratio(morpher, table, key):
    """An estimate of the mean mass from signed events against the exact one: 4.5 errors."""
    _, x, weights, _ = table
    sign = np.where(np.arange(len(x)) % 5 == 0, -1.0, 1.0)[:, None]
    signed = sign * weights
    theta = jnp.array([0.1, -0.05])
    gold = gold_from_weights(x, signed, morpher, theta, theta, n_events=4000, key=key)
    assert set(np.unique(gold.weight)) == {-1.0, 1.0}
    at_theta = np.asarray(morpher(signed, theta))
    expected = np.sum(at_theta * x[:, 0]) / np.sum(at_theta)
    # Zero in the mean for the right expectation: a ratio estimate to first order.
    deviation = np.asarray(gold.weight * (gold.x[:, 0] - expected))
    assert abs(deviation.mean()) < 4.5 * deviation.std() / np.sqrt(deviation.size)
    mixed = jnp.where(jnp.arange(6) == 2, -1.0, 1.0) * weights
    gold = gold_from_weights(
        x, mixed, morpher, morpher.basis[0], morpher.basis[1], n_events=50, key=key
    )
    assert gold.log_ratio is not None
    crossing = weights.at[:100, 1].multiply(-1.0)
    gold = gold_from_weights(
        x, crossing, morpher, morpher.basis[0], morpher.basis[1], n_events=4000, key=key
    )
    assert gold.log_ratio is None
    assert gold.score is None


def test_tables_that_do_not_fit_are_refused(morpher, table, key):
    _, x, weights, _ = table
    options = {"n_events": 5, "key": key}
    theta = jnp.zeros(2)
    with pytest.raises(ShapeError, match="`weights` must have shape"):
        gold_from_weights(x, weights[:, :5], morpher, theta, theta, **options)
    broken = weights.at[7, 3].set(jnp.nan)
    with pytest.raises(DataError, match="in event 7 column 3 is nan"):
        gold_from_weights(x, broken, morpher, theta, theta, **options)
    with pytest.raises(DataError, match="must sum to more than 0 at theta0"):
        gold_from_weights(x, -weights, morpher, theta, theta, **options)
