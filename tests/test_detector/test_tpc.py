"""The time-projection chamber: recombination, moments of the charge, gradients."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConfigError
from diffhep.detector.tpc import TimeProjectionChamber, recombination

pytestmark = pytest.mark.fast

EDGES_mm = np.linspace(-30.0, 30.0, 31)
TIMES_us = np.linspace(200.0, 300.0, 51)
POSITION_mm = np.array([[1.0, -2.0, 400.0], [3.0, 4.0, 401.0]])
ENERGY_MeV = jnp.array([1.0, 0.5])
LOSS_MeV_cm = jnp.array([2.1, 10.0])


@pytest.mark.parametrize(
    ("law", "expected"), [("birks", [0.6979, 0.4718]), ("box", [0.7050, 0.4537])]
)
def test_recombination(law, expected):
    """A track of least ionisation and a proton's end in 0.5 kV/cm, by hand."""
    found = recombination(LOSS_MeV_cm, 0.5, law=law)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-4)


@jax.jit
@jax.value_and_grad
def moments(given):
    """Mean square of the distance from the middle of the pads, and of the time."""
    chamber, position = given
    charge = chamber.drifted(position, ENERGY_MeV, LOSS_MeV_cm)
    x = 0.5 * (EDGES_mm[1:] + EDGES_mm[:-1])
    return jnp.sum(charge * x[:, None, None] ** 2) + jnp.sum(charge[..., 10:] * 3.0)


def chamber(**changes):
    return TimeProjectionChamber(EDGES_mm, EDGES_mm, TIMES_us, **changes)


def test_charge_and_its_spread():
    """All of the charge arrives, after its drift, with the width of diffusion."""
    of = chamber(diffusion_across_mm2_us=0.02, diffusion_along_mm2_us=0.05)
    charge = np.asarray(of.drifted(jnp.asarray(POSITION_mm[:1]), ENERGY_MeV[:1], LOSS_MeV_cm[:1]))
    electrons = 1e6 / 23.6 * float(recombination(LOSS_MeV_cm, 0.5)[0]) * np.exp(-250.0 / 3000.0)
    np.testing.assert_allclose(charge.sum(), electrons, rtol=1e-8)
    for axis, edges, centre, width in (
        (0, EDGES_mm, 1.0, np.sqrt(2 * 0.02 * 250.0)),
        (1, EDGES_mm, -2.0, np.sqrt(2 * 0.02 * 250.0)),
        (2, TIMES_us, 250.0, np.sqrt(2 * 0.05 * 250.0) / 1.6),
    ):
        at = 0.5 * (edges[1:] + edges[:-1])
        share = charge.sum(axis=tuple({0, 1, 2} - {axis})) / charge.sum()
        mean = share @ at
        # A cell adds the variance of a uniform distribution (Sheppard's correction).
        cell = (edges[1] - edges[0]) ** 2 / 12.0
        np.testing.assert_allclose(mean, centre, atol=1e-4)
        np.testing.assert_allclose(share @ (at - mean) ** 2 - cell, width**2, rtol=1e-3)


def test_gradient():
    """By field, velocity, lifetime, diffusion and the segments' positions."""
    given = chamber(), jnp.asarray(POSITION_mm)
    _, gradient = moments(given)
    for pick in (
        lambda g: g[0].field_kV_cm,
        lambda g: g[0].velocity_mm_us,
        lambda g: g[0].lifetime_us,
        lambda g: g[0].diffusion_across_mm2_us,
        lambda g: g[1],
    ):
        value = pick(given)
        step = 1e-5 * jnp.where(value == 0.0, 1.0, value)
        ends = [float(moments(eqx.tree_at(pick, given, value + s * step))[0]) for s in (1, -1)]
        exact = float(jnp.sum(pick(gradient) * step))
        np.testing.assert_allclose(0.5 * (ends[0] - ends[1]), exact, rtol=1e-5)


def test_a_reading_scatters_about_the_mean(key):
    of = chamber()
    given = jnp.asarray(POSITION_mm), ENERGY_MeV, LOSS_MeV_cm
    mean = np.asarray(of.drifted(*given))
    pull = (np.asarray(of.read(*given, key=key)) - mean) / np.sqrt(mean + 300.0**2)
    assert abs(pull.std() - 1.0) < 4.5 / np.sqrt(2.0 * pull.size)


def test_bad_input(without_shape_checks):
    with pytest.raises(ConfigError, match="`lifetime_us` must be positive"):
        chamber(lifetime_us=0.0)
    with pytest.raises(ConfigError, match="`x_edges_mm` must ascend"):
        TimeProjectionChamber(EDGES_mm[::-1], EDGES_mm, TIMES_us)
    with pytest.raises(ConfigError, match=r'`law` must be "birks" or "box"'):
        recombination(LOSS_MeV_cm, 0.5, law="jaffe")
