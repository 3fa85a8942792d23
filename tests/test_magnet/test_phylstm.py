"""PhyLSTM: its layer against the equations, its residuals on known motions, its training."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConfigError, ShapeError
from diffhep.magnet import PhyLSTM, Window, Windows, data_loss, fit_forecaster, physics_loss
from diffhep.magnet.forecasters import Example, LSTMLayer, Scaling

pytestmark = pytest.mark.fast

GAIN, DT = -1.5, 0.2
SCALING = Scaling(u_scale=2.0, y_mean=0.4, y_scale=3.0, y_step=0.3, y_bend=0.1, dt=DT)


def _by_the_equations(layer, inputs, state):
    def advance(state, at):
        h, c = state
        i, f, g, o = jnp.split(layer.weight_input @ at + layer.weight_hidden @ h + layer.bias, 4)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), (h, c)

    return jax.lax.scan(advance, state, inputs)[1]


def test_layer_and_its_backward_pass_are_those_of_the_equations(key):
    keys = jax.random.split(key, 5)
    layer = LSTMLayer(2, 3, key=keys[0], dtype=float)
    inputs = jax.random.normal(keys[1], (2, 6, 2))
    state = tuple(jax.random.normal(k, (3,)) for k in keys[2:4])
    weight = jax.random.normal(keys[4], (2, 6, 3))

    def value(run):
        def of(layer, inputs, state):
            hidden, cells = jax.vmap(lambda one: run(layer, one, state))(inputs)
            return jnp.sum(weight * hidden) + jnp.sum(jnp.sin(weight * cells))

        return jax.jit(jax.value_and_grad(of, argnums=(0, 1, 2)))(layer, inputs, state)

    found, expected = (value(run) for run in (LSTMLayer.__call__, _by_the_equations))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-13)


def _without_forces(kind, key):
    """Networks that put out nothing, but the response's."""
    model = PhyLSTM(kind, 3, gain=GAIN, key=key, dtype=float)
    model = eqx.tree_at(lambda m: m.scaling, model, SCALING)
    silent = jax.tree.map(jnp.zeros_like, eqx.filter((model.force, model.change), eqx.is_array))
    silent = eqx.combine(silent, (model.force, model.change))
    return eqx.tree_at(
        lambda m: (m.force, m.change), model, silent, is_leaf=lambda leaf: leaf is None
    )


@pytest.mark.parametrize("kind", [1, 2, 3])
def test_residuals_vanish_on_a_free_motion_and_show_a_force(kind, key):
    # Differences of fourth order are exact for a motion of fourth degree.
    model, t = _without_forces(kind, key), DT * jnp.arange(12)
    y, rate, bend = t**4 - t**2, 4 * t**3 - 2 * t, 12 * t**2 - 2.0
    inputs = jnp.stack([bend / GAIN / SCALING.u_scale, jnp.zeros(12)], axis=1)
    outputs = jnp.zeros((12, 1 + len(model.levels) + 2)).at[:, 0].set(y / SCALING.y_scale)
    v = rate * DT / (SCALING.y_scale * SCALING.y_step)
    outputs = outputs.at[:, 1 + len(model.levels)].set(v)
    outputs = outputs.at[:, -1].set(v if kind < 3 else 0.7)
    np.testing.assert_allclose(model.physics(inputs, outputs), np.zeros(kind), atol=1e-20)
    pushed = inputs.at[:, 0].add(1.0)
    force = GAIN * SCALING.u_scale * DT**2 / (SCALING.y_scale * SCALING.y_bend)
    expected = [0.0, float(force) ** 2, 0.0][:kind]
    np.testing.assert_allclose(model.physics(pushed, outputs), expected, rtol=1e-9, atol=1e-20)


def test_motion_is_in_physical_units(key):
    model = PhyLSTM(3, 3, gain=GAIN, key=key, dtype=float)
    window = Window(jnp.sin(jnp.arange(9.0)), jnp.zeros(0), DT)
    plain = Scaling(dt=DT)
    found, one = (
        eqx.tree_at(lambda m: m.scaling, model, scaling).motion(window)
        for scaling in (SCALING, eqx.tree_at(lambda s: s.u_scale, plain, SCALING.u_scale))
    )
    np.testing.assert_allclose(found.y, 0.4 + 3.0 * one.y, rtol=1e-12)
    np.testing.assert_allclose(found.rate, 3.0 * 0.3 * one.rate, rtol=1e-12)
    np.testing.assert_allclose(found.force, 3.0 * 0.1 * one.force, rtol=1e-12)
    mean = eqx.tree_at(lambda m: m.scaling, model, SCALING).predict(window).mean
    np.testing.assert_allclose(found.y, mean, rtol=1e-12)


def test_gradient_of_the_physics_agrees_with_finite_differences(key):
    keys = jax.random.split(key, 4)
    model = PhyLSTM(3, 3, key=keys[0], dtype=float)
    example = Example(
        *(
            jax.random.normal(k, shape)
            for k, shape in zip(keys[1:], ((10, 2), (3,), (7,)), strict=True)
        )
    )
    params, rest = eqx.partition(model, eqx.is_inexact_array)
    along = jax.tree.map(
        lambda leaf: jnp.asarray(np.random.default_rng(1).normal(size=leaf.shape)), params
    )

    @jax.jit
    @jax.value_and_grad
    def value(params):
        return physics_loss(eqx.combine(params, rest), example)

    def at(step):
        return float(value(jax.tree.map(lambda p, d: p + step * d, params, along))[0])

    terms = jax.tree.map(lambda g, d: jnp.sum(g * d), value(params)[1], along)
    exact, h = float(sum(jax.tree.leaves(terms))), 1e-4
    central = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
    assert abs(exact - central) < 1e-6 * max(1.0, abs(exact))


def test_a_window_never_measured_is_not_held_against_its_target(key):
    model = PhyLSTM(1, 3, key=key, dtype=float)
    inputs = jnp.sin(jnp.arange(20.0)).reshape(10, 2)

    @jax.jit
    def loss(target, labelled):
        return physics_loss(model, Example(inputs, jnp.zeros(0), target, labelled))

    assert loss(jnp.ones(10), 0.0) == loss(jnp.zeros(10), 0.0)
    assert float(data_loss(model, Example(inputs, jnp.zeros(0), jnp.ones(10), 0.0))) == 0.0
    assert loss(jnp.ones(10), 1.0) != loss(jnp.zeros(10), 1.0)


def _windows(key, n):
    u = jax.random.normal(key, (n, 10))
    known = Window(u, jnp.zeros((n, 0)), jnp.full(n, DT), jnp.zeros((n, 0)))
    return Windows(known, jnp.cumsum(u, axis=1), jnp.arange(n), jnp.zeros(n, int))


@pytest.mark.slow
def test_an_ensemble_learns_from_windows_never_measured(key):
    keys = jax.random.split(key, 4)
    windows, held_out, more = (_windows(k, n) for k, n in zip(keys, (2, 1, 3), strict=False))
    build = eqx.filter_vmap(lambda k: PhyLSTM(2, 3, gain=GAIN, key=k))
    fitted = fit_forecaster(
        build(jax.random.split(keys[3], 2)),
        windows,
        held_out,
        key=key,
        n_steps=60,
        batch=4,
        learning_rate=0.03,
        loss=physics_loss,
        unlabelled=more.known,
        ensemble=True,
        progress=False,
    )
    assert fitted.training_loss.shape == fitted.held_out_loss.shape == (60, 2)
    assert np.all(fitted.training_loss[-1] < fitted.training_loss[0])
    first = jax.tree.map(lambda leaf: leaf[0], eqx.filter(fitted.forecaster, eqx.is_array))
    first = eqx.combine(first, eqx.filter(fitted.forecaster, eqx.is_array, inverse=True))
    window = jax.tree.map(lambda leaf: leaf[0], held_out.known)
    assert first.predict(window).mean.shape == (10,)
    assert float(first.scaling.dt) == pytest.approx(DT)


def test_bad_settings_are_refused(key):
    with pytest.raises(ConfigError, match=r"`kind` must be 1, 2 or 3, but it is 4"):
        PhyLSTM(4, key=key)
    model = PhyLSTM(1, 2, key=key)
    with pytest.raises(ShapeError, match=r"`inputs` must hold more than 4 samples, but it has 4"):
        model.physics(jnp.zeros((4, 2)), jnp.zeros((4, 7)))
    windows = _windows(key, 2)
    short = windows.known._replace(u=windows.known.u[:, :8])
    with pytest.raises(ShapeError, match=r"`unlabelled` must have the form"):
        fit_forecaster(model, windows, windows, key=key, unlabelled=short)
