"""The settings of bacchio2023, and the references that it promises."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import papers
from diffhep.core.errors import ConfigError
from diffhep_lattice import exact
from papers.bacchio2023.config import PRESETS, Point, Training

pytestmark = pytest.mark.instant

EXPECTED = Path(papers.__file__).parent / "bacchio2023" / "expected.json"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Point(4, 1.0, 0.5), "n_colors.*2 or 3.*4"),
        (lambda: Point(2, -1.0, 0.5), "beta.*at least 0"),
        (lambda: Point(2, 1.0, 0.5, steps=0), "steps.*at least 1"),
        (lambda: Training(length=6), "length.*multiple of 4"),
        (lambda: Training(learning_rate=0.0), "learning_rate.*positive"),
        (lambda: replace(PRESETS["smoke"], scan_lengths=(8, 2)), "scan_lengths.*multiple of 4"),
        (lambda: replace(PRESETS["smoke"], points=()), "points.*at least one"),
        (lambda: replace(PRESETS["smoke"], n_samples=10), "n_samples.*at least 64"),
    ],
)
def test_bad_settings_are_refused(build, message):
    with pytest.raises(ConfigError, match=message):
        build()


@pytest.mark.parametrize("preset", PRESETS)
def test_every_theory_is_held_against_exact_values(preset):
    config = PRESETS[preset]
    rows = {row["name"]: row for row in json.loads(EXPECTED.read_text())[preset]}
    volume = config.length**2
    for point in config.points:
        name = f"SU({point.n_colors}) beta={point.beta:g} flow"
        known = exact.sun_log_partition(point.n_colors, point.beta, volume)
        assert rows[f"{name}: log Z"]["reference"] == pytest.approx(known, rel=1e-12)
        assert rows[f"{name}: ESS"]["reference"] == point.smallest_ess
        assert rows[f"{name}: parameters"]["reference"] == config.most_parameters
        for observable, area in {"plaquette": 1, "W(2x2)": 4, "W(3x3)": 9}.items():
            truth = exact.sun_wilson_loop(point.n_colors, point.beta, volume, area)
            assert rows[f"{name}: {observable}"]["reference"] == pytest.approx(truth, rel=1e-12)
