"""The figure: learning curves, and the variance of gradients."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from diffhep.core import plotting
from papers.brehmer2018.plot import TITLES, Data, learning, titled


def plot(data: Data, directory: Path) -> list[Path]:
    """Draw the figure of a run.

    Args:
        data: The arrays of data.h5.
        directory: Where the files go.

    Returns:
        The files.
    """
    names = [name for name in TITLES if f"{name}/n_events" in data]
    draw = [partial(titled, drawing=_learning, name=name) for name in names]
    path, title = directory / "stoye2018", "arXiv:1808.00973, ALICE and ALICES"
    drawings = [*draw, partial(_variances, names=names)]
    return plotting.save_panels(drawings, data, path, title=title, height_inch=2.6)


def _learning(panel: Any, data: Data, name: str) -> None:
    """Learning curves with their names, and room for these."""
    learning(panel, data, name)
    panel.set_ylabel("MSE of $\\log r$")
    panel.yaxis.set_minor_formatter("")
    low, high = panel.get_ylim()
    panel.set_ylim(low, high * (high / low) ** 0.4)
    panel.legend(fontsize=5, ncols=3, loc="upper center", columnspacing=0.6, handlelength=1.0)


def _variances(panel: Any, data: Data, *, names: list[str]) -> None:
    """Variance of the gradient of one event at the exact ratio."""
    place = np.arange(len(names))
    for index, method in enumerate(("carl", "alice")):
        height = [float(data[f"{name}/variance/{method}"]) for name in names]
        panel.bar(place + 0.4 * index - 0.2, height, 0.4, label=method.upper())
    panel.set_xticks(place, [TITLES[name] for name in names])
    panel.set_ylabel("variance of the gradient")
    panel.set_yscale("log")
    panel.set_ylim(1e-4, 5.0)
    panel.legend(fontsize=6)
