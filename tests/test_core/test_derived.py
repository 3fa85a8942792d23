"""Errors of derived quantities: linear functions exactly, ratios against known variances."""

import numpy as np
import pytest

from diffhep.core.derived import gamma_method_of
from diffhep.core.errors import DataError, ShapeError
from diffhep.core.stats import gamma_method

pytestmark = pytest.mark.instant


def series(rho, shape, seed):
    """Autoregressive series with unit variance, time on the second axis."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(shape)
    x = np.empty(shape)
    x[:, 0] = noise[:, 0]
    for t in range(1, shape[1]):
        x[:, t] = rho * x[:, t - 1] + np.sqrt(1 - rho**2) * noise[:, t]
    return x


def test_a_coordinate_is_the_plain_method():
    x = series(0.6, (4, 500, 3), 1) + 2.0
    found, plain = gamma_method_of(lambda m: m[1], x), gamma_method(x[..., 1])
    assert found.window == plain.window
    np.testing.assert_allclose(found, plain, rtol=1e-12)


def test_correlated_observables_cancel_in_a_ratio():
    """The noise of both is the same: without their covariance the error would be large."""
    common = series(0.5, (2, 2000, 1), 2)
    x = np.concatenate([10.0 + common, 5.0 + 0.5 * common], axis=-1)
    found = gamma_method_of(lambda m: m[0] / m[1], x)
    assert found.mean == pytest.approx(2.0, rel=1e-12)
    # Curvature alone; neglected, the covariance would leave 0.02.
    assert found.error < 1e-6


def test_error_of_a_logarithm():
    """Independent means a, b: var log(a/b) = var a/a^2 + var b/b^2, times 2 tau = 3 at rho = 1/2.

    The error's own relative error is a few per cent; 20 % is more than five of them.
    """
    x = series(0.5, (8, 4000, 2), 3) + np.array([20.0, 10.0])
    found = gamma_method_of(lambda m: np.log(m[0] / m[1]), x)
    expected = np.sqrt(3.0 * (1 / 20**2 + 1 / 10**2) / (8 * 4000))
    assert found.mean == pytest.approx(np.log(2.0), abs=5 * expected)
    assert found.error == pytest.approx(expected, rel=0.2)
    assert found.tau_int == pytest.approx(1.5, rel=0.2)


def test_a_constant_has_no_error():
    found = gamma_method_of(lambda m: m[0] ** 2, np.full((20, 2), 3.0))
    assert (found.mean, found.error) == (9.0, 0.0)


def test_bad_input_is_named():
    with pytest.raises(ShapeError, match="Argument `x` must be of shape"):
        gamma_method_of(lambda m: m[0], np.zeros((2, 2, 20, 3)))
    broken = series(0.0, (1, 20, 2), 4)
    broken[0, 3, 1] = np.nan
    with pytest.raises(DataError, match="must be finite"):
        gamma_method_of(lambda m: m[1], broken)
    with pytest.raises(DataError, match="Argument `function` must be finite within"):
        gamma_method_of(lambda m: float("nan"), series(0.0, (1, 20, 1), 4))
