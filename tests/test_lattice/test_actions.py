"""Wilson's action against a link-by-link count, its force, and bad input."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConfigError, ShapeError
from diffhep_lattice.actions.base import AbstractAction
from diffhep_lattice.actions.wilson import WilsonAction
from diffhep_lattice.groups import U1
from diffhep_lattice.observables import gauge_transform, plaquette

pytestmark = pytest.mark.instant


@eqx.filter_jit
def evaluate(action, U):
    return action(U), action.force(U), jax.grad(action)(U)


@pytest.mark.parametrize("shape", [(4, 6), (2, 2), (2, 5), (3, 3), (64, 64)], ids=str)
def test_force_is_the_gradient_on_every_shape(shape, key):
    """Lengths of 2 double the links, odd ones have no checkerboard, 64 is what is timed."""
    U = 3.0 * jax.random.normal(key, (2, *shape))
    value, force, gradient = evaluate(WilsonAction(2.3), U)
    np.testing.assert_allclose(force, gradient, atol=1e-12)
    assert float(value) == pytest.approx(-2.3 * U[0].size * float(plaquette(U)), rel=1e-13)


def test_action_of_trivial_fields():
    action = WilsonAction(1.5)
    assert float(action(jnp.zeros((2, 4, 6)))) == -1.5 * 24
    np.testing.assert_array_equal(action.force(jnp.zeros((2, 4, 6))), 0.0)


def test_action_is_gauge_invariant_and_force_covariant(key):
    U, g = 3.0 * jax.random.normal(key, (2, 4, 6)), 3.0 * jax.random.normal(key, (4, 6))
    action = WilsonAction(2.0)
    before, after = evaluate(action, U), evaluate(action, gauge_transform(U, g))
    assert float(after[0]) == pytest.approx(float(before[0]), abs=1e-12)
    # The group is Abelian: the adjoint transformation of the force is trivial.
    np.testing.assert_allclose(after[1], before[1], atol=1e-12)


def test_force_is_differentiable(key):
    """Through its barriers, in both modes: a Hessian is symmetric."""
    U = jax.random.normal(key, (2, 2, 3))
    action = WilsonAction(2.0)
    forward = jax.jit(jax.jacfwd(action.force))(U).reshape(12, 12)
    reverse = jax.jit(jax.jacrev(action.force))(U).reshape(12, 12)
    np.testing.assert_allclose(forward, reverse, atol=1e-11)
    np.testing.assert_allclose(forward, forward.T, atol=1e-11)


def test_beta_is_a_float_leaf_of_the_tree():
    action = WilsonAction(2)
    (beta,) = jax.tree.leaves(action)
    assert beta.dtype == jnp.float64
    assert isinstance(action.group, U1)
    assert isinstance(action, AbstractAction)


def test_gradient_with_respect_to_beta(key):
    U = jax.random.normal(key, (2, 4, 4))
    gradient = eqx.filter_grad(lambda action: action(U))(WilsonAction(2.0))
    assert float(gradient.beta) == pytest.approx(-16 * float(plaquette(U)), rel=1e-13)


@pytest.mark.parametrize("beta", [-0.1, float("nan"), float("inf")])
def test_bad_beta_is_refused(beta):
    with pytest.raises(ConfigError, match="Argument `beta` must be finite and at least 0"):
        WilsonAction(beta)


def test_wrong_rank_is_named():
    with pytest.raises(ShapeError, match="Argument `U` must have one link angle per direction"):
        WilsonAction(1.0).force(jnp.zeros((3, 4, 4)))


def test_action_needs_double_precision():
    with jax.enable_x64(False), pytest.raises(ConfigError, match="jax_enable_x64"):
        WilsonAction(1.0)(jnp.zeros((2, 4, 4)))
