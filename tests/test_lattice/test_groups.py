"""What is particular to U(1), and the polynomial sine."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConfigError
from diffhep_lattice.groups import U1, kinetic_energy, random_momentum, wrap
from diffhep_lattice.trigonometry import cosine, sine

pytestmark = pytest.mark.instant

_ANGLES = np.linspace(-np.pi, np.pi, 20_001)


def test_wrapped_angles_are_in_the_half_open_interval():
    turns = np.arange(-3, 4)[:, None] * 2 * np.pi
    wrapped = np.asarray(wrap(jnp.asarray(_ANGLES[:-1] + turns)))
    assert wrapped.min() >= -np.pi
    assert wrapped.max() < np.pi
    np.testing.assert_allclose(wrapped[:, 1:], np.tile(_ANGLES[1:-1], (7, 1)), atol=1e-14)
    assert float(wrap(jnp.asarray(-np.pi))) == -np.pi


def test_sine_is_accurate_to_rounding():
    np.testing.assert_allclose(sine(jnp.asarray(_ANGLES)), np.sin(_ANGLES), rtol=0, atol=5e-16)
    # Away from the zeros at +-pi, where the rounding of the turns shows, also relatively.
    inner = _ANGLES[np.abs(_ANGLES) < 2.5]
    np.testing.assert_allclose(sine(jnp.asarray(inner)), np.sin(inner), rtol=2e-15)
    np.testing.assert_allclose(cosine(jnp.asarray(_ANGLES)), np.cos(_ANGLES), rtol=0, atol=2e-15)


def test_sine_is_accurate_in_single_precision():
    angles = _ANGLES.astype(np.float32)
    result = sine(jnp.asarray(angles))
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result, np.sin(angles.astype(np.float64)), rtol=0, atol=4e-7)


def test_sine_is_odd_and_periodic():
    angles = jnp.asarray(_ANGLES)
    np.testing.assert_array_equal(sine(-angles), -sine(angles))
    np.testing.assert_allclose(sine(angles + 6 * np.pi), sine(angles), atol=1e-14)
    # Exactly zero on both sides of the wrap: the function is continuous there.
    assert abs(float(sine(jnp.asarray(np.pi)))) < 3e-16


def test_sine_has_the_derivatives_of_the_sine():
    angles = jnp.asarray(_ANGLES[1:-1])
    first = jax.vmap(jax.grad(sine))(angles)
    second = jax.vmap(jax.grad(jax.grad(cosine)))(angles)
    np.testing.assert_allclose(first, np.cos(angles), atol=1e-12)
    np.testing.assert_allclose(second, -np.cos(angles), atol=1e-11)


def test_momentum_has_one_component_per_link(key):
    U = U1().haar((2, 4, 6), key=key, dtype=jnp.float32)
    assert random_momentum(U1(), U, key=key).shape == (2, 4, 6)


def test_kinetic_energy_is_accumulated_in_double_precision():
    """A float32 sum of so many equal terms would be off by more than the tolerance."""
    p = jnp.full((2, 256, 256), 0.1, jnp.float32)
    expected = 0.5 * p.size * float(np.float32(0.1)) ** 2
    assert float(kinetic_energy(p)) == pytest.approx(expected, rel=1e-13)


def test_kinetic_energy_needs_double_precision():
    with jax.enable_x64(False), pytest.raises(ConfigError, match="jax_enable_x64"):
        kinetic_energy(jnp.ones((2, 4, 4)))
