r"""The tables that Geant4's electromagnetic physics reads, from published formulas.

Bremsstrahlung: Y.-S. Tsai's cross section with Thomas-Fermi-Moliere screening; photo-effect: the
tables of xraylib, continued by Sauter's formula; Rayleigh scattering: switched off. They let Geant4
run where its own data cannot be downloaded. Nothing below about 10 keV is to be trusted.
"""

import hashlib
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import constants

from diffhep.core.checks import as_integer, require
from diffhep.core.errors import ConfigError, DataError

__citations__ = ("doi:10.1103/RevModPhys.46.815", "doi:10.1002/andp.19314030503")

TABLES_VERSION = 1
"""Raised when the tables change: what was simulated with others is then made anew."""

ELEMENTS = (1, 4, 6, 7, 8, 10, 11, 13, 14, 18, 20, 26, 28, 29, 30, 32, 53, 54, 55, 74, 82, 83, 92)
"""Elements of the materials of `diffhep.detector.materials` and some more, by atomic number."""

HEAVIEST = 92

ELECTRON_MeV = constants.value("electron mass energy equivalent in MeV")
_RADIUS_SQUARED_MB = constants.value("classical electron radius") ** 2 * 1e31
COULOMB_FROM_MeV = 50.0
"""Kinetic energy from which the Coulomb correction, an expansion at high energy, is applied."""

# From a tenth of the smallest cut of Geant4's shower physics up to where its relativistic model,
# which reads no tables, has long taken over (1 GeV).
_LOG_ENERGY = np.linspace(math.log(1e-3), math.log(1e4), 57)
# Dense at both ends, where the spectrum is interpolated worst: the soft rise and the tip.
_FRACTION = np.concatenate(
    [
        [0.0, 1e-6],
        np.geomspace(1e-4, 0.1, 10),
        np.arange(3, 20) * 0.05,
        [0.97, 0.99, 0.995, 0.9999, 1.0],
    ]
)
_TIP_MB = 1e-6
"""What the table holds where the formula ends or turns negative."""

_PHOTON_MeV = (2e-4, 99.0)
_N_PHOTON = 400
_XRAYLIB_TO_MeV = 0.799
"""End of xraylib's tables of light elements; above, the photo-effect falls as Sauter's formula."""

_SCREEN = 100.0


def coulomb_correction(atomic_number: int) -> float:
    r"""The function $f(Z)$ of Davies, Bethe and Maximon, in Tsai's expansion.

    $f = a^2[(1+a^2)^{-1} + 0.20206 - 0.0369a^2 + 0.0083a^4 - 0.002a^6]$, $a = \alpha Z$.

    Args:
        atomic_number: Z.

    Returns:
        f, dimensionless; good to 4 digits up to uranium.

    Reference:
        doi:10.1103/RevModPhys.46.815.
    """
    a2 = (constants.fine_structure * atomic_number) ** 2
    return a2 * (1.0 / (1.0 + a2) + 0.20206 - 0.0369 * a2 + 0.0083 * a2**2 - 0.002 * a2**3)


def scaled_bremsstrahlung_mb(
    atomic_number: int, kinetic_MeV: np.ndarray, fraction: np.ndarray
) -> np.ndarray:
    r"""Scaled bremsstrahlung cross section $(\beta^2/Z^2)\,k\,d\sigma/dk$ of electrons.

    With $y = k/E$, $\gamma, \epsilon = 100\,m k/(E E' Z^{1/3, 2/3})$:
    $$k\frac{d\sigma}{dk} = \alpha r_e^2\Big\{\big(\tfrac43 - \tfrac43y + y^2\big)
      \big[Z^2(\varphi_1 - \tfrac43\ln Z - 4f) + Z(\psi_1 - \tfrac83\ln Z)\big]
      + \tfrac23(1-y)\big[Z^2(\varphi_1-\varphi_2) + Z(\psi_1-\psi_2)\big]\Big\}.$$

    Args:
        atomic_number: Z.
        kinetic_MeV: Kinetic energy of the electron.
        fraction: Photon energy over the kinetic energy; broadcast with `kinetic_MeV`.

    Returns:
        The cross section in mb; at least a floor, where the expansion fails at the tip.

    Reference:
        doi:10.1103/RevModPhys.46.815, equations 3.38 to 3.41.
    """
    z = float(atomic_number)
    energy = kinetic_MeV + ELECTRON_MeV
    photon = fraction * kinetic_MeV
    y = photon / energy
    momentum = _SCREEN * ELECTRON_MeV * photon / (energy * (energy - photon))
    elastic, elastic_split = _nuclear_screening(momentum / z ** (1 / 3))
    inelastic, inelastic_split = _electron_screening(momentum / z ** (2 / 3))
    f = np.where(kinetic_MeV < COULOMB_FROM_MeV, 0.0, coulomb_correction(atomic_number))
    wide = z * z * (elastic - 4 / 3 * math.log(z) - 4 * f) + z * (inelastic - 8 / 3 * math.log(z))
    narrow = z * z * elastic_split + z * inelastic_split
    shape = (4 / 3 * (1 - y) + y * y) * wide + 2 / 3 * (1 - y) * narrow
    beta_squared = 1.0 - (ELECTRON_MeV / energy) ** 2
    value = constants.fine_structure * _RADIUS_SQUARED_MB * beta_squared / z**2 * shape
    return np.maximum(value, _TIP_MB)


def _nuclear_screening(g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tsai's phi_1 and phi_1 - phi_2."""
    tail = 4.0 * (1.0 - 0.6 * np.exp(-0.9 * g) - 0.4 * np.exp(-1.5 * g))
    return (
        20.863 - 2.0 * np.log1p((0.55846 * g) ** 2) - tail,
        (2 / 3) / (1.0 + 6.5 * g + 6.0 * g * g),
    )


def _electron_screening(e: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tsai's psi_1 and psi_1 - psi_2."""
    tail = 4.0 * (1.0 - 0.7 * np.exp(-8.0 * e) - 0.3 * np.exp(-29.2 * e))
    return (
        28.340 - 2.0 * np.log1p((3.621 * e) ** 2) - tail,
        (2 / 3) / (1.0 + 40.0 * e + 400.0 * e * e),
    )


def photo_effect_barn(atomic_number: int, energy_MeV: np.ndarray) -> np.ndarray:
    r"""Photo-effect cross section of an atom: xraylib's table to 0.8 MeV, then Sauter's fall.

    The formula for the K shell, $\sigma \propto k^{-5}(\gamma^2-1)^{3/2}\big[\tfrac43 +
    \tfrac{\gamma(\gamma-2)}{\gamma+1}\big(1 - \tfrac{1}{2\gamma\sqrt{\gamma^2-1}}
    \ln\tfrac{\gamma+\sqrt{\gamma^2-1}}{\gamma-\sqrt{\gamma^2-1}}\big)\big]$ with
    $k = E/m$ and $\gamma = 1 + k$, is joined to the table without a step.

    Args:
        atomic_number: Z.
        energy_MeV: Photon energies, at least 0.2 keV.

    Returns:
        The cross section in barn.

    Raises:
        ConfigError: xraylib is not installed.

    Reference:
        doi:10.1002/andp.19314030503.
    """
    try:
        import xraylib  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ConfigError(
            "Building Geant4's tables needs xraylib: pip install 'diffhep[geant4]'; "
            "with Geant4's own data in G4LEDATA it is not needed."
        ) from error

    inside = np.minimum(energy_MeV, _XRAYLIB_TO_MeV)
    table = np.array([xraylib.CSb_Photo(atomic_number, 1e3 * float(e)) for e in inside])
    return table * _sauter_shape(energy_MeV) / _sauter_shape(inside)


def _sauter_shape(energy_MeV: np.ndarray) -> np.ndarray:
    """Sauter's cross section of the K shell, up to its constant."""
    k = energy_MeV / ELECTRON_MeV
    gamma = 1.0 + k
    momentum = np.sqrt(gamma**2 - 1.0)
    log = 2.0 * np.arctanh(momentum / gamma)
    bracket = 4 / 3 + gamma * (gamma - 2) / (gamma + 1) * (1 - log / (2 * gamma * momentum))
    return momentum**3 / k**5 * bracket


def build_em_tables(folder: Path | str, elements: Sequence[int] = ELEMENTS) -> Path:
    """Write the tables of Geant4's standard electromagnetic physics.

    About 26 kB an element and 5 ms. The folder serves as G4LEDATA and, empty of anything else, as
    every other data folder that Geant4 looks for.

    Args:
        folder: Where to; it is made if need be, and files in it are replaced.
        elements: Atomic numbers.

    Returns:
        The folder.

    Raises:
        ConfigError: An atomic number is none of 1 to 92, or xraylib is not installed.
        DataError: The folder cannot be written.
    """
    for z in elements:
        require(as_integer(z, "elements", low=1) <= HEAVIEST, "elements", "be 1 to 92", z)
    root = Path(folder)
    try:
        for name in ("brem_SB", "epics2017/phot", "epics2017/rayl"):
            (root / name).mkdir(parents=True, exist_ok=True)
        # No excited state of any nucleus: an empty list is a valid one.
        (root / "ENSDFSTATE.dat").write_text("")
        for z in elements:
            for name, text in _element_files(int(z)).items():
                (root / name).write_text(text)
    except OSError as error:
        raise DataError(f"Could not write tables to {root}: {error.strerror or error}.") from error
    return root


def _element_files(z: int) -> dict[str, str]:
    """The files of one element, by their path in the folder."""
    energy = np.geomspace(*_PHOTON_MeV, _N_PHOTON)
    barn = photo_effect_barn(z, energy)
    # sigma = p0/E, which continues the table without a step; all shells count as one.
    beyond = f"1 1 {_PHOTON_MeV[1]:g}\n{_PHOTON_MeV[0]:g} {_row([barn[-1] * energy[-1]])} 0 0 0 0 0"
    return {
        f"brem_SB/br{z}": _bremsstrahlung_text(z),
        f"epics2017/phot/pe-cs-{z}.dat": _vector_text(energy, barn * energy**3),
        f"epics2017/phot/pe-high-{z}.dat": beyond + "\n",
        f"epics2017/phot/pe-low-{z}.dat": beyond + "\n",
        f"epics2017/rayl/re-cs-{z}.dat": _vector_text(np.array([1e-4, 1.0, 1e5]), [1e-40] * 3),
    }


def _bremsstrahlung_text(z: int) -> str:
    """A table of Seltzer and Berger's form: fractions, log energies, then one row an energy."""
    table = scaled_bremsstrahlung_mb(z, np.exp(_LOG_ENERGY)[:, None], _FRACTION)
    head = f"4 {_FRACTION.size} {_LOG_ENERGY.size}"
    return "\n".join([head, *map(_row, (_FRACTION, _LOG_ENERGY, *table))]) + "\n"


def _vector_text(energy_MeV: np.ndarray, value: Sequence[float] | np.ndarray) -> str:
    """A vector as Geant4 retrieves it: ends, length, length, then pairs."""
    n = energy_MeV.size
    head = [f"{energy_MeV[0]:g} {energy_MeV[-1]:g} {n}", str(n)]
    pairs = [_row(pair) for pair in zip(energy_MeV, value, strict=True)]
    return "\n".join([*head, *pairs]) + "\n"


def _row(values: Sequence[float] | np.ndarray) -> str:
    return " ".join(f"{value:.8g}" for value in values)


def cached_em_tables(cache: Path, elements: Sequence[int] = ELEMENTS) -> Path:
    """The tables in a cache, built once for each set of elements.

    Args:
        cache: The cache's folder.
        elements: Atomic numbers.

    Returns:
        The folder with the tables.

    Raises:
        ConfigError: As `build_em_tables`.
        DataError: As `build_em_tables`.
    """
    folder = cache / f"em_tables-{TABLES_VERSION}-{_digest(elements)}"
    if folder.is_dir():
        return folder
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as beside:
            built = build_em_tables(Path(beside) / "tables", elements)
            if not folder.is_dir():
                built.rename(folder)
    except OSError as error:
        # Another process may have been faster; its tables are the same.
        if not folder.is_dir():
            raise DataError(f"Could not write tables to {folder}: {error.strerror}.") from error
    return folder


def _digest(elements: Sequence[int]) -> str:
    """A short name of a set of elements."""
    return hashlib.sha256(repr(sorted(set(map(int, elements)))).encode()).hexdigest()[:8]
