"""Observables of SU(N): known fields, gauge invariance, symmetries, and bad input."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConfigError, ShapeError
from diffhep_lattice.groups import SU2, SU3
from diffhep_lattice.groups.matrices import multiply
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
        "loop": wilson_loop(U, 2, 3),
        "loop_13": wilson_loop(U, 1, 4, plane=(2, 1)),
        "lines": polyakov_lines(U),
        "polyakov": polyakov_loop(U, 0),
        "clover": energy_density(U),
        "energy": energy_density(U, kind="plaquette"),
        "density": charge_density(U),
        "improved": charge_density(U, improved=True),
    }


@pytest.fixture(scope="module")
def rough():
    """A field without any order, and what is measured on it."""
    U = draw(SU3(), _SITE, jax.random.key(11))
    return U, measure(U)


def test_observables_are_gauge_invariant(rough, key):
    U, values = rough
    g = draw(SU3(), _SITE, key)[0]
    transformed = measure(gauge_transform(U, g))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), values, transformed)
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
    one_by_one = [float(wilson_loop(U, 1, 1, plane=plane)) for plane in planes(4)[:2]]
    np.testing.assert_allclose(one_by_one, values["planes"][:2], atol=1e-15)


def test_plaquette_and_clover_energies_are_those_of_their_loops(rough):
    U, values = rough
    n_planes, n = 6, 3
    expected = 2 * n * n_planes * (1 - float(plaquette(U)))
    assert float(jnp.mean(values["energy"])) == pytest.approx(expected, rel=1e-13)
    F = field_strength(U)
    assert F.shape == (n_planes, 8, *_SITE)
    expected = 0.25 * sum(float(jnp.sum(F[i] ** 2)) for i in range(n_planes) for _ in range(2))
    assert float(jnp.sum(values["clover"])) == pytest.approx(expected, rel=1e-13)


def test_loop_is_the_product_of_its_links(rough):
    U, _ = rough
    x = (1, 3, 2, 0)

    def link(mu, *steps):
        site = tuple((a + b) % n for a, b, n in zip(x, steps, _SITE, strict=True))
        return np.asarray(U)[(mu, slice(None), slice(None), *site)]

    path = link(1, 0, 0, 0, 0) @ link(1, 0, 1, 0, 0) @ link(3, 0, 2, 0, 0)
    back = link(3, 0, 0, 0, 0) @ link(1, 0, 0, 0, 1) @ link(1, 0, 1, 0, 1)
    expected = np.trace(path @ back.conj().T).real / 3
    shifted = jnp.roll(U, [-a for a in x], axis=(3, 4, 5, 6))
    loops = jax.grad(lambda w: wilson_loop(shifted * w[None, None, None], 2, 1, plane=(1, 3)))
    # The mean depends on every corner: of degree one in each of the six links.
    assert float(jnp.sum(loops(jnp.ones(_SITE)))) == pytest.approx(
        6 * float(wilson_loop(U, 2, 1, plane=(1, 3))), rel=1e-10
    )
    corner = jnp.zeros(_SITE).at[0, 0, 0, 0].set(1.0)
    A = multiply(
        multiply(shifted[1], jnp.roll(shifted[1], -1, 3), 0), jnp.roll(shifted[3], -2, 3), 0
    )
    B = multiply(
        multiply(shifted[3], jnp.roll(shifted[1], -1, 5), 0),
        jnp.roll(jnp.roll(shifted[1], -1, 5), -1, 3),
        0,
    )
    found = float(jnp.sum(corner * jnp.sum((A * B.conj()).real, axis=(0, 1))) / 3)
    assert found == pytest.approx(expected, abs=1e-14)


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


@pytest.mark.parametrize("group", [SU2(), SU3()], ids=["su2", "su3"])
def test_constant_flux_has_the_known_strength_and_charge(group):
    """All loops of a plane are equal: the clover sees sin(charge * flux) for every eigenvalue."""
    site, fluxes = (6, 6, 6, 6), (1, 1)
    U, charges = flux_field(group, site, fluxes)
    omega = 2 * np.pi / 36
    values = measure(U)
    planar = np.mean(np.cos(charges * omega))
    np.testing.assert_allclose(values["planes"], [planar, 1, 1, 1, 1, planar], atol=1e-14)
    loop = np.mean(np.cos(6 * charges * omega))
    assert float(wilson_loop(U, 2, 3, plane=(0, 1))) == pytest.approx(loop, abs=1e-13)
    # The charge is 4 F01 F23 / (8 pi^2) of traces over the eigenvalues, less the mean of the sines.
    sines = np.sin(charges * omega)
    sines -= sines.mean()
    volume = 6**4
    expected = volume * 2 * np.sum(sines**2) / (8 * np.pi**2)
    assert float(topological_charge(U)) == pytest.approx(expected, rel=1e-12)
    continuum = volume * 2 * np.sum((charges * omega) ** 2) / (8 * np.pi**2)
    assert continuum == pytest.approx(np.sum(charges**2))
    improved = float(topological_charge(U, improved=True))
    # Loops of 2x2 and 3x3 links hold four and nine times the flux; the weights are those of the
    # five-loop charge cut to three, which cancel the errors of order a^2 and a^4.
    x = charges * omega
    mixed = 1.5 * np.sin(x) - 0.6 / 4 * np.sin(4 * x) + 0.1 / 9 * np.sin(9 * x)
    mixed -= mixed.mean()
    assert improved == pytest.approx(volume * 2 * np.sum(mixed**2) / (8 * np.pi**2), rel=1e-12)
    energy = volume * 2 * np.sum(sines**2)
    assert float(jnp.sum(values["clover"])) == pytest.approx(energy, rel=1e-12)


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
