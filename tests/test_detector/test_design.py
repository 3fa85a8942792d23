"""Designs keep their bounds, their units and what they cost; objectives are unbiased."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConfigError, ShapeError
from diffhep.detector import Design, LinearCost, Parameter
from diffhep.detector.objectives import (
    asimov_significance,
    poisson_information,
    resolution,
    resolution_error,
)

pytestmark = pytest.mark.fast


def _design() -> Design:
    return Design(
        free=Parameter([1.0, -2.0]),
        above=Parameter(2.5, "mm", low=1.0),
        below=Parameter(-3.0, low=None, high=-1.0),
        between=Parameter([[1.0, 2.0]], "mm", 0.5, 4.0),
    )


def test_values_go_to_the_real_line_and_back():
    design = _design()
    back = design.from_free(design.to_free())
    for name in design.names:
        np.testing.assert_allclose(back[name], design[name], rtol=1e-13)
    far = design.from_free(jnp.array([5.0, -5.0, -9.0, 9.0, -9.0, 9.0]))
    assert float(far["above"]) > 1.0
    assert float(far["below"]) < -1.0
    assert np.all((np.asarray(far["between"]) > 0.5) & (np.asarray(far["between"]) < 4.0))


def test_a_gradient_is_a_design():
    def volume(design: Design):
        return design["above"] ** 2 * jnp.sum(design["between"]) + design["free"][1]

    gradient = jax.grad(volume)(_design())
    assert float(gradient["above"]) == pytest.approx(2 * 2.5 * 3.0)
    np.testing.assert_allclose(gradient["between"], [[6.25, 6.25]])
    np.testing.assert_allclose(gradient["free"], [0.0, 1.0])


def test_costs_are_linear():
    cost = LinearCost({"above": 2.0, "between": 3.0}, fixed=1.0)
    assert float(cost(_design())) == pytest.approx(1.0 + 2.0 * 2.5 + 3.0 * 3.0)
    assert float(jax.grad(cost)(_design())["above"]) == 2.0


def test_wrong_designs_are_refused():
    with pytest.raises(ConfigError, match=r"`gap` must be finite and lie inside \(0\.0, inf\)"):
        Design(gap=Parameter(-1.0, "mm", 0.0))
    with pytest.raises(ConfigError, match=r"`gap` must be finite .* but it is nan"):
        Design(gap=Parameter(float("nan")))
    with pytest.raises(ConfigError, match=r"lower bound below its upper one"):
        Design(gap=Parameter(1.0, "mm", 2.0, 0.0))
    with pytest.raises(ConfigError, match=r"it is 'abvoe'; near it: above"):
        _design()["abvoe"]
    with pytest.raises(ConfigError, match=r"`above` must be finite and lie inside"):
        _design().replace(above=0.5)
    with pytest.raises(ShapeError, match=r"`free` must have shape \(2,\)"):
        _design().replace(free=1.0)


def test_the_resolution_has_no_bias_at_small_numbers(key):
    n, spread = 10, 0.2
    energy = 1.0 + spread * jax.random.normal(key, (40_000, n))
    found, error = jax.vmap(resolution)(energy), jax.vmap(resolution_error)(energy)
    plain = jnp.std(energy, axis=1, ddof=1) / jnp.mean(energy, axis=1)
    # sigma / mu of these is 0.2; what is left of the bias is of order 1 / n^2.
    assert abs(float(plain.mean()) - spread) > 0.003
    assert abs(float(found.mean()) - spread) < 0.0015
    assert float(jnp.sqrt(jnp.mean(error**2))) == pytest.approx(float(found.std()), rel=0.1)


def test_significance_and_information_are_the_closed_forms():
    s, b, sigma = 10.0, 100.0, 10.0
    exact = np.sqrt(2 * ((s + b) * np.log(1 + s / b) - s))
    assert float(asimov_significance(s, b)) == pytest.approx(exact, rel=1e-12)
    assert float(asimov_significance(s, b, 1e-5)) == pytest.approx(exact, rel=1e-6)
    # In the limit of small signals s / sqrt(b + sigma^2).
    small = float(asimov_significance(1e-3, b, sigma))
    assert small == pytest.approx(1e-3 / np.sqrt(b + sigma**2), rel=1e-4)
    rates, slope = jnp.array([1.0, 4.0]), jnp.array([[1.0, 0.0], [2.0, 2.0]])
    np.testing.assert_allclose(poisson_information(rates, slope), [[2.0, 1.0], [1.0, 1.0]])
