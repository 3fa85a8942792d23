"""The gradient flow against fixed steps, its symmetries, and the scales read off it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConfigError, ConvergenceError, DataError
from diffhep.core.rng import key_for
from diffhep_lattice.actions import WilsonAction
from diffhep_lattice.gradient_flow import (
    flow_action,
    gradient_flow,
    runge_kutta_step,
    scale_t0,
    scale_w0,
)
from diffhep_lattice.groups import SUN, U1

pytestmark = pytest.mark.fast

TIMES = np.array([0.05, 0.2])


def rough_field(key, n=3, shape=(2, 4, 4)):
    return SUN(n).haar((len(shape), *shape), key=key)


def energy(U):
    """The plaquette energy density up to its constant, a smooth function of the field."""
    return flow_action(U)(U) / U[0, 0, 0].size


@pytest.fixture(scope="module")
def fixed_steps():
    """An independent integration: many fixed steps, extrapolated in their size."""
    U = rough_field(jax.random.key(3))
    action = flow_action(U)

    @jax.jit
    def run(step, n):
        return jax.lax.fori_loop(0, n, lambda _, V: runge_kutta_step(V, step, action)[0], U)

    found = []
    for time in TIMES:
        coarse, fine = (energy(run(time / n, n)) for n in (400, 800))
        found.append(fine + (fine - coarse) / 7)
    return U, np.array(found)


def test_flow_meets_fixed_steps(fixed_steps):
    U, expected = fixed_steps
    found = gradient_flow(U, TIMES, observe={"E": energy}, tolerance=1e-10)
    assert np.max(np.abs(TIMES**2 * (found.observed["E"] - expected))) < 1e-8


def test_error_falls_with_the_tolerance(fixed_steps):
    U, expected = fixed_steps
    errors = []
    for tolerance in (1e-4, 1e-7):
        found = gradient_flow(U, TIMES, observe={"E": energy}, tolerance=tolerance)
        errors.append(np.max(np.abs(found.observed["E"] - expected)))
    # Steps shrink as tolerance^(1/3), errors with their cube.
    assert errors[1] < 1e-2 * errors[0]


def test_euler_limit_is_the_gradient(key):
    """For a short time the field moves along minus the force, by finite differences."""
    U = rough_field(key)
    action, step = flow_action(U), 1e-5

    @jax.jit
    def change(U):
        moved = runge_kutta_step(U, step, action)[0]
        return SUN(3).algebra_projection(SUN(3).multiply(moved, SUN(3).inverse(U)))

    np.testing.assert_allclose(change(U) / step, -action.force(U), atol=2e-3)


def test_action_falls_and_links_stay_unitary(key):
    U = rough_field(key)
    found = gradient_flow(U, np.linspace(0.05, 0.5, 6), observe={"E": energy})
    assert np.all(np.diff(found.observed["E"]) < 0)
    np.testing.assert_allclose(SUN(3).project(found.U), found.U, atol=1e-12)
    assert np.all(np.diff(found.n_steps) > 0)


def test_flow_of_angles(key):
    """Two-dimensional U(1): the action falls, and small fields obey the heat equation."""
    small = 1e-4 * U1().haar((2, 8, 8), key=key)
    found = gradient_flow(small, [0.3], tolerance=1e-12)
    modes = np.fft.fft2(np.asarray(small))
    k = 2 * np.pi * np.fft.fftfreq(8)
    # The transverse part decays with the lattice momentum squared; the longitudinal one stays.
    hat = np.stack(np.meshgrid(np.exp(1j * k) - 1, np.exp(1j * k) - 1, indexing="ij"))
    square = np.sum(np.abs(hat) ** 2, axis=0)
    safe = np.where(square > 0, square, 1.0)
    along = hat * np.sum(np.conj(hat) * modes, axis=0) / safe
    expected = np.fft.ifft2(along + (modes - along) * np.exp(-0.3 * square)).real
    np.testing.assert_allclose(found.U, expected, atol=1e-11)


def test_measurements_do_not_depend_on_each_other(key):
    """A finer grid of flow times changes the steps, not the field."""
    U = rough_field(key)
    coarse = gradient_flow(U, [0.3], tolerance=1e-9)
    fine = gradient_flow(U, [0.1, 0.13, 0.3], tolerance=1e-9)
    np.testing.assert_allclose(fine.U, coarse.U, atol=1e-7)


def test_scales_of_a_known_curve(key):
    """E(t) = a/t + noise: t0 = 0.3/a, and t d(t^2 E)/dt = a t gives the same."""
    time = np.linspace(0.5, 6.0, 40)
    noise = 1e-2 * np.asarray(jax.random.normal(key_for(key, "noise"), (200, 1)))
    curves = (0.1 + noise) / time
    t0, w0 = scale_t0(time, curves), scale_w0(time, curves)
    slope = float(np.mean(0.1 + noise))
    assert t0.value == pytest.approx(0.3 / slope, rel=1e-9)
    assert w0.value == pytest.approx(np.sqrt(0.3 / slope), rel=1e-6)
    assert t0.error == pytest.approx(
        0.3 / slope**2 * np.std(noise, ddof=1) / np.sqrt(200), rel=0.02
    )


def test_bad_input(key):
    U = rough_field(key)
    with pytest.raises(ConfigError, match=r"times.*rise"):
        gradient_flow(U, [0.2, 0.1])
    with pytest.raises(ConfigError, match="tolerance"):
        gradient_flow(U, [0.2], tolerance=0.0)
    with pytest.raises(ConvergenceError, match="did not reach"):
        gradient_flow(U, [0.2], action=WilsonAction(1e300, SUN(3)))
    with pytest.raises(DataError, match="deviates by nan"):
        gradient_flow(U.at[0, 0, 0, 0].set(jnp.nan), [0.2])
    with pytest.raises(ConvergenceError, match="t0 is not within"):
        scale_t0(np.linspace(1, 2, 5), np.full((3, 5), 1e-3))
