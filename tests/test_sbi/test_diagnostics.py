"""Diagnostics of posteriors: right ones pass, and each kind of wrong one fails."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConvergenceError, DataError, ShapeError
from diffhep.core.plotting import save_panels
from diffhep_sbi import diagnostics
from diffhep_sbi.asymptotic import Interval
from diffhep_sbi.diagnostics import c2st, expected_coverage, misspecification, sbc, tarp
from diffhep_sbi.diagnostics.c2st import C2ST
from diffhep_sbi.diagnostics.uniformity import uniformity_p_value
from diffhep_sbi.mle import BestFit, Profile
from diffhep_sbi.neyman import NeymanScan

pytestmark = pytest.mark.fast

N_TRIALS, N_DRAWS = 400, 99
# A right posterior fails a test at this p-value once in a hundred thousand seeds.
RARE = 1e-5


@pytest.fixture
def trials(key):
    """Truths, data and exact posterior draws of x ~ N(theta, 1) with a unit prior."""
    generator = np.random.default_rng(int(jax.random.randint(key, (), 0, 2**31 - 1)))
    theta = generator.normal(size=(N_TRIALS, 2))
    mean = (theta + generator.normal(size=theta.shape)) / 2
    draws = mean[:, None] + np.sqrt(0.5) * generator.normal(size=(N_TRIALS, N_DRAWS, 2))
    return theta, mean, draws


def log_prob(theta, mean):
    return -np.sum((theta - mean) ** 2, axis=-1)


def test_right_posteriors_pass(trials, key):
    theta, mean, draws = trials
    assert np.all(sbc(theta, draws).p_value > RARE)
    assert tarp(theta, draws, key=key).p_value > RARE
    found = expected_coverage(log_prob(theta, mean), log_prob(draws, mean[:, None]))
    assert found.p_value > RARE
    # Five binomial errors at the middle: 6e-7 false alarms.
    assert abs(found.coverage[10] - 0.5) < 5 * found.error[10]


def test_overconfident_posteriors_fail(trials, key):
    theta, mean, draws = trials
    narrow = mean[:, None] + 0.5 * (draws - mean[:, None])
    assert np.all(sbc(theta, narrow).p_value < RARE)
    assert tarp(theta, narrow, key=key).p_value < RARE
    found = expected_coverage(log_prob(theta, mean), log_prob(narrow, mean[:, None]))
    assert found.p_value < RARE
    assert found.coverage[10] < 0.4


def test_the_prior_is_found_out_by_points_that_know_the_data(trials, key):
    """Draws from the prior have uniform ranks; points near the data tell them apart."""
    theta, mean, _ = trials
    generator = np.random.default_rng(7)
    prior = generator.normal(size=(N_TRIALS, N_DRAWS, 2))
    assert np.all(sbc(theta, prior).p_value > RARE)
    assert tarp(theta, prior, key=key, references=2 * mean).p_value < RARE


def test_uniformity_of_known_counts():
    flat = np.repeat(np.arange(10), 20)
    assert uniformity_p_value(flat, 9) == 1.0
    assert uniformity_p_value(np.zeros(200, int), 9) < 1e-100
    # Too few ranks say nothing.
    assert uniformity_p_value(np.zeros(5, int), 9) == 1.0
    with pytest.raises(DataError, match="lie in 0 to 9"):
        uniformity_p_value(np.array([10]), 9)


def test_c2st_tells_what_can_be_told(key):
    one, two = jax.random.normal(key, (2, 300, 2))
    same = c2st(one, two, key=key)
    # Four and a half binomial errors of 600 tested rows: 7e-6 false alarms.
    assert abs(same.accuracy - 0.5) < 4.5 * 0.5 / 600**0.5
    apart = c2st(one, two + jnp.array([3.0, 0.0]), key=key)
    # The best rule is the sign of the distance: Phi(1.5) = 0.933, less what is not learned.
    assert abs(apart.accuracy - 0.933) < 4.5 * 0.25 / 600**0.5 + 0.02
    assert apart.folds.shape == (5,)
    with pytest.raises(ConvergenceError, match="did not settle within 2 epochs"):
        c2st(one, two, key=key, max_epochs=2)


def test_misspecification_is_found(key):
    simulated = np.asarray(jax.random.normal(key, (400, 2)))
    good = misspecification(simulated[:40], simulated[40:], key=key)
    assert good.p_value > 0.002
    bad = misspecification(simulated[:40] + 1.0, simulated[40:], key=key)
    # The smallest value that five hundred exchanges can give.
    assert bad.p_value == pytest.approx(1 / 501)
    # One event is enough where it is far off.
    assert misspecification(np.full((1, 2), 6.0), simulated[1:], key=key).p_value < 0.01


@pytest.mark.usefixtures("without_shape_checks")
def test_bad_arguments_are_named(key):
    x = np.ones((10, 2))
    with pytest.raises(DataError, match="`reference` must vary, but column 0 is constant"):
        c2st(x, x, key=key)
    with pytest.raises(ShapeError, match="`samples` must be a sample of 2 parameters"):
        c2st(x, x[:, :1], key=key)
    with pytest.raises(DataError, match="row 3 has nan in column 1"):
        c2st(x, np.where(np.arange(20).reshape(10, 2) == 7, np.nan, x), key=key)
    with pytest.raises(ShapeError, match=r"`samples` must be of shape \(10, draw, 2\)"):
        sbc(x, np.ones((9, 5, 2)))
    with pytest.raises(DataError, match=r"entry \(0, 1\) is not"):
        sbc(np.where(np.arange(20).reshape(10, 2) == 1, np.inf, x), np.ones((10, 5, 2)))
    with pytest.raises(ShapeError, match="columns of `simulated`"):
        misspecification(x, x[:, :1], key=key)


def test_every_diagnostic_is_drawn(trials, key, tmp_path):
    theta, mean, draws = trials
    fit = BestFit(jnp.ones(1), jnp.zeros(()), jnp.ones((1, 1)), jnp.array(True))
    values = jnp.linspace(0.0, 2.0, 5)
    profile = Profile(values, (values - 1) ** 2, values[:, None], fit, values > -1)
    interval = Interval(0.2, 1.8, 0.68, False, False)
    scan = NeymanScan(
        values, jnp.exp(-((values - 1) ** 2)), values, values[:, None], values, interval
    )
    curve = tarp(theta, draws, key=key)
    accuracy = C2ST(0.6, np.full(5, 0.6), np.ones(5))
    panels = [
        lambda axes, _: diagnostics.draw_ranks(axes, sbc(theta, draws)),
        lambda axes, _: diagnostics.draw_coverage(axes, {"TARP": curve}),
        lambda axes, _: diagnostics.draw_c2st(axes, {"NRE": accuracy}),
        lambda axes, _: diagnostics.draw_profile(axes, profile, {"Wilks": interval}),
        lambda axes, _: diagnostics.draw_neyman(axes, scan),
        lambda axes, _: diagnostics.draw_misspecification(
            axes, misspecification(mean[:20], mean[20:], key=key)
        ),
    ]
    png, _ = save_panels(panels, None, tmp_path / "diagnostics", title="Diagnostics", rows=2)
    assert 10_000 < png.stat().st_size < 300_000
