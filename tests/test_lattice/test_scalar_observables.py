"""Two-point functions by their definition, and of free fields against the exact ones."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.derived import gamma_method_of
from diffhep.core.errors import ShapeError
from diffhep.core.stats import pull
from diffhep_lattice import exact
from diffhep_lattice.flows import FreeField, ScalarFlow
from diffhep_lattice.geometry import Lattice
from diffhep_lattice.observables import (
    effective_mass,
    two_point_function,
    two_point_susceptibility,
    zero_momentum_correlator,
)

pytestmark = pytest.mark.instant


@pytest.mark.parametrize("shape", [(5,), (2, 3), (3, 2, 4)], ids=str)
def test_definitions(shape, key):
    phi = jax.random.normal(key, shape)
    values = np.asarray(phi)
    found = np.asarray(two_point_function(phi))
    axes = tuple(range(len(shape)))
    for x in np.ndindex(*shape):
        shifted = np.roll(values, [-n for n in x], axes)
        assert found[x] == pytest.approx(np.mean(values * shifted), abs=1e-14)
    correlator = np.asarray(zero_momentum_correlator(phi))
    np.testing.assert_allclose(correlator, found.sum(axes[:-1]), atol=1e-13)
    susceptibility = float(two_point_susceptibility(phi))
    assert correlator.sum() == pytest.approx(susceptibility)
    assert susceptibility == pytest.approx(values.sum() ** 2 / values.size)


def test_a_single_state_has_one_mass():
    t = np.arange(9)
    np.testing.assert_allclose(effective_mass(np.cosh(0.7 * (t - 4.5))), 0.7, rtol=1e-12)
    assert np.isnan(effective_mass(np.array([1.0, 2.0, 1.0]))[0])
    with pytest.raises(ShapeError, match="Argument `correlator` must hold at least 3"):
        effective_mass(np.ones(2))


def test_effective_mass_of_a_free_field_with_its_error(key):
    """arsinh: 2 cosh m = 2 + mass_squared. Exact fields; 4.5 sigma: one false alarm in 150,000."""
    mass_squared, shape = 0.5, (4, 6)
    flow = ScalarFlow(Lattice(shape), FreeField(jnp.log(mass_squared)))
    fields, _ = eqx.filter_jit(flow.sample_and_log_prob)(key, 4000)
    series = np.asarray(jax.jit(jax.vmap(zero_momentum_correlator))(fields))
    truth = exact.free_scalar(shape, mass_squared).correlator
    mass = np.arccosh(1 + mass_squared / 2)
    np.testing.assert_allclose(effective_mass(truth), mass, rtol=1e-10)
    for t in (0, 2):
        found = gamma_method_of(lambda C, t=t: effective_mass(C)[t], series)
        assert 0.0 < found.error < 0.1
        assert abs(pull(found.mean, found.error, mass)) < 4.5
        at_t = gamma_method_of(lambda C, t=t: C[t], series)
        assert abs(pull(at_t.mean, at_t.error, float(truth[t]))) < 4.5
