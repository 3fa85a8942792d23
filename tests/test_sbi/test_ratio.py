"""Losses at the exact ratio, networks, training, and what a trained ratio says of itself."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.checkpoint import Checkpoint
from diffhep.core.errors import ConfigError, DataError, ShapeError
from diffhep_sbi import (
    ExactRatio,
    deep_set,
    fit_ratio,
    join,
    mine,
    mlp,
    quadratic,
    residual_mlp,
    sallino,
    transformer,
)
from diffhep_sbi.losses import METHODS
from diffhep_sbi.standardisation import balanced_weights

pytestmark = pytest.mark.fast

THETA1 = jnp.array([0.2, -0.1])
MINED = [name for name, method in METHODS.items() if not method.is_contrastive and name != "sally"]
CONTRASTIVE = [name for name, method in METHODS.items() if method.is_contrastive]


def slopes(method, exact, gold, directions, amount):
    """Derivatives of the loss along directions of deviation, in 80 batches of 250 events."""

    @eqx.filter_jit
    def derivative(rows):
        def loss(amounts):
            def model(x, theta):
                return exact(x, theta) + jnp.dot(amounts, directions(x, theta))

            return METHODS[method].loss(model, gold.take(rows), 0.3)

        return jax.grad(loss)(jnp.full(2, amount))

    order = np.random.default_rng(0).permutation(gold.n_events)[:20_000].reshape(80, 250)
    return np.stack([derivative(rows) for rows in order])


def is_zero(values):
    error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    return np.abs(values.mean(axis=0)) < 4.5 * error


@pytest.mark.parametrize("method", MINED)
def test_loss_is_stationary_at_the_exact_ratio_and_nowhere_near(method, problem, gold):
    """Along two directions, 4.5 errors: a false alarm in 70,000 seeds for each of six methods."""

    def exact(x, theta):
        return problem.log_prob(x, theta) - problem.log_prob(x, THETA1)

    def directions(x, theta):
        return jnp.stack([jnp.sin(x[0]) * theta[1], jnp.cos(x[1] + theta[0])])

    assert is_zero(slopes(method, exact, gold, directions, 0.0)).all()
    assert not is_zero(slopes(method, exact, gold, directions, 0.4)).all()


@pytest.mark.parametrize("method", CONTRASTIVE)
def test_contrastive_loss_is_stationary_at_the_ratio_to_the_marginal(
    method, problem, gold, log_evidence
):
    """As above; events of label 0 are pairs of theta from its prior and x."""

    def exact(x, theta):
        return problem.log_prob(x, theta) - log_evidence(x)

    def directions(x, theta):
        return jnp.stack([jnp.sin(x[0]) * theta[1], jnp.cos(x[1] + theta[0])])

    pairs = gold.take(np.asarray(gold.label) == 0)
    assert is_zero(slopes(method, exact, pairs, directions, 0.0)).all()
    assert not is_zero(slopes(method, exact, pairs, directions, 0.4)).all()


def test_training_finds_the_ratio_and_its_score(problem, gold, key):
    """The mean square error falls far below the variance of what is learned."""
    fitted = fit_ratio(
        gold.take(slice(15_000, 25_000)),
        "alices",
        network=mlp(16, 2),
        n_members=2,
        n_epochs=8,
        learning_rate=5e-3,
        progress=False,
        key=key,
    )
    exact = ExactRatio(problem, THETA1)
    x, theta = gold.x[-1000:], jnp.array([0.3, 0.1])
    truth = exact.log_ratio(x, theta)
    error = fitted.log_ratio(x, theta) - truth
    assert float(jnp.mean(error**2)) < 0.05 * float(jnp.var(truth))
    score_error = fitted.score(x[:50], theta) - exact.score(x[:50], theta)
    assert float(jnp.mean(score_error**2)) < 0.1 * float(jnp.mean(exact.score(x, theta) ** 2))
    assert fitted.n_members == 2
    assert fitted.training_loss.shape == fitted.held_out_loss.shape == (8, 2)
    assert 0.0 < float(jnp.mean(fitted.spread(x, theta))) < 0.2
    assert fitted.distance_outside(theta) == 0.0
    assert fitted.distance_outside(jnp.array([9.0, 0.0])) > 1.0
    with pytest.warns(UserWarning, match="widths outside the trained range"):
        fitted.log_ratio(x[:2], jnp.array([9.0, 0.0]))
    with pytest.raises(DataError, match="in event 2 column 1 is nan"):
        fitted.log_ratio(x[:4].at[2, 1].set(jnp.nan), theta)
    members = [fitted.member(index).log_ratio(x[:9], theta) for index in range(2)]
    np.testing.assert_allclose(fitted.log_ratio(x[:9], theta), sum(members) / 2, rtol=1e-12)
    with pytest.raises(ShapeError, match=r"`x` must have events of shape \(2,\)"):
        fitted.log_ratio(jnp.zeros((4, 3)), theta)
    with pytest.raises(ShapeError, match=r"`theta` must have shape \(2,\)"):
        fitted.log_ratio(x, jnp.zeros(3))


def check_projection(problem, local, key):
    """The score of a normal distribution is sufficient: its projection knows the whole ratio."""
    shape = (4000, 2)
    box = jax.random.uniform(key, shape, float, minval=-1.0, maxval=1.0)
    gold = mine(problem.simulator, THETA1 + box, THETA1, key=jax.random.fold_in(key, 1))
    # Half the score is the same projection, whose local ratio is wrong.
    halved = eqx.tree_at(lambda e: e.params.scale, local, 2.0 * local.params.scale)
    found = sallino(halved, gold)
    assert found.ratio.method == "sallino"
    np.testing.assert_allclose(found.high, THETA1 + 1.0, atol=0.01)
    theta, x = THETA1 + jnp.array([0.6, -0.5]), gold.x[:2000]
    truth = ExactRatio(problem, THETA1).log_ratio(x, theta)

    def error(ratio):
        return float(jnp.mean((ratio.log_ratio(x, theta) - truth) ** 2) / jnp.var(truth))

    assert error(found) < 0.05 < 0.2 < error(halved)
    with pytest.warns(UserWarning, match="widths outside the trained range"):
        found.log_ratio(x[:1], THETA1 + 3.0)
    with pytest.raises(ConfigError, match="be learned by method 'sally', but it is 'sallino'"):
        sallino(found.ratio, gold)
    moved = eqx.tree_at(lambda g: g.theta1, gold, gold.theta1 + 0.1)
    with pytest.raises(ConfigError, match=r"`gold.theta1` must be the reference"):
        sallino(local, moved)


@pytest.mark.slow
def test_sally_learns_the_score_at_its_reference(problem, key):
    """Whose variance is the information."""
    gold = mine(problem.simulator, THETA1, THETA1, n_events=6000, key=key)
    fitted = fit_ratio(
        gold,
        "sally",
        network=mlp(16, 1),
        n_members=1,
        n_epochs=10,
        learning_rate=1e-2,
        progress=False,
        key=key,
    )
    x = gold.x[:500]
    exact = ExactRatio(problem, THETA1).score(x, THETA1)
    assert float(jnp.mean((fitted.score(x, THETA1) - exact) ** 2)) < 0.05 * float(jnp.var(exact))
    np.testing.assert_allclose(fitted.log_ratio(x, THETA1), 0.0, atol=1e-6)
    scale = fitted.params.scale
    information = fitted.members.information[0] / scale / scale[:, None]
    np.testing.assert_allclose(information, problem.information(THETA1), rtol=0.1, atol=0.1)
    check_projection(problem, fitted, key)
    other = mine(problem.simulator, THETA1 + 0.1, THETA1, n_events=50, key=key)
    with pytest.raises(ConfigError, match="be theta1 in all events for sally"):
        fit_ratio(other, "sally", progress=False, key=key)


def test_a_finished_training_resumes_to_the_same_bits(gold, key, tmp_path):
    settings = {"network": residual_mlp(8, 1), "n_members": 2, "n_epochs": 1, "batch": 2000}
    checkpoint = Checkpoint(tmp_path / "fit")
    options = {**settings, "progress": False, "key": key}
    first = fit_ratio(gold, "carl", checkpoint=checkpoint, **options)
    again = fit_ratio(gold, "carl", checkpoint=checkpoint, **options)
    assert eqx.tree_equal(first, again)
    with pytest.raises(ConfigError, match="'fit_ratio alice', but in"):
        fit_ratio(gold, "alice", checkpoint=checkpoint, **options)


@pytest.mark.parametrize("build", [deep_set(8, 1), transformer(8, 1, 2)])
def test_clouds_have_no_order_and_padding_counts_for_nothing(build, key):
    x = jnp.asarray(jax.random.normal(key, (5, 3)).at[:, -1].set(1.0), jnp.float32)
    x = x.at[3:].set(0.0)
    theta = jnp.ones(2, jnp.float32)
    network = build((5, 3), 2, 1, key)
    reference = network(x, theta)
    shuffled = network(x[jnp.array([2, 0, 3, 1, 4])], theta)
    longer = network(jnp.concatenate([x, jnp.zeros((2, 3), jnp.float32)]), theta)
    other_padding = network(x.at[3:, 0].set(7.0), theta)
    for found in (shuffled, longer, other_padding):
        np.testing.assert_allclose(found, reference, atol=1e-6)
    fewer = network(x.at[2].set(0.0), theta)
    assert not np.allclose(fewer, reference, atol=1e-3)
    assert bool(jnp.all(jnp.isfinite(jax.grad(lambda t: network(x, t)[0])(theta))))


def test_clouds_are_standardised_without_their_padding(key):
    def program(theta):
        import numpyro
        import numpyro.distributions as dist

        count = numpyro.sample("n", dist.Binomial(4, probs=0.5))
        value = numpyro.sample("v", dist.Normal(theta[0], 1.0).expand([4]))
        present = jnp.where(jnp.arange(4) < count, 1.0, 0.0)
        return jnp.stack([(value + 50.0) * present, present], axis=1)

    gold = mine(program, [0.5], [0.0], n_events=300, key=key)
    fitted = fit_ratio(
        gold,
        "carl",
        network=deep_set(4, 1),
        n_members=1,
        n_epochs=1,
        progress=False,
        key=key,
    )
    assert abs(float(fitted.features.shift[0, 0]) - 50.25) < 0.3
    assert float(fitted.features.scale[0, 0]) == pytest.approx(1.0, abs=0.2)
    np.testing.assert_array_equal(fitted.features.shift[:, 1], 0.0)


@pytest.mark.parametrize("kind", ["more of a class", "signed weights"])
def test_classes_are_balanced_whatever_their_number_and_sign(kind, gold):
    """At the exact ratio the loss is stationary in its level only where classes weigh the same."""
    label = np.asarray(gold.label)
    if kind == "more of a class":
        gold = gold.take(np.concatenate([np.flatnonzero(label == 0)[:3000], np.flatnonzero(label)]))
    else:
        # Signs that know nothing of the event leave its density as it is.
        negative = np.random.default_rng(0).random(label.size) < np.where(label == 0, 0.3, 0.05)
        gold = eqx.tree_at(lambda g: g.weight, gold, np.where(negative, -1.0, 1.0))
    weight, label = balanced_weights(gold), np.asarray(gold.label)
    sums = np.bincount(label, weight)
    assert sums[0] == pytest.approx(sums[1], rel=1e-12)
    np.testing.assert_array_equal(np.sign(weight), np.sign(gold.weight))


def test_classes_are_balanced_at_every_point_of_many_events(problem, key):
    parts = [
        mine(problem.simulator, point, THETA1, n_events=300, key=key) for point in np.eye(2) * 0.1
    ]
    both = join(parts[0], parts[1].take(slice(150, None)))
    weight, at = balanced_weights(both), np.asarray(both.theta0)[:, 0] > 0.05
    for mask in (at, ~at):
        sums = np.bincount(np.asarray(both.label)[mask], weight[mask])
        assert sums[0] == pytest.approx(sums[1], rel=1e-12)


def test_training_on_unequal_classes_finds_the_same_level(problem, gold, key):
    """Four events of class 1 to one of class 0 would shift a log-ratio by log 4."""
    label = np.asarray(gold.label)
    rows = np.concatenate([np.flatnonzero(label == 0)[:2500], np.flatnonzero(label == 1)[:10_000]])
    fitted = fit_ratio(
        gold.take(rows),
        "carl",
        network=mlp(16, 2),
        n_members=1,
        n_epochs=6,
        learning_rate=5e-3,
        progress=False,
        key=key,
    )
    assert abs(float(jnp.mean(fitted.log_ratio(gold.x[-2000:], THETA1)))) < 0.3


def test_gold_that_cannot_be_learned_from_is_refused(gold, key):
    few = gold.take(jnp.arange(0, 40_000, 400))
    options = {"progress": False, "key": key}
    bare = eqx.tree_at(lambda g: g.score, few, None, is_leaf=lambda x: x is None)
    with pytest.raises(ConfigError, match="have a joint score, which method 'rascal'"):
        fit_ratio(bare, "rascal", **options)
    with pytest.raises(ConfigError, match="`method` must be one of carl"):
        fit_ratio(few, "magic", **options)
    broken = eqx.tree_at(lambda g: g.x, few, few.x.at[3, 1].set(jnp.inf))
    with pytest.raises(DataError, match="in event 3 column 1 is inf"):
        fit_ratio(broken, "carl", **options)
    one_class = few.take(np.asarray(few.label) == 0)
    with pytest.raises(DataError, match="must have events of class 1, but it has none"):
        fit_ratio(one_class, "carl", **options)
    strange = eqx.tree_at(lambda g: g.label, few, few.label.at[3].set(2))
    with pytest.raises(DataError, match="`label` must be 0 or 1, but event 3 has 2"):
        fit_ratio(strange, "carl", **options)
    negative = eqx.tree_at(lambda g: g.weight, few, -few.weight)
    with pytest.raises(DataError, match="`weight` must sum to more than 0 in class 0"):
        fit_ratio(negative, "carl", **options)
    moving = eqx.tree_at(lambda g: g.theta1, few, few.theta0)
    with pytest.raises(ConfigError, match=r"`gold.theta1` must be the same in all events"):
        fit_ratio(moving, "carl", **options)
    short = eqx.tree_at(lambda g: g.weight, few, few.weight[:-1])
    with pytest.raises(ShapeError, match="`weight` must have shape"):
        fit_ratio(short, "carl", **options)


def test_a_quadratic_form_is_added_to_a_network(key):
    build = quadratic(mlp(4, 1))
    network = build((2,), 1, 1, key)
    form = jnp.arange(9.0, dtype=jnp.float32).reshape(1, 3, 3)
    x, theta = jnp.array([0.5, -1.0], jnp.float32), jnp.array([2.0], jnp.float32)
    both = np.array([0.5, -1.0, 2.0])
    moved = eqx.tree_at(lambda n: n.form, network, form)
    expected = network(x, theta) + both @ np.asarray(form[0]) @ both
    np.testing.assert_allclose(moved(x, theta), expected, rtol=1e-5)
