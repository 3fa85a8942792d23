"""The figure: errors of the models along both tests."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from diffhep.core import plotting

Data = dict[str, np.ndarray]

MODELS = ("black", "grey", "white")

SAMPLING_Hz = 750.0


def plot(data: Data, directory: Path) -> list[Path]:
    """Draw the figure of a run.

    Args:
        data: The arrays of data.h5.
        directory: Where the files go.

    Returns:
        The files.
    """
    path, title = directory / "boucwen_benchmark", "A hysteretic oscillator, identified"
    draw = [partial(_along, signal=signal) for signal in ("multisine", "sweep")]
    return plotting.save_panels([*draw, _spectrum], data, path, title=title, height_inch=2.8)


def _along(panel: Any, data: Data, *, signal: str) -> None:
    """Displacement and errors along a test, as root mean squares of pieces."""
    n = data[f"{signal}/y_m"].size
    cuts = np.array_split(np.arange(n), 60)
    time = np.array([cut.mean() for cut in cuts]) / SAMPLING_Hz

    def sizes(values: np.ndarray) -> np.ndarray:
        return 1e3 * np.array([np.sqrt(np.mean(values[cut] ** 2)) for cut in cuts])

    panel.semilogy(time, sizes(data[f"{signal}/y_m"]), color="0.6")
    for index, name in enumerate(MODELS):
        if f"{name}/{signal}" in data:
            panel.semilogy(time, sizes(data[f"{name}/{signal}"]), color=f"C{index}")
    panel.axhline(1.5e-2, color="0.4", ls="--", lw=0.8)
    panel.set_xlabel(f"time of the {signal} / s")
    panel.set_ylabel("RMS, RMS of the error / mm")


def _spectrum(panel: Any, data: Data) -> None:
    """Spectra of the multisine's displacement and of the errors."""
    n = data["multisine/y_m"].size
    frequency = np.arange(n // 2 + 1) * SAMPLING_Hz / n
    inside = (frequency > 2.0) & (frequency < 200.0)

    def level(values: np.ndarray) -> np.ndarray:
        power = np.abs(np.fft.rfft(values) / n)[inside] ** 2
        cuts = np.array_split(power, min(150, power.size))
        return 20 * np.log10(np.sqrt([cut.mean() for cut in cuts]) + 1e-15)

    cuts = np.array_split(frequency[inside], min(150, int(inside.sum())))
    middle = [cut.mean() for cut in cuts]
    panel.plot(middle, level(data["multisine/y_m"]), color="0.6", label="displacement")
    for index, name in enumerate(MODELS):
        if f"{name}/multisine" in data:
            panel.plot(middle, level(data[f"{name}/multisine"]), color=f"C{index}", label=name)
    panel.set_xlabel("frequency / Hz")
    panel.set_ylabel("level / dB of 1 m")
    panel.legend(fontsize=6)
