"""Identification of Preisach operators: known truths, uncertainty, bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConfigError, DataError, ShapeError
from diffhep.magnet import Parallel, PlayPreisach, Polynomial, PreisachSettings, fit_preisach
from diffhep.magnet.operators import RelayPreisach
from diffhep.magnet.operators.play_preisach import bernstein_integrals

pytestmark = pytest.mark.fast

SETTINGS = (PreisachSettings(2, 4, 4, 1e-9), PreisachSettings(2, 4, 4, 1e-3))
HISTORY = jnp.array([0.0, 1.0, 0.0])


@pytest.fixture(scope="module")
def truth():
    """An operator that the fit can have exactly: its density is one of the first settings."""
    radius = np.linspace(0.0, 0.5, 166)[1:]
    nodes = np.append(0.0, np.geomspace(0.01, 0.5, 3))
    hats = np.stack([np.interp(radius, nodes, row) for row in np.eye(4)], axis=1)
    weight = hats / hats.sum(axis=0) @ np.array([[1, 2, 1, 0], [0, 3, 1, 1], [2, 1, 0, 0], [0] * 4])
    plays = PlayPreisach(radius, 0.02 * weight, 0.0, 1.0)
    return Parallel((Polynomial([1.0, 2.0, 0.3], 0.0, 1.0), plays))


@pytest.fixture(scope="module")
def series(truth):
    """Loops of every size."""
    turns = np.array(
        [0.0, 1.0, 0.0, 0.9, 0.1, 0.8, 0.2, 0.7, 0.3, 0.6, 0.4, 0.5, 0.0, 0.6, 0.2, 1.0]
    )
    u = jnp.asarray(np.interp(np.arange(0, 15, 0.1), np.arange(16), turns))
    return u, truth(u, state=truth.init(u[0], HISTORY))[0]


def test_a_known_operator_is_found(series):
    u, y = series
    used = np.arange(u.size) < 110
    fit = fit_preisach(u, y, history=HISTORY, used=used, settings=SETTINGS, n_best=1)
    assert fit.settings == (SETTINGS[0],)
    prediction = fit.predict(u, HISTORY)
    np.testing.assert_allclose(prediction.mean, y, atol=2e-4 * float(jnp.ptp(y)))
    np.testing.assert_array_equal(prediction.spread, 0.0)
    assert all(float(one.operators[1].weight.min()) >= 0.0 for one in fit.members)


def test_error_holds_spread_and_what_cross_validation_found(series, key):
    u, y = series
    noisy = y + 0.01 * jax.random.normal(key, y.shape)
    folds = np.arange(u.size) // 30
    fit = fit_preisach(u, noisy, history=HISTORY, folds=folds, settings=SETTINGS)
    assert len(fit.members) == 2
    assert 0.008 < float(fit.fold_error[0]) <= float(fit.fold_error[1])
    mean, spread, error = fit.predict(u, HISTORY)
    np.testing.assert_allclose(error, jnp.hypot(spread, fit.fold_error[0]), rtol=1e-12)
    assert float(spread.max()) > 0.0
    assert 0.8 < float(jnp.mean(jnp.abs(mean - noisy) < 2 * error)) <= 1.0


def test_plays_are_relays():
    """One play whose function rises evenly, and the same density of relays in small steps."""
    r, n = 0.2, 2000
    play = PlayPreisach([r], [[0.5, 0.5]], -1.0, 1.0)
    mean = -1.0 + 2.0 * (np.arange(n) + 0.5) / n
    # A play's rise by 1 is that of relays by 2 each.
    relays = RelayPreisach(mean + r, mean - r, np.full(n, 0.5 / n))
    u = jnp.array([1.3, -0.6, 0.4, 0.1, 0.9, -1.3])
    np.testing.assert_allclose(jnp.diff(play(u)[0]), jnp.diff(relays(u)[0]), atol=2.0 / n)


def test_integrals_rise_from_0_to_1():
    x = jnp.linspace(-0.5, 1.5, 41)
    rises = bernstein_integrals(x, 5)
    np.testing.assert_array_equal(rises[x <= 0], 0.0)
    np.testing.assert_allclose(rises[x >= 1], 1.0, rtol=1e-15)
    assert bool((jnp.diff(rises, axis=0) >= -1e-15).all())
    # Bernstein polynomials of degree 4 add up to 5 where each has the integral 1.
    np.testing.assert_allclose(rises.sum(axis=1), 5 * jnp.clip(x, 0, 1), atol=1e-14)


@pytest.mark.parametrize(
    ("change", "error", "rule"),
    [
        ({"settings": ()}, ConfigError, "hold a candidate"),
        ({"folds": 100}, ConfigError, "leave 4 measurements for each of 100 folds"),
        ({"folds": np.zeros(150, int)}, ConfigError, "at least two groups"),
        ({"y": jnp.zeros(150)}, ConfigError, "Argument `y` must take more than one value"),
        ({"y": jnp.full(150, jnp.nan)}, DataError, "Argument `y` must be finite"),
    ],
)
def test_bad_input(series, change, error, rule):
    u, y = series
    arguments = {"u": u, "y": y, "settings": SETTINGS} | change
    with pytest.raises(error, match=rule):
        fit_preisach(**arguments)


def test_bad_shapes_and_settings():
    with pytest.raises(ConfigError, match="smoothness"):
        PreisachSettings(1, 4, 4, 0.0)
    with pytest.raises(ShapeError, match="one row for every radius"):
        PlayPreisach([0.1, 0.2], [[1.0]], 0.0, 1.0)
    with pytest.raises(ConfigError, match="above `low`"):
        Polynomial([1.0], 1.0, 1.0)
