"""Operators against closed forms, quoted values and each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.interpolate import CubicSpline
from scipy.optimize import brentq

from diffhep.magnet.operators import (
    BoucWen,
    Calibration,
    EddyCascade,
    JilesAtherton,
    Play,
    PrandtlIshlinskii,
    Preisach,
    RelayPreisach,
    UniformEverett,
    cell_everett,
    lamination,
    relay_mesh,
)
from diffhep.magnet.operators.jiles_atherton import MU_0

pytestmark = pytest.mark.fast


def cycle(amplitude, n, n_cycles=1):
    """From 0 to the amplitude, then whole cycles from there."""
    start = np.linspace(0.0, amplitude, n // 4 + 1)
    turn = np.concatenate(
        [
            np.linspace(amplitude, -amplitude, n // 2 + 1)[1:],
            np.linspace(-amplitude, amplitude, n // 2 + 1)[1:],
        ]
    )
    return jnp.asarray(np.concatenate([start, *[turn] * n_cycles])), n // 4


def test_loss_of_a_play():
    u, start = cycle(2.0, 400)
    y = Play(0.5)(u)[0][start:]
    np.testing.assert_allclose(-np.trapezoid(y, u[start:]), 4 * 0.5 * (2.0 - 0.5), rtol=1e-13)


def test_prandtl_ishlinskii_is_undone_by_its_inverse(key):
    operator = PrandtlIshlinskii([0.0, 0.3, 0.7, 1.1], [1.0, 0.5, 0.4, -0.2])
    u = jax.random.uniform(key, (200,), minval=-2.0, maxval=2.0)
    y, state = operator(u)
    back, inverse_state = operator.inverse()(y)
    np.testing.assert_allclose(back, u, atol=1e-12)
    np.testing.assert_allclose(operator.inverse_state(state), inverse_state, atol=1e-12)


def test_rayleigh_law():
    """A uniform density: 2 mu H^2, then a remanence of 0.64 and a loss of 1.365333."""
    operator = Preisach(UniformEverett(1.0))
    u, start = cycle(0.8, 6400)
    y, _ = operator(u)
    np.testing.assert_allclose(y[: start + 1], 2.0 * u[: start + 1] ** 2, rtol=1e-14)
    np.testing.assert_allclose(y[start + 1600], 0.64, rtol=1e-12)
    area = -np.trapezoid(y[start:], u[start:])
    np.testing.assert_allclose(area, 4.0 / 3.0 * 2.0 * 0.8**3, rtol=1e-6)


@pytest.fixture(scope="module")
def grid():
    """A symmetric density in cells, exactly, and the relays that stand for it at the edges."""
    n = 12
    edges = np.linspace(-1.0, 1.0, n + 1)
    mass = np.random.default_rng(5).uniform(0.5, 1.5, (n, n))
    mass = mass + mass[::-1, ::-1].T
    up, down = relay_mesh(-1.0, 1.0, n)
    return (
        edges,
        Preisach(cell_everett(edges, mass)),
        RelayPreisach(up, down, mass[np.tril_indices(n)]),
    )


def test_stack_is_the_sum_of_relays(grid):
    """At the edges of cells no relay is half switched; saturation wipes out how it began."""
    edges, stack, relays = grid
    chosen = np.random.default_rng(6).integers(0, len(edges), 200)
    u = jnp.asarray(np.concatenate([[1.0, -1.0], edges[chosen]]))
    np.testing.assert_allclose(stack(u)[0], relays(u)[0], rtol=1e-12, atol=1e-11)


def test_wiping_out_is_bitwise(grid):
    _, operator, _ = grid
    plain = jnp.array([0.0, 0.9, -0.7, 0.6])
    excursion = jnp.array([0.0, 0.9, -0.7, 0.3, -0.2, 0.1, 0.05, 0.07, -0.1, 0.35, 0.6])
    for a, b in zip(
        jax.tree.leaves(operator(plain)[1]), jax.tree.leaves(operator(excursion)[1]), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_minor_loops_close_and_are_congruent(grid):
    """The same inputs give the same rises on other backgrounds; a loop returns to its point."""
    _, operator, _ = grid
    loop = [0.1, 0.5, 0.1, 0.5]
    low, _ = operator(jnp.array([-1.0, *loop]))
    high, _ = operator(jnp.array([1.0, -0.2, 0.8, *loop]))
    np.testing.assert_allclose(low[2] - low[3], high[4] - high[5], rtol=1e-12)
    np.testing.assert_array_equal(low[2], low[4])
    np.testing.assert_array_equal(high[4], high[6])
    assert abs(float(low[2] - high[4])) > 1e-3


def test_too_many_reversals_are_not_silent():
    operator = Preisach(UniformEverett(1.0), capacity=3)
    u = jnp.array([1.0, -0.9, 0.8, -0.7, 0.6, -0.5])
    y, state = operator(u)
    assert bool(state.overflowed)
    np.testing.assert_array_equal(jnp.isnan(y), np.arange(6) >= 4)


@pytest.mark.parametrize(("exponent", "value"), [(1.0, 0.950212931632), (2.0, 0.995054753687)])
def test_bouc_wen_in_closed_form(exponent, value):
    y, _ = BoucWen(1.0, 0.3, 0.7, exponent)(jnp.linspace(0.0, 3.0, 31))
    np.testing.assert_allclose(y[-1], value, atol=1e-11)


def test_bouc_wen_cuts_a_step_where_its_variable_vanishes():
    operator = BoucWen(1.0, 0.6, 0.3, 2.0, n_substeps=16)
    coarse = jnp.array([0.0, 1.0, 1.5, 0.9, 0.3, -0.3, -0.9])
    fine = jnp.interp(jnp.linspace(0, 6, 601), jnp.arange(7.0), coarse)
    np.testing.assert_allclose(operator(coarse)[0], operator(fine)[0][::100], atol=1e-9)


def test_jiles_atherton_values():
    """Of the second cycle to 5 kA/m, as integrated independently to convergence."""
    H, start = cycle(5000.0, 4000, 2)
    B, _ = JilesAtherton(1.6e6, 1100.0, 1.6e-3, 400.0, 0.2)(H)
    M = np.asarray(B) / MU_0 - np.asarray(H)
    falling = slice(start + 4000, start + 6001)
    magnetisation = CubicSpline(-H[falling], M[falling])
    flux = CubicSpline(-H[falling], B[falling])
    second = slice(start + 4000, start + 8001)
    found = [
        M[start],
        brentq(magnetisation, 0.0, 1000.0),
        magnetisation(0.0),
        flux(0.0),
        np.trapezoid(H[second], B[second]),
    ]
    quoted = [1341189.04, 314.1898, 496469.81, 0.6238824, 2145.3989]
    np.testing.assert_allclose(found, quoted, rtol=2e-7)


def test_lamination():
    """The slowest time constant, the lag behind a ramp and the response after that time."""
    mu = 3000 * 4e-7 * np.pi
    operator = lamination(1.5e-3, mu, 7e6, n_modes=400)
    np.testing.assert_allclose(operator.tau_s[0], 6.016e-3, rtol=1e-4)
    lag = float(operator.amplitude @ operator.tau_s)
    np.testing.assert_allclose(lag, mu * 7e6 * 1.5e-3**2 / 12, rtol=1e-8)
    held = EddyCascade(operator.amplitude, operator.tau_s, "constant")
    zero, one = jnp.zeros(()), jnp.ones(())
    _, y = held.step(held.rest(zero), one, operator.tau_s[0])
    np.testing.assert_allclose(1.0 - y, 0.2982, atol=5e-5)


@pytest.mark.parametrize("hold", ["linear", "constant"])
def test_cascade_is_exact_at_any_step(hold):
    """One long step is many short ones of an input that goes as the hold says."""
    operator = EddyCascade([0.6, 0.3], [0.05, 2.0], hold)
    ends, n = jnp.array([0.0, 1.0, -0.5]), 40
    coarse, _ = operator(ends, 0.4)
    if hold == "constant":
        fine = jnp.concatenate([ends[:1], jnp.repeat(ends[1:], n)])
    else:
        fine = jnp.interp(jnp.arange(2 * n + 1) / n, jnp.arange(3.0), ends)
    y, _ = operator(fine, 0.4 / n)
    np.testing.assert_allclose(y[n::n], coarse[1:], atol=1e-13)


def test_calibration_is_monotone_and_inverted(key):
    curve = Calibration([0.0, 1.0, 2.0, 4.0], [0.0, 2.0, 2.1, 7.0])
    y = jnp.linspace(-1.0, 9.0, 101)
    u = jax.vmap(curve.inverse)(y)
    np.testing.assert_allclose(jax.vmap(curve.curve)(u), y, atol=1e-12)
    assert bool((jnp.diff(jax.vmap(curve.curve)(jnp.linspace(-1.0, 5.0, 401))) > 0).all())
    at = jnp.asarray(2.05)
    slope = jax.grad(curve.inverse)(at)
    np.testing.assert_allclose(slope, 1.0 / jax.grad(curve.curve)(curve.inverse(at)), rtol=1e-9)
