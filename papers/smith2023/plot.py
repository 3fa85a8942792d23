"""The figure: losses, distances of the vertices, the shift that was learnt, and the cost."""

from pathlib import Path
from typing import Any

import numpy as np

from diffhep.core import plotting

Data = dict[str, np.ndarray]

LEARNT = {
    "weights": "weights alone",
    "whole gradient": "whole gradient",
}

GIVEN = {
    "all tracks": "all tracks",
    "chi-squared selection": r"$\chi^2$ selection",
    "annealed weights": "annealed",
    "impact parameter and chi-squared": r"$d_0$ and $\chi^2$ selection",
    "what nobody knows": "truth known",
}


def plot(data: Data, directory: Path) -> list[Path]:
    """Draw the figure of a run.

    Args:
        data: The arrays of data.h5.
        directory: Where the files go.

    Returns:
        The files.
    """
    path, title = directory / "smith2023", "A vertex fit as a layer"
    panels = [_losses, _distances, _shift]
    if "cost/tracks" in data:
        panels.append(_cost)
    rows = 2 if len(panels) == 4 else 1
    return plotting.save_panels(panels, data, path, title=title, rows=rows, height_inch=2.6 * rows)


def _losses(panel: Any, data: Data) -> None:
    """Running means of the training losses."""
    for index, (name, label) in enumerate(LEARNT.items()):
        losses = data[f"loss/{name}"]
        width = max(losses.size // 50, 1)
        smooth = np.convolve(losses, np.full(width, 1.0 / width), mode="valid")
        panel.plot(smooth, color=f"C{index}", label=label)
    panel.set_yscale("log")
    panel.set_xlabel("step")
    panel.set_ylabel("loss")
    panel.legend()


def _distances(panel: Any, data: Data) -> None:
    """Share of jets whose vertex is nearer; drawn through where a network prepared the tracks."""
    styles = [(name, label, "-") for name, label in LEARNT.items()]
    styles += [(name, label, "--") for name, label in GIVEN.items() if f"away/{name}" in data]
    for index, (name, label, style) in enumerate(styles):
        away = np.sort(data[f"away/{name}"])
        share = np.linspace(0.0, 1.0, away.size)
        colour = "black" if name == "what nobody knows" else f"C{index}"
        panel.plot(away, share, style, color=colour, label=label)
    panel.axhline(0.68, lw=0.4, color="black")
    panel.set_xscale("log")
    panel.set_xlim(3e-3, 10.0)
    panel.set_xlabel("distance from the truth across the beam (mm)")
    panel.set_ylabel("share of jets")
    panel.legend(fontsize=6, loc="upper left")


def _shift(panel: Any, data: Data) -> None:
    """Of the impact parameter."""
    phi, true, found = data["shift"]
    panel.plot(phi, 1e3 * true, color="black", lw=0.8, label="detector")
    panel.plot(phi, 1e3 * found, "o", label="learnt")
    panel.set_xlabel(r"$\phi$ (rad)")
    panel.set_ylabel(r"shift of $d_0$ ($\mathrm{\mu m}$)")
    panel.legend()


def _cost(panel: Any, data: Data) -> None:
    """Over that of the fewest tracks; a straight line is what is linear."""
    n = data["cost/tracks"]
    for name, mark in (("operations", "o"), ("memory", "s"), ("seconds", "^")):
        values = data[f"cost/{name}"]
        panel.plot(n, values / values[0], mark + "-", mfc="none", label=name)
    panel.plot(n, n / n[0], "--", color="black", lw=0.8, label="linear")
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_xlabel("tracks of a vertex")
    panel.set_ylabel("cost, over that of the fewest")
    panel.legend()
