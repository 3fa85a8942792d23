"""The maps of the circle: odd, rising, with the slopes and inverses that they state."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConfigError
from diffhep_lattice.flows.kernels import CircularSpline, NonCompactProjection

pytestmark = pytest.mark.instant

_KERNELS = {
    "spline": CircularSpline(4),
    "projection": NonCompactProjection(3),
}
_DIRECTIONS = ("forward", "inverse")
_N = 60

_INSIDE = float(np.nextafter(np.float32(np.pi), np.float32(0)))
"""The largest angle of both precisions below pi."""


@pytest.fixture(params=_KERNELS)
def kernel(request):
    return _KERNELS[request.param]


@pytest.fixture
def raw(kernel, key):
    return jax.random.normal(key, (kernel.n_raw, _N))


@pytest.fixture
def angle(key):
    return jax.random.uniform(jax.random.fold_in(key, 1), (_N,), minval=-np.pi, maxval=np.pi)


@eqx.filter_jit
def with_slope(kernel, direction, angle, raw):
    """Image, logarithm of the slope, and the slope by autodiff."""
    function = getattr(kernel, f"{direction}_and_log_slope")
    (image, log_slope), (slope, _) = jax.jvp(
        lambda angle: function(angle, raw), (angle,), (jnp.ones_like(angle),)
    )
    return image, log_slope, slope


@eqx.filter_jit
def with_gradients(kernel, direction, angle, raw, weights):
    """Image, slope, and the gradients of their weighted sum by angle and parameters."""

    def objective(angle, raw):
        image, log_slope = getattr(kernel, f"{direction}_and_log_slope")(angle, raw)
        return jnp.sum(weights[0] * image + weights[1] * log_slope), (image, log_slope)

    return jax.value_and_grad(objective, argnums=(0, 1), has_aux=True)(angle, raw)


@pytest.fixture
def forward(kernel):
    return lambda angle, raw: with_slope(kernel, "forward", angle, raw)[:2]


@pytest.fixture
def inverse(kernel):
    return lambda angle, raw: with_slope(kernel, "inverse", angle, raw)[:2]


def test_map_is_odd(forward, raw, angle):
    image, log_slope = forward(angle, raw)
    mirrored, mirrored_log_slope = forward(-angle, raw)
    np.testing.assert_allclose(mirrored, -image, atol=1e-14)
    np.testing.assert_allclose(mirrored_log_slope, log_slope, atol=1e-13)
    assert not np.allclose(image, angle, atol=0.1)


def test_zero_and_pi_stay(forward, inverse, raw):
    for point in (0.0, -np.pi, np.pi):
        for function in (forward, inverse):
            image, _ = function(jnp.full(_N, point), raw)
            np.testing.assert_allclose(image, point, atol=1e-12)


def test_map_rises_and_covers_the_circle(forward, raw):
    grid = jnp.linspace(-np.pi, np.pi, _N)
    for element in range(5):
        same = jnp.tile(raw[:, element, None], _N)
        image, log_slope = forward(grid, same)
        assert bool(jnp.all(jnp.diff(image) > 0.0))
        # The slope is the same at both ends: the map is smooth on the circle.
        assert float(log_slope[0]) == pytest.approx(float(log_slope[-1]), abs=1e-12)


@pytest.mark.parametrize("direction", _DIRECTIONS)
def test_slope_is_the_derivative(kernel, direction, raw, angle):
    """Also at zero, where the two halves meet."""
    for point in (angle, jnp.zeros(_N)):
        _, log_slope, slope = with_slope(kernel, direction, point, raw)
        np.testing.assert_allclose(jnp.exp(log_slope), slope, rtol=1e-9)


def test_inverse_undoes_the_map(forward, inverse, raw, angle):
    image, log_slope = forward(angle, raw)
    back, inverse_log_slope = inverse(image, raw)
    np.testing.assert_allclose(back, angle, atol=1e-12)
    np.testing.assert_allclose(inverse_log_slope, -log_slope, atol=1e-10)
    np.testing.assert_allclose(forward(inverse(angle, raw)[0], raw)[0], angle, atol=1e-12)


def test_zero_parameters_are_the_identity(kernel, forward, inverse, angle):
    for function in (forward, inverse):
        image, log_slope = function(angle, jnp.zeros((kernel.n_raw, _N)))
        np.testing.assert_allclose(image, angle, atol=1e-14)
        np.testing.assert_allclose(log_slope, 0.0, atol=1e-14)


@pytest.mark.parametrize("direction", _DIRECTIONS)
def test_gradients_are_finite_differences(kernel, direction, raw, angle, key):
    """Of image and slope, with respect to angle and parameters, in reverse mode."""
    weights = jax.random.normal(jax.random.fold_in(key, 2), (2, _N))
    by_angle = jax.random.normal(jax.random.fold_in(key, 3), angle.shape)
    by_raw = jax.random.normal(jax.random.fold_in(key, 4), raw.shape)

    def moved(t):
        (value, _), gradients = with_gradients(
            kernel, direction, angle + t * by_angle, raw + t * by_raw, weights
        )
        return float(value), float(
            jnp.vdot(gradients[0], by_angle) + jnp.vdot(gradients[1], by_raw)
        )

    h = 1e-5
    difference = (moved(h)[0] - moved(-h)[0]) / (2 * h)
    assert difference == pytest.approx(moved(0.0)[1], rel=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("direction", _DIRECTIONS)
def test_extreme_parameters_stay_finite(kernel, direction, key, dtype):
    """Values, slopes and gradients: a network that runs away must be able to come back."""
    angle = jnp.array([0.0, -1e-6, 1.0, -3.0, _INSIDE, -_INSIDE, -np.pi])
    signs = jax.random.choice(key, jnp.array([-1.0, 1.0]), (kernel.n_raw, angle.size))
    patterns = jnp.stack([signs, jnp.ones_like(signs), -jnp.ones_like(signs)], axis=-1)
    raw = patterns[..., None] * jnp.array([20.0, 100.0, 1e4])
    elements = jnp.broadcast_to(angle[:, None, None], raw.shape[1:])
    (_, values), gradients = with_gradients(
        kernel,
        direction,
        elements.ravel().astype(dtype),
        raw.reshape(kernel.n_raw, -1).astype(dtype),
        jnp.ones((2, elements.size), dtype),
    )
    for leaf in (*gradients, *values):
        assert leaf.dtype == dtype
        assert bool(jnp.all(jnp.isfinite(leaf)))


def test_single_precision_is_close_to_double(forward, inverse, raw, angle):
    narrow = angle.astype(jnp.float32), raw.astype(jnp.float32)
    for function in (forward, inverse):
        for a, b in zip(function(*narrow), function(angle, raw), strict=True):
            assert a.dtype == jnp.float32
            np.testing.assert_allclose(a, b, atol=2e-4)


def test_parameters_belong_to_their_element(kernel, forward, inverse, raw, angle):
    """Batch axes anywhere behind the first: elements do not see each other."""
    shape = (5, 4, 3)
    for function in (forward, inverse):
        folded = function(angle.reshape(shape), raw.reshape(kernel.n_raw, *shape))
        for a, b in zip(folded, function(angle, raw), strict=True):
            np.testing.assert_allclose(a.ravel(), b, atol=1e-13)


def test_projection_is_the_mean_of_its_dilations(key):
    kernel = NonCompactProjection(3)
    raw, angle = np.array([[-1.0], [0.3], [2.0]]), np.array([2.5])
    expected = np.mean(2 * np.arctan(np.exp(raw) * np.tan(angle / 2)))
    image, _ = kernel.forward_and_log_slope(jnp.asarray(angle), jnp.asarray(raw))
    assert float(image[0]) == pytest.approx(expected, abs=1e-14)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: CircularSpline(0),
            "Argument `n_bins` must be an integer of at least 1, but it is 0",
        ),
        (lambda: CircularSpline(4, 0.25), "Argument `smallest` must lie in"),
        (lambda: CircularSpline(4, 0.0), "Argument `smallest` must lie in"),
        (
            lambda: NonCompactProjection(0),
            "Argument `n_components` must be an integer of at least 1",
        ),
    ],
)
def test_bad_settings_are_refused(build, message):
    with pytest.raises(ConfigError, match=message):
        build()
