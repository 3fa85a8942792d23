"""Laws of every action."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep_lattice.groups import SUN
from tests.contracts.registry import ACTIONS

pytestmark = pytest.mark.instant


@pytest.fixture(params=ACTIONS)
def case(request):
    return ACTIONS[request.param]


@eqx.filter_jit
def evaluate(action, U):
    return action(U), action.force(U)


@eqx.filter_jit
def energy(action, U):
    return action(U)


@eqx.filter_jit
def gradient(action, U):
    """The action's gradient along the algebra by autodiff, to first order in the velocity."""
    group = action.group

    def moved(velocity):
        if isinstance(group, SUN):
            return action(U + group.multiply(group.algebra_matrix(velocity), U))
        return action(U + velocity)

    return jax.grad(moved)(jnp.zeros_like(action.force(U)))


@eqx.filter_jit
def move(group, U, velocity):
    return group.move(U, velocity)


@pytest.fixture
def action(case):
    return case.build(case.values[1])


def test_force_is_the_gradient_of_the_action(case, action, key):
    U = case.field(key)
    force = evaluate(action, U)[1]
    np.testing.assert_allclose(force, gradient(action, U), rtol=1e-11, atol=1e-11)


def test_force_is_the_finite_difference_of_the_action(case, action, key):
    U = case.field(key)
    force = evaluate(action, U)[1]
    direction = jax.random.normal(jax.random.fold_in(key, 1), force.shape)
    h = 1e-3
    values = [
        float(energy(action, move(action.group, U, k * h * direction))) for k in (-2, -1, 1, 2)
    ]
    slope = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * h)
    assert slope == pytest.approx(float(jnp.vdot(force, direction)), rel=1e-7)


def test_jit_is_eager(case, action, key):
    U = case.field(key)
    eager = action(U), action.force(U)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), eager, evaluate(action, U)
    )


def test_vmap_is_a_loop(case, action, key):
    fields = jax.vmap(case.field)(jax.random.split(key, 3))
    together = eqx.filter_jit(eqx.filter_vmap(evaluate, in_axes=(None, 0)))(action, fields)
    for index, U in enumerate(fields):
        for a, b in zip(together, evaluate(action, U), strict=True):
            np.testing.assert_allclose(a[index], b, rtol=1e-13, atol=1e-13)


def test_energy_is_double_and_force_keeps_the_dtype(case, action, key):
    U = case.field(key, jnp.float32)
    value, force = evaluate(action, U)
    assert value.dtype == jnp.float64
    assert force.dtype == jnp.float32
    # The action of a single-precision field is that of the same numbers in double precision.
    wide = energy(action, U.astype(jnp.result_type(U, jnp.float64)))
    assert float(value) == pytest.approx(float(wide), rel=1e-14)


def test_three_parameters_compile_once(case, key):
    n_traces = 0

    @eqx.filter_jit
    def count(action, U):
        nonlocal n_traces
        n_traces += 1
        return action(U)

    U = case.field(key)
    values = {float(count(case.build(value), U)) for value in case.values}
    assert n_traces == 1
    assert len(values) == 3


def test_action_is_translation_invariant(case, action, key):
    U = case.field(key)
    moved = jnp.roll(U, (1, -2), axis=(-2, -1))
    assert float(energy(action, moved)) == pytest.approx(float(energy(action, U)), abs=1e-11)
