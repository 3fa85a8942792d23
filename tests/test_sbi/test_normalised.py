"""Normalised ratios: an error that all events share is taken off, and nothing else."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConfigError
from diffhep_sbi import normalise
from diffhep_sbi.gold import Gold
from diffhep_sbi.problems import EeMuMu, ExactRatio

pytestmark = pytest.mark.instant


class Shifted(eqx.Module):
    """The exact ratio with an error that depends on theta alone."""

    exact: ExactRatio
    low: jnp.ndarray
    high: jnp.ndarray

    def log_ratio(self, x, theta):
        return self.exact.log_ratio(x, theta) + 0.3 * theta[0] - 2.0 * theta[0] ** 2


@pytest.fixture(scope="module")
def ratio_and_gold():
    """Angles of the reference, 3/8 (1 + c^2), at even steps of their distribution."""
    low, high = jnp.array([-0.4]), jnp.array([0.4])
    ratio = Shifted(ExactRatio(EeMuMu(), jnp.zeros(1)), low, high)
    grid = np.linspace(-1.0, 1.0, 20_001)
    cumulative = 0.5 + (3.0 * grid + grid**3) / 8.0
    x = np.interp((np.arange(500) + 0.5) / 500, cumulative, grid)[:, None]
    columns = (np.ones(500), np.arange(500), np.zeros((500, 1)), np.zeros((500, 1)))
    gold = Gold(jnp.asarray(x), None, None, *map(jnp.asarray, columns), jnp.ones(500, int))
    return ratio, gold


def test_the_mean_is_one_at_every_theta(ratio_and_gold):
    ratio, gold = ratio_and_gold
    found = normalise(ratio, gold)
    x = jnp.asarray(gold.x)
    log_ratio = eqx.filter_jit(found.log_ratio)
    for theta in (-0.4, -0.1, 0.37):
        mean = np.mean(np.exp(log_ratio(x, jnp.array([theta]))))
        # Interpolated in theta by a quartic.
        assert abs(mean - 1.0) < 1e-6
    exact = np.log(0.375 * (1.0 + gold.x**2) + 0.37 * gold.x) - np.log(0.375 * (1.0 + gold.x**2))
    assert np.ptp(log_ratio(x, jnp.array([0.37])) - exact[:, 0]) < 1e-12


def test_copies_count_once(ratio_and_gold):
    ratio, gold = ratio_and_gold
    repeated = gold.take(np.concatenate([np.arange(500), np.arange(50)]))
    assert np.array_equal(normalise(ratio, repeated).log_means, normalise(ratio, gold).log_means)


def test_needs_events_of_the_reference(ratio_and_gold):
    ratio, gold = ratio_and_gold
    with pytest.raises(ConfigError, match="events of label 1"):
        normalise(ratio, eqx.tree_at(lambda g: g.label, gold, 0 * gold.label))
