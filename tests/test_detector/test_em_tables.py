"""Tables for Geant4: the cross sections behind them against known limits, the files' form."""

import math

import numpy as np
import pytest

from diffhep.core.citations import citation
from diffhep.core.errors import ConfigError
from diffhep.detector import materials
from diffhep.detector.geant4 import NIST_NAMES, Geant4Simulator, build_em_tables, tables

pytestmark = pytest.mark.instant


@pytest.mark.parametrize("name", ["Al", "Fe", "Pb", "U"])
def test_radiation_length_from_the_spectrum(name):
    # The energy radiated over k at complete screening gives 1/X0 (1 + b), where b is the part
    # that Tsai drops from the definition of X0: (Z^2 + Z)/(18 ...) of the bracket.
    (element,) = materials.get(name).elements
    fraction = np.linspace(1e-6, 1.0 - 1e-4, 20_001)
    spectrum_mb = tables.scaled_bremsstrahlung_mb(element.z, np.array([1e8]), fraction)
    radiated = np.trapezoid(spectrum_mb, fraction) * element.z**2 * 1e-27
    inverse = element.inverse_radiation_length
    dropped = (element.z**2 + element.z) / (18.0 * 716.408 * element.a)
    assert radiated * 6.02214076e23 / element.a == pytest.approx(inverse + dropped, rel=2e-3)


def test_cross_sections_join_without_a_step():
    energy = np.array([0.999, 1.001]) * tables._XRAYLIB_TO_MeV
    shape = tables._sauter_shape(energy)
    assert shape[1] / shape[0] == pytest.approx(1.0, abs=6e-3)
    # 1/E far above, and the non-relativistic E^(-7/2) far below, where 4/3 alone is left.
    far = tables._sauter_shape(np.array([1e6, 2e6]))
    assert far[0] / far[1] == pytest.approx(2.0, rel=1e-4)
    slow = tables._sauter_shape(np.array([1e-5, 2e-5]))
    assert slow[0] / slow[1] == pytest.approx(2.0**3.5, rel=1e-3)


def test_every_material_is_covered():
    assert set(materials.names()) == set(NIST_NAMES)
    wanted = {part.z for name in NIST_NAMES for part in materials.get(name).elements}
    assert wanted <= set(tables.ELEMENTS)


def test_files_have_the_form_that_is_read(tmp_path):
    pytest.importorskip("xraylib")
    folder = build_em_tables(tmp_path / "made", (6, 82))
    numbers = [float(word) for word in (folder / "brem_SB" / "br82").read_text().split()]
    n_fraction, n_energy = int(numbers[1]), int(numbers[2])
    assert len(numbers) == 3 + n_fraction + n_energy + n_fraction * n_energy
    assert min(numbers[3 + n_fraction + n_energy :]) > 0.0
    assert (folder / "ENSDFSTATE.dat").read_text() == ""
    words = (folder / "epics2017" / "phot" / "pe-cs-82.dat").read_text().split()
    energy, value = np.array(words[4:], dtype=float).reshape(-1, 2).T
    assert energy.size == int(words[2]) == int(words[3])
    # The published value for lead at 0.5 MeV, and what continues the table beyond its end.
    assert np.interp(0.5, energy, value / energy**3) == pytest.approx(28.4, rel=0.02)
    tail = (folder / "epics2017" / "phot" / "pe-high-82.dat").read_text().split()
    assert float(tail[4]) == pytest.approx(value[-1] / energy[-1] ** 2, rel=1e-6)


@pytest.mark.parametrize("elements", [(0,), (93,), (6.0,)])
def test_no_such_element(elements, tmp_path, without_shape_checks):
    with pytest.raises(ConfigError, match="Argument `elements` must be"):
        build_em_tables(tmp_path, elements)
    assert list(tmp_path.iterdir()) == []


def test_citations():
    assert "sauter1931" in citation(build_em_tables)
    assert "agostinelli2003" in citation(Geant4Simulator)


def test_coulomb_correction_of_lead():
    # The series that it expands: a^2 sum 1/(n (n^2 + a^2)).
    a2 = (82 / 137.035999) ** 2
    series = a2 * sum(1.0 / (n * (n * n + a2)) for n in range(1, 20_000))
    assert tables.coulomb_correction(82) == pytest.approx(series, rel=1e-3)
    assert math.isclose(tables.coulomb_correction(1), 6.4e-5, rel_tol=1e-2)
