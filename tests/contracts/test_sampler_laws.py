"""Laws of every sampling algorithm."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.checkpoint import Checkpoint
from tests.contracts.registry import SAMPLERS

pytestmark = pytest.mark.fast


@pytest.fixture(
    params=[
        pytest.param(name, marks=pytest.mark.slow if case.is_slow else ())
        for name, case in SAMPLERS.items()
    ]
)
def case(request):
    return SAMPLERS[request.param]


@pytest.fixture
def algorithm(case):
    return case.build(case.values[1])


@eqx.filter_jit
def step(algorithm, key, state):
    return algorithm.step(key, state)


@eqx.filter_jit
def init(algorithm, position):
    return algorithm.init(position)


def chain(tree, index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


def assert_close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-9), a, b)


def test_step_keeps_the_structure_of_the_state(case, algorithm, key):
    state = init(algorithm, case.position(key))
    new, info = eqx.filter_eval_shape(algorithm.step, key, state)
    assert jax.tree.structure(new) == jax.tree.structure(state)
    for before, after in zip(jax.tree.leaves(state), jax.tree.leaves(new), strict=True):
        assert (before.shape, before.dtype) == (after.shape, after.dtype)
    assert info.acceptance_probability.shape == ()
    assert info.accepted.dtype == info.is_finite.dtype == bool


def test_state_is_a_function_of_the_position(case, algorithm, key):
    """What a step carries is what a fresh start from its position computes."""
    position = case.position(key)
    state = init(algorithm, position)
    np.testing.assert_array_equal(state.position, position)
    for index in range(3):
        state, info = step(algorithm, jax.random.fold_in(key, index), state)
        assert bool(info.is_finite)
        assert 0.0 <= float(info.acceptance_probability) <= 1.0
    assert_close(state, init(algorithm, state.position))


def test_same_key_same_bits_other_key_other_bits(case, algorithm, key):
    # Enough steps that also a sampler with rejections has moved.
    def run(key):
        state = init(algorithm, case.position(jax.random.key(0)))
        for index in range(8):
            state, _ = step(algorithm, jax.random.fold_in(key, index), state)
        return np.asarray(state.position)

    first, second, other = run(key), run(key), run(jax.random.fold_in(key, 99))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_jit_is_eager(case, algorithm, key):
    state = init(algorithm, case.position(key))
    assert_close(step(algorithm, key, state), algorithm.step(key, state))


def test_vmap_is_a_loop(case, algorithm, key):
    keys = jax.random.split(key, 3)
    states = eqx.filter_vmap(init, in_axes=(None, 0))(algorithm, jax.vmap(case.position)(keys))
    together = eqx.filter_vmap(step, in_axes=(None, 0, 0))(algorithm, keys, states)
    for index in range(3):
        alone = step(algorithm, keys[index], chain(states, index))
        assert_close(chain(together, index), alone)


def test_three_parameters_compile_once(case, key):
    n_traces = 0

    @eqx.filter_jit
    def evaluate(algorithm, key, position):
        nonlocal n_traces
        n_traces += 1
        return algorithm.step(key, algorithm.init(position))[1].acceptance_probability

    for value in case.values:
        evaluate(case.build(value), key, case.position(key))
    assert n_traces == 1


def test_single_precision_fields_stay_single(case, algorithm, key):
    if not case.keeps_float32:
        assert case.position(key).dtype == jnp.float64
        return
    state = init(algorithm, case.position(key, jnp.float32))
    new, info = step(algorithm, key, state)
    assert new.position.dtype == jnp.float32
    assert bool(info.is_finite)
    if hasattr(info, "energy_change"):
        assert info.energy_change.dtype == jnp.float64


def test_state_survives_a_checkpoint(case, algorithm, key, tmp_path):
    state, _ = step(algorithm, key, init(algorithm, case.position(key)))
    checkpoint = Checkpoint(tmp_path / "state.ckpt")
    checkpoint.save(state, {})
    restored, _ = checkpoint.restore(state)
    jax.tree.map(np.testing.assert_array_equal, restored, state)


def test_algorithm_survives_serialisation(case, algorithm, key, tmp_path):
    path = tmp_path / "algorithm.eqx"
    eqx.tree_serialise_leaves(path, algorithm)
    restored = eqx.tree_deserialise_leaves(path, case.build(case.values[0]))
    assert eqx.tree_equal(restored, algorithm)


def test_a_field_that_is_not_finite_is_reported(case, algorithm, key):
    broken = case.position(key).at[..., 0].set(jnp.nan)
    _, info = step(algorithm, key, init(algorithm, broken))
    assert not bool(info.is_finite) or bool(info.accepted)
