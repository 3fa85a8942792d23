"""Laws of every gauge group."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep_lattice.groups import kinetic_energy, random_momentum
from tests.contracts.registry import GROUPS

pytestmark = pytest.mark.instant

_SHAPE = (2, 4, 6)


@pytest.fixture(params=GROUPS)
def group(request):
    return GROUPS[request.param].group


@eqx.filter_jit
def run(method, *arguments, **settings):
    """One compiled call of a group's method: matrices make many small operations."""
    return method(*arguments, **settings)


def same(group, a, b):
    """Two sets of elements agree: a b^-1 is the identity, whatever the representative."""
    quotient = run(group.multiply, a, run(group.inverse, b))
    np.testing.assert_allclose(run(group.real_trace, quotient), group.n_colors, atol=1e-12)


def draw(group, key, n):
    return [run(group.haar, _SHAPE, key=k, dtype=jnp.float64) for k in jax.random.split(key, n)]


def test_group_axioms(group, key):
    a, b, c = draw(group, key, 3)

    def product(x, y):
        return run(group.multiply, x, y)

    same(group, product(a, product(b, c)), product(product(a, b), c))
    identity = product(a, run(group.inverse, a))
    same(group, product(identity, b), b)
    same(group, run(group.inverse, run(group.inverse, a)), a)


def test_projection_changes_no_element_and_is_idempotent(group, key):
    a, b = draw(group, key, 2)
    product = run(group.multiply, run(group.multiply, a, b), b)
    projected = run(group.project, product)
    same(group, projected, product)
    np.testing.assert_allclose(run(group.project, projected), projected, atol=2e-15)


def test_moving_forth_and_back_returns(group, key):
    (a,) = draw(group, key, 1)
    velocity = random_momentum(group, a, key=jax.random.fold_in(key, 1))

    def move(x, v):
        return run(group.move, x, v)

    same(group, move(move(a, velocity), -velocity), a)
    same(group, move(a, 0.0 * velocity), a)
    same(group, move(a, velocity), move(move(a, 0.25 * velocity), 0.75 * velocity))
    same(group, move(a, velocity), run(group.multiply, run(group.exponential, velocity), a))


def test_logarithm_is_undone_by_the_exponential(group, key):
    (a,) = draw(group, key, 1)
    logarithm = run(group.logarithm, a)
    assert logarithm.shape == random_momentum(group, a, key=key).shape
    same(group, run(group.exponential, logarithm), a)
    small = 0.1 * logarithm
    again = run(group.logarithm, run(group.exponential, small))
    np.testing.assert_allclose(again, small, atol=1e-14)


def test_trace_is_a_class_function(group, key):
    a, b = draw(group, key, 2)
    conjugate = run(group.multiply, run(group.multiply, b, a), run(group.inverse, b))
    np.testing.assert_allclose(
        run(group.real_trace, conjugate), run(group.real_trace, a), atol=1e-12
    )


def test_haar_average_of_the_trace_vanishes(group, key):
    """<tr> = 0 and <(Re tr)^2> = 1/2, or 1 where the trace is real; 5 sigma: one in 1.7 million."""
    elements = run(group.haar, (2, 20_000), key=key, dtype=jnp.float64)
    trace = np.asarray(group.real_trace(elements)).ravel()
    assert abs(trace.mean()) < 5 * trace.std() / np.sqrt(trace.size)
    square = trace**2
    expected = 1.0 if group.n_colors == 2 else 0.5
    assert abs(square.mean() - expected) < 5 * square.std() / np.sqrt(square.size)


def test_momenta_have_unit_variance(group, key):
    """K has mean n/2 and variance n/2 for n momenta; 5 sigma: one in 1.7 million."""
    a = jnp.zeros((2, *group.element_shape, 64, 64))
    p = random_momentum(group, a, key=key)
    assert abs(float(kinetic_energy(p)) - p.size / 2) < 5 * np.sqrt(p.size / 2)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_dtype_is_kept(group, key, dtype):
    @eqx.filter_eval_shape
    def results():
        a = group.haar(_SHAPE, key=key, dtype=dtype)
        p = random_momentum(group, a, key=key)
        elements = (
            group.inverse(a),
            group.multiply(a, a),
            group.project(a),
            group.move(a, p),
            group.exponential(p),
        )
        return a, elements, (p, group.real_trace(a), group.logarithm(a)), kinetic_energy(p)

    a, elements, numbers, energy = results
    assert {x.dtype for x in elements} == {a.dtype}
    assert {x.dtype for x in numbers} == {jnp.dtype(dtype)}
    assert energy.dtype == jnp.float64


def test_same_key_same_element(group, key):
    first, second, other = draw(group, key, 1), draw(group, key, 1), draw(group, key, 2)
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first[0], other[1])
