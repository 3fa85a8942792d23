"""The adaptive basis: its closed form, its symmetry, and features of the past by hand."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.magnet import Window
from diffhep.magnet.forecasters import adaptive_basis, memory_features
from diffhep.magnet.forecasters.adaptive_basis import Regression, inverse_root
from diffhep.magnet.forecasters.memory_features import TURN

pytestmark = pytest.mark.fast

N = 40

_remember = jax.jit(memory_features)
_forward = eqx.filter_jit(lambda model, inputs, past: model.forward(inputs, past))


@eqx.filter_jit
def _regress(model, memory, y, known, state=None):
    return model.regress(memory, y, known, jnp.arange(N, dtype=float), jnp.asarray(0.7), state)


def _inputs() -> jax.Array:
    u = np.sin(0.4 * np.arange(N)) + 0.2 * np.cos(1.7 * np.arange(N))
    return jnp.asarray(np.stack([u, np.gradient(u), np.full(N, 0.3)], axis=1))


def _model(key: jax.Array, log_noise: float = -3.0):
    """A basis whose older samples do not fade."""
    made = adaptive_basis(4, 3, key=key, n_covariates=1, dtype=float)
    return dataclasses.replace(
        made, logit_floor=jnp.asarray(40.0), log_noise=jnp.asarray(log_noise)
    )


def _channels(*columns):
    return jnp.asarray(np.stack(columns, axis=1))


def test_distances_from_reversals_and_extrema():
    u = np.array([0.0, 1.0, 0.5, 0.5 + 0.5 * TURN, 0.2, 2.0, 1.9])
    odd, even = _remember(_channels(u, np.gradient(u)))
    # Back by less than the tolerance is no reversal: 0.2 still counts from 1.
    turn, before = u - odd[:, 7] / 3.0, u - odd[:, 8] / 3.0
    np.testing.assert_allclose(turn, [0.0, 0.0, 1.0, 1.0, 1.0, 0.2, 2.0], atol=1e-14)
    np.testing.assert_allclose(before, [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.2], atol=1e-14)
    centre = u - odd[:, 9] / 1.5
    np.testing.assert_allclose(centre, [0.0, 0.5, 0.5, 0.5, 0.5, 1.0, 1.0], atol=1e-14)
    np.testing.assert_allclose(even[:, 0], np.abs(u) - 1.0, atol=1e-14)


def test_filters_relax_as_exponentials():
    u = np.append(0.0, np.ones(29))
    odd, _ = _remember(_channels(u, np.zeros(30)))
    lag = u - odd[:, 10] / 7.5
    np.testing.assert_allclose(lag, -np.expm1(-np.arange(30) / 30.0), rtol=1e-12)


def test_forecast_changes_its_sign_with_the_window(key):
    model = _model(key)
    inputs, flip = _inputs(), jnp.array([-1.0, -1.0, 1.0])
    past = jnp.tanh(inputs[:25, 0]) + 0.1
    mean = _forward(model, inputs, past)[0][:, 0]
    assert bool(jnp.all(_forward(model, inputs * flip, -past)[0][:, 0] == -mean))


def test_coefficients_are_those_of_bayesian_regression(key):
    """Against the posterior of a linear Gaussian model, written down from its definition."""
    model = _model(key, -1.0)
    memory, time = _remember(_inputs()), np.arange(N)
    known = time < 25
    rng = np.random.default_rng(1)
    y = jnp.asarray(rng.normal(size=N))
    mean, spread, end = _regress(model, memory, y, known)
    scale = np.sqrt(0.7 + 0.13**2)
    phi = np.asarray(model._columns(memory)) / scale
    prior = np.append(0.0, model.prior_mean)
    covariance = phi @ np.diag(np.exp(-np.asarray(model.log_precision))) @ phi.T
    noise = np.exp(2.0 * float(model.log_noise))
    inner = covariance[:25, :25] + noise * np.eye(25)
    gain = covariance[:, :25] @ np.linalg.inv(inner)
    expected = phi @ prior + gain @ (np.asarray(y)[:25] / scale - phi[:25] @ prior)
    np.testing.assert_allclose(mean[:25], scale * expected[:25], rtol=1e-9, atol=1e-9)
    variance = np.diag(covariance - gain @ covariance[:25])
    np.testing.assert_allclose(spread**2, scale**2 * variance, rtol=1e-7)
    # Behind the context what is left at its end decays.
    rest = (np.asarray(y) - scale * expected)[:25]
    weight = np.exp(-np.arange(25)[::-1] / 6.0)
    decay = np.exp(-np.arange(1, N - 24) / np.exp(float(model.log_decay)))
    kept = np.sum(weight * rest) / np.sum(weight) * decay
    np.testing.assert_allclose(mean[25:], scale * expected[25:] + kept, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(phi[:25] @ end.coefficients * scale, mean[:25], rtol=1e-9, atol=1e-9)


def test_a_posterior_is_the_next_prior(key):
    """Two contexts one after the other say what both say at once, where nothing fades."""
    model = _model(key, -1.0)
    memory, time = _remember(_inputs()), np.arange(N)
    y = jnp.asarray(np.cos(time))
    both = _regress(model, memory, y, time < 30)[2]
    first = _regress(model, memory, y, time < 20)[2]
    second = _regress(model, memory, y, (time >= 20) & (time < 30), first)[2]
    assert isinstance(both, Regression)
    np.testing.assert_allclose(second.coefficients, both.coefficients, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(second.precision, both.precision, rtol=1e-10)


def test_what_lies_in_the_basis_is_continued(key):
    model, inputs = _model(key, -4.0), _inputs()
    truth = 0.4 + 1.3 * inputs[:, 0]
    raw, _ = _forward(model, inputs, truth[:30])
    # What is missing is the prior's pull, of the order of the noise's variance.
    np.testing.assert_allclose(raw[:, 0], truth[30:], atol=1e-3)


def test_a_prediction_has_units_and_quantiles(key):
    model, inputs = _model(key), _inputs()
    window = Window(inputs[:, 0], jnp.cos(inputs[:30, 0]), 1.0, jnp.array([0.3]))
    found = eqx.filter_jit(lambda window: model.predict(window))(window)
    raw, _ = _forward(model, model.scaling.inputs(window), window.y)
    np.testing.assert_allclose(found.mean, raw[:, 0], rtol=1e-12)
    # Symmetric quantiles of a normal law: the median is the mean.
    np.testing.assert_allclose(found.quantiles[2], found.mean, rtol=1e-9)
    middle = 0.5 * (found.quantiles[0] + found.quantiles[-1])
    np.testing.assert_allclose(middle, found.mean, rtol=1e-9)


def test_the_root_of_the_inverse_needs_no_lapack():
    half = np.random.default_rng(0).normal(size=(9, 20))
    matrix = jnp.asarray(half @ half.T)
    root = jax.jit(inverse_root)(matrix)
    np.testing.assert_allclose(root, np.linalg.inv(np.linalg.cholesky(matrix)), atol=1e-13)
    # Two batched factorisations of one program can wait for one another for ever on two threads.
    batched = jax.jit(jax.vmap(jax.value_and_grad(lambda a: jnp.sum(inverse_root(a)))))
    assert "custom_call" not in batched.lower(matrix[None]).as_text()
