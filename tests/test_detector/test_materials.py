"""Materials against the tables of the Particle Data Group and of NIST."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConfigError
from diffhep.detector import materials, particles

pytestmark = pytest.mark.instant

NIST = json.loads((Path(__file__).parents[1] / "systems" / "stopping_power.json").read_text())

TABLE = {
    "Pb": (6.370, 0.5612, 7.43, 1.122),
    "Fe": (13.84, 1.757, 21.68, 1.451),
    "W": (6.763, 0.3504, 7.97, 1.145),
    "PbWO4": (7.39, 0.890, 9.64, 1.229),
    "LAr": (19.55, 14.00, 32.84, 1.508),
    "polystyrene": (43.79, 41.31, 93.11, 1.936),
    "Cu": (12.86, 1.436, 19.42, 1.403),
    "Al": (24.01, 8.896, 42.70, 1.615),
    "Si": (21.82, 9.370, 40.19, 1.664),
    "water": (36.08, 36.08, 78.33, 1.992),
}
"""X0 in g/cm2 and cm, critical energy of electrons in MeV, least loss in MeV cm2/g."""


@pytest.mark.parametrize("name", TABLE)
def test_computed_properties_are_those_of_the_tables(name):
    mass, length, critical, least = TABLE[name]
    found = materials.get(name)
    # X0 to the digits printed; the critical energy to its dependence on the definition.
    assert abs(found.radiation_length_g_cm2 - mass) < 0.0051
    assert found.radiation_length_cm == pytest.approx(length, rel=1e-3)
    assert found.critical_energy_MeV == pytest.approx(critical, rel=0.01)
    assert found.minimum_stopping_power(particles.get("mu-")) == pytest.approx(least, abs=0.0025)


@pytest.mark.parametrize("name", NIST["electron"])
def test_electrons_lose_what_nist_says(name):
    found = materials.get(name).electron_stopping_power(jnp.asarray(NIST["energy_MeV"]))
    np.testing.assert_allclose(found, NIST["electron"][name], rtol=5e-3)


def test_protons_in_water_lose_what_nist_says():
    found = materials.get("water").stopping_power(particles.get("proton"), 100.0)
    assert float(found) == pytest.approx(NIST["proton_in_water_100_MeV"], rel=5e-4)


def test_energies_below_the_range_are_named():
    copper = materials.get("Cu")
    with pytest.raises(ConfigError, match=r"`energy_MeV` must be 0\.527 MeV or more"):
        copper.stopping_power(particles.get("mu-"), jnp.array([10.0, 0.01]))
    with pytest.raises(ConfigError, match=r"`energy_MeV` must be 0\.01 MeV or more"):
        copper.electron_stopping_power(1e-4)


def test_a_mixture_of_elements_is_the_compound():
    water = materials.get("water")
    mixed = materials.mixture("half", 1.0, {"water": 0.5, "polystyrene": 0.5})
    inverse = 0.5 / water.radiation_length_g_cm2 + 0.5 / 43.792
    assert mixed.radiation_length_g_cm2 == pytest.approx(1.0 / inverse, rel=1e-4)
    same = materials.mixture("water again", 1.0, {"water": 1.0})
    assert same.excitation_eV == pytest.approx(75.0)
    # Without a fit the density effect is estimated: a per cent of the loss.
    energy = jnp.array([10.0, 100.0])
    ratio = same.electron_stopping_power(energy) / water.electron_stopping_power(energy)
    np.testing.assert_allclose(ratio, 1.0, atol=0.01)


def test_an_unknown_material_names_the_nearest():
    with pytest.raises(ConfigError, match=r"'PbW04'; near it: PbWO4"):
        materials.get("PbW04")
    with pytest.raises(ConfigError, match=r"a particle of the table, but it is 'muon'"):
        particles.get("muon")
    with pytest.raises(ConfigError, match=r"charged and heavier than an electron"):
        materials.get("Pb").stopping_power(particles.get("e-"), 10.0)
