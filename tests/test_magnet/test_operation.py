"""From cycles to a corrected field: the synthetic magnet, identification, rollout, correction."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConfigError, DataError
from diffhep.magnet import (
    CYCLES,
    Calibration,
    Cycle,
    CycleCorrector,
    GatedForecaster,
    OperatorForecaster,
    Recording,
    StoppedRun,
    adaptive_intervals,
    conformal_intervals,
    correct_cycles,
    coverage,
    decimate,
    error_by_horizon,
    fit_calibration,
    fit_operating_range,
    flat_bottom,
    forecast_cycle,
    identify,
    low_pass,
    measure,
    rollout,
    sps_dipole,
    subtract,
    supercycle,
)
from diffhep.magnet.cycles import FLAT_BOTTOM_A, FLAT_BOTTOM_T
from diffhep.magnet.fitting import PreisachSettings

pytestmark = pytest.mark.fast

DT_S = 0.1

SHORT = {
    name: Cycle(
        name,
        (0.0, 0.8, 1.6, 2.0, 2.8, 3.2, 3.4, 4.8),
        (161.0, 161.0, top, top, low, low, 161.0, 161.0),
        0.8,
    )
    for name, top, low in (
        ("high", 5000.0, 156.0),
        ("middle", 2000.0, 152.0),
        ("low", 900.0, 159.0),
    )
}
"""Cycles of one duration, so that everything is compiled once."""

ORDER = ("high", "low", "middle", "low", "low", "high", "middle", "middle")
UNSEEN = ("high", "middle", "high", "low", "high", "high", "low", "low", "middle", "low")


@pytest.fixture(scope="module")
def magnet():
    return sps_dipole()


@pytest.fixture(scope="module")
def train(magnet):
    cycles = supercycle(ORDER * 2, SHORT)
    return measure(magnet, cycles, key=jax.random.key(1), dt_s=DT_S)


@pytest.fixture(scope="module")
def test_cycles(magnet):
    return measure(magnet, supercycle(UNSEEN, SHORT), key=jax.random.key(2), dt_s=DT_S)


@pytest.fixture(scope="module")
def forecaster(train):
    settings = (PreisachSettings(2, 6, 6, 1e-5),)
    return identify([train], u_reference=161.0, reach=1.0, sweep=5750.0, thin=3, settings=settings)


def bottom_errors(forecasts):
    return np.array([flat_bottom(one.mean - one.measured, DT_S) for one in forecasts])


def rms(values):
    return float(np.sqrt(np.mean(np.square(values))))


@pytest.mark.parametrize("name", CYCLES)
def test_programmes_keep_their_charge_and_plateaus(name):
    cycle = CYCLES[name]
    current = cycle.samples(0.002)
    knots = np.array(cycle.knots_s), np.array(cycle.knots_A)
    straight = np.interp(0.002 * np.arange(current.size), *knots)
    # Rounding moves charge around the knots and neither adds nor takes any.
    assert np.sum(current - straight) * 0.002 == pytest.approx(0.0, abs=0.2)
    assert np.max(np.abs(current - straight)) < 400.0
    assert current[0] == FLAT_BOTTOM_A
    assert current.max() == max(cycle.knots_A)
    assert cycle.trim_shape(0.02)[10:60].min() == 1.0
    assert cycle.trim_shape(0.02)[[0, -1]].max() == 0.0


def test_the_magnet_has_the_scale_it_claims(magnet):
    """The flat bottom's field after full current, and the width of the loop."""
    state = magnet.init(FLAT_BOTTOM_A, key=jax.random.key(0))
    up = np.linspace(FLAT_BOTTOM_A, 5750.0, 60)
    static, _ = magnet.operator.operators
    loop = jnp.asarray(np.concatenate([up, up[::-1][1:]]))
    field, _ = eqx.filter_jit(static)(loop, state=state.operator[0])
    assert float(field[0]) == pytest.approx(FLAT_BOTTOM_T, abs=1e-10)
    width = np.asarray(field[60 - 1 :])[::-1] - np.asarray(field[:60])
    assert 38e-4 < width.max() / 2.02 < 76e-4


def test_sequences_differ_by_their_key_only(magnet, train):
    cycles = supercycle(ORDER * 2, SHORT)[:1]
    again = measure(magnet, supercycle(ORDER * 2, SHORT), key=jax.random.key(1), dt_s=DT_S)
    other = measure(magnet, cycles, key=jax.random.key(3), dt_s=DT_S)
    np.testing.assert_array_equal(again[5].y, train[5].y)
    assert 1e-7 < rms(other[0].y - train[0].y) < 3e-4


def test_an_unseen_order_is_forecast(forecaster, train, test_cycles):
    """Nearer than the calibration curve, and worse without the measured field."""
    errors = bottom_errors(rollout(forecaster, test_cycles))
    curve = OperatorForecaster(
        operator=fit_calibration(train), history=[161.0], u_reference=161.0, reach=1.0, gain=0.0
    )
    plain = bottom_errors(rollout(curve, test_cycles))
    alone = rollout(forecaster, test_cycles, resync=None)
    assert rms(errors) < 4e-5
    assert rms(errors) < 0.3 * rms(plain)
    assert all((np.diff(one.quantiles, axis=0) > 0.0).all() for one in alone)
    np.testing.assert_allclose(alone[0].quantiles[2], alone[0].mean, atol=1e-15)
    assert [one.n_ahead for one in alone] == list(range(1, 10))
    assert rms(bottom_errors(alone)[4:]) > rms(errors)


def test_a_field_that_is_not_finite_stops_the_correction(forecaster, test_cycles):
    cycle = supercycle(ORDER, SHORT)[0]
    calls = []

    def respond(current):
        calls.append(current)
        field = 0.0622 + 0.0 * current
        return field if len(calls) == 1 else np.where(np.arange(field.size) == 7, np.nan, field)

    with pytest.raises(StoppedRun, match=r"cycle 1, it returns nan at sample 7") as stopped:
        correct_cycles(
            CycleCorrector(), forecaster, [cycle] * 4, test_cycles[0], respond, slope_T_A=3.8e-4
        )
    assert len(calls) == 2
    assert len(stopped.value.run.cycles) == 1


def test_trims_do_not_add_up_without_bound():
    corrector, trim = CycleCorrector(), 0.0
    for _ in range(50):
        trim = corrector.step(trim, 1e6)
    assert float(trim) == pytest.approx(-1e-2 * 0.0622)
    with pytest.raises(DataError, match=r"`error_T` must be finite, but it is nan"):
        corrector.step(0.0, float("nan"))
    with pytest.raises(ConfigError, match=r"`gain` must be at most 1"):
        CycleCorrector(gain=1.5)
    with pytest.raises(ConfigError, match=r"`field_T` must"):
        CycleCorrector(field_T=-0.06)


def test_a_cycle_above_the_identified_range_is_warned_of(forecaster, test_cycles):
    higher = dataclasses.replace(test_cycles[1], u=20.0 * test_cycles[1].u)
    with pytest.warns(UserWarning, match=r"leaves the identified range \[.*\] by "):
        rollout(forecaster, (test_cycles[0], higher))


def test_eddy_currents_are_found(forecaster):
    eddy = forecaster.operator.operators[1]
    # The faster mode is faster than the time step, and left out.
    assert eddy.tau_s.shape == (1,)
    assert float(eddy.tau_s[0]) == pytest.approx(0.97, rel=0.3)
    assert float(eddy.amplitude[0]) == pytest.approx(2e-4, rel=0.3)


def test_resync_says_how_old_the_field_is(forecaster, test_cycles):
    found = rollout(forecaster, test_cycles, resync=3)
    assert [one.n_ahead for one in found] == [1, 2, 3, 1, 2, 3, 1, 2, 3]
    # Synchronised cycles are forecast alike however the others were.
    each = rollout(forecaster, test_cycles)
    np.testing.assert_array_equal(found[6].mean, each[6].mean)
    horizon = error_by_horizon(bottom_errors(found), np.array([one.n_ahead for one in found]))
    assert horizon.shape == (3,)
    assert np.isfinite(horizon).all()


def test_corrections_come_near_the_target(magnet, forecaster, train):
    state = magnet.init(FLAT_BOTTOM_A, key=jax.random.key(5))
    keys = iter(jax.random.split(jax.random.key(6), 100))

    def respond(current):
        nonlocal state
        state, field = magnet.run(state, jnp.asarray(current), DT_S, key=next(keys))
        return np.asarray(field)

    u = SHORT["high"].samples(DT_S)
    before = Recording("high", u, respond(u), "A", "T", dt_s=DT_S)
    target = FLAT_BOTTOM_T - 2e-4
    corrector = CycleCorrector(field_T=target)
    slope = 3.9e-4
    run = correct_cycles(
        corrector, forecaster, supercycle(UNSEEN * 2, SHORT), before, respond, slope_T_A=slope
    )
    errors = np.array([one.measured_T - target for one in run.cycles])
    assert rms(errors[-10:]) < 3e-5
    assert rms(errors[-10:]) < 0.2 * abs(errors[0])
    steps = dict.fromkeys(SHORT, 0.0)
    for one in run.cycles:
        step = abs(one.trim_T - steps[one.recording.name])
        assert step == 0.0 or 2e-5 - 1e-12 <= step <= 1e-3 * target + 1e-12
        steps[one.recording.name] = one.trim_T
    assert run.trims_T == steps


def test_steps_of_a_trim():
    corrector = CycleCorrector(0.5, 2e-5, 1e-3, 0.1)
    assert float(corrector.step(1e-4, 3.9e-5)) == pytest.approx(1e-4)
    assert float(corrector.step(1e-4, 6e-5)) == pytest.approx(7e-5)
    assert float(corrector.step(1e-4, -1.0)) == pytest.approx(2e-4)
    with pytest.raises(ConfigError, match="clip_dpp"):
        CycleCorrector(clip_dpp=-1.0)


def test_conformal_intervals_are_order_statistics(key):
    errors = np.array([3.0, -1.0, 2.0, 5.0, -4.0, 6.0, 7.0, 8.0, 9.0])
    assert conformal_intervals(errors, 0.9) == 9.0
    assert conformal_intervals(errors, 0.5) == 5.0
    assert conformal_intervals(errors[:8], 0.9) == np.inf
    normal = np.asarray(jax.random.normal(key, (400, 2000)))
    width = conformal_intervals(normal[:199], 0.9)
    inside = np.mean(np.abs(normal[199:]) <= width)
    # 180 of 200: the mean over 2000 repetitions has a deviation of 6e-4; five of them.
    assert inside == pytest.approx(0.9, abs=3e-3)


def test_coverage_and_its_error():
    found = coverage(np.array([0.0, 1.0, 2.0, 3.0]), 1.5, np.array([0, 0, 1, 1]))
    assert found.share == 0.5
    assert found.stderr == pytest.approx(0.5)
    assert coverage(np.zeros(4), 1.0).stderr == 0.0


def test_adaptive_intervals_follow_a_drift(key):
    noise = np.asarray(jax.random.normal(key, (600,)))
    drifting = noise[100:] * np.linspace(1.0, 4.0, 500)
    fixed = np.abs(drifting) <= conformal_intervals(noise[:100])
    adaptive = np.abs(drifting) <= adaptive_intervals(noise[:100], drifting, rate=0.05)
    assert fixed[-200:].mean() < 0.75
    # The long-run share is off by at most (1 + rate) / (rate n) plus what the drift leaves.
    assert adaptive[-200:].mean() > 0.85


def test_an_unknown_programme_gets_the_fallback(forecaster, train):
    known = fit_operating_range(train)
    curve = OperatorForecaster(
        operator=fit_calibration(train), history=[161.0], u_reference=161.0, reach=1.0
    )
    gated = GatedForecaster(forecaster, curve, known)
    usual = train[1].u
    strange = np.where(usual > 800.0, usual + 2500.0, usual)
    for programme, expected in ((usual, forecaster), (strange, curve)):
        found = [
            forecast_cycle(one, train[0], train[0].y, programme).mean for one in (gated, expected)
        ]
        np.testing.assert_allclose(*found, atol=1e-12)
    assert float(known.distance(jnp.asarray(usual), DT_S)) == 0.0
    assert float(known.distance(jnp.asarray(strange), DT_S)) > 0.2
    with pytest.raises(ConfigError, match="fallback"):
        GatedForecaster(forecaster, dataclasses.replace(curve, levels=(0.5,)), known)


def test_filters_keep_what_is_slow():
    t = 0.001 * np.arange(4000)
    slow, fast = np.sin(2 * np.pi * 2.0 * t), np.sin(2 * np.pi * 200.0 * t)
    recording = Recording("tone", slow, slow + fast, "A", "T", dt_s=0.001)
    filtered = low_pass(recording, 20.0)
    inside = slice(500, -500)
    np.testing.assert_allclose(filtered.y[inside], slow[inside], atol=1e-3)
    rare = decimate(recording, 20)
    assert rare.dt_s == pytest.approx(0.02)
    np.testing.assert_allclose(rare.y[25:-25], slow[::20][25:-25], atol=2e-3)
    with pytest.raises(ConfigError, match="cut_Hz"):
        low_pass(recording, 600.0)
    with pytest.raises(DataError, match="time step"):
        low_pass(dataclasses.replace(recording, dt_s=None), 20.0)


def test_a_calibration_rises_through_the_mean_of_the_branches():
    up = np.linspace(0.0, 10.0, 101)
    branches = Recording("loop", np.append(up, up[::-1]), np.append(up, up[::-1] + 0.4), "V", "V")
    curve = fit_calibration([branches], 12)
    assert isinstance(curve, Calibration)
    rest = subtract(branches, curve)
    np.testing.assert_allclose(rest.y[:101], -0.2, atol=1e-9)


def test_bad_cycles_are_named():
    with pytest.raises(ConfigError, match="knots_s"):
        Cycle("x", (0.0, 2.0, 1.0), (161.0, 161.0, 161.0), 0.6)
    with pytest.raises(ConfigError, match="flat_bottom_end_s"):
        Cycle("x", (0.0, 1.0, 2.0), (161.0, 200.0, 161.0), 0.1)
    with pytest.raises(ConfigError, match="dt_s"):
        SHORT["high"].samples(0.7)
    with pytest.raises(ConfigError, match="'nothing'"):
        supercycle(["nothing"])
