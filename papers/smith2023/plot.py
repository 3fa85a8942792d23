"""The figure: losses, distances of the vertices, and the shift that was learnt."""

from pathlib import Path
from typing import Any

import numpy as np

from diffhep.core import plotting

Data = dict[str, np.ndarray]

NAMES = ("nothing", "weights", "weights and covariances", "everything", "oracle")


def plot(data: Data, directory: Path) -> list[Path]:
    """Draw the figure of a run.

    Args:
        data: The arrays of data.h5.
        directory: Where the files go.

    Returns:
        The files.
    """
    path, title = directory / "smith2023", "A vertex fit as a layer"
    return plotting.save_panels(
        [_losses, _distances, _shift], data, path, title=title, height_inch=2.6
    )


def _losses(panel: Any, data: Data) -> None:
    """Running means of the training losses."""
    for index, name in enumerate(NAMES[1:4], start=1):
        losses = data[f"loss/{name}"]
        width = max(losses.size // 50, 1)
        smooth = np.convolve(losses, np.full(width, 1.0 / width), mode="valid")
        panel.plot(smooth, color=f"C{index}", label=name)
    panel.set_yscale("log")
    panel.set_xlabel("step")
    panel.set_ylabel("loss")
    panel.legend(fontsize=5)


def _distances(panel: Any, data: Data) -> None:
    """Share of jets whose vertex is nearer."""
    for index, name in enumerate(NAMES):
        away = np.sort(data[f"error/{name}"])
        share = np.linspace(0.0, 1.0, away.size)
        colour = f"C{index}"
        panel.plot(away, share, color=colour, label=name)
    panel.set_xscale("log")
    panel.set_xlim(3e-3, 3.0)
    panel.set_xlabel("distance from the truth across the beam (mm)")
    panel.set_ylabel("share of jets")
    panel.legend(fontsize=5)


def _shift(panel: Any, data: Data) -> None:
    """Of the impact parameter."""
    phi, true, found = data["shift"]
    panel.plot(phi, 1e3 * true, color="black", lw=0.8, label="detector")
    panel.plot(phi, 1e3 * found, "o", label="learnt")
    panel.set_xlabel(r"$\phi$ (rad)")
    panel.set_ylabel(r"shift of $d_0$ ($\mathrm{\mu m}$)")
    panel.legend()
