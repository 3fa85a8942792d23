"""Couplings of few parameters: their Jacobian, inverse, symmetries, and the kernel of theirs."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConfigError, ShapeError
from diffhep_lattice.flows import SinhArcsinh, neighbour_couplings
from tests.systems.perturbed import perturb

pytestmark = pytest.mark.instant

SHAPE = (4, 6)

SYMMETRIES = {
    "diagonal step": lambda x: np.roll(x, (1, 1), (0, 1)),
    "two steps": lambda x: np.roll(x, 2, 1),
    "reflection at a site": lambda x: np.roll(np.flip(x, 0), 1, 0),
    "sign": np.negative,
}


@pytest.fixture(scope="module")
def couplings():
    """Far from the identity."""
    return perturb(neighbour_couplings(2), 0.3, key=jax.random.key(7))


@eqx.filter_jit
def there_and_back(couplings, fields):
    images, log_dets = couplings.forward_and_log_det(fields)
    return images, log_dets, *couplings.inverse_and_log_det(images)


def test_batch_has_every_symmetry_and_comes_back(couplings, key):
    phi = np.asarray(jax.random.normal(key, SHAPE))
    batch = np.stack([phi, *(act(phi) for act in SYMMETRIES.values())], axis=-1)
    images, log_dets, again, back = there_and_back(couplings, batch)
    assert float(np.std(images[..., 0] - phi)) > 0.1
    for index, act in enumerate(SYMMETRIES.values(), start=1):
        np.testing.assert_allclose(images[..., index], act(np.asarray(images[..., 0])), atol=1e-12)
    np.testing.assert_allclose(log_dets, log_dets[0], atol=1e-11)
    np.testing.assert_allclose(again, batch, atol=1e-10)
    np.testing.assert_allclose(back, -log_dets, atol=1e-10)


def test_log_det_is_that_of_the_jacobian(couplings, key):
    phi = jax.random.normal(key, SHAPE)

    @jax.jit
    def both(phi):
        def image(x):
            return couplings.forward_and_log_det(x.reshape(SHAPE))[0].ravel()

        log_det = jnp.linalg.slogdet(jax.jacfwd(image)(phi.ravel()))[1]
        return log_det, couplings.forward_and_log_det(phi)[1]

    expected, found = both(phi)
    assert abs(float(found)) > 0.1
    assert float(found) == pytest.approx(float(expected), abs=1e-10)


def test_power_of_the_tails():
    r"""$\sinh(\delta\,\mathrm{arsinh}\,x)$ is x for $\delta=1$, $2x\sqrt{1+x^2}$ for 2."""
    kernel, x = SinhArcsinh(extent=1.0), jnp.array([-30.0, -0.5, 0.0, 2.0, 1e6])
    raw = jnp.array([[0.0], [np.log(2.0)], [0.0]])
    image, log_slope = kernel.forward_and_log_slope(x, raw)
    np.testing.assert_allclose(image, 2 * x * np.sqrt(1 + x**2), rtol=1e-12)
    np.testing.assert_allclose(
        log_slope, np.log(2 * (1 + 2 * x**2) / np.sqrt(1 + x**2)), rtol=1e-12
    )
    same, flat = kernel.forward_and_log_slope(x, jnp.zeros((3, 1)))
    np.testing.assert_allclose(same, x, rtol=1e-12)
    np.testing.assert_allclose(flat, 0.0, atol=1e-12)


def test_bad_input():
    with pytest.raises(ShapeError, match="`phi` must have even lengths"):
        neighbour_couplings(2).forward_and_log_det(jnp.zeros((4, 3)))
    with pytest.raises(ConfigError, match="`dimension` must be an integer of at least 1"):
        neighbour_couplings(0)
    with pytest.raises(ConfigError, match="`extent` must be positive"):
        SinhArcsinh(0.0)
