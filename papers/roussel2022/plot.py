"""The figure: the loops, the residuals with their predicted errors, and every run left out."""

from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import erf

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
    draw = [_loops, _residuals, _coverage]
    if "each_run" in data:
        draw.append(_each_run)
    path, title = directory / "roussel2022", "arXiv:2202.07747, a quadrupole with memory"
    rows = len(draw) // 2
    return plotting.save_panels(draw, data, path, title=title, rows=rows, height_inch=2.3 * rows)


def _scale(data: Data) -> tuple[float, str]:
    """Factor and unit in which small differences are shown."""
    return (1e3, "mT") if bool(data["measured"]) else (1e3, "$10^{-3}$")


def _loops(panel: Any, data: Data) -> None:
    """What is left of the output after a straight line, against the input."""
    factor, unit = _scale(data)
    line = np.polyfit(data["u"], data["y"], 1)
    fitted = np.arange(data["u"].size) < data["n_training"]
    rest = factor * (data["y"] - np.polyval(line, data["u"]))
    panel.plot(data["u"][fitted], rest[fitted], ".", color="C0", ms=4, label="fitted")
    panel.plot(data["u"][~fitted], rest[~fitted], ".", color="C1", ms=3, label="test")
    model = factor * (data["mean"] - np.polyval(line, data["u"]))
    panel.plot(data["u"], model, "+", color="0.4", ms=4, mew=0.5, label="operators")
    panel.set_xlabel("current / A" if bool(data["measured"]) else "input")
    panel.set_ylabel(f"output less a straight line / {unit}")
    panel.legend(fontsize=7)


def _residuals(panel: Any, data: Data) -> None:
    """Prediction less measurement, in the order of time, with the predicted error as a band.

    What was fitted lies left of the line.
    """
    factor, unit = _scale(data)
    index = np.arange(data["u"].size)
    band = factor * data["error"]
    panel.fill_between(index, -band, band, color="0.85", label="predicted error")
    for label in np.unique(data["run"]):
        here = data["run"] == label
        residual = factor * (data["mean"] - data["y"])[here]
        panel.plot(index[here], residual, ".-", ms=3, lw=0.5, color=f"C{int(label)}")
    panel.axvline(float(data["n_training"]) - 0.5, color="0.4", ls="--", lw=0.8)
    panel.set_xlabel("measurement")
    panel.set_ylabel(f"residual / {unit}")
    panel.legend(fontsize=7)


def _coverage(panel: Any, data: Data) -> None:
    """Share of the test points within a number of predicted errors, and that of a normal law."""
    test = np.arange(data["u"].size) >= data["n_training"]
    pull = np.sort(np.abs((data["mean"] - data["y"]) / data["error"])[test])
    panel.step(pull, (np.arange(pull.size) + 1) / pull.size, where="post", label="test points")
    x = np.linspace(0.0, 4.0, 200)
    panel.plot(x, erf(x / np.sqrt(2.0)), "--", color="0.4", label="normal")
    panel.set_xlim(0.0, 4.0)
    panel.set_xlabel("|residual| / predicted error")
    panel.set_ylabel("share below")
    panel.legend(fontsize=7)


def _each_run(panel: Any, data: Data) -> None:
    """Errors of runs that the fit did not see."""
    panel.bar(np.arange(data["each_run"].size) + 1, 1e3 * data["each_run"], color="C2")
    panel.axhline(0.5, color="0.4", ls="--", lw=0.8)
    panel.set_xlabel("run left out")
    panel.set_ylabel("RMSE / mT")
