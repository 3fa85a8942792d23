"""The figure: loss along the search, the panels, held-out volumes, and a map of one of them."""

from pathlib import Path
from typing import Any

import numpy as np

from diffhep.core import plotting

Data = dict[str, np.ndarray]

STYLES = {"before": ("C1", "--"), "plain": ("C2", ":"), "after": ("C0", "-")}


def plot(data: Data, directory: Path) -> list[Path]:
    """Draw the figure of a run.

    Args:
        data: The arrays of data.h5.
        directory: Where the files go.

    Returns:
        The files.
    """
    path, title = directory / "strong2024", "Muon tomography with panels found by the gradient"
    maps = [lambda p, d, name=name: _map(p, d, name) for name in ("truth", "before", "after")]
    panels = [_loss, _panels, _volumes, *maps]
    return plotting.save_panels(panels, data, path, title=title, rows=2, height_inch=4.6)


def _loss(panel: Any, data: Data) -> None:
    """Running mean, soft panels."""
    loss = data["loss"]
    width = max(loss.size // 25, 1)
    panel.plot(np.convolve(loss, np.full(width, 1.0 / width), mode="valid"))
    panel.set_xlabel("step")
    panel.set_ylabel("loss, edges sharpening")


def _panels(panel: Any, data: Data) -> None:
    """From the side, around the box."""
    for name, (colour, style) in STYLES.items():
        for index, (x, _, z, width, _) in enumerate(data[f"panels/{name}"]):
            label = name if index == 0 else None
            ends = [x - 0.5 * width, x + 0.5 * width]
            panel.plot(ends, [z, z], style, color=colour, label=label)
    panel.fill_between([0.0, 1000.0], 0.0, 600.0, color="0.9")
    panel.set_xlabel("$x$ (mm)")
    panel.set_ylabel("$z$ (mm)")
    panel.legend(fontsize=6, loc="center")


def _volumes(panel: Any, data: Data) -> None:
    """Loss of each held-out volume with hard panels, against that of the first design."""
    before = data["hard/before/loss"]
    for name in ("plain", "after"):
        colour, _ = STYLES[name]
        panel.plot(before, data[f"hard/{name}/loss"], ".", ms=3, color=colour, label=name)
    ends = np.array([before.min(), before.max()])
    panel.plot(ends, ends, "--", color="black", lw=0.8)
    panel.set_xlabel("loss before, hard panels")
    panel.set_ylabel("loss, hard panels")
    panel.legend()


def _map(panel: Any, data: Data, name: str) -> None:
    """Density in units of lead's in the layer that holds most of the block."""
    truth = data["density/truth"]
    layer = np.argmax(truth.sum(axis=(0, 1)))
    image = panel.imshow(
        data[f"density/{name}"][:, :, layer].T,
        origin="lower",
        extent=(0, 1000, 0, 1000),
        vmin=0.0,
        vmax=truth.max(),
    )
    panel.figure.colorbar(image, ax=panel, shrink=0.5, label="density / lead's")
    panel.set_title(name)
    panel.set_xlabel("$x$ (mm)")
    panel.set_ylabel("$y$ (mm)")
