"""The figure: learning curves, errors of the methods, expected likelihoods."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from diffhep.core import plotting

METHODS = ("carl", "rolr", "alice", "cascal", "rascal", "alices", "sally", "sallino")
COLORS = (*(f"C{index}" for index in range(7)), "0.6")
"""The style has seven; SALLINO is grey."""

TITLES = {
    "latent_gaussian": "latent Gaussian",
    "drell_yan": "Drell-Yan EFT",
    "ee_mumu": "$e^+e^-\\to\\mu^+\\mu^-$",
    "galton": "Galton board",
}

Data = dict[str, np.ndarray]


def plot(data: Data, directory: Path) -> list[Path]:
    """Draw the figure of a run.

    Args:
        data: The arrays of data.h5.
        directory: Where the files go.

    Returns:
        The files.
    """
    names = [name for name in TITLES if f"{name}/n_events" in data]
    draw: list[Callable[[Any, Data], None]] = []
    for drawing in (learning, _curves):
        draw += [partial(titled, drawing=drawing, name=name) for name in names]
    path, title = directory / "brehmer2018", "arXiv:1805.00020, learned likelihood ratios"
    return plotting.save_panels(draw, data, path, title=title, rows=2, height_inch=4.2)


def titled(panel: Any, data: Data, *, drawing: Any, name: str) -> None:
    """Draw a panel of one problem, and name it."""
    drawing(panel, data, name)
    panel.set_title(TITLES[name], loc="right", fontsize=7)


def learning(panel: Any, data: Data, name: str) -> None:
    """Mean square error of log r against the number of events, mean and error over seeds."""
    n_events = data[f"{name}/n_events"]
    for index, method in enumerate(METHODS):
        if f"{name}/{method}/errors" not in data:
            continue
        errors = data[f"{name}/{method}/errors"][..., 0]
        n_seeds = errors.shape[1]
        spread = errors.std(axis=1, ddof=1) / np.sqrt(n_seeds) if n_seeds > 1 else None
        panel.errorbar(
            n_events * (1.0 + 0.03 * (index - 3)),
            errors.mean(axis=1),
            spread,
            fmt="o-",
            color=COLORS[index],
            label=method.upper(),
        )
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_xticks(n_events, [f"{n:g}" for n in n_events])
    panel.set_xticks([], minor=True)
    panel.set_xlabel("training events of each class")
    panel.set_ylabel("mean square error of $\\log r$")


def _curves(panel: Any, data: Data, name: str) -> None:
    """Expected likelihood per event along the first parameter."""
    theta, exact = data[f"{name}/fractions"], data[f"{name}/exact/curve"]
    for index, method in enumerate(METHODS):
        if f"{name}/{method}/curve" in data:
            panel.plot(
                theta, data[f"{name}/{method}/curve"], color=COLORS[index], label=method.upper()
            )
    panel.plot(theta, exact, "k--", lw=1.5, label="exact")
    panel.set_xlabel("$\\theta_1$, the other parameter at 0")
    panel.set_ylabel("$-2\\langle\\log r\\rangle$ per event")
    if len(panel.lines) > 2:
        panel.legend(fontsize=5, ncols=2, loc="upper center", columnspacing=0.5)
        low, high = panel.get_ylim()
        panel.set_ylim(low, high + 0.5 * (high - low))
