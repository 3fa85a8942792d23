"""Gradient fits of operators: known truths are found again."""

import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from diffhep.core.errors import ConfigError, DataError, ShapeError
from diffhep.magnet import BoucWen, PrandtlIshlinskii, fit_operator

pytestmark = pytest.mark.fast

INPUTS = jnp.asarray(np.interp(np.arange(60) / 10, np.arange(7), [0, 2, -2, 1, -1, 1.5, -0.5]))


def bouc_wen(logs):
    a, beta, gamma = jnp.exp(logs)
    return BoucWen(a, beta, gamma, 2.0, n_substeps=2)


def test_parameters_are_found_again():
    truth = jnp.log(jnp.array([1.2, 0.5, 0.3]))
    y, _ = bouc_wen(truth)(INPUTS)
    fit = fit_operator(bouc_wen, jnp.zeros(3), INPUTS, y)
    assert fit.converged
    np.testing.assert_allclose(fit.parameters, truth, atol=1e-6)
    assert fit.rmse < 1e-7


def test_what_does_not_count_does_not_pull():
    """A linear problem: least squares on the points with a weight, and a feature that is held."""
    radius = jnp.array([0.1, 0.5])

    def build(weight):
        return PrandtlIshlinskii(radius, weight)

    truth = jnp.array([1.0, 0.4])
    y, _ = build(truth)(INPUTS)
    spoiled = y.at[7].add(100.0)
    counted = jnp.ones_like(y).at[7].set(0.0)
    fit = fit_operator(build, jnp.ones(2), INPUTS, spoiled, weight=counted)
    np.testing.assert_allclose(fit.parameters, truth, atol=1e-8)
    target = 1.5 * float(y[-1])
    held = fit_operator(
        build, jnp.ones(2), INPUTS, y, also=lambda found: 1e4 * (found[-1:] - target)
    )
    np.testing.assert_allclose(held.operator(INPUTS)[0][-1], target, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "error", "rule"),
    [
        ({"y": jnp.zeros(3)}, ShapeError, "as long as `u`, 60"),
        ({"y": jnp.full(60, jnp.inf)}, DataError, "Argument `y` must be finite"),
        ({"start": jnp.full(3, 1e3)}, ConfigError, "give finite outputs"),
        ({"max_steps": 0}, ConfigError, "max_steps"),
    ],
)
def test_bad_input(change, error, rule, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    arguments = {"start": jnp.zeros(3), "u": INPUTS, "y": jnp.zeros(60)} | change
    with pytest.raises(error, match=rule):
        fit_operator(bouc_wen, **arguments)
