"""The figure: excess of the exact objective against simulated events, and where starts end."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from diffhep.core import plotting

Data = dict[str, np.ndarray]

METHODS = (
    "local surrogate",
    "score function, batches of 10",
    "Bayesian optimisation",
)

TITLES = {
    "hump2": "three humps, 2",
    "rosenbrock10": "Rosenbrock, 10",
    "rosenbrock100": "Rosenbrock, 10 of 100",
    "hump40": "three humps, 2 of 40",
}

CLOSED = "closed/"


def plot(data: Data, directory: Path) -> list[Path]:
    """Draw the figure of a run.

    Args:
        data: The arrays of data.h5.
        directory: Where the files go.

    Returns:
        The files.
    """
    panels = [_panel(task) for task in TITLES if f"{task}/levels" in data]
    if any(name.startswith(CLOSED) for name in data):
        panels.append(_starts)
    rows = 2 if len(panels) > 3 else 1
    panels += [_nothing] * (-len(panels) % rows)
    path = directory / "shirobokov2020"
    title = "Simulated events to the optimum, with and without a local surrogate"
    return plotting.save_panels(panels, data, path, title=title, rows=rows, height_inch=2.3 * rows)


def _panel(task: str) -> Callable[[Any, Data], None]:
    def draw(panel: Any, data: Data) -> None:
        target, optimum, start = data[f"{task}/levels"]
        last = 0.0
        for colour, method in enumerate(METHODS):
            paths = [data[name] for name in sorted(data) if name.startswith(f"{task}/{method}/")]
            if not paths:
                continue
            last = max(last, *(path[-1, 0] for path in paths))
            events = np.geomspace(5.0, max(path[-1, 0] for path in paths), 200)
            excess = np.stack([_held(path, events, start) for path in paths]) - optimum
            excess = excess / (start - optimum)
            panel.fill_between(
                events, excess.min(axis=0), excess.max(axis=0), color=f"C{colour}", alpha=0.2, lw=0
            )
            panel.plot(events, np.median(excess, axis=0), color=f"C{colour}", label=method)
        panel.axhline((target - optimum) / (start - optimum), color="k", lw=0.6, ls=":")
        panel.set_xlim(5.0, last)
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_ylim(0.02, 3.0)
        panel.set_xlabel("simulated events")
        panel.set_ylabel("excess over the optimum / start's")
        panel.set_title(TITLES[task])
        if task == next(name for name in TITLES if f"{name}/levels" in data):
            panel.legend(loc="lower left")

    return draw


def _held(path: np.ndarray, events: np.ndarray, start: float) -> np.ndarray:
    """The exact objective of the best design by a number of events; the start before any."""
    best = np.minimum.accumulate(np.append(start, path[:, 1]))
    return best[np.searchsorted(path[:, 0], events, side="right")]


def _starts(panel: Any, data: Data) -> None:
    """Where the random starts of the closed forms end."""
    for name in sorted(name for name in data if name.startswith(CLOSED)):
        excess = np.sort(np.clip(data[name], 1e-12, None))
        panel.plot(excess, ".", label=name.removeprefix(CLOSED))
    panel.set_yscale("log")
    panel.set_xlabel("start, sorted")
    panel.set_ylabel("relative excess of the objective")
    panel.set_title("closed forms")
    panel.legend()


def _nothing(panel: Any, data: Data) -> None:
    panel.axis("off")
