"""Stout couplings: inverse, Jacobian and symmetries."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConfigError
from diffhep.core.rng import key_for
from diffhep_lattice.flows.stout import LARGEST_STEP, StoutLayer, stout_layer
from diffhep_lattice.gradient_flow import flow_action
from diffhep_lattice.groups import SUN

pytestmark = pytest.mark.fast

CASES = [(2, (4, 4)), (3, (2, 2, 4))]


def build(key, n, shape):
    d = len(shape)
    U = SUN(n).haar((d, *shape), key=key_for(key, "links"))
    return U, StoutLayer(0.2 * jax.random.normal(key_for(key, "steps"), (d, 2)))


def forward(layer, U):
    return layer.forward_and_log_det(U)


def inverse(layer, U):
    return layer.inverse_and_log_det(U)


@pytest.mark.parametrize(("n", "shape"), CASES)
def test_inverse_and_jacobian(key, n, shape):
    U, layer = build(key, n, shape)
    group = SUN(n)
    V, log_det = eqx.filter_jit(forward)(layer, U)
    back, log_det_back = eqx.filter_jit(inverse)(layer, V)
    np.testing.assert_allclose(back, U, atol=1e-12)
    assert float(log_det_back) == pytest.approx(-float(log_det), abs=1e-10)
    np.testing.assert_allclose(group.project(V), V, atol=1e-12)

    def coordinates(x):
        moved = group.move(U, x.reshape(U.shape[0], n * n - 1, *shape))
        return group.algebra_projection(group.multiply(forward(layer, moved)[0], group.inverse(V)))

    size = U.shape[0] * (n * n - 1) * int(np.prod(shape))
    jacobian = jax.jit(jax.jacfwd(lambda x: coordinates(x).ravel()))(jnp.zeros(size))
    assert float(log_det) == pytest.approx(float(jnp.linalg.slogdet(jacobian)[1]), abs=1e-8)


def test_equivariance(key):
    """The map commutes with gauge transformations and with translations by two sites."""
    n, shape = 3, (4, 4)
    U, layer = build(key, n, shape)
    group = SUN(n)
    g = jnp.repeat(group.haar((1, *shape), key=key_for(key, "gauge")), 2, axis=0)

    def transformed(U):
        ahead = jnp.stack([jnp.roll(g[mu], -1, 2 + mu) for mu in range(2)])
        return group.multiply(group.multiply(g, U), group.inverse(ahead))

    apply = eqx.filter_jit(forward)
    image, log_det = apply(layer, U)
    of_transformed, log_det_of_transformed = apply(layer, transformed(U))
    np.testing.assert_allclose(of_transformed, transformed(image), atol=1e-12)
    assert float(log_det_of_transformed) == pytest.approx(float(log_det), abs=1e-10)
    shifted, _ = apply(layer, jnp.roll(U, (2, 0), (3, 4)))
    np.testing.assert_allclose(shifted, jnp.roll(image, (2, 0), (3, 4)), atol=1e-12)


def test_small_steps_lower_the_action_as_the_flow_does(key):
    U, _ = build(key, 3, (4, 4))
    action = flow_action(U)
    step = 1e-4
    layer = StoutLayer(jnp.full((2, 2), step))
    change = float(action(eqx.filter_jit(forward)(layer, U)[0]) - action(U))
    assert change == pytest.approx(-step * float(jnp.sum(action.force(U) ** 2)), rel=5e-3)


def test_identity_and_bounds(key):
    U, _ = build(key, 2, (4, 4))
    apply, invert = eqx.filter_jit(forward), eqx.filter_jit(inverse)
    V, log_det = apply(stout_layer(2), U)
    np.testing.assert_allclose(V, U, atol=1e-14)
    assert abs(float(log_det)) < 1e-12
    wild = StoutLayer(jnp.full((2, 2), 100.0))
    assert float(jnp.max(wild.steps)) <= LARGEST_STEP / 2
    V, _ = apply(wild, U)
    np.testing.assert_allclose(invert(wild, V)[0], U, atol=1e-10)


def test_bad_input(key):
    with pytest.raises(ConfigError, match="dimension"):
        stout_layer(1)
    odd = SUN(2).haar((2, 3, 4), key=key)
    with pytest.raises(ConfigError, match="parities"):
        forward(stout_layer(2), odd)
