"""The settings of albergo2019, and what it reads off weights and correlators."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import papers
from diffhep.core.errors import ConfigError
from papers.albergo2019.config import PRESETS, Architecture, Chains, Point, Series
from papers.albergo2019.rejections import rejection_rates, tau_of_rejections
from papers.albergo2019.stages import mass_at
from papers.phi4_values import SIX_BY_SIX

pytestmark = pytest.mark.instant

EXPECTED = Path(papers.__file__).parent / "albergo2019" / "expected.json"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Architecture("cubic"), "kernel.*affine or spline.*cubic"),
        (lambda: Architecture(n_layers=3), "n_layers.*even.*3"),
        (lambda: Architecture(width=4), "width.*odd.*4"),
        (lambda: Point(5, 8.0, 10), "length.*even.*5"),
        (lambda: Point(4, -8.0, 10), "coupling.*positive"),
        (lambda: Point(4, 8.0, 0), "n_steps.*at least 1"),
        (lambda: Series(Architecture(), ()), "points.*at least one"),
        (lambda: Chains(hmc_steps=3), "hmc_steps.*at least 8"),
        (lambda: replace(PRESETS["smoke"], hmc_only=((3, 0.0),)), "hmc_only.*positive"),
        (lambda: replace(PRESETS["smoke"], n_samples=16), "n_samples.*at least 256"),
    ],
)
def test_bad_settings_are_refused(build, message):
    with pytest.raises(ConfigError, match=message):
        build()


def test_rejections_are_those_of_the_chain():
    """An observable of two signs at every weight: its chain has a matrix, and its time a sum."""
    log_w = np.repeat(np.array([0.3, -1.2, 2.0, 0.9]), 2)
    n, w = log_w.size, np.exp(log_w)
    accept = np.minimum(1.0, w[None] / w[:, None]) / n
    transition = accept - np.diag(np.diag(accept))
    transition += np.diag(1.0 - transition.sum(1))
    f = np.tile([1.0, -1.0], n // 2)
    p = w / w.sum()
    # A sample that is its own proposal is accepted without a move.
    stays = 1.0 - accept.sum(1)
    np.testing.assert_allclose(rejection_rates(log_w), stays, atol=1e-12)
    # The sum over all times from zero of the autocorrelation function.
    later = np.linalg.solve(np.eye(n) - transition + np.outer(np.ones(n), p), f)
    expected = p @ (f * later) - 0.5
    assert tau_of_rejections(log_w) == pytest.approx(expected, rel=1e-12)


def test_equal_weights_are_never_rejected():
    assert tau_of_rejections(np.zeros(8)) == 0.5


@pytest.mark.parametrize("length", [3, 4, 7])
def test_pole_mass_of_one_state(length):
    t = np.arange(length)
    correlator = np.cosh(0.37 * (t - length / 2))
    assert mass_at(correlator, length // 2) == pytest.approx(0.37, rel=1e-10)


def test_noise_without_a_mass_is_zero():
    assert mass_at(np.array([1.0, 2.0, 1.0, 2.0]), 1) == 0.0


def test_the_six_by_six_theory_has_the_mass_of_the_paper():
    assert abs(6 * mass_at(SIX_BY_SIX.correlator, 3) - 4.0) < 0.05


@pytest.mark.parametrize("preset", PRESETS)
def test_every_flow_is_held_against_hmc(preset):
    rows = {row["name"] for row in json.loads(EXPECTED.read_text())[preset]}
    for series in PRESETS[preset].series:
        for point in series.points:
            at = f"L={point.length} lambda={point.coupling:g} {series.flow.name}"
            assert {f"{at}: acceptance", f"{at}: chi2 as hmc", f"{at}: mass as hmc"} <= rows
