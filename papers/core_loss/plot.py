"""The figure: the loops with what was identified, and the errors of predicted losses."""

from pathlib import Path
from typing import Any

import numpy as np

from diffhep.core import plotting

Data = dict[str, np.ndarray]


def plot(data: Data, directory: Path) -> list[Path]:
    """Draw the figure of a run.

    Args:
        data: The arrays of data.h5.
        directory: Where the files go.

    Returns:
        The files.
    """
    path, title = directory / "core_loss", "Loops of electrical steel and losses of a ferrite"
    return plotting.save_panels([_loops, _errors], data, path, title=title, height_inch=2.8)


def _loops(panel: Any, data: Data) -> None:
    """Measured points and identified loops, where the loop is open."""
    names = [name for name in data if name.startswith("loops/")]
    for index, name in enumerate(sorted(names)):
        h, rising, falling, found_rising, found_falling = data[name]
        near = np.abs(h) <= 400.0
        label = name.removeprefix("loops/").replace("_", "-")
        colour = f"C{index}"
        panel.plot(h[near], rising[near], ".", ms=3, color=colour, label=label)
        panel.plot(h[near], falling[near], ".", ms=3, color=colour)
        panel.plot(h[near], found_rising[near], "-", lw=0.7, color=colour)
        panel.plot(h[near], found_falling[near], "-", lw=0.7, color=colour)
    panel.set_xlabel("$H$ / (A/m)")
    panel.set_ylabel("$B$ / T (points measured, lines identified)")
    panel.legend(fontsize=6)


def _errors(panel: Any, data: Data) -> None:
    """Relative errors of waveforms that the fit did not see."""
    panel.hist(100 * data["losses/error"], bins=60, histtype="step", density=True)
    panel.set_xlabel("predicted / measured loss $-$ 1 (%)")
    panel.set_ylabel("density")
