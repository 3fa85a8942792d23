"""The settings of calo_design, what its budget buys, and the segments of its readout."""

from dataclasses import replace

import numpy as np
import pytest

from diffhep.core.errors import ConfigError
from papers.calo_design.config import PRESETS, Rounds, Scan, Search
from papers.calo_design.fidelity import to_features, to_segments
from papers.calo_design.stack import BUDGET, LAYER, N_SEGMENTS, depth_x0, n_layers, segments, stack

pytestmark = pytest.mark.instant


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Scan((1.0,), (1.0, 2.0), 100, 100), "absorber_mm.*at least two"),
        (lambda: Scan((1.0, 2.0), (1.0, -2.0), 100, 100), "gap_mm.*positive"),
        (lambda: Search(100, 100, 8, 10, 50, 50), "budget.*above n_verify"),
        (lambda: Search(1000, 100, 8, 10, 50, 40), "most_check.*at least n_check"),
        (lambda: Rounds((40, 15), (75,), 100), "n_events.*one entry for each round"),
        (lambda: Rounds((40, 2), (75, 75), 100), "n_designs.*at least 4"),
        (lambda: replace(PRESETS["full"], simulator="egs"), "simulator.*geant4, gflash.*egs"),
        (lambda: replace(PRESETS["full"], unseen=()), "unseen.*where n_steps is positive"),
        (lambda: replace(PRESETS["full"], n_steps=0), "rounds.*none where n_steps is 0"),
    ],
)
def test_bad_settings_are_refused(build, message):
    with pytest.raises(ConfigError, match=message):
        build()


@pytest.mark.parametrize("preset", PRESETS)
def test_searches_have_a_fifth_of_the_events_of_the_scan(preset):
    config = PRESETS[preset]
    scan = len(config.scan.absorber_mm) * len(config.scan.gap_mm) * config.scan.n_events
    assert 5 * config.search.budget <= scan
    if (rounds := config.rounds) is not None:
        each = zip(rounds.n_designs, rounds.n_events, strict=True)
        assert 5 * (sum(n * m for n, m in each) + rounds.n_verify) <= scan


def test_one_layer_more_is_over_the_budget():
    design = stack(2.3, 5.5)
    price = 1.0 + 0.25 * 2.3 + 0.15 * 5.5
    assert float(LAYER(design)) == pytest.approx(price, rel=1e-6)
    assert n_layers(design) * price <= BUDGET < (n_layers(design) + 1) * price
    assert depth_x0(design) == pytest.approx(26 * (2.3 / 5.612 + 5.5 / 413.1), rel=2e-3)


@pytest.mark.parametrize("n", [5, 6, 26])
def test_segments_are_equal_parts_of_the_depth(n):
    rng = np.random.default_rng(n)
    layers = rng.gamma(2.0, 3.0, (7, n))
    divided = segments(layers)
    np.testing.assert_allclose(divided.sum(axis=1), layers.sum(axis=1), rtol=1e-12)
    # Every layer in as many parts as there are segments, of which a segment has as many as layers.
    fine = np.repeat(layers / N_SEGMENTS, N_SEGMENTS, axis=1)
    exact = fine.reshape(7, N_SEGMENTS, n).sum(axis=2)
    np.testing.assert_allclose(divided, exact, rtol=1e-12)


def test_features_lead_back_to_segments():
    energy = np.random.default_rng(0).gamma(0.5, 20.0, (50, N_SEGMENTS))
    energy[:5, -1] = 0.0
    design = stack(1.7, 9.5)
    np.testing.assert_allclose(to_segments(to_features(energy, design), design), energy, atol=1e-9)
