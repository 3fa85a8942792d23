"""The figure: forecasts of three sequences, and the errors of all of them."""

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
    path, title = directory / "magnetx2025", "Transients of the ferrite 3C90"
    draw = [_middle, _worst, _errors, _by_cut]
    return plotting.save_panels(draw, data, path, title=title, rows=2, height_inch=4.8)


def _order(data: Data) -> np.ndarray:
    """Sequences that were forecast, the best first."""
    done = np.flatnonzero(np.isfinite(data["error"]))
    return done[np.argsort(data["error"][done])]


def _middle(panel: Any, data: Data) -> None:
    """The sequence of median error."""
    order = _order(data)
    _loop(panel, data, int(order[order.size // 2]))


def _worst(panel: Any, data: Data) -> None:
    """The sequence of largest error."""
    _loop(panel, data, int(_order(data)[-1]))


def _loop(panel: Any, data: Data, row: int) -> None:
    """Measured and forecast field strength against flux density."""
    n = int(data["n_known"][row])
    b, h = 1e3 * data["u"][row], data["y"][row]
    panel.plot(b[:n], h[:n], color="0.7", lw=0.8, label="known")
    panel.plot(b[n:], h[n:], color="C0", lw=0.8, label="measured")
    panel.plot(b[n:], data["forecast"][row][n:], "--", color="C1", lw=0.8, label="forecast")
    panel.set_xlabel("$B$ / mT")
    panel.set_ylabel("$H$ / (A/m)")
    error, temperature = 100 * data["error"][row], data["temperature_C"][row]
    panel.set_title(f"{temperature:.0f} °C, {n} known: {error:.1f} %", fontsize=8)
    panel.legend(fontsize=6)


def _errors(panel: Any, data: Data) -> None:
    """Share of sequences below an error: the average and single members."""
    done = np.isfinite(data["error"])
    share = (np.arange(done.sum()) + 1) / done.sum()
    for index, column in enumerate(data["member_error"][done].T):
        label = "one member" if index == 0 else None
        panel.step(100 * np.sort(column), share, where="post", color="0.75", lw=0.6, label=label)
    panel.step(100 * np.sort(data["error"][done]), share, where="post", label="average")
    panel.axvline(15.0, color="0.4", ls="--", lw=0.8)
    panel.axhline(0.95, color="0.4", ls="--", lw=0.8)
    panel.set_xlabel("relative error of a sequence (%)")
    panel.set_ylabel("share below")
    panel.legend(fontsize=6)


def _by_cut(panel: Any, data: Data) -> None:
    """Errors against the number of known samples, by temperature."""
    done = np.isfinite(data["error"])
    for index, temperature in enumerate(np.unique(data["temperature_C"])):
        here = done & (data["temperature_C"] == temperature)
        x = data["n_known"][here] + 20.0 * (index - 1)
        label = f"{temperature:.0f} °C"
        panel.plot(x, 100 * data["error"][here], ".", color=f"C{index}", label=label)
    panel.set_xlabel("known samples")
    panel.set_ylabel("relative error (%)")
    panel.legend(fontsize=6)
