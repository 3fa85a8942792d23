"""The figure: learning along the lattices, and the spread of the weights."""

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
    path, title = directory / "gerdes2023", "arXiv:2207.00283, 2D phi^4"
    return plotting.save_panels((_learning, _weights), data, path, title=title, height_inch=2.4)


def _places(data: Data) -> list[str]:
    return [f"L={int(length)}" for length in np.atleast_1d(data["length"])]


def _learning(panel: Any, data: Data) -> None:
    """Effective sample size of the batches, lattice after lattice."""
    begin = 0
    for index, place in enumerate(_places(data)):
        ess = data[f"{place}/batch_ess"]
        panel.plot(begin + np.arange(len(ess)), ess, color=f"C{index}", lw=0.6, label=f"${place}$")
        begin += len(ess)
        value, error = data[f"{place}/ess"]
        panel.errorbar(begin, value, error, fmt="o", color=f"C{index}")
    panel.set_xlabel("training step")
    panel.set_ylabel("effective sample size / $N$")
    panel.set_ylim(0, 1.05)
    panel.legend()


def _weights(panel: Any, data: Data) -> None:
    """Log-weights about the logarithm of their mean."""
    for index, place in enumerate(_places(data)):
        log_w = data[f"{place}/log_weights"]
        log_mean = np.log(np.mean(np.exp(log_w - log_w.max()))) + log_w.max()
        panel.hist(
            log_w - log_mean,
            bins=60,
            range=(-2.0, 1.0),
            density=True,
            histtype="step",
            color=f"C{index}",
            label=f"${place}$",
        )
    panel.set_xlabel("$\\log w - \\log\\langle w\\rangle$")
    panel.set_ylabel("density")
    panel.legend()
