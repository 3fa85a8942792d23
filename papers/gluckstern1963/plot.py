"""The figure: ends of the searches, layouts of a tracker, and the errors of 1/p they give."""

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
    path, title = directory / "gluckstern1963", "Optimal layers of a tracker"
    panels = [_searches, _layouts, _errors]
    return plotting.save_panels(panels, data, path, title=title, height_inch=2.5)


def _searches(panel: Any, data: Data) -> None:
    """Where the starts ended, sorted."""
    for name in sorted(data):
        if name.startswith("search/curvature") and name.endswith("value"):
            n = name.split("/")[1].split("_")[1]
            panel.plot(np.sort(data[name]), ".", label=f"{n} hits")
    panel.axhline(1.0, lw=0.6, color="black")
    panel.set_xlabel("random start, sorted")
    panel.set_ylabel("error of the curvature / optimum")
    panel.legend()


def _layouts(panel: Any, data: Data) -> None:
    """Radii of the optimal layers at each momentum; layers together are drawn side by side."""
    for name in (name for name in data if name.startswith("layout/")):
        p, radius = float(name.split("/")[1]), np.sort(data[name])
        together = [np.sum(np.abs(radius[:i] - r) < 5.0) for i, r in enumerate(radius)]
        panel.plot(p * 1.09 ** np.array(together), radius, "_", ms=5, color="C0")
    panel.set_xscale("log")
    panel.set_xlabel("$p$ (GeV)")
    panel.set_ylabel("radius of a layer (mm)")


def _errors(panel: Any, data: Data) -> None:
    """Against the layouts that one would take."""
    p, even, split, best = data["tracker/error"].T
    panel.plot(p, even / best, "o-", label="equal distances")
    panel.plot(p, split / best, "s-", label="$n/4, n/2, n/4$")
    panel.axhline(1.0, lw=0.6, color="black")
    panel.set_xscale("log")
    panel.set_xlabel("$p$ (GeV)")
    panel.set_ylabel(r"$\sigma(1/p)$ / optimum")
    panel.legend()
