"""Training: optima known in closed form, ensembles equal to separate fits, clipping, resume."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffhep.core.checkpoint import Checkpoint
from diffhep.core.errors import ConfigError, ConvergenceError, Interrupted, ShapeError
from diffhep.core.fit import fit, fit_ensemble
from diffhep.core.rng import key_at, keys_for_chains

pytestmark = pytest.mark.fast


class Point(eqx.Module):
    """A model with trained, integer, static and callable parts."""

    x: jax.Array
    offset: jax.Array
    power: int = eqx.field(static=True)
    activation: object = jnp.abs


TARGET = jnp.array([1.0, -2.0, 3.0])
CURVATURE = jnp.array([1.0, 4.0, 0.25])


def point(x=0.0):
    return Point(jnp.full(3, x), jnp.arange(3), 2)


def quadratic(model, key, step):
    """Minimum 0.5 at TARGET; the gradient is CURVATURE (x - TARGET)."""
    distance = model.activation(model.x - TARGET)
    return 0.5 + 0.5 * jnp.sum(CURVATURE * distance**model.power)


def noisy(model, key, step):
    return quadratic(model, key, step) + jnp.sum(model.x * jax.random.normal(key, (3,)))


def arrays(tree):
    return eqx.filter(tree, eqx.is_array)


def assert_same(one, other, rtol=0.0):
    one, other = arrays(one), arrays(other)
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol), one, other)


def test_fit_finds_the_optimum_of_a_quadratic(key):
    schedule = optax.cosine_decay_schedule(0.1, 2000)
    result = fit(quadratic, point(), 2000, key=key, learning_rate=schedule)
    np.testing.assert_allclose(result.model.x, TARGET, atol=1e-6)
    np.testing.assert_array_equal(result.model.offset, np.arange(3))
    assert result.model.power == 2
    assert result.history["loss"][-1] == pytest.approx(0.5, abs=1e-12)
    expected = [float(schedule(i)) for i in (0, 500, 1999)]
    np.testing.assert_allclose(result.history["learning_rate"][[0, 500, 1999]], expected)
    assert result.compile_seconds > 0


def test_plain_descent_follows_the_closed_form(key):
    rate, n = 0.05, 40
    result = fit(quadratic, point(), n, key=key, learning_rate=rate, optimizer=optax.sgd)
    contraction = (1 - rate * CURVATURE) ** n
    np.testing.assert_allclose(result.model.x, TARGET * (1 - contraction), rtol=1e-10)
    first = float(jnp.linalg.norm(CURVATURE * TARGET))
    assert result.history["grad_norm"][0] == pytest.approx(first)
    assert set(result.history) == {"loss", "grad_norm", "learning_rate"}


def test_clipping_bounds_the_step_but_not_the_reported_norm(key):
    result = fit(
        quadratic, point(), 1, key=key, learning_rate=1.0, optimizer=optax.sgd, clip_norm=0.1
    )
    gradient = -CURVATURE * TARGET
    norm = jnp.linalg.norm(gradient)
    np.testing.assert_allclose(result.model.x, -0.1 * gradient / norm, rtol=1e-10)
    assert result.history["grad_norm"][0] == pytest.approx(float(norm))
    loose = fit(
        quadratic, point(), 1, key=key, learning_rate=1.0, optimizer=optax.sgd, clip_norm=1e3
    )
    np.testing.assert_allclose(loose.model.x, -gradient, rtol=1e-10)


def test_step_key_and_auxiliary_reach_loss_and_history(key):
    def loss(model, step_key, step):
        return quadratic(model, step_key, step), {
            "step": step,
            "draw": jax.random.normal(step_key, (2,)),
        }

    history = fit(loss, point(), 7, key=key, chunk=3).history
    np.testing.assert_array_equal(history["step"], np.arange(7))
    draws = [jax.random.normal(key_at(key, i), (2,)) for i in range(7)]
    np.testing.assert_array_equal(history["draw"], draws)


def test_loss_that_is_a_module_brings_its_data(key):
    class Loss(eqx.Module):
        target: jax.Array

        def __call__(self, model, key, step):
            assert isinstance(self.target, jax.core.Tracer)
            return jnp.sum((model.x - self.target) ** 2)

    result = fit(Loss(TARGET), point(), 300, key=key, learning_rate=0.1)
    np.testing.assert_allclose(result.model.x, TARGET, atol=1e-3)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_parameters_keep_their_precision(dtype, key):
    schedule = optax.warmup_cosine_decay_schedule(0.0, 0.1, 5, 20)
    result = fit(
        lambda model, key, step: jnp.sum(model["x"] ** 2),
        {"x": jnp.ones(3, dtype)},
        20,
        key=key,
        learning_rate=schedule,
        clip_norm=1.0,
    )
    assert result.model["x"].dtype == result.best_model["x"].dtype == dtype
    assert result.history["loss"].dtype == dtype


def test_best_model_ends_the_window_of_lowest_mean_loss(key):
    # Loss of step i, whatever the model: lowest single value at 3, lowest mean of 4 at 10..13.
    losses = jnp.array([9, 9, 9, -20, 9, 9, 9, 9, 9, 9, -9, -9, -9, -9, 9, 9, 9, 9.0])

    def loss(model, key, step):
        return losses[step] + model["x"] - jax.lax.stop_gradient(model["x"])

    def best(window):
        result = fit(
            loss,
            {"x": jnp.zeros(())},
            18,
            key=key,
            learning_rate=1.0,
            optimizer=optax.sgd,
            best_window=window,
        )
        assert result.model["x"] == -18
        # The gradient is 1, so the model evaluated in step i is -i.
        return -int(result.best_model["x"])

    assert best(4) == 13
    assert best(1) == 3
    # A window longer than the fit is all of it: its last step.
    assert best(100) == 17


def test_best_model_may_be_chosen_by_another_number(key):
    """Which here is lowest at step 5, while the loss falls on to the end."""

    def loss(model, key, step):
        held_out = (step - 5.0) ** 2
        return model["x"], {"held_out": held_out}

    model = {"x": jnp.zeros(())}
    options = {"key": key, "learning_rate": 1.0, "optimizer": optax.sgd, "best_window": 1}
    result = fit(loss, model, 12, best_by="held_out", **options)
    assert float(result.best_model["x"]) == -5.0
    with pytest.raises(ConfigError, match="`best_by` must be one of held_out, loss"):
        fit(loss, model, 12, best_by="hold_out", **options)


def test_ensemble_equals_separate_fits(key):
    @eqx.filter_vmap
    def build(x):
        return Point(x, jnp.arange(3), 2)

    starts = jax.random.normal(key, (4, 3))
    settings = {"learning_rate": 0.05, "clip_norm": 2.0, "best_window": 10}
    together = fit_ensemble(noisy, build(starts), 60, key=key, **settings)
    assert together.history["loss"].shape == (60, 4)
    keys = keys_for_chains(key, 4)
    for i in range(4):
        model = Point(starts[i], jnp.arange(3), 2)
        alone = fit(noisy, model, 60, key=keys[i], **settings)

        def member(tree, index=i):
            return jax.tree.map(lambda leaf: leaf[index], arrays(tree))

        assert_same(member(together.model), alone.model, rtol=1e-12)
        assert_same(member(together.best_model), alone.best_model, rtol=1e-12)
        for name, values in alone.history.items():
            np.testing.assert_allclose(together.history[name][:, i], values, rtol=1e-12)
    assert len(np.unique(np.asarray(together.model.x[:, 0]))) == 4


def test_interrupted_fit_resumes_to_the_same_bits(key, tmp_path):
    settings = {"key": key, "chunk": 10, "learning_rate": 0.05, "clip_norm": 1.0}
    whole = fit(noisy, point(), 60, **settings)

    def stop(done, metrics):
        if done == 30:
            raise KeyboardInterrupt

    checkpoint = Checkpoint(tmp_path / "a")
    with pytest.raises(Interrupted, match="Loop `fit`"):
        fit(noisy, point(), 60, **settings, checkpoint=checkpoint, on_chunk=stop)
    resumed = fit(noisy, point(), 60, **settings, checkpoint=checkpoint)
    assert_same(whole.model, resumed.model)
    assert_same(whole.best_model, resumed.best_model)
    assert_same(whole.history, resumed.history)


CHANGES = [
    ("loss", {"loss": noisy}),
    ("model", {"model": point(1.0)}),
    ("learning_rate", {"learning_rate": 1e-2}),
    ("learning_rate", {"learning_rate": optax.cosine_decay_schedule(1e-3, 100)}),
    ("optimizer", {"optimizer": partial(optax.adam, b1=0.8)}),
    ("clip_norm", {"clip_norm": 1.0}),
    ("best_window", {"best_window": 4}),
]


def test_checkpoint_of_another_problem_is_refused(key, tmp_path):
    problem = {"loss": quadratic, "model": point(), "best_window": 5}
    options = {"key": key, "checkpoint": Checkpoint(tmp_path / "a")}
    fit(n_steps=10, **problem, **options)
    for part, change in CHANGES:
        with pytest.raises(ConfigError, match=rf"another `{part}`; .*resume=False"):
            fit(n_steps=20, **{**problem, **options, **change})
    more = fit(n_steps=20, chunk=4, **problem, **options)
    assert_same(more.model, fit(n_steps=20, key=key, **problem).model)


def test_nan_loss_names_the_step_and_saves(key, tmp_path):
    def loss(model, key, step):
        return quadratic(model, key, step) * jnp.where(step == 12, jnp.nan, 1.0)

    checkpoint = Checkpoint(tmp_path / "a")
    with pytest.raises(ConvergenceError, match=r"`fit` .* at step 12 metric \['grad_norm'\]"):
        fit(loss, point(), 50, key=key, checkpoint=checkpoint)
    assert checkpoint.exists()
    assert (tmp_path / "a.failed").exists()


def test_bad_settings_are_named(key):
    with pytest.raises(ConfigError, match="`learning_rate`"):
        fit(quadratic, point(), 1, key=key, learning_rate=-1.0)
    with pytest.raises(ConfigError, match="`clip_norm`"):
        fit(quadratic, point(), 1, key=key, clip_norm=0.0)
    with pytest.raises(ConfigError, match="`best_window`"):
        fit(quadratic, point(), 1, key=key, best_window=0)
    with pytest.raises(ShapeError, match="`loss` must return a scalar"):
        fit(lambda model, key, step: model.x, point(), 1, key=key)
    with pytest.raises(ShapeError, match="`models` must have one leading member axis"):
        fit_ensemble(quadratic, {"a": jnp.zeros(3), "b": jnp.zeros(2)}, 1, key=key)
