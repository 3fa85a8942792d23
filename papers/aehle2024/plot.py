"""The figure: energies by thickness, their derivative by every estimator, and the toy."""

from pathlib import Path
from typing import Any

import numpy as np

from diffhep.core import plotting

Data = dict[str, np.ndarray]
GOLDEN = ((119.8, 1.4), (-75.0, 0.9))
SLABS = ("absorbers", "gaps")
SHORT = {
    "Geant4, common random numbers": "Geant4 differences",
    "surrogate": "surrogate",
    "score function": "score function\nof the surrogate",
    "fitted law": "fitted GFLASH",
    "published law": "published GFLASH",
    "hybrid": "hybrid",
}
VALUE, ERROR, N_GEANT4, N_OWN, OWN_VARIANCE, OWN_S = range(6)
"""Columns of an estimate."""

GEANT4_S = 0.009
"""Processor time of a Geant4 event, measured on a quiet core."""


def plot(data: Data, directory: Path) -> list[Path]:
    """Draw the figure of a run.

    Args:
        data: The arrays of data.h5.
        directory: Where the files go.

    Returns:
        The files; none where Geant4 was not run.
    """
    if not data["has_geant4"]:
        return []
    draw = [
        _energies,
        lambda panel, data: _derivative(panel, data, 1),
        lambda panel, data: _derivative(panel, data, 0),
        _cost,
        _toy,
        _toy_cost,
    ]
    title = "Derivative of the deposits by the absorber's thickness"
    return plotting.save_panels(
        draw, data, directory / "aehle2024", title=title, rows=3, height_inch=7.0
    )


def _energies(panel: Any, data: Data) -> None:
    """Mean energies of both kinds of slab over Geant4's at 2.3 mm."""
    at, grid = data["mean/thickness_mm"], data["mean/grid_mm"]
    for slab, (colour, marker) in enumerate((("C0", "o"), ("C1", "s"))):
        seen, error = data["mean/geant4"][:, slab], data["mean/error"][:, slab]
        label = f"Geant4, {SLABS[slab]}"
        panel.errorbar(at, seen, error, fmt=marker, color=colour, label=label)
        for law, line in (("fitted", "-"), ("published", "--")):
            name = f"GFLASH, {law}" if slab == 0 else None
            panel.plot(grid, data[f"mean/{law}"][:, slab], line, color=colour, label=name)
    panel.set_ylim(150.0, 1050.0)
    panel.set_xlabel("absorber $a$ / mm")
    panel.set_ylabel("mean energy / MeV")
    panel.legend(fontsize=6)


def _derivative(panel: Any, data: Data, slab: int) -> None:
    """All estimators beside the golden value and its band of 10 %."""
    golden, error = GOLDEN[slab]
    size = abs(golden)
    panel.axvspan(golden - 0.1 * size, golden + 0.1 * size, color="0.92")
    panel.axvspan(golden - error, golden + error, color="0.75")
    for row, name in enumerate(SHORT):
        one = data[f"derivative/{name}"][slab]
        panel.errorbar(one[VALUE], -row, xerr=one[ERROR], fmt="o", color=f"C{row}")
    panel.set_yticks(-np.arange(len(SHORT)), list(SHORT.values()), fontsize=6)
    panel.set_ylim(0.6 - len(SHORT), 0.6)
    panel.set_xlabel(f"$dE/da$ in the {SLABS[slab]} / (MeV/mm)")


def _cost(panel: Any, data: Data) -> None:
    """Standard error of the gaps' derivative against processor time."""
    for row, (name, label) in enumerate(SHORT.items()):
        one = data[f"derivative/{name}"][1]
        spent = GEANT4_S * one[N_GEANT4] + one[OWN_S]
        biased = " (biased)" if name == "published law" else ""
        panel.plot(spent, one[ERROR], "o", color=f"C{row}", label=label.replace("\n", " ") + biased)
        time = np.array([0.03, 1.0]) * spent
        panel.plot(time, one[ERROR] * np.sqrt(spent / time), "-", color=f"C{row}", lw=0.5)
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_xlim(right=1e4)
    panel.set_ylim(0.1, 100.0)
    panel.set_xlabel("processor time / s")
    panel.set_ylabel("error of $dE_{gap}/da$ / (MeV/mm)")
    panel.legend(fontsize=6)


def _toy(panel: Any, data: Data) -> None:
    """The toy: each estimator over the exact derivative, and the free paths."""
    exact, rows = float(data["toy/exact"]), []
    for name in ("pathwise", "branching", "score function", "common random numbers", "hybrid"):
        rows.append((name, data[f"toy/{name}"][0]))
    for name in ("two materials", "one material"):
        for kind, one in zip(("pathwise", "differences"), data[f"flights/{name}"], strict=True):
            rows.append((f"paths, {name}:\n{kind}", one))
    for row, (_, one) in enumerate(rows):
        colour = "C0" if row < 5 else "C1"
        panel.errorbar(one[VALUE], -row, xerr=one[ERROR], fmt="o", color=colour)
    panel.axvline(exact, ymin=4.4 / 9.2, color="0.5", lw=0.8)
    panel.axvline(0.0, color="0.8", lw=0.5)
    panel.set_yticks(-np.arange(len(rows)), [name for name, _ in rows], fontsize=5)
    panel.set_ylim(0.6 - len(rows), 0.6)
    panel.set_xlabel("toy: $dE_{gap}/da$ / (MeV/mm)")


def _toy_cost(panel: Any, data: Data) -> None:
    """Variance for each simulation of the toy against processor time for each."""
    for row, name in enumerate(
        ("pathwise", "branching", "score function", "common random numbers", "hybrid")
    ):
        one = data[f"toy/{name}"][0]
        label = f"{name} (biased)" if name == "pathwise" else name
        time_us = 1e6 * one[OWN_S] / one[N_OWN]
        panel.plot(time_us, one[OWN_VARIANCE], "o", color=f"C{row}", label=label)
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_xlim(0.1, 100.0)
    panel.set_ylim(0.1, 1e4)
    panel.set_xlabel("toy: processor time a simulation / µs")
    panel.set_ylabel("variance a simulation / (MeV/mm)$^2$")
    panel.legend(fontsize=6)
