"""Rational-quadratic splines against the formula of their docstring, bin by bin."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep_lattice.flows.rational_quadratic import (
    Spline,
    forward_and_log_slope,
    inverse_and_log_slope,
    positive,
)

pytestmark = pytest.mark.instant

_N_BINS = 5
_N = 64


@partial(jax.jit, static_argnums=0)
def with_slope(function, x, spline):
    """Image, logarithm of the slope, and the slope by autodiff."""
    (image, log_slope), (slope, _) = jax.jvp(
        lambda x: function(x, spline), (x,), (jnp.ones_like(x),)
    )
    return image, log_slope, slope


def forward(x, spline):
    return with_slope(forward_and_log_slope, x, spline)[:2]


def inverse(x, spline):
    return with_slope(inverse_and_log_slope, x, spline)[:2]


_BOTH = pytest.mark.parametrize(
    "function", [forward_and_log_slope, inverse_and_log_slope], ids=["forward", "inverse"]
)


@pytest.fixture
def spline(key):
    """A spline of its own for each of some elements, in the form (element, 1)."""
    keys = jax.random.split(key, 3)
    widths = jnp.exp(jax.random.normal(keys[0], (_N_BINS, _N, 1)))
    heights = jnp.exp(jax.random.normal(keys[1], (_N_BINS, _N, 1)))
    return Spline(widths, heights, 2.0 * jax.random.normal(keys[2], (_N_BINS + 1, _N, 1)))


@pytest.fixture
def x(spline, key):
    """Points from zero to beyond the last knot."""
    end = jnp.sum(spline.widths, axis=0)
    return 1.3 * end * jax.random.uniform(jax.random.fold_in(key, 1), (_N, 1))


def formula(x, widths, heights, slopes):
    """One element, as the formula is written."""
    if x > widths.sum():
        return heights.sum() + (x - widths.sum()) * slopes[-1]
    edges = np.concatenate([[0.0], np.cumsum(widths)])
    k = int(np.clip(np.searchsorted(edges, x, side="right") - 1, 0, len(widths) - 1))
    s, xi = heights[k] / widths[k], (x - edges[k]) / widths[k]
    across = xi * (1 - xi)
    rise = s * xi**2 + slopes[k] * across
    return heights[:k].sum() + heights[k] * rise / (
        s + (slopes[k] + slopes[k + 1] - 2 * s) * across
    )


def test_image_is_the_formula(spline, x):
    slopes = positive(spline.raw_slopes)
    expected = [
        formula(float(x[i, 0]), *(np.asarray(a)[:, i, 0] for a in (*spline[:2], slopes)))
        for i in range(_N)
    ]
    np.testing.assert_allclose(forward(x, spline)[0][:, 0], expected, rtol=1e-13)
    assert np.any(np.asarray(x) > np.asarray(spline.widths.sum(0)))


def test_inverse_undoes_the_map(spline, x):
    y, log_slope = forward(x, spline)
    back, inverse_log_slope = inverse(y, spline)
    np.testing.assert_allclose(back, x, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(inverse_log_slope, -log_slope, atol=1e-9)


def test_knots_have_their_images_and_slopes(spline):
    """Also the derivative by autodiff is that slope, at the very points where bins meet."""
    slopes = positive(spline.raw_slopes)
    for k in range(_N_BINS + 1):
        x, y = spline.widths[:k].sum(0), spline.heights[:k].sum(0)
        image, log_slope, slope = with_slope(forward_and_log_slope, x, spline)
        np.testing.assert_allclose(image, y, atol=1e-12)
        np.testing.assert_allclose(jnp.exp(log_slope), slopes[k], rtol=1e-9)
        np.testing.assert_allclose(inverse(y, spline)[0], x, atol=1e-12)
        if k < _N_BINS:
            np.testing.assert_allclose(slope, slopes[k], rtol=1e-9)


@_BOTH
def test_slope_is_the_derivative(function, spline, x):
    _, log_slope, slope = with_slope(function, x, spline)
    np.testing.assert_allclose(jnp.exp(log_slope), slope, rtol=1e-9)


@_BOTH
def test_gradient_of_the_parameters_is_the_finite_difference(function, spline, x, key):
    weights = jax.random.normal(jax.random.fold_in(key, 2), (2, *x.shape))

    direction = jax.tree.map(lambda a: jax.random.normal(key, a.shape), spline)

    @jax.jit
    def value_and_slope(t):
        def objective(spline):
            image, log_slope = function(x, spline)
            return jnp.sum(weights[0] * image + weights[1] * log_slope)

        moved = jax.tree.map(lambda a, d: a + t * d, spline, direction)
        value, gradient = jax.value_and_grad(objective)(moved)
        return value, sum(jnp.vdot(a, b) for a, b in zip(gradient, direction, strict=True))

    h = 1e-6
    difference = (value_and_slope(h)[0] - value_and_slope(-h)[0]) / (2 * h)
    assert float(difference) == pytest.approx(float(value_and_slope(0.0)[1]), rel=1e-5)


def test_equal_bins_with_unit_slopes_are_the_identity(x):
    """`positive` is one at zero."""
    flat = jnp.full((_N_BINS, *x.shape), 0.7)
    image, log_slope = forward(x, Spline(flat, flat, jnp.zeros((_N_BINS + 1, *x.shape))))
    np.testing.assert_allclose(image, x, rtol=1e-14)
    np.testing.assert_allclose(log_slope, 0.0, atol=1e-14)


def test_positive_stays_positive():
    raw = jnp.array([-1e30, -100.0, 0.0, 100.0])
    np.testing.assert_allclose(positive(raw), [1e-3, 1e-3, 1.0, 100.0], rtol=0.01)
    assert positive(raw.astype(jnp.float32)).dtype == jnp.float32


def test_single_precision_is_kept(spline, x):
    narrow = jax.tree.map(lambda a: a.astype(jnp.float32), spline)
    for function in (forward, inverse):
        image, log_slope = function(x.astype(jnp.float32), narrow)
        assert image.dtype == log_slope.dtype == jnp.float32
        np.testing.assert_allclose(image, function(x, spline)[0], rtol=1e-3, atol=1e-3)
