"""The flow over Wilson loops: its loops, its symmetries and its density.

The laws that every flow obeys are in tests/contracts.
"""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import kstest, norm

from diffhep.core.errors import ConfigError
from diffhep_lattice.flows.multiscale import (
    LoopSplit,
    links_from_plaquettes,
    multiscale_flow,
    split_axes,
)
from diffhep_lattice.geometry import Lattice
from diffhep_lattice.observables import plaquette_angles, topological_charge
from tests.systems.perturbed import perturb

pytestmark = pytest.mark.fast

_SHAPE = (4, 8)
_P_LEAST = 1e-6
"""Smallest p-value that passes: the false-alarm rate of each comparison of distributions."""


@functools.cache
def build(shape=_SHAPE, scale=0.2):
    key = jax.random.key(3)
    return perturb(multiscale_flow(Lattice(shape), key=key, n_bins=2, width=2), scale, key=key)


@eqx.filter_jit
def draw(flow, key, n):
    """Fields, batch axis first, and densities."""
    return flow.sample_and_log_prob(key, n)


@eqx.filter_jit
def pull_back(flow, U):
    return flow.pull_back(U)


@jax.jit
def plaquettes_and_charge(U):
    return plaquette_angles(U), topological_charge(U)


def uniform_p_value(angles):
    return kstest(np.remainder(angles, 2 * np.pi) / (2 * np.pi), "uniform").pvalue


def turn(angle):
    """The representative nearest to zero."""
    return np.remainder(np.asarray(angle) + np.pi, 2 * np.pi) - np.pi


@pytest.mark.parametrize("shape", [(4, 8), (2, 2), (3, 5)])
@pytest.mark.parametrize("charge", [0, 2])
def test_links_have_the_given_plaquettes_and_holonomies(shape, charge, key):
    """The last plaquette as well, which their sum fixes."""
    angles = np.asarray(jax.random.uniform(key, shape, minval=-np.pi, maxval=np.pi))
    angles = angles + (2 * np.pi * charge - angles.sum()) / angles.size
    holonomy = np.array([0.7, -2.9])
    U = jax.jit(links_from_plaquettes)(jnp.asarray(angles), jnp.asarray(holonomy))
    np.testing.assert_allclose(turn(plaquettes_and_charge(U)[0] - angles), 0.0, atol=1e-12)
    np.testing.assert_allclose(np.sum(U[0, :, 0]), holonomy[0], atol=1e-13)
    np.testing.assert_allclose(np.sum(U[1, 0, :]), holonomy[1], atol=1e-13)
    # One link less than a tree has sites: what else is zero was fixed by the gauge.
    assert np.count_nonzero(U) <= U.size - (angles.size - 1)


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((2, 2), [0, 1]),
        ((4, 4), [0, 1, 0, 1]),
        ((4, 8), [1, 0, 1, 0, 1]),
        ((8, 2), [0, 0, 0, 1]),
    ],
)
def test_longest_axis_is_bisected_first(shape, axes):
    assert split_axes(Lattice(shape)) == axes


def test_loops_of_all_levels_come_from_the_latent_variables(key):
    """Recomputed from the plaquettes: each split's variable is the quantile of its child loop."""
    flow = build(scale=0.0)
    # At zero noise the first densities are close to uniform but known only through the flow itself:
    # flat parameters make them exactly uniform.
    flow = jax.tree.map(lambda a: 0.0 * a if eqx.is_inexact_array(a) else a, flow)
    z = eqx.filter_jit(lambda flow: flow.sample_latent(key))(flow)
    U, log_det = eqx.filter_jit(lambda flow, z: flow.forward_and_log_det(z))(flow, z)
    loops = np.asarray(plaquettes_and_charge(U)[0])
    y = 2 * np.pi * (0.5 + 0.5 * np.vectorize(_erf)(np.asarray(z.loops) / np.sqrt(2))) - np.pi
    n = y.size
    for axis in reversed(split_axes(flow.lattice)):
        length = loops.shape[axis]
        first = np.take(loops, np.arange(0, length, 2), axis)
        parent = turn(first + np.take(loops, np.arange(1, length, 2), axis))
        expected = y[n - parent.size : n].reshape(parent.shape)
        n -= parent.size
        np.testing.assert_allclose(turn(first - 0.5 * parent - expected), 0.0, atol=1e-11)
        loops = parent
    assert n == 0
    np.testing.assert_allclose(loops, 0.0, atol=1e-12)
    density = float(flow.log_prob_latent(z) - log_det)
    assert density == pytest.approx(0.0, abs=1e-11)


def _erf(x):
    return float(jax.scipy.special.erf(x))


def test_samples_have_every_charge_uniform_holonomies_and_a_normalised_density(key):
    flow = build()
    U, log_q = (np.asarray(x) for x in draw(flow, key, 4000))
    charges = np.asarray(jax.jit(jax.vmap(topological_charge))(U))
    total = np.asarray(jax.jit(jax.vmap(plaquette_angles))(U)).sum((1, 2)) / (2 * np.pi)
    np.testing.assert_allclose(total, charges, atol=1e-10)
    assert {-1.0, 0.0, 1.0} <= set(charges)
    holonomies = U[:, 0, :, 3].sum(1), U[:, 1, 2, :].sum(1)
    for angles in (*holonomies, holonomies[0] + holonomies[1], U[:, 0, 1, 1], U[:, 1, 3, 0]):
        assert uniform_p_value(angles) > _P_LEAST
    # Plaquettes are not uniform: the density is not Haar's.
    assert uniform_p_value(total + np.asarray(turn(U[:, 0, 0, 0]))) > _P_LEAST
    assert np.std(log_q) > 0.05
    ratio = np.exp(-log_q)
    error = ratio.std() / np.sqrt(ratio.size)
    assert error < 0.1
    assert abs(ratio.mean() - 1.0) < 5 * error


def test_density_of_a_split_integrates_to_its_quantiles(key):
    """Over the child, for several parents, up to 0.9 pi; the ends have integrable singularities."""
    split = perturb(LoopSplit(3, 4, key=key), 0.5, key=key)
    n, end = 20_000, 0.9 * np.pi
    y = np.linspace(-end, end, n + 1)[:, None]
    parents = np.broadcast_to([-np.pi, -1.0, 0.0, 2.5], (n + 1, 4))
    z, log_slope = eqx.filter_jit(lambda *args: LoopSplit.inverse_and_log_slope(*args))(
        split, jnp.asarray(np.broadcast_to(y, parents.shape)), jnp.asarray(parents)
    )
    density = np.exp(log_slope) * norm.pdf(z)
    integral = np.trapezoid(density, y, axis=0)
    np.testing.assert_allclose(integral, norm.cdf(z[-1]) - norm.cdf(z[0]), atol=1e-6)
    np.testing.assert_allclose(density, density[::-1], rtol=1e-9)
    assert np.ptp(density) > 0.01


def test_density_has_the_symmetries_of_the_bisections(key):
    """Charge conjugation, reflections, and translations by half the lattice along each axis."""
    flow = build()
    U, log_q = draw(flow, key, 3)
    U = np.moveaxis(np.asarray(U), 0, -1)
    reflected_0 = np.stack([-U[0, ::-1], np.roll(U[1, ::-1], 1, 0)])
    reflected_1 = np.stack([np.roll(U[0, :, ::-1], 1, 1), -U[1, :, ::-1]])
    for V in (
        -U,
        reflected_0,
        reflected_1,
        np.roll(U, 2, 1),
        np.roll(U, 4, 2),
    ):
        np.testing.assert_allclose(pull_back(flow, V), log_q, atol=1e-10)
    # By less than half is no symmetry: siblings would part.
    assert np.min(np.abs(pull_back(flow, np.roll(U, 1, 1)) - log_q)) > 1e-6


def test_singular_fields_have_finite_densities_and_gradients():
    """A cold field, where every y is 0, and one where a child lies at exactly half a turn."""
    flow = build((2, 2))
    half = np.array([[np.pi, 0.0], [-np.pi, 0.0]])
    fields = [np.zeros((2, 2, 2)), links_from_plaquettes(jnp.asarray(half), jnp.zeros(2))]
    U = jnp.asarray(np.stack(fields, axis=-1))
    log_q, gradient = eqx.filter_jit(
        lambda flow, U: (flow.pull_back(U), jax.grad(lambda U: jnp.sum(flow.pull_back(U)))(U))
    )(flow, U)
    assert bool(jnp.all(jnp.isfinite(log_q)))
    assert bool(jnp.all(jnp.isfinite(gradient)))
    # At the end of the circle the latent variable is as large as the precision allows.
    np.testing.assert_allclose(log_q[0], pull_back(flow, U)[0], atol=1e-12)


def test_new_flow_is_nearly_the_haar_measure(key):
    _, log_q = draw(build(scale=0.0), key, 4000)
    assert np.max(np.abs(log_q)) < 0.5


@pytest.mark.parametrize("shape", [(6, 6), (4, 6), (5, 4), (4, 4, 4), (8,)])
def test_lattices_that_cannot_be_bisected_are_refused(shape, key):
    with pytest.raises(ConfigError, match="Argument `shape` must hold two powers of 2") as caught:
        multiscale_flow(Lattice(shape), key=key)
    assert "\n" not in str(caught.value)


def test_bad_settings_are_refused(key):
    with pytest.raises(ConfigError, match="Argument `n_bins` must be an integer of at least 1"):
        multiscale_flow(Lattice((4, 4)), key=key, n_bins=0)
