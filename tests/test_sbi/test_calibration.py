"""Calibration of a warped exact ratio back to the exact one, and gates that see what is wrong."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConfigError, DataError
from diffhep_sbi import ExactRatio, calibrate, join, mine, report
from diffhep_sbi.calibration import effective_sample_size, normalisation
from diffhep_sbi.gates import area_under_curve

pytestmark = pytest.mark.fast

THETA1 = jnp.zeros(2)
POINTS = (jnp.array([0.3, 0.0]), jnp.array([-0.3, 0.2]))


class Warped(eqx.Module):
    """A ratio that is wrong in a way that calibration can see: it orders events as it should."""

    exact: ExactRatio
    slope: float
    shift: float

    def log_ratio(self, x, theta):
        return self.slope * self.exact.log_ratio(x, theta) + self.shift


class Tailed(eqx.Module):
    """The same with long tails: few events have most of the range."""

    exact: ExactRatio

    def log_ratio(self, x, theta):
        log_r = self.exact.log_ratio(x, theta)
        return log_r + 2.0 * log_r**3


@pytest.fixture(scope="module")
def held_out(problem):
    parts = [
        mine(problem.simulator, theta, THETA1, n_events=8000, key=jax.random.key(index))
        for index, theta in enumerate(POINTS)
    ]
    return join(*parts)


@pytest.fixture(scope="module")
def exact(problem):
    return ExactRatio(problem, THETA1)


@pytest.mark.parametrize("method", ["histogram", "isotonic", "spline"])
def test_a_warped_ratio_is_calibrated_back(method, exact, held_out):
    """In the bulk, within the noise of eight thousand events a class."""
    warped = Warped(exact, 0.6, 0.4)
    calibrated = calibrate(warped, held_out, method, n_bins=12)
    for theta in POINTS:
        truth = exact.log_ratio(held_out.x, theta)
        bulk = (truth > jnp.quantile(truth, 0.1)) & (truth < jnp.quantile(truth, 0.9))
        before, after = (
            float(jnp.mean((ratio.log_ratio(held_out.x, theta) - truth)[bulk] ** 2))
            for ratio in (warped, calibrated)
        )
        assert before > 0.08
        assert after < 0.006


def test_spline_is_smooth_in_theta_and_corrects_nothing_at_the_reference(exact, held_out):
    calibrated = calibrate(Warped(exact, 0.6, 0.0), held_out)
    at_reference = calibrated.log_ratio(held_out.x[:5], THETA1)
    np.testing.assert_allclose(at_reference, 0.0, atol=1e-7)
    likelihood = jax.jit(lambda theta: jnp.sum(calibrated.log_ratio(held_out.x[:200], theta)))
    curvatures = jax.jit(jax.vmap(jax.hessian(likelihood)))(
        jnp.linspace(-0.3, 0.3, 13)[:, None] * jnp.ones(2)
    )
    assert bool(jnp.all(jnp.isfinite(curvatures)))
    # One maximum, as the exact likelihood has.
    assert float(jnp.max(curvatures[:, 0, 0])) < 0.0


def test_long_tails_leave_the_curve_at_the_reference_as_it_was_fitted(exact, held_out):
    calibrated = calibrate(Tailed(exact), held_out)
    at_reference = calibrated.log_ratio(held_out.x[:5], THETA1)
    np.testing.assert_allclose(at_reference, 0.0, atol=1e-7)


def test_labels_calibrate_where_nothing_was_mined(exact, held_out):
    """More noisily than joint ratios do, and still towards the truth."""
    bare = eqx.tree_at(lambda gold: (gold.log_ratio, gold.score), held_out, (None, None))
    warped = Warped(exact, 0.6, 0.4)
    theta = POINTS[0]
    truth = exact.log_ratio(held_out.x, theta)
    before, after = (
        float(jnp.mean((ratio.log_ratio(held_out.x, theta) - truth) ** 2))
        for ratio in (warped, calibrate(warped, bare))
    )
    assert after < 0.2 * before


def test_calibration_of_the_exact_ratio_changes_little(exact, held_out):
    calibrated = calibrate(exact, held_out)
    theta = POINTS[0]
    difference = calibrated.log_ratio(held_out.x, theta) - exact.log_ratio(held_out.x, theta)
    assert float(jnp.mean(difference**2)) < 0.004


def test_gates_pass_the_exact_ratio_and_name_what_is_wrong_with_others(exact, held_out, key):
    """At 4 standard errors of 8 gates: a false alarm in 2000 seeds."""
    good = report(exact, held_out, tolerance=0.02, closure=False, key=key)
    assert good.passed, str(good)
    assert good.failures == ()
    assert str(good).endswith("verdict: passed")
    assert {gate.name for gate in good.gates} == {"normalisation", "effective size"}
    bad = report(Warped(exact, 1.0, 0.3), held_out, closure=False, key=key)
    assert not bad.passed
    assert len(bad.failures) == 2
    assert "normalisation at theta = (0.3, 0)" in bad.failures[1]
    few = report(exact, held_out, least_ess=1e6, closure=False, key=key)
    assert all("effective size" in line for line in few.failures)


def test_closure_sees_a_shape_that_normalisation_does_not(exact, held_out, key):
    """A ratio of 1 is normalised everywhere; reweighted events then are those of theta1."""
    flat = Warped(exact, 0.0, 0.0)
    at_one = held_out.take(np.asarray((held_out.theta0 == POINTS[0]).all(axis=1)))
    judged = {
        name: {gate.name: gate for gate in report(ratio, at_one, key=key).gates}
        for name, ratio in (("flat", flat), ("exact", exact))
    }
    assert judged["flat"]["normalisation"].passed
    assert not judged["flat"]["closure"].passed
    assert judged["exact"]["closure"].passed


def test_area_under_curve_is_that_of_pairs_with_weights(key):
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    score = rng.integers(0, 5, 60).astype(float)
    is_first, weight = rng.random(60) < 0.5, rng.random(60)
    area, error = area_under_curve(score, is_first, weight)
    total = norm = 0.0
    for i in np.flatnonzero(is_first):
        for j in np.flatnonzero(~is_first):
            share = weight[i] * weight[j]
            total += share * ((score[i] > score[j]) + 0.5 * (score[i] == score[j]))
            norm += share
    assert area == pytest.approx(total / norm, abs=1e-12)
    assert 0.02 < error < 0.2


def test_normalisation_and_effective_size_of_known_weights():
    log_ratio = np.log(np.array([0.5, 1.5, 1.0, 1.0]))
    mean, error = normalisation(log_ratio, np.ones(4))
    assert mean == pytest.approx(1.0)
    assert error == pytest.approx(np.sqrt(0.5) / 4)
    assert effective_sample_size(np.log([1.0, 1.0, 1e-300])) == pytest.approx(2.0)
    assert effective_sample_size(np.zeros(4), np.array([1.0, 1, 1, -1])) == pytest.approx(1.0)


def test_bad_settings_are_named(exact, held_out, key):
    with pytest.raises(ConfigError, match="`method` must be one of spline, histogram, isotonic"):
        calibrate(exact, held_out, "magic")
    with pytest.raises(DataError, match="at least 10000 events of class 0 at theta0"):
        calibrate(exact, held_out, "histogram", n_bins=1000)
    signed = eqx.tree_at(lambda gold: gold.weight, held_out, held_out.weight.at[0].set(-1.0))
    with pytest.raises(DataError, match="positive weights for isotonic"):
        calibrate(exact, signed, "isotonic")
    moved = eqx.tree_at(lambda gold: gold.theta1, held_out, held_out.theta1 + 0.1)
    for judge in (lambda: calibrate(exact, moved), lambda: report(exact, moved, key=key)):
        with pytest.raises(ConfigError, match=r"must be the denominator \[0.0, 0.0\] of the ratio"):
            judge()
    with pytest.raises(ConfigError, match="`tolerance` must"):
        report(exact, held_out, tolerance=-1.0, key=key)
