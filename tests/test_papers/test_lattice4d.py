"""The references of papers/lattice4d, and settings it refuses."""

from dataclasses import replace

import numpy as np
import pytest

from diffhep.core.errors import ConfigError
from papers.lattice4d import theory
from papers.lattice4d.config import PRESETS, Curve, Flowed, Transport

pytestmark = pytest.mark.instant


@pytest.mark.parametrize("beta", [0.02, 0.1])
def test_strong_coupling_begins_with_the_known_series(beta):
    # The next term of one plaquette is of fourth order.
    series = beta / 18 + beta**2 / 216
    assert theory.strong_coupling(beta) == pytest.approx(series, abs=1e-3 * beta**4)


def test_the_cube_raises_the_plaquette_by_the_fifth_power():
    """What is beside the single plaquette is 4 P^5 (1 + ...) at strong coupling."""
    for beta in (0.5, 1.0):
        one = theory.exact.sun_plaquette(3, beta, theory.ONE_PLAQUETTE)
        share = (theory.strong_coupling(beta) - one) / (4 * one**5)
        assert share == pytest.approx(1 + beta / 6, abs=0.02)
        assert 0 < theory.strong_coupling_allowance(beta) < 0.1 * 4 * one**5


def test_weak_coupling_to_two_loops():
    assert pytest.approx(1.2208, abs=1e-4) == theory.TWO_LOOP
    one_loop = 1 - 2 / 40.0 * (1 - 1 / 256)
    assert theory.weak_coupling(40.0, 256) == pytest.approx(one_loop - 1.2208 / 1600, abs=1e-7)
    betas = np.array([6.0, 12.0])
    assert np.all(np.diff(theory.weak_coupling(betas, 4096)) > 0)


@pytest.mark.parametrize(
    ("build", "word"),
    [
        (lambda: Curve(5, (1.0,)), "length"),
        (lambda: Curve(4, ()), "betas"),
        (lambda: Curve(4, (1.0,), n_sweeps=3), "n_sweeps"),
        (lambda: Flowed("small", 4, 5.5, n_configs=2), "n_configs"),
        (lambda: Transport(4, 6.0, 5.0), "beta_1"),
        (lambda: Transport(4, 5.0, 6.0, n_trajectories=72), "n_trajectories"),
        (lambda: Transport(4, 5.0, 6.0, stout=(3,)), "stout"),
        (lambda: replace(PRESETS["smoke"], curve=Curve(4, (2.0,))), "hmc.betas"),
        (lambda: replace(PRESETS["smoke"], fixed_steps=7), "fixed_steps"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(build, word):
    with pytest.raises(ConfigError, match=word) as caught:
        build()
    assert "\n" not in str(caught.value)
