"""The figure: cycles and what a curve leaves of them, errors, corrections, intervals."""

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
    draw = [_cycles, _residual, _horizon, _corrections, _coverage, _errors]
    path, title = directory / "sps_cycles", "Cycles of an accelerator: forecast and corrected"
    return plotting.save_panels(draw, data, path, title=title, rows=3, height_inch=5.4)


def _time(data: Data) -> np.ndarray:
    return float(data["dt_s"]) * np.arange(data["shown/u"].size)


def _cycles(panel: Any, data: Data) -> None:
    """Current and field of the cycles shown."""
    t = _time(data)
    panel.plot(t, data["shown/u"] / 1e3, color="C0")
    panel.plot(t, data["shown/measured"], color="C1", ls="--")
    panel.set_xlabel("time / s")
    panel.set_ylabel("$I$ / kA, $B$ / T (dashed)")


def _residual(panel: Any, data: Data) -> None:
    """What a calibration leaves of the measured field and of the forecast."""
    t, curve = _time(data), data["shown/calibration"]
    panel.plot(t, 1e3 * (data["shown/measured"] - curve), color="C1", label="measured")
    panel.plot(t, 1e3 * (data["shown/mean"] - curve), color="k", lw=0.6, ls="--", label="forecast")
    panel.set_xlabel("time / s")
    panel.set_ylabel("$B$ less a curve / mT")
    panel.legend(fontsize=6)


def _horizon(panel: Any, data: Data) -> None:
    """Errors without resynchronisation."""
    free = data["free"]
    ahead = np.arange(1, free.shape[1] + 1)
    panel.plot(ahead, 1e4 * np.abs(free).T, color="0.8", lw=0.5)
    panel.plot(ahead, 1e4 * np.sqrt(np.mean(free**2, axis=0)), color="C0", label="RMS")
    panel.plot(ahead, 1e4 * data["drift_T"], color="C1", ls="--", label="drift alone")
    each = np.sqrt(np.mean(data["resync/operators"] ** 2))
    panel.axhline(1e4 * each, color="C2", lw=0.8, label="resync each cycle")
    panel.set_xlabel("cycles since the last measured one")
    panel.set_ylabel("error / $10^{-4}$ T")
    panel.legend(fontsize=6)


def _corrections(panel: Any, data: Data) -> None:
    """One sequence with and without corrections."""
    names = {"none": "no correction", "standard": "corrected", "fine": "in fine steps"}
    for name, label in names.items():
        row = data[f"corrected/{name}"][0]
        panel.plot(np.arange(1, row.size + 1), 1e4 * row, ".-", lw=0.6, ms=3, label=label)
    panel.axhspan(-0.2, 0.2, color="0.9")
    panel.set_xlabel("cycle")
    panel.set_ylabel("error / $10^{-4}$ T")
    panel.legend(fontsize=6)


def _coverage(panel: Any, data: Data) -> None:
    """Share of the cycles within the quantiles of the calibration sequences."""
    levels = np.linspace(0.05, 0.95, 19)
    past, errors = np.abs(data["calibration_errors"].ravel()), np.abs(data["resync/operators"])
    share = [np.mean(errors <= np.quantile(past, level)) for level in levels]
    panel.plot(levels, levels, color="0.5", lw=0.6)
    panel.plot(levels, share, ".", ms=4)
    panel.set_xlabel("probability of the interval")
    panel.set_ylabel("cycles within it")


def _errors(panel: Any, data: Data) -> None:
    """Errors at flat bottom of what was compared, as distributions."""
    labels = {"resync/operators": "operators", "resync/curve": "calibration curve"}
    labels |= {name: name.removeprefix("network/") for name in data if name.startswith("network/")}
    for name, label in labels.items():
        size = np.sort(np.abs(data[name].ravel()))
        panel.plot(1e4 * size, np.arange(1, size.size + 1) / size.size, label=label)
    panel.axvline(0.2, color="0.5", lw=0.6, ls="--")
    panel.set_xscale("log")
    panel.set_xlim(left=1e-3)
    panel.set_xlabel("error, resync each cycle / $10^{-4}$ T")
    panel.set_ylabel("cycles below")
    panel.legend(fontsize=6)
