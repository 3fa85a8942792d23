"""The settings of boyda2021, and the references that it promises."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import papers
from diffhep.core.errors import ConfigError
from diffhep_lattice import exact
from papers.boyda2021.config import PRESETS, Chains, Point, Training
from papers.boyda2021.stages import baseline_ess

pytestmark = pytest.mark.instant

EXPECTED = Path(papers.__file__).parent / "boyda2021" / "expected.json"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Point(4, 1.0, 0.5), "n_colors.*2 or 3.*4"),
        (lambda: Point(2, -1.0, 0.5), "beta.*at least 0"),
        (lambda: Training(chain_steps=0), "chain_steps.*at least 1"),
        (lambda: Training(learning_rate=0.0), "learning_rate.*positive"),
        (lambda: Chains(hmc_steps=3), "hmc_steps.*0 or at least 16"),
        (lambda: replace(PRESETS["smoke"], length=5), "length.*even"),
        (lambda: replace(PRESETS["smoke"], scan_lengths=(8, 2)), "length.*at least 4"),
        (lambda: replace(PRESETS["smoke"], points=()), "points.*at least one"),
    ],
)
def test_bad_settings_are_refused(build, message):
    with pytest.raises(ConfigError, match=message):
        build()


@pytest.mark.parametrize("preset", PRESETS)
def test_every_theory_is_held_against_exact_values(preset):
    config = PRESETS[preset]
    rows = {row["name"]: row for row in json.loads(EXPECTED.read_text())[preset]}
    for point in config.points:
        name = f"SU({point.n_colors}) beta={point.beta:g}"
        known = exact.sun_log_partition(point.n_colors, point.beta, config.length**2)
        assert rows[f"{name} flow: log Z"]["reference"] == pytest.approx(known, rel=1e-12)
        assert rows[f"{name} flow: ESS"]["reference"] == point.smallest_ess
        assert rows[f"{name} flow: parameters"]["reference"] == config.largest_size
        samplers = {row.split(": ")[0] for row in rows if row.endswith("W(3x3)")}
        assert (f"{name} hmc" in samplers) == point.run_samplers
    assert any(point.run_samplers for point in config.points)


def test_the_rival_without_conditional_maps_is_a_ratio_of_bessel_functions():
    r"""$z(\beta) = 2 I_1(\beta)/\beta$ for SU(2): I_1(1) = 0.565159104, I_1(2) = 1.590636855."""
    expected = (2 * 0.565159103992485) ** 2 / 1.59063685463732907
    assert baseline_ess(Point(2, 1.0, 0.0)) == pytest.approx(expected, rel=1e-9)
