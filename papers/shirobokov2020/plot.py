"""The figure: excess of the objective against simulated events."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from diffhep.core import plotting

Data = dict[str, np.ndarray]

COLOURS = {"local": "C0", "score": "C1", "bayesian": "C2"}


def plot(data: Data, directory: Path) -> list[Path]:
    """Draw the figure of a run.

    Args:
        data: The arrays of data.h5.
        directory: Where the files go.

    Returns:
        The files.
    """
    tasks = list(dict.fromkeys(name.split("/")[0] for name in data if not _is_closed(name)))
    panels = [_panel(task) for task in tasks]
    rows = max(1, (len(panels) + 1) // 2)
    path = directory / "shirobokov2020"
    title = "Simulated events to the optimum, with and without a local surrogate"
    if len(panels) % 2 or not panels:
        panels.append(_starts)
    return plotting.save_panels(panels, data, path, title=title, rows=rows, height_inch=2.4 * rows)


def _is_closed(name: str) -> bool:
    return name.startswith("closed/")


def _panel(task: str) -> Callable[[Any, Data], None]:
    def draw(panel: Any, data: Data) -> None:
        seen = set()
        for name in sorted(data):
            if not name.startswith(f"{task}/"):
                continue
            method = name.split("/")[1]
            kind = method.split()[0]
            style = "--" if method.endswith("0.2") else "-"
            label = None if method in seen else method
            seen.add(method)
            calls, value = data[name].T
            best = np.minimum.accumulate(value)
            panel.plot(calls, best, style, lw=0.8, color=COLOURS[kind], label=label)
        panel.set_xlabel("simulated events")
        panel.set_ylabel(f"exact objective, {task}")
        panel.set_xscale("log")
        panel.legend(fontsize=6)

    return draw


def _starts(panel: Any, data: Data) -> None:
    """Where the random starts of the closed forms end."""
    for index, name in enumerate(sorted(filter(_is_closed, data))):
        excess = np.sort(np.clip(data[name], 1e-12, 1e3))
        panel.plot(excess, ".", ms=4, color=f"C{index}", label=name.removeprefix("closed/"))
    panel.set_yscale("log")
    panel.set_xlabel("start, sorted")
    panel.set_ylabel("relative excess of the objective")
    panel.legend(fontsize=6)
