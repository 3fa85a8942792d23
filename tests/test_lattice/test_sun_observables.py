"""Observables of SU(N): known fields, gauge invariance, symmetries, and bad input."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConfigError, ShapeError
from diffhep_lattice.groups import SU2, SU3
from diffhep_lattice.observables import (
    charge_density,
    energy_density,
    field_strength,
    gauge_transform,
    plane_plaquettes,
    planes,
    plaquette,
    polyakov_lines,
    polyakov_loop,
    spatial_plaquette,
    temporal_plaquette,
    topological_charge,
    wilson_loop,
)
from diffhep_lattice.observables.topology import _IMPROVED_CLOVER

pytestmark = pytest.mark.fast

_SITE = (2, 4, 3, 4)


@functools.partial(jax.jit, static_argnums=(0, 1))
def draw(group, site, key):
    return group.haar((len(site), *site), key=key, dtype=jnp.float64)


@eqx.filter_jit
def measure(U):
    return {
        "planes": plane_plaquettes(U),
        "spatial": spatial_plaquette(U),
        "temporal": temporal_plaquette(U),
        "loop": wilson_loop(U, 2, 3, plane=(0, 1)),
        "loop_24": wilson_loop(U, 1, 4, plane=(2, 1)),
        "lines": polyakov_lines(U),
        "polyakov": polyakov_loop(U, 0),
        "strength_squared": jnp.sum(field_strength(U, improved=True) ** 2, axis=1),
        "clover": energy_density(U),
        "energy": energy_density(U, kind="plaquette"),
        "density": charge_density(U),
        "improved": charge_density(U, improved=True),
    }


@pytest.fixture(scope="module")
def rough():
    """A field without any order, and what is measured on it."""
    U = draw(SU3(), _SITE, jax.random.key(11))
    return U, measure(U) | {"strength": jax.jit(field_strength)(U)}


def test_observables_are_gauge_invariant(rough, key):
    U, values = rough
    g = draw(SU3(), _SITE, key)[0]
    for name, value in measure(gauge_transform(U, g)).items():
        np.testing.assert_allclose(value, values[name], atol=1e-12, err_msg=name)
    assert float(jnp.max(jnp.abs(values["density"]))) > 1e-3


def test_means_are_means_of_the_planes(rough):
    U, values = rough
    assert len(planes(4)) == 6
    assert float(plaquette(U)) == pytest.approx(float(jnp.mean(values["planes"])), abs=1e-15)
    temporal = [index for index, (_, nu) in enumerate(planes(4)) if nu == 3]
    expected = float(np.mean(np.asarray(values["planes"])[temporal]))
    assert float(values["temporal"]) == pytest.approx(expected, abs=1e-15)
    mean = 0.5 * (float(values["spatial"]) + float(values["temporal"]))
    assert mean == pytest.approx(float(plaquette(U)), abs=1e-15)
    loop = float(wilson_loop(U, 1, 1, plane=(0, 2)))
    assert loop == pytest.approx(float(values["planes"][1]), abs=1e-15)


def test_plaquette_and_clover_energies_are_those_of_their_loops(rough):
    U, values = rough
    n_planes, n = 6, 3
    expected = 2 * n * n_planes * (1 - float(plaquette(U)))
    assert float(jnp.mean(values["energy"])) == pytest.approx(expected, rel=1e-13)
    F = values["strength"]
    assert F.shape == (n_planes, 8, *_SITE)
    # A quarter of the sum over all pairs of directions, in which every plane occurs twice.
    np.testing.assert_allclose(values["clover"], 0.5 * jnp.sum(F**2, axis=(0, 1)), atol=1e-14)


def test_loop_is_the_product_of_its_links(rough):
    """All loops of the mean written out with NumPy, link by link."""
    U, values = rough
    field = np.moveaxis(np.asarray(U), (1, 2), (-2, -1))

    def link(mu, *steps):
        return np.roll(field[mu], [-step for step in steps], axis=range(4))

    forth = link(2, 0, 0, 0, 0)
    back = np.eye(3)
    for step in range(4):
        forth = forth @ link(1, 0, step, 1, 0)
        back = back @ link(1, 0, step, 0, 0)
    back = back @ link(2, 0, 4, 0, 0)
    traces = np.einsum("...ij,...ij->...", forth, back.conj()).real / 3
    assert float(values["loop_24"]) == pytest.approx(traces.mean(), abs=1e-15)


def flux_field(group, site, fluxes):
    """Constant Abelian flux along the last generator: 2 pi k / area of each of two planes.

    Axes 0 and 1 hold the first flux, 2 and 3 the second; a link carries the phase of an angle in
    units that are whole for both eigenvalues of the generator.
    """
    angles = np.zeros((4, *site))
    coordinates = np.indices(site)
    for (mu, nu), k in zip(((0, 1), (2, 3)), fluxes, strict=True):
        omega = 2 * np.pi * k / (site[mu] * site[nu])
        angles[nu] += omega * coordinates[mu]
        angles[mu] += np.where(
            coordinates[mu] == site[mu] - 1, -omega * site[mu] * coordinates[nu], 0.0
        )
    charges = np.array([1.0, 1.0, -2.0])[: group.n]
    charges[-1] = 1.0 - group.n
    phases = np.exp(1j * charges[:, None] * angles.reshape(4, 1, -1))
    links = phases[:, :, None] * np.eye(group.n)[None, :, :, None]
    return jnp.asarray(links.reshape(4, group.n, group.n, *site)), charges


def test_constant_flux_has_the_known_strength_and_charge():
    """All loops of a plane are equal: a clover sees sin(charge * flux) for every eigenvalue."""
    U, charges = flux_field(SU3(), _SITE, (1, 2))
    flux_01, flux_23 = 2 * np.pi / 8 * charges, 2 * np.pi * 2 / 12 * charges
    values = measure(U)
    np.testing.assert_allclose(values["planes"][0], np.mean(np.cos(flux_01)), atol=1e-14)
    np.testing.assert_allclose(values["planes"][5], np.mean(np.cos(flux_23)), atol=1e-14)
    np.testing.assert_allclose(values["planes"][1:5], 1.0, atol=1e-14)
    assert float(values["loop"]) == pytest.approx(np.mean(np.cos(6 * flux_01)), abs=1e-13)

    def strength(flux, weights):
        terms = [w * np.sin(m * m * flux) for m, w in enumerate(weights, start=1)]
        total = np.sum(terms, axis=0)
        return total - total.mean()

    for name, weights in (("density", (1.0,)), ("improved", _IMPROVED_CLOVER)):
        F_01, F_23 = strength(flux_01, weights), strength(flux_23, weights)
        # Eight of the terms of epsilon tr F F are alike.
        density = 8 * np.sum(F_01 * F_23) / (32 * np.pi**2)
        np.testing.assert_allclose(values[name], density, atol=1e-14)
    plain = strength(flux_01, (1.0,)), strength(flux_23, (1.0,))
    energy = sum(np.sum(F**2) for F in plain)
    np.testing.assert_allclose(values["clover"], energy, atol=1e-13)


def test_improved_weights_cancel_the_leading_errors():
    """An m x m loop sees m^2 F, m^4 a^2 and m^6 a^4 corrections."""
    m, weights = np.arange(1, 4), np.array(_IMPROVED_CLOVER)
    assert np.sum(weights * m**2) == pytest.approx(1.0, abs=1e-15)
    assert np.sum(weights * m**4) == pytest.approx(0.0, abs=1e-14)
    assert np.sum(weights * m**6) == pytest.approx(0.0, abs=1e-13)


def test_charge_is_odd_under_reflection(rough):
    """x_0 -> -x_0 turns its links around; the density moves with the sites."""
    U, values = rough
    reflected = jnp.flip(U, axis=3)
    backward = jnp.conj(jnp.swapaxes(jnp.roll(reflected[0], -1, axis=2), 0, 1))
    mirrored = measure(reflected.at[0].set(backward))
    for name in ("density", "improved"):
        np.testing.assert_allclose(mirrored[name], -jnp.flip(values[name], axis=0), atol=1e-13)
    np.testing.assert_allclose(mirrored["clover"], jnp.flip(values["clover"], axis=0), atol=1e-12)
    np.testing.assert_allclose(mirrored["planes"], values["planes"], atol=1e-13)


def test_polyakov_loop_sees_the_centre(rough):
    U, values = rough
    turn = np.exp(2j * np.pi / 3)
    turned = measure(U.at[3, ..., 1].multiply(turn))
    np.testing.assert_allclose(turned["lines"], turn * values["lines"], atol=1e-14)
    np.testing.assert_allclose(turned["planes"], values["planes"], atol=1e-14)
    assert values["lines"].shape == _SITE[:3]
    mean = complex(polyakov_loop(U))
    assert mean == pytest.approx(complex(jnp.mean(values["lines"])), abs=1e-15)
    assert values["polyakov"].dtype == jnp.complex128


def test_angles_and_matrices_have_the_same_polyakov_loop(key):
    angles = jax.random.normal(key, (2, 4, 6))
    expected = jnp.mean(jnp.exp(1j * jnp.sum(angles[1], axis=1)))
    assert complex(polyakov_loop(angles)) == pytest.approx(complex(expected), abs=1e-14)


def test_bad_arguments_are_refused(key):
    U = draw(SU2(), (3, 4), key)
    with pytest.raises(ShapeError, match="Argument `U` must have four directions"):
        topological_charge(U)
    with pytest.raises(ConfigError, match="Argument `U` must have at least three directions"):
        spatial_plaquette(U)
    with pytest.raises(ConfigError, match="Argument `plane` must be two directions below 2"):
        wilson_loop(U, 1, 1, plane=(1, 1))
    with pytest.raises(ConfigError, match="Argument `R` must be from 1 to 3"):
        wilson_loop(U, 4, 1)
    with pytest.raises(ConfigError, match="Argument `direction` must be a direction below 2"):
        polyakov_loop(U, 2)
    with pytest.raises(ConfigError, match="Argument `kind` must be"):
        energy_density(U, kind="wilson")
