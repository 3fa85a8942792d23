"""Chiral condensate and meson correlators."""

import equinox as eqx
import jax
import numpy as np
import pytest

from diffhep_lattice.fermions import WilsonDirac
from diffhep_lattice.fermions.dirac import GAMMA_5
from diffhep_lattice.observables import chiral_condensate, meson_correlators

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
    trace = np.einsum("axyaxy->", propagator).real
    assert float(found.condensate) == pytest.approx(trace / (length * time), abs=1e-12)
    np.testing.assert_allclose(found.pion, pion / (length * time), atol=1e-12)
    np.testing.assert_allclose(found.disconnected, disconnected / (length * time), atol=1e-12)
    assert np.max(np.abs(disconnected)) > 1e-6
    np.testing.assert_allclose(
        found.eta(2), (pion - 2 * disconnected) / (length * time), atol=1e-12
    )
