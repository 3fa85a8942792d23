"""Chiral condensate, meson correlators and effective masses."""

import equinox as eqx
import jax
import numpy as np
import pytest

from diffhep.core.errors import ShapeError
from diffhep_lattice.fermions import WilsonDirac
from diffhep_lattice.fermions.dirac import GAMMA_5
from diffhep_lattice.observables import chiral_condensate, effective_mass, meson_correlators

pytestmark = pytest.mark.fast

_KAPPA, _SHAPE = 0.23, (2, 4)


@pytest.fixture
def field(key):
    return 2.0 * jax.random.normal(key, (2, *_SHAPE))


@pytest.fixture
def propagator(field):
    return np.linalg.inv(WilsonDirac(field, _KAPPA).dense()).reshape(2, *_SHAPE, 2, *_SHAPE)


def test_condensate_is_the_trace_of_the_inverse(field, propagator):
    trace = np.einsum("axtaxt->", propagator).real
    found = eqx.filter_jit(chiral_condensate)(field, _KAPPA)
    assert float(found) == pytest.approx(trace / 8, abs=1e-12)


def test_correlators_are_traces_of_propagators(field, propagator):
    """Site by site, with both gamma matrices written out."""
    length, time = _SHAPE
    pion, disconnected = np.zeros(time), np.zeros(time)
    sites = list(np.ndindex(_SHAPE))
    for x in sites:
        for y in sites:
            t = (x[1] - y[1]) % time
            there, back, here, gone = (
                propagator[:, *a, :, *b] for a, b in ((x, y), (y, x), (x, x), (y, y))
            )
            pion[t] += np.trace(GAMMA_5 @ there @ GAMMA_5 @ back).real
            disconnected[t] += (np.trace(GAMMA_5 @ here) * np.trace(GAMMA_5 @ gone)).real
    found = eqx.filter_jit(meson_correlators)(field, _KAPPA)
    np.testing.assert_allclose(found.pion, pion / (length * time), atol=1e-12)
    np.testing.assert_allclose(found.disconnected, disconnected / (length * time), atol=1e-12)
    assert np.max(np.abs(disconnected)) > 1e-6
    np.testing.assert_allclose(
        found.eta(2), (pion - 2 * disconnected) / (length * time), atol=1e-12
    )


def test_effective_mass_of_a_cosh():
    """The mass is exact, and its error that of the spread over independent repetitions."""
    rng = np.random.default_rng(7)
    time, mass, n_repetitions, n_steps = 8, 0.4, 60, 64
    correlator = np.cosh(mass * (np.arange(time) - time / 2))
    noise = 1e-3 * rng.standard_normal((n_repetitions, 2, n_steps, time))
    found = [effective_mass(correlator + one) for one in noise]
    spread = np.std([one.mass for one in found], axis=0)
    errors = np.mean([one.error for one in found], axis=0)
    # The standard deviation of 60 repetitions is known to 9 %; this is nearly five times that.
    np.testing.assert_allclose(errors, spread, rtol=0.4)
    still = effective_mass(correlator + 0.0 * noise[0])
    np.testing.assert_allclose(still.mass, mass, rtol=1e-12)
    assert still.mass.shape == (3,)


def test_effective_mass_where_there_is_none():
    rising = np.broadcast_to(1.0 - 0.1 * np.arange(6.0) ** 2, (1, 8, 6))
    assert np.all(np.isnan(effective_mass(rising).mass))
    with pytest.raises(ShapeError, match="`correlators` must have at least 4 times"):
        effective_mass(np.ones((1, 8, 3)))
