"""Gold against closed forms, finite differences, and what its means must be."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

from diffhep.core.errors import ConfigError, DataError, ShapeError
from diffhep_sbi import Density, ExactRatio, Program, join, mine, problems, simulate

pytestmark = pytest.mark.fast


class Case(NamedTuple):
    problem: problems.AbstractProblem
    theta0: tuple[float, ...]
    theta1: tuple[float, ...]


DESIGN = jnp.array([[1.0, 0.3], [0.0, 1.0], [0.5, -0.2]])
CASES = {
    "latent_gaussian": Case(
        problems.LatentGaussian(DESIGN, 0.5 * jnp.eye(3), 0.3 * jnp.eye(3)), (0.3, -0.2), (0, 0)
    ),
    "ee_mumu": Case(problems.EeMuMu(), (0.3,), (-0.1,)),
    "drell_yan": Case(problems.DrellYan(n_nodes=65), (0.06, -0.04), (0.0, 0.02)),
    "galton": Case(problems.GaltonBoard(n_rows=12, n_bins=15), (-0.8,), (-0.6,)),
}


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


def test_ratio_and_score_are_those_of_the_joint_density(case, key):
    """Written out a second time: by the density at both points, and by central differences."""
    simulator = case.problem.simulator
    theta0, theta1 = (jnp.asarray(theta, float) for theta in case[1:])
    found = mine(simulator, theta0, theta1, n_events=10, key=key)
    assert found.x.shape[0] == found.n_events == 20
    keys = jax.vmap(jax.random.fold_in, (None, 0))(_stream(key), jnp.arange(20))

    def joint(theta, event, drawn_at):
        x, latents = simulator.sample(drawn_at, key=keys[event])
        return simulator.log_joint(theta, x, latents)

    joint = jax.jit(joint)
    h = 1e-5
    for event in (0, 15):
        drawn_at = (theta0, theta1)[int(found.label[event])]
        ratio = joint(theta0, event, drawn_at) - joint(theta1, event, drawn_at)
        assert float(found.log_ratio[event]) == pytest.approx(float(ratio), abs=1e-10)
        for index, step in enumerate(h * jnp.eye(theta0.size)):
            rise = joint(theta0 + step, event, drawn_at) - joint(theta0 - step, event, drawn_at)
            slope = float(rise) / (2 * h)
            assert float(found.score[event, index]) == pytest.approx(slope, rel=1e-6, abs=1e-6)


def _stream(key):
    from diffhep.core.rng import key_for

    return key_for(key, "events")


def test_means_over_histories_are_those_of_the_exact_ratio(case, key):
    """E1[r f(x)] and E0[t f(x)] from mined and exact quantities differ by noise alone.

    Nine numbers at most for each problem at 4.5 standard errors: a false alarm in 16,000 seeds.
    """
    theta0, theta1 = (jnp.asarray(theta, float) for theta in case[1:])
    found = mine(case.problem.simulator, theta0, theta1, n_events=4000, key=key)
    exact = ExactRatio(case.problem, theta1)
    log_ratio, score = (
        eqx.filter_jit(function)(found.x, theta0) for function in (exact.log_ratio, exact.score)
    )
    is_first = np.asarray(found.label) == 0
    tests = [np.ones(found.n_events), np.asarray(found.x[:, 0])]
    ratio_error = np.exp(found.log_ratio) - np.exp(log_ratio)
    for test in tests:
        assert_zero(ratio_error[~is_first] * test[~is_first])
        for deviation in np.asarray(found.score - score).T:
            assert_zero(deviation[is_first] * test[is_first])
    assert_zero(np.exp(log_ratio)[~is_first] - 1.0)
    # Histories know more than events: otherwise the laws above would hold trivially.
    assert np.var(found.log_ratio) > 1.05 * np.var(log_ratio)


def assert_zero(values):
    assert abs(np.mean(values)) < 4.5 * np.std(values) / np.sqrt(len(values))


def test_information_is_the_variance_of_the_exact_score(key):
    """Nine matrix elements at 4.5 errors."""
    for name in ("latent_gaussian", "ee_mumu"):
        case = CASES[name]
        theta = jnp.asarray(case.theta0, float)
        x = simulate(case.problem.simulator, theta, n_events=4000, key=key)
        score = np.asarray(eqx.filter_jit(ExactRatio(case.problem, theta).score)(x, theta))
        expected = np.asarray(case.problem.information(theta))
        for a in range(theta.size):
            for b in range(theta.size):
                assert_zero(score[:, a] * score[:, b] - expected[a, b])


def test_information_and_asymmetries_of_muon_pairs_have_their_known_values():
    information = problems.EeMuMu().information(jnp.zeros(1))
    assert float(information[0, 0]) == pytest.approx(8 / 3 * (2 - np.pi / 2), abs=1e-10)
    found = [problems.forward_backward_asymmetry(e) for e in (35.0, 60.0, 91.19, 120.0)]
    np.testing.assert_allclose(found, [-0.0908, -0.3751, 0.0167, 0.7351], atol=3e-4)


def test_latent_gaussian_has_the_joint_score_of_its_formula(key):
    problem, theta, _ = CASES["latent_gaussian"]
    theta = jnp.asarray(theta)
    _, latents = problem.simulator.sample(theta, key=key)
    score = jax.grad(problem.simulator.log_joint)(theta, jnp.zeros(3), latents)
    expected = problem.joint_score(latents["z"][None], theta)[0]
    np.testing.assert_allclose(score, expected, atol=1e-12)


def test_posterior_of_the_latent_gaussian_is_its_maximum(key):
    """Gradient of likelihood and prior is zero at the mean, and its slope the precision."""
    problem = CASES["latent_gaussian"].problem
    x = simulate(problem.simulator, jnp.array([0.2, 0.1]), n_events=5, key=key)
    prior_mean, prior = jnp.array([0.5, -0.5]), jnp.diag(jnp.array([0.5, 2.0]))
    mean, covariance = problem.posterior(x, prior_mean, prior)

    @jax.jit
    def slope(theta):
        def log_posterior(theta):
            likelihood = jax.vmap(problem.log_prob, (0, None))(x, theta).sum()
            distance = theta - prior_mean
            return likelihood - 0.5 * distance @ jnp.linalg.solve(prior, distance)

        return jax.grad(log_posterior)(theta)

    np.testing.assert_allclose(slope(mean), 0.0, atol=1e-10)
    # A quadratic: slopes at a distance are minus the precision times it.
    for step in np.eye(2):
        np.testing.assert_allclose(covariance @ slope(mean + step), -step, atol=1e-9)


def test_bin_probabilities_of_the_board_sum_to_one_and_densities_are_normalised():
    board = CASES["galton"].problem
    assert float(board.bin_probabilities(jnp.array([-0.7])).sum()) == pytest.approx(1.0, abs=1e-12)
    drell_yan, theta = CASES["drell_yan"].problem, jnp.array([0.1, -0.2])
    mass = np.exp(np.linspace(np.log(0.2), np.log(3.0), 64 * 8 + 1))
    cosine, weight = np.polynomial.legendre.leggauss(3)
    x = jnp.stack(jnp.meshgrid(mass, cosine, indexing="ij"), axis=-1)
    density = jnp.exp(jax.vmap(jax.vmap(drell_yan.log_prob, (0, None)), (0, None))(x, theta))
    # Linear in ln m between nodes, a square in c: trapezoids and Gauss are exact.
    assert np.trapezoid(density @ weight * mass, np.log(mass)) == pytest.approx(1.0, abs=1e-10)


def test_events_depend_on_key_and_number_alone(key):
    simulator = CASES["ee_mumu"].problem.simulator
    few, many = (mine(simulator, [0.3], [0.0], n_events=n, key=key) for n in (5, 9))
    np.testing.assert_array_equal(few.x[:5], many.x[:5])
    per_event = mine(simulator, jnp.full((5, 1), 0.3), [0.0], key=key)
    np.testing.assert_array_equal(per_event.x, few.x)


def test_a_sampler_and_a_density_mine_as_the_same_numpyro_program_does(key):
    def program(theta):
        z = numpyro.sample("z", dist.Normal(theta[0], 1.0))
        return numpyro.sample("x", dist.Normal(z, jnp.exp(theta[1])))[None]

    def draw(theta, key):
        x, latents = Program(program).sample(theta, key=key)
        return x, latents["z"]

    def density(theta, x, z):
        noise = dist.Normal(z, jnp.exp(theta[1])).log_prob(x[0])
        return noise - 0.5 * (z - theta[0]) ** 2

    one, other = (
        mine(simulator, [0.1, 0.2], [0.0, 0.0], n_events=3, key=key)
        for simulator in (program, Density(draw, density))
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), one, other)


def moved(theta):
    return numpyro.sample("z", dist.Normal(0.0, 1.0))[None] + theta


def observed(theta):
    return numpyro.sample("z", dist.Normal(theta[0], 1.0), obs=jnp.asarray(0.3))[None]


def widened(theta):
    return numpyro.sample("z", dist.Uniform(0.0, theta[0]))[None]


def broken(theta):
    return jnp.log(numpyro.sample("z", dist.Normal(theta[0], 1.0)))[None]


@pytest.mark.parametrize(
    ("program", "error", "message"),
    [
        (moved, ConfigError, "function of its sample sites alone"),
        (observed, ConfigError, r"no observed site.*\['z'\]"),
        (widened, DataError, "give every history a density under both"),
        (broken, DataError, r"`x` must be finite, but in event \d+ column 0 is nan; \d+ events"),
        (3, ConfigError, "simulator or a numpyro program"),
    ],
)
def test_simulators_without_a_ratio_are_refused(program, error, message, key):
    with pytest.raises(error, match=message):
        mine(program, [2.0], [1.0], n_events=20, key=key)


def test_bad_parameters_are_named(key):
    simulator = CASES["ee_mumu"].problem.simulator
    with pytest.raises(ShapeError, match="`theta0` must be of shape"):
        mine(simulator, 0.3, [0.0], key=key)
    with pytest.raises(ShapeError, match="as many parameters"):
        mine(simulator, [0.3], [0.0, 0.1], key=key)
    with pytest.raises(ConfigError, match="`theta1` must be finite"):
        mine(simulator, [0.3], [np.nan], key=key)
    with pytest.raises(ConfigError, match="`n_events` must be an integer of at least 1"):
        mine(simulator, [0.3], [0.0], n_events=0, key=key)


def test_a_split_keeps_copies_of_an_event_together(key):
    simulator = CASES["ee_mumu"].problem.simulator
    part = mine(simulator, [0.3], [0.0], n_events=10, key=key)
    copies = part.take(jnp.arange(60) % 20)
    train, held_out = copies.split(0.3, key=key)
    assert not set(train.event_id.tolist()) & set(held_out.event_id.tolist())
    assert train.n_events + held_out.n_events == 60
    assert held_out.n_events == 18
    with pytest.raises(ConfigError, match="`fraction` must leave events on both sides"):
        copies.split(0.0, key=key)
    joined = join(copies, copies)
    assert len(set(joined.event_id.tolist())) == 40
