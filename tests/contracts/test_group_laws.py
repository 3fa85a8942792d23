"""Laws of every gauge group."""

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


def same(group, a, b):
    """Two sets of elements agree: a b^-1 is the identity, whatever the representative."""
    quotient = group.multiply(a, group.inverse(b))
    np.testing.assert_allclose(group.real_trace(quotient), group.n_colors, atol=1e-12)


def draw(group, key, n):
    return [group.haar(_SHAPE, key=k, dtype=jnp.float64) for k in jax.random.split(key, n)]


def test_group_axioms(group, key):
    a, b, c = draw(group, key, 3)
    same(group, group.multiply(a, group.multiply(b, c)), group.multiply(group.multiply(a, b), c))
    identity = group.multiply(a, group.inverse(a))
    same(group, group.multiply(identity, b), b)
    same(group, group.inverse(group.inverse(a)), a)


def test_projection_changes_no_element_and_is_idempotent(group, key):
    a, b = draw(group, key, 2)
    product = group.multiply(group.multiply(a, b), b)
    projected = group.project(product)
    same(group, projected, product)
    np.testing.assert_allclose(group.project(projected), projected, atol=2e-15)


def test_moving_forth_and_back_returns(group, key):
    (a,) = draw(group, key, 1)
    velocity = random_momentum(group, a, key=jax.random.fold_in(key, 1))
    same(group, group.move(group.move(a, velocity), -velocity), a)
    same(group, group.move(a, 0.0 * velocity), a)
    moved = group.move(group.move(a, 0.25 * velocity), 0.75 * velocity)
    same(group, group.move(a, velocity), moved)


def test_logarithm_is_undone_by_the_exponential(group, key):
    (a,) = draw(group, key, 1)
    logarithm = group.logarithm(a)
    assert logarithm.shape == random_momentum(group, a, key=key).shape
    np.testing.assert_allclose(
        group.project(group.exponential(logarithm)), group.project(a), atol=1e-14
    )
    small = 0.1 * logarithm
    np.testing.assert_allclose(group.logarithm(group.exponential(small)), small, atol=1e-14)


def test_moving_is_multiplying_from_the_left(group, key):
    (a,) = draw(group, key, 1)
    velocity = random_momentum(group, a, key=key)
    same(group, group.move(a, velocity), group.multiply(group.exponential(velocity), a))


def test_trace_is_a_class_function(group, key):
    a, b = draw(group, key, 2)
    conjugate = group.multiply(group.multiply(b, a), group.inverse(b))
    np.testing.assert_allclose(group.real_trace(conjugate), group.real_trace(a), atol=1e-12)


def test_haar_average_of_the_trace_vanishes(group, key):
    """<tr> = 0 and <(Re tr)^2> = 1/2, or 1 where the trace is real; 5 sigma: one in 1.7 million."""
    n = 20_000
    trace = np.asarray(group.real_trace(group.haar((2, n), key=key, dtype=jnp.float64))).ravel()
    assert abs(trace.mean()) < 5 * trace.std() / np.sqrt(trace.size)
    square = trace**2
    expected = 1.0 if group.n_colors == 2 else 0.5
    assert abs(square.mean() - expected) < 5 * square.std() / np.sqrt(square.size)


def test_momenta_have_unit_variance(group, key):
    """K has mean n/2 and variance n/2 for n momenta; 5 sigma: one in 1.7 million."""
    a = group.haar((2, 64, 64), key=key, dtype=jnp.float64)
    p = random_momentum(group, a, key=key)
    assert abs(float(kinetic_energy(p)) - p.size / 2) < 5 * np.sqrt(p.size / 2)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_dtype_is_kept(group, key, dtype):
    a = group.haar(_SHAPE, key=key, dtype=dtype)
    p = random_momentum(group, a, key=key)
    results = [a, group.inverse(a), group.multiply(a, a), group.project(a), group.move(a, p)]
    assert {x.dtype for x in results} == {a.dtype}
    assert group.exponential(p).dtype == a.dtype
    assert group.real_trace(a).dtype == group.logarithm(a).dtype == p.dtype == dtype
    assert kinetic_energy(p).dtype == jnp.float64


def test_same_key_same_element(group, key):
    first, second = (group.haar(_SHAPE, key=key, dtype=jnp.float64) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    (other,) = draw(group, key, 1)
    assert not np.array_equal(first, other)
