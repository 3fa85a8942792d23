"""Muon tomography: widths of angles, lines and their errors, radiation lengths, gradients."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConfigError, ShapeError
from diffhep.detector.muon_tomography import (
    Muons,
    Panels,
    Voxels,
    draw_muons,
    fit_lines,
    nearest_points,
    scatter,
    tomography,
)
from diffhep.detector.scattering import highland_angle

pytestmark = pytest.mark.fast

N = 2000
SIZE_mm = 100.0
X0_mm = 17.57
"""Of iron."""

VOXELS = Voxels(jnp.full((5, 4, 3), 1e6).at[1:4, 1:3, 1].set(X0_mm), SIZE_mm)


def panels(heights, span=2000.0):
    z = jnp.asarray(heights)
    n = z.shape[0]
    centre = jnp.stack([jnp.full(n, 250.0), jnp.full(n, 200.0), z], axis=1)
    return Panels(centre, jnp.full((n, 2), span), jnp.full(n, 0.1), jnp.full(n, 0.9))


ABOVE, BELOW = panels([700.0, 600.0, 500.0]), panels([-200.0, -300.0, -400.0])


def drawn(key):
    return draw_muons(N, low_mm=(0.0, 0.0), high_mm=(500.0, 400.0), z_mm=900.0, key=key)


@jax.jit
def through(key):
    """One layer of iron, steps of a tenth of it, vertical muons."""
    plate = Voxels(jnp.full((1, 1, 1), X0_mm), SIZE_mm)
    half = jnp.full((N, 2), 0.5 * SIZE_mm)
    muons = Muons(half, jnp.zeros((N, 2)), jnp.full(N, 200.0), jnp.full(N, 5.0))
    first, second, third = jax.random.split(key, 3)
    after = scatter(muons, plate, steps=1, key=first)
    lines = [
        fit_lines(ABOVE, muons, softness=0.0, key=second)[0],
        fit_lines(BELOW, after, softness=0.0, key=third)[0],
    ]
    return after, lines, nearest_points(*lines)


def test_angles_and_displacements(key):
    """Width of the slope by Highland, and the displacement's correlation with it, sqrt(3)/2."""
    after, lines, scatters = through(key)
    theta = float(highland_angle(5.0, 5.0 / np.hypot(5.0, 0.10566), SIZE_mm / X0_mm))
    slope, away = np.asarray(after.slope), np.asarray(after.xy_mm) - 0.5 * SIZE_mm
    n = slope.size
    assert abs(slope.std() / theta - 1.0) < 4.5 / np.sqrt(2 * n)
    assert abs(away.std() / (theta * SIZE_mm / np.sqrt(3.0)) - 1.0) < 4.5 / np.sqrt(2 * n)
    # Down the box a positive slope leads to smaller x.
    correlation = np.corrcoef(-slope.ravel(), away.ravel())[0, 1]
    assert abs(correlation - np.sqrt(0.75)) < 4.5 * 0.25 / np.sqrt(n)
    # Lines know their errors.
    for line, true in zip(lines, (0.0 * slope, slope), strict=True):
        width = jnp.sqrt(line.covariance[..., 1, 1])
        pull = (np.asarray(line.slope) - true) / np.asarray(width)
        assert abs(pull.std() - 1.0) < 4.5 / np.sqrt(2 * n)
    # The mean point is in the middle of the plate: where a step's angle acts on average.
    good = np.asarray(scatters.point_error_mm[:, 2]) < 30.0
    height = np.asarray(scatters.point_mm[:, 2])[good]
    assert abs(np.median(height) - 50.0) < 4.5 * 1.3 * height.std() / np.sqrt(good.sum())
    found = np.asarray(scatters.angle2 - scatters.noise2)
    assert abs(found.mean() - 2.0 * theta**2) < 4.5 * found.std() / np.sqrt(N)


def test_width_does_not_depend_on_steps(key):
    """One radiation length in ten steps: Highland's logarithm belongs to all of it."""
    plate = Voxels(jnp.full((1, 1, 1), SIZE_mm), SIZE_mm)
    half = jnp.full((N, 2), 0.5 * SIZE_mm)
    muons = Muons(half, jnp.zeros((N, 2)), jnp.full(N, SIZE_mm), jnp.full(N, 3.0))
    slope = np.asarray(jax.jit(partial(scatter, steps=10))(muons, plate, key=key).slope)
    # By hand, for 3 GeV; ten steps on their own have 9 % less.
    assert abs(slope.std() / 4.5364e-3 - 1.0) < 4.5 / np.sqrt(2 * slope.size)


@jax.jit
@jax.value_and_grad
def figure(given, softness, key):
    """Mean logarithm of the radiation lengths in the iron."""
    above, below = given
    muons, keys = drawn(key), jax.random.split(key)
    found, _ = tomography(above, below, VOXELS, muons, softness=softness, key=keys[0])
    return jnp.mean(jnp.log(found.x0_mm[1:4, 1:3, 1]))


@jax.jit
def estimate(softness, key):
    found, _ = tomography(ABOVE, BELOW, VOXELS, drawn(key), softness=softness, key=key)
    return found


@pytest.mark.slow
def test_gradient_by_panels(key):
    """Positions, spans, resolutions and efficiencies, with the same muons and errors."""
    given = ABOVE, BELOW
    _, gradient = figure(given, 0.2, key)
    rng = np.random.default_rng(4)
    for index, size in enumerate((1.0, 5.0, 1e-3, 1e-2)):
        direction = [jax.tree.map(jnp.zeros_like, side) for side in given]
        for side in (0, 1):
            change = jnp.asarray(size * rng.normal(size=direction[side][index].shape))
            name = Panels._fields[index]
            direction[side] = direction[side]._replace(**{name: change})
        step = 1e-4
        low, high = (
            jax.tree.map(lambda x, d, s=s: x + s * d, given, tuple(direction))
            for s in (-step, step)
        )
        ends = [float(figure(moved, 0.2, key)[0]) for moved in (high, low)]
        numeric = (ends[0] - ends[1]) / (2.0 * step)
        parts = jax.tree.map(jnp.vdot, gradient, tuple(direction))
        exact = float(sum(jax.tree.leaves(parts)))
        assert abs(numeric - exact) < 1e-5 * abs(exact) + 1e-9, Panels._fields[index]


def test_iron_is_seen(key):
    """The iron stands out of the air, with soft panels and with their hard twins."""
    for softness in (0.1, 0.0):
        found = estimate(softness, key)
        iron = np.asarray(found.x0_mm[1:4, 1:3, 1])
        assert np.isfinite(np.asarray(found.x0_mm)).all()
        assert np.median(iron) < 40.0
        assert np.median(np.asarray(found.x0_mm[0])) > 3.0 * np.median(iron)


def test_bad_input(key, without_shape_checks):
    with pytest.raises(ConfigError, match="`size_mm` must be positive"):
        Voxels(jnp.ones((1, 1, 1)), 0.0)
    with pytest.raises(ConfigError, match="`x0_mm` must be positive, but it is -5"):
        Voxels(jnp.full((1, 1, 1), -5.0), 1.0)
    with pytest.raises(ConfigError, match="`momentum_GeV` must be positive"):
        draw_muons(2, low_mm=(0, 0), high_mm=(1, 1), z_mm=1.0, momentum_GeV=-5.0, key=key)
    with pytest.raises(ShapeError, match="`panels` must be at least 2"):
        fit_lines(panels([1.0]), None, key=key)
