"""The settings of caselle2022, and the arithmetic of its claims."""

from dataclasses import replace

import numpy as np
import pytest

from diffhep.core.errors import ConfigError
from papers.caselle2022.config import PRESETS, Defect, Path, Training, Volume
from papers.caselle2022.run import Measured, power_law, steps_needed
from papers.caselle2022.stages import action_at, schedule

pytestmark = pytest.mark.instant


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Path(prior_mass_squared=0.0), "prior_mass_squared.*positive"),
        (lambda: Path(md_steps=0), "md_steps.*at least 1"),
        (lambda: Training(length=5), "length.*even"),
        (lambda: Training(batch=0), "batch.*at least 1"),
        (lambda: Volume(8, (4, 2), (8,)), "stochastic.*increasing"),
        (lambda: Volume(8, (2,), (4, 2)), "annealing.*increasing"),
        (lambda: Defect(strengths=(0.0, 0.5)), "strengths.*from 0 to 1"),
        (lambda: Defect(n_steps=3), "n_steps.*at least 16"),
        (lambda: replace(PRESETS["smoke"], duel_lengths=(8,)), "duel_lengths.*main_steps"),
        (lambda: replace(PRESETS["demo"], plain_couplings=()), "plain_couplings.*one at least"),
        (lambda: replace(PRESETS["demo"], plain_couplings=(3,)), "plain_couplings.*even"),
        (lambda: replace(PRESETS["smoke"], n_trajectories=1000), "n_trajectories.*multiple"),
        (lambda: replace(PRESETS["smoke"], exact_shape=(6, 6)), "exact_shape.*at most 4"),
        (lambda: replace(PRESETS["smoke"], target_ess=1.0), "target_ess.*between"),
        (lambda: replace(PRESETS["smoke"], main_steps=3), "stochastic.*powers of two"),
    ],
)
def test_bad_settings_are_refused(build, message):
    with pytest.raises(ConfigError, match=message):
        build()


def test_schedule_ends_at_the_target_and_its_couplings_are_monotone():
    path = Path()
    actions = schedule(path, 5).updates.action
    assert float(actions.mass_squared[-1]) == pytest.approx(path.mass_squared)
    assert float(actions.coupling[-1]) == pytest.approx(path.coupling)
    assert np.all(np.diff(actions.mass_squared) < 0)
    assert np.all(np.diff(actions.coupling) > 0)
    start = action_at(path, 0.0)
    assert float(start.mass_squared) == path.prior_mass_squared
    assert float(start.coupling) == 0.0


def test_steps_of_normal_work_and_their_power_are_found():
    """A variance of the work c V / N: ESS = exp(-c V / N), so N is linear in V."""
    rows = []
    for volume in (16, 64, 256):
        ess = {n: np.exp(-0.1 * volume / n) for n in (2, 4, 16, 64)}
        measured = [Measured(n, 0.0, 0.0, float(x), 0.01) for n, x in ess.items() if x > 0.01]
        found, error = steps_needed(measured, 0.5)
        assert found == pytest.approx(0.1 * volume / np.log(2.0), rel=1e-10)
        assert 0.0 < error < found
        rows.append([volume, found, error])
    exponent, error, scale = power_law(np.array(rows))
    assert exponent == pytest.approx(1.0, abs=1e-10)
    assert scale == pytest.approx(0.1 / np.log(2.0), rel=1e-8)
    assert 0.0 < error < 0.2
