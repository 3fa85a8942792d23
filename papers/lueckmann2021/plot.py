"""The figure: C2ST against the number of simulations, beside what was published."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from diffhep.core import plotting
from papers.lueckmann2021.published import BUDGETS, PUBLISHED

METHODS = {"nre": "NRE", "npe": "NPE", "nle": "NLE", "flow_matching": "flow matching"}

Data = dict[str, np.ndarray]


def plot(data: Data, directory: Path) -> list[Path]:
    """Draw the figure of a run.

    Args:
        data: The arrays of data.h5.
        directory: Where the files go.

    Returns:
        The files.
    """
    tasks = [task for task in PUBLISHED if f"{task}/n_simulations" in data]
    draw: list[Callable[[Any, Data], None]] = [partial(_panel, task=task) for task in tasks]
    path, title = directory / "lueckmann2021", "arXiv:2101.04653, posteriors of the benchmark"
    rows = 2 if len(draw) in (4, 6) else 1
    return plotting.save_panels(draw, data, path, title=title, rows=rows, height_inch=2.2 * rows)


def _panel(panel: Any, data: Data, *, task: str) -> None:
    """Ours with the error over observations, solid; published, dashed."""
    n_simulations = data[f"{task}/n_simulations"]
    for index, (method, label) in enumerate(METHODS.items()):
        color = f"C{index}"
        if f"{task}/{method}" in data:
            accuracy = data[f"{task}/{method}"]
            n = accuracy.shape[1]
            error = accuracy.std(axis=1, ddof=1) / np.sqrt(n) if n > 1 else None
            panel.errorbar(
                n_simulations, accuracy.mean(axis=1), error, fmt="o-", color=color, label=label
            )
        if method in PUBLISHED[task]:
            shown = np.isin(BUDGETS, n_simulations)
            known = np.array(BUDGETS)[shown], np.array(PUBLISHED[task][method])[shown]
            if f"{task}/{method}" in data and shown.any():
                panel.plot(*known, "x--", color=color, label=f"{label}, published")
    panel.axhline(0.5, color="k", lw=0.5)
    panel.set_xscale("log")
    panel.set_xticks(n_simulations, [f"{n:g}" for n in n_simulations])
    panel.set_xticks([], minor=True)
    panel.set_ylim(0.48, 1.02)
    panel.set_title(task, loc="right", fontsize=6)
    panel.set_xlabel("simulations")
    panel.set_ylabel("C2ST")
    panel.legend(fontsize=5)
