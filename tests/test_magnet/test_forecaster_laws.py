"""Laws that every neural forecaster obeys: gradients, quantiles in order, units, state carried."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConfigError, ShapeError
from diffhep.magnet import (
    FourierForecaster,
    HybridPreisach,
    PatchTransformer,
    PhyLSTM,
    TemporalFusionTransformer,
    Transformer,
    Window,
    gru,
    lstm,
)
from diffhep.magnet.forecasters import Scaling, adaptive_basis

pytestmark = pytest.mark.fast

N_CONTEXT, N_HORIZON = 12, 8

FORECASTERS = {
    "adaptive_basis": lambda key: adaptive_basis(4, 3, key=key, dtype=float),
    "gru": lambda key: gru(5, key=key, dtype=float),
    "lstm": lambda key: lstm(4, key=key, dtype=float),
    "phylstm": lambda key: PhyLSTM(3, 4, depth=2, key=key, dtype=float),
    "fourier": lambda key: FourierForecaster(key=key, width=4, n_modes=5, n_layers=2, dtype=float),
    "hybrid": lambda key: HybridPreisach(
        key=key, width=4, n_plays=5, n_basis=2, correction=3, dtype=float
    ),
    "patches": lambda key: PatchTransformer(
        N_CONTEXT, N_HORIZON, patch=4, key=key, width=8, n_heads=2, n_layers=1, dtype=float
    ),
    "temporal fusion": lambda key: TemporalFusionTransformer(
        N_CONTEXT, N_HORIZON, key=key, width=6, n_heads=2, dtype=float
    ),
    "transformer": lambda key: Transformer(
        N_CONTEXT, N_HORIZON, key=key, width=8, n_heads=2, n_layers=1, inner=8, dtype=float
    ),
}
"""Untrained, in double precision: functions of a key."""

STATEFUL = ("gru", "lstm", "phylstm")
"""Those whose state holds all that they know of the past."""


PREDICT = eqx.filter_jit(lambda model, window: model.predict(window))
"""One program for each kind of forecaster, shared by the laws."""


def _window() -> Window:
    t = jnp.arange(N_CONTEXT + N_HORIZON) * 0.3
    u = jnp.sin(t) + 0.3 * jnp.cos(2.3 * t)
    return Window(u, 0.8 * u[:N_CONTEXT] + 0.1, 0.3)


CAUSAL = ("gru", "hybrid", "lstm", "patches", "phylstm", "temporal fusion", "transformer")
"""Those whose forecast at a time, or of a patch, does not depend on the programme after it."""

FIXED = ("patches", "temporal fusion", "transformer")
"""Those that take windows of one context and one horizon."""


@pytest.fixture(params=sorted(FORECASTERS))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


DEAR = ("adaptive_basis", "hybrid", "temporal fusion")
"""Whose derivative takes tens of seconds to compile."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in DEAR)) for name in sorted(FORECASTERS)],
)
def test_gradients_agree_with_finite_differences(name, key):
    model = FORECASTERS[name](key)
    params, rest = eqx.partition(model, eqx.is_inexact_array)
    leaves, treedef = jax.tree.flatten(params)
    weight = jnp.cos(jnp.arange(N_HORIZON))

    @jax.jit
    @partial(jax.value_and_grad, argnums=(0, 1))
    def value(leaves, u):
        whole = eqx.combine(jax.tree.unflatten(treedef, leaves), rest)
        found = whole.predict(_window()._replace(u=u))
        return jnp.sum(weight * (found.mean + found.quantiles.sum(axis=0)))

    u = _window().u
    rng = np.random.default_rng(0)
    tangent = [jnp.asarray(rng.normal(size=leaf.shape)) for leaf in leaves]
    along = jnp.asarray(rng.normal(size=u.shape))
    gradients = value(leaves, u)[1]
    terms = zip((*gradients[0], gradients[1]), (*tangent, along), strict=True)
    exact = sum(float(jnp.sum(g * d)) for g, d in terms)

    def at(step: float) -> float:
        moved = [leaf + step * d for leaf, d in zip(leaves, tangent, strict=True)]
        return float(value(moved, u + step * along)[0])

    h = 1e-4
    central = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
    assert abs(exact - central) < 1e-6 * max(1.0, abs(exact))


def test_quantiles_never_cross_and_units_are_put_on_last(name, key):
    model = FORECASTERS[name](key)
    scaling = Scaling(u_mean=0.2, u_scale=2.0, rate_scale=0.5, y_mean=3.0, y_scale=7.0)
    scaled = eqx.tree_at(lambda m: m.scaling, model, scaling)
    window = _window()
    dimensionless = window._replace(u=(window.u - 0.2) / 2.0, y=(window.y - 3.0) / 7.0)
    # The rate of the scaled input has a scale of its own: 0.5 per second of u, not of u / 2.
    plain = eqx.tree_at(lambda m: m.scaling, model, Scaling(rate_scale=0.25))
    found, expected = PREDICT(scaled, window), PREDICT(plain, dimensionless)
    # A regression's condition costs two digits.
    close = {"rtol": 1e-10, "atol": 1e-10}
    np.testing.assert_allclose(found.mean, 3.0 + 7.0 * expected.mean, **close)
    np.testing.assert_allclose(found.quantiles, 3.0 + 7.0 * expected.quantiles, **close)
    assert found.quantiles.shape == (len(model.levels), N_HORIZON)
    assert float(jnp.min(jnp.diff(found.quantiles, axis=0))) > 0.0


@pytest.mark.parametrize("name", STATEFUL)
def test_a_context_cut_in_two_is_carried_by_the_state(name, key):
    model = FORECASTERS[name](key)
    window = _window()
    cut = 5
    first = model.predict(Window(window.u[: cut + 1], window.y[:cut], window.dt))
    # The channels hold the rate to the sample before, so that the second part starts one later.
    inputs, past = model.scaling.inputs(window), model.scaling.past(window)
    second, _ = model.forward(inputs[cut:], past[cut:], first.state)
    np.testing.assert_allclose(second, model.forward(inputs, past)[0], rtol=1e-12)


def test_a_batch_without_vmap_is_refused(name, key):
    window = _window()
    many = Window(jnp.stack([window.u] * 2), jnp.stack([window.y] * 2), window.dt)
    with pytest.raises(ShapeError, match=r"`window` must hold one series .*jax\.vmap"):
        FORECASTERS[name](key).predict(many)


@pytest.mark.parametrize("name", CAUSAL)
def test_the_programme_after_a_time_changes_nothing_before_it(name, key):
    model, window = FORECASTERS[name](key), _window()
    later = N_CONTEXT + 4
    found = PREDICT(model, window).mean
    changed = PREDICT(model, window._replace(u=window.u.at[later].add(0.7))).mean
    np.testing.assert_allclose(changed[:4], found[:4], rtol=1e-12)
    assert float(jnp.abs(changed[4] - found[4])) > 1e-6


def test_a_window_of_another_form_is_refused(name, key):
    model, window = FORECASTERS[name](key), _window()
    with pytest.raises(ShapeError, match=r"`window` must hold 0 covariates, .* but it has 1"):
        model.predict(window._replace(covariates=jnp.ones(1)))
    if name in FIXED:
        rule = f"must hold {N_CONTEXT} samples of context and {N_HORIZON} of horizon, .* 11 and 9"
        with pytest.raises(ShapeError, match=rule):
            model.predict(window._replace(y=window.y[1:]))


def test_a_state_of_another_forecaster_is_refused(name, key):
    model, window = FORECASTERS[name](key), _window()
    state = PREDICT(model, window).state
    with pytest.raises(ConfigError, match=r"`state` must be a state of this \w+, .* another"):
        model.predict(window, state=(state, jnp.zeros(3)))
