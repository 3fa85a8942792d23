"""The figure: profiles, radii and resolutions of Geant4 and of both laws."""

from pathlib import Path
from typing import Any

import numpy as np

from diffhep.core import plotting

Data = dict[str, np.ndarray]
NAMES = ("PbWO4", "Pb/polystyrene")


def plot(data: Data, directory: Path) -> list[Path]:
    """Draw the figure of a run.

    Args:
        data: The arrays of data.h5.
        directory: Where the files go.

    Returns:
        The files; none where Geant4 was not run.
    """
    if data["energy_GeV"].size == 0:
        return []
    draw = [_panel(part, name) for part in (_profiles, _ratio, _radial) for name in NAMES]
    path, title = directory / "grindhammer1993", "Parametrised showers against Geant4"
    return plotting.save_panels(draw, data, path, title=title, rows=3, height_inch=5.6)


def _panel(part: Any, name: str) -> Any:
    """A panel of one calorimeter."""
    return lambda panel, data: part(panel, data, name)


def _energies(data: Data) -> list[tuple[int, str, str]]:
    """Number, colour and label of each energy."""
    return [(i, f"C{i}", f"{energy:g} GeV") for i, energy in enumerate(data["energy_GeV"])]


def _profiles(panel: Any, data: Data, name: str) -> None:
    """Share of the energy by layer."""
    seen = data[f"{name}/geant4/share"]
    layer = np.arange(seen.shape[1]) + 1
    for i, colour, label in _energies(data):
        panel.plot(layer, 100 * seen[i], ".", color=colour, ms=2.5, label=label)
        panel.plot(layer, 100 * data[f"{name}/published/share"][i], "--", color=colour, lw=0.7)
        panel.plot(layer, 100 * data[f"{name}/fitted/share"][i], "-", color=colour, lw=0.9)
    panel.set_xlabel("half radiation length" if name == "PbWO4" else "layer")
    panel.set_ylabel("share of the energy / %")
    title = f"{name}\npoints Geant4\ndashed published\nsolid fitted"
    panel.legend(title=title, title_fontsize=6, fontsize=6)


def _ratio(panel: Any, data: Data, name: str) -> None:
    """Laws over Geant4, where a layer holds at least a tenth of the largest share."""
    seen = data[f"{name}/geant4/share"]
    for law, line in (("published", "--"), ("fitted", "-")):
        for i, colour, _ in _energies(data):
            used = seen[i] > 0.1 * seen[i].max()
            layer = np.flatnonzero(used) + 1
            ratio = data[f"{name}/{law}/share"][i][used] / seen[i][used]
            chi2 = float(data[f"{name}/{law}/chi2"][i])
            label = f"{law}: $\\chi^2$/layer {chi2:.1f}"
            panel.plot(layer, ratio, line, color=colour, lw=0.8, label=label)
    panel.axhline(1.1, color="0.5", lw=0.6, ls=":")
    panel.axhline(0.9, color="0.5", lw=0.6, ls=":")
    panel.set_ylim(0.6, 1.4)
    panel.set_xlabel("half radiation length" if name == "PbWO4" else "layer")
    panel.set_ylabel("law / Geant4")
    panel.legend(fontsize=5, ncols=2)


def _radial(panel: Any, data: Data, name: str) -> None:
    """Radius of 68 % in mm and sigma/E in per cent, by energy."""
    energy = data["energy_GeV"]
    for quantity, factor, marker, label in (
        ("radius_mm", 1.0, "o", "radius of 68 % / mm"),
        ("resolution", 100.0, "s", "sigma/E / %"),
    ):
        seen = factor * data[f"{name}/geant4/{quantity}"]
        key = "radius_error_mm" if quantity == "radius_mm" else "resolution_error"
        error = factor * data[f"{name}/geant4/{key}"]
        colour = "C0" if quantity == "radius_mm" else "C1"
        panel.errorbar(energy, seen, error, fmt=marker, color=colour, label=label)
        for law, line in (("published", "--"), ("fitted", "-")):
            said = factor * data[f"{name}/{law}/{quantity}"]
            panel.plot(energy, said, line, color=colour)
    panel.set_xscale("log")
    panel.set_ylim(bottom=0.0)
    panel.set_xlabel("energy / GeV")
    panel.set_ylabel("radius / mm, sigma/E / %")
    panel.legend(fontsize=6, loc="lower right" if name == "PbWO4" else "center right")
