"""The figure: a motion, the hidden force on the displacement, and the errors of all networks."""

from pathlib import Path
from typing import Any

import numpy as np

from diffhep.core import plotting

Data = dict[str, np.ndarray]

SHOWN = ("PhyLSTM 3", "LSTM")


def plot(data: Data, directory: Path) -> list[Path]:
    """Draw the figure of a run.

    Args:
        data: The arrays of data.h5.
        directory: Where the files go.

    Returns:
        The files.
    """
    path, title = directory / "zhang2020", "arXiv:2002.10253, PhyLSTM on a hysteretic oscillator"
    return plotting.save_panels([_motion, _loop, _errors], data, path, title=title, height_inch=2.5)


def _typical(data: Data) -> int:
    """The test record with the middle error of the displacement."""
    error = ((data[f"x/{SHOWN[0]}"] - data["truth/x"]) ** 2).mean(axis=1)
    return int(np.argsort(error)[error.size // 2])


def _motion(panel: Any, data: Data) -> None:
    """Errors on a record that no network has seen, and a tenth of the motion."""
    row, truth = _typical(data), data["truth/x"]
    t = data["dt_s"] * np.arange(truth.shape[1])
    panel.plot(t, 0.1 * truth[row], "-", color="0.7", lw=1.0, label="truth / 10")
    for name in SHOWN:
        if f"x/{name}" in data:
            panel.plot(t, data[f"x/{name}"][row] - truth[row], "-", lw=1.0, label=name)
    panel.set_xlabel("time (s)")
    panel.set_ylabel("error of the displacement (m)")
    panel.legend(fontsize=6)


def _loop(panel: Any, data: Data) -> None:
    """Force of spring and damper, never measured."""
    row, name = _typical(data), SHOWN[0]
    panel.plot(data["truth/x"][row], data["truth/force"][row], "k-", lw=1.2, label="truth")
    panel.plot(data[f"x/{name}"][row], data[f"force/{name}"][row], "--", lw=0.8, label=name)
    panel.set_xlabel("displacement (m)")
    panel.set_ylabel("hidden force (m/s$^2$)")
    panel.legend(fontsize=6)


def _errors(panel: Any, data: Data) -> None:
    """Each seed of each network."""
    names = sorted(name for name in data if name.startswith("error/"))
    for index, name in enumerate(names):
        panel.plot(data[name], np.full(data[name].size, index), "o", ms=3)
    labels = [name.removeprefix("error/").replace(", as", ",\nas") for name in names]
    panel.set_yticks(range(len(names)), labels, fontsize=6)
    panel.set_xscale("log")
    panel.set_ylim(-0.6, len(names) - 0.4)
    panel.set_xlabel("relative error")
