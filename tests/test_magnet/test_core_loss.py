"""Figures of loops and the regression of losses against what is known of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConfigError, DataError
from diffhep.magnet import fit_core_loss, loop_figures

pytestmark = pytest.mark.fast


def test_figures_of_a_parallelogram():
    """Branches that are straight lines 2 Hc apart, between -3 and 3."""
    h = jnp.linspace(-3.0, 3.0, 13)
    found = loop_figures(h, 0.5 * (h - 1.0), 0.5 * (h + 1.0))
    np.testing.assert_allclose(found, (6.0, 1.0, 0.5), rtol=1e-14)
    slope = jax.grad(lambda shift: loop_figures(h, 0.5 * (h - shift), 0.5 * (h + 1.0))[0])(1.0)
    np.testing.assert_allclose(slope, 3.0, rtol=1e-14)


@pytest.fixture(scope="module")
def losses():
    keys = jax.random.split(jax.random.key(3), 3)
    frequency = 1e5 * jnp.exp(jax.random.normal(keys[0], (80,)))
    amplitude = 0.1 * jnp.exp(jax.random.normal(keys[1], (80,)))
    duty = jax.random.uniform(keys[2], (80,), minval=0.1, maxval=0.9)
    return frequency, amplitude, duty, 3.0 * frequency**1.3 * amplitude**2.4


def test_a_power_law_is_its_own_fit(losses):
    frequency, amplitude, duty, loss = losses
    fit = fit_core_loss(*losses, degree=1)
    np.testing.assert_allclose(fit(frequency, amplitude, duty), loss, rtol=1e-6)
    doubled = fit(2.0 * frequency, amplitude, duty) / fit(frequency, amplitude, duty)
    np.testing.assert_allclose(doubled, 2.0**1.3, rtol=1e-6)
    shares = fit(frequency, amplitude, 1.0 - duty) / loss
    np.testing.assert_allclose(shares, 1.0, rtol=1e-6)


def test_bad_input(losses):
    frequency, amplitude, duty, loss = losses
    with pytest.raises(DataError, match=r"`amplitude_T` must be .*, but at index 3"):
        fit_core_loss(frequency, amplitude.at[3].set(-1.0), duty, loss)
    with pytest.raises(DataError, match=r"`loss_W_m3` .* at index 5 it is nan"):
        fit_core_loss(frequency, amplitude, duty, loss.at[5].set(jnp.nan))
    with pytest.raises(ConfigError, match="each of 455 powers"):
        fit_core_loss(*losses, degree=12)
