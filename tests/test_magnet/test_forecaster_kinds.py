"""What single kinds of forecasters promise beside the laws of all."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConfigError, DataError, ShapeError
from diffhep.magnet import (
    FourierForecaster,
    HybridPreisach,
    PatchTransformer,
    TemporalFusionTransformer,
    Transformer,
    Window,
)
from diffhep.magnet.forecasters.fourier import SpectralConvolution
from diffhep.magnet.operators.play import follow

pytestmark = pytest.mark.fast

PREDICT = eqx.filter_jit(lambda model, window, state=None: model.predict(window, state=state))
INFER = eqx.filter_jit(lambda model, inputs, past: model.infer(inputs, past)[0])
RUN = eqx.filter_jit(lambda operator, u, plays: operator(u, state=(plays, ())))


def _window(n_context: int, n_horizon: int) -> Window:
    t = jnp.arange(n_context + n_horizon) * 0.3
    u = jnp.sin(t) + 0.3 * jnp.cos(2.3 * t)
    return Window(u, 0.8 * u[:n_context] + 0.1, 0.3)


def test_an_explanation_shares_all_weight_out(key):
    model = TemporalFusionTransformer(
        8, 6, key=key, width=6, n_heads=2, n_covariates=2, dtype=float
    )
    window = _window(8, 6)._replace(covariates=jnp.array([0.3, -1.0]))
    explain = eqx.filter_jit(lambda model, window: model.explain(window))
    found = explain(model, window)
    for weights, shape in zip(found, [(6, 14), (8, 3), (6, 2), (2,)], strict=True):
        assert weights.shape == shape
        np.testing.assert_allclose(weights.sum(axis=-1), 1.0, rtol=1e-12)
        assert float(weights.min()) >= 0.0
    ahead = np.arange(14) > np.arange(8, 14)[:, None]
    assert not np.any(np.asarray(found.attention)[ahead])
    assert np.all(np.asarray(found.attention)[~ahead] > 0.0)
    # The covariates tell the network, too.
    other = explain(model, window._replace(covariates=jnp.array([0.3, 1.0])))
    assert float(jnp.abs(other.past - found.past).max()) > 1e-6


def test_more_samples_change_nothing_of_a_band_limited_function(key):
    weights = jax.random.normal(key, (2, 5, 3, 2))
    layer = SpectralConvolution(weights[0], weights[1])

    def sampled(n: int) -> jax.Array:
        t = jnp.arange(n) / n
        return layer(jnp.stack([jnp.sin(2 * jnp.pi * k * t + k) for k in (1, 2, 4)], axis=1))

    np.testing.assert_allclose(sampled(40)[::2], sampled(20), atol=1e-12)


def test_a_fourier_forecaster_takes_windows_of_any_sampling(key):
    model = FourierForecaster(key=key, width=4, n_modes=5, n_layers=2, dtype=float)
    model = eqx.tree_at(lambda m: m.scaling.rate_scale, model, jnp.asarray(0.5))

    def found(n: int) -> jax.Array:
        """One window at a finer and finer sampling, on the coarsest times."""
        t = jnp.arange(24 * n) / n
        u = jnp.sin(0.4 * t) + 0.3 * jnp.cos(0.9 * t)
        window = Window(u, 0.8 * u[: 16 * n] + 0.1 * jnp.cos(t[: 16 * n]), 1.0 / n)
        return PREDICT(model, window).mean[::n]

    coarse, fine, finest = (found(n) for n in (4, 8, 16))
    first, second = (float(jnp.abs(a - b).max()) for a, b in ((coarse, fine), (fine, finest)))
    # First order in the time step: each halving halves the difference.
    assert 1.7 < first / second < 2.4
    assert second < 0.05 * float(jnp.abs(finest).max())


@pytest.fixture
def hybrid(key) -> HybridPreisach:
    return HybridPreisach(key=key, width=4, n_plays=6, n_basis=3, dtype=float)


def test_a_hybrid_infers_only_states_that_an_input_can_bring_about(hybrid):
    window = _window(12, 1)
    loud = eqx.tree_at(lambda m: m.to_slopes.weight, hybrid, 30.0 * hybrid.to_slopes.weight)
    plays = INFER(loud, loud.scaling.inputs(window)[:12], window.y)
    steps = jnp.diff(loud.radius, prepend=0.0)
    slopes = jnp.diff(plays, prepend=window.u[0]) / steps
    assert float(jnp.abs(slopes).max()) <= 1.0 + 1e-12
    assert float(jnp.ptp(slopes)) > 0.5
    # What random inputs bring about is a state of this kind, so that none is left out.
    state = jnp.zeros(6)
    for u in np.random.default_rng(1).normal(scale=2.0, size=20):
        state = follow(hybrid.radius, state, jnp.asarray(u))
        assert float(jnp.abs(jnp.diff(state, prepend=u) / steps).max()) <= 1.0 + 1e-12


def test_a_hybrid_wipes_out_and_knows_no_rate(hybrid):
    model = eqx.tree_at(
        lambda m: m.raw_polynomial, hybrid, jnp.array([0.0, 1.0, 0.0, 0.2, 0.0, 0.1])
    )
    context = _window(12, 0)
    start = float(context.u[-1])

    def mean(programme: list[float]) -> np.ndarray:
        u = jnp.append(context.u, jnp.asarray(programme))
        return np.asarray(PREDICT(model, Window(u, context.y, 0.3)).mean)

    plain = mean([start, 2.0, 1.0, 1.0, 1.0, -0.5])
    inner = mean([start, 2.0, 0.2, 1.4, 0.2, -0.5])
    # The inner loop is closed on the way down, and forgotten.
    assert inner[-1] == plain[-1]
    assert abs(inner[3] - plain[3]) > 1e-3
    slow = mean([start, start, 2.0, 2.0, 1.0, -0.5])
    np.testing.assert_array_equal(slow[[0, 2, 4, 5]], plain[[0, 1, 2, 5]])
    # The way down is another one than the way up.
    up_and_down = mean([0.0, 1.0, 2.0, 1.0, 0.0, 0.0])
    assert up_and_down[3] - up_and_down[1] > 1e-3


def test_the_state_of_a_hybrid_is_that_of_its_operator(hybrid):
    window = _window(12, 8)
    first = PREDICT(hybrid, window._replace(u=window.u[:13]))
    inputs = hybrid.scaling.inputs(window)
    start = INFER(hybrid, inputs[:12], window.y)
    _, (plays, _) = RUN(hybrid.operator, window.u[:12], start)
    np.testing.assert_allclose(first.state.plays, plays, rtol=1e-12)
    # The first window's horizon is the second one's context.
    known, _ = RUN(hybrid.operator, window.u[12:], plays)
    later = Window(window.u[12:], known[:4])
    found = PREDICT(hybrid, later, first.state)
    np.testing.assert_allclose(found.mean, known[4:], rtol=1e-10)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda key: Transformer(0, 5, key=key), "`n_context` must be an integer of at least 1"),
        (
            lambda key: Transformer(key=key, width=42),
            "`width` must be a multiple of 4, but it is 42",
        ),
        (
            lambda key: PatchTransformer(200, 95, key=key),
            "`n_horizon` must be a multiple of `patch`, 10, but it is 95",
        ),
        (
            lambda key: TemporalFusionTransformer(key=key, width=30),
            "`width` must be a multiple of 4, but it is 30",
        ),
        (lambda key: FourierForecaster(key=key, padding=-1.0), "`padding` must be finite"),
        (lambda key: HybridPreisach(key=key, reach=0.0), "`reach` must be finite and positive"),
    ],
)
def test_wrong_settings_are_refused(build, message, key):
    with pytest.raises(ConfigError, match=message):
        build(key)


def test_a_window_that_is_not_finite_is_refused(hybrid):
    window = _window(12, 8)
    with pytest.raises(DataError, match=r"`window` must be finite, but `y` at index 3 is nan"):
        hybrid.predict(window._replace(y=window.y.at[3].set(jnp.nan)))


def test_windows_too_short_are_refused(hybrid, key):
    window = Window(jnp.ones(4), jnp.zeros(0))
    with pytest.raises(ShapeError, match=r"at least 1 samples of context, .* but it has 0"):
        hybrid.predict(window)
    model = FourierForecaster(key=key, width=4, n_modes=5, n_layers=2, dtype=float)
    with pytest.raises(ShapeError, match=r"at least 10 samples, .* but it has 9"):
        model.predict(_window(5, 4))
