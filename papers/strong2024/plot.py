"""The figure: loss along the search, the plate before and after, and the panels."""

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
    path, title = directory / "strong2024", "Muon tomography with panels found by the gradient"
    panels = [_loss, _panels, lambda p, d: _map(p, d, "before"), lambda p, d: _map(p, d, "after")]
    return plotting.save_panels(panels, data, path, title=title, height_inch=2.2)


def _loss(panel: Any, data: Data) -> None:
    panel.plot(data["loss"], lw=0.6)
    panel.set_xlabel("step")
    panel.set_ylabel("loss")


def _panels(panel: Any, data: Data) -> None:
    """From the side: before dashed, after drawn through."""
    for name, style, colour in (("before", "--", "C1"), ("after", "-", "C0")):
        for x, _, z, width, _ in data[f"panels/{name}"]:
            panel.plot([x - 0.5 * width, x + 0.5 * width], [z, z], style, color=colour)
    panel.fill_between([0.0, 1000.0], 0.0, 600.0, color="0.9")
    panel.fill_between([200.0, 500.0], 200.0, 300.0, color="0.4")
    panel.set_xlabel("$x$ (mm)")
    panel.set_ylabel("$z$ (mm)")


def _map(panel: Any, data: Data, name: str) -> None:
    """Mean density of the layer of the plate, hard panels."""
    layer = data[f"hard/{name}/density"][:, :, 2]
    panel.imshow(layer.T, origin="lower", extent=(0, 1000, 0, 1000), vmin=0.0, vmax=1.0)
    panel.set_title(f"{name} (lead: 1)")
    panel.set_xlabel("$x$ (mm)")
    panel.set_ylabel("$y$ (mm)")
