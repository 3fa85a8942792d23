"""The oscillator of the paper against the exact motion on a linear spring, and equal sizes."""

import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.magnet import BoucWen, PhyLSTM
from papers.zhang2020 import oscillator
from papers.zhang2020.run import _size, _size_at, _width_of

pytestmark = pytest.mark.fast


def test_a_linear_spring_moves_as_its_response_function_says(key):
    linear = BoucWen(1.0, 0.0, 0.0, exponent=1.0, elastic=25.0, hysteretic=25.0)
    found = oscillator.records(1, 21, 0.05, 32, key=key, spring=linear)
    # x = -int h(t - s) ground(s) ds, h = exp(-b t) sin(w t) / w, by the trapezoid on fine records.
    fine = oscillator.records(1, 20 * 32 + 1, 0.05 / 32, 1, key=key, spring=linear)
    np.testing.assert_allclose(fine.ground[0, ::32], found.ground[0], rtol=1e-9, atol=1e-12)
    t = 0.05 / 32 * jnp.arange(fine.ground.shape[1])
    b = oscillator.DAMPING / 2.0
    w = (50.0 - b**2) ** 0.5
    response = jnp.exp(-b * t) * jnp.sin(w * t) / w
    exact = -0.05 / 32 * jnp.convolve(response, fine.ground[0])[: t.shape[0]]
    scale = float(jnp.abs(exact).max())
    np.testing.assert_allclose(found.x[0], exact[::32], atol=1e-4 * scale)


def test_plain_networks_are_at_least_as_large(key):
    size = _size(PhyLSTM(3, 6, gain=-1.0, key=key))
    assert size == _size_at(3, 6)
    width = _width_of(size)
    assert _size_at(1, width - 1) < size <= _size_at(1, width)
