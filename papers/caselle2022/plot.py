"""The figure: quality against cost, steps against volume, free energies, charges past a defect."""

from pathlib import Path
from typing import Any

import numpy as np

from diffhep.core import plotting

METHODS = {"stochastic": "stochastic flow", "annealing": "annealing", "plain": "plain flow"}
COLORS = {"stochastic": "C0", "annealing": "C1", "plain": "C2"}

Data = dict[str, np.ndarray]


def plot(data: Data, directory: Path) -> list[Path]:
    """Draw the figure of a run.

    Args:
        data: The arrays of data.h5.
        directory: Where the files go.

    Returns:
        The files.
    """
    return plotting.save_panels(
        (_cost, _growth, _free_energies, _charges),
        data,
        directory / "caselle2022",
        title="arXiv:2201.08862, stochastic flows",
        rows=2,
        height_inch=4.8,
    )


def _lengths(data: Data) -> list[int]:
    return sorted({int(name.split("/")[1]) for name in data if name.endswith("/plain")})


def _cost(panel: Any, data: Data) -> None:
    """Effective sample size against processor time, filled on the smallest lattice."""
    for index, length in enumerate(_lengths(data)):
        for method, label in METHODS.items():
            rows = data[f"volume/{length}/{method}"]
            panel.errorbar(
                1e6 * rows[:, 2],
                rows[:, 3],
                rows[:, 4],
                fmt="o-",
                ms=3,
                lw=0.8,
                color=COLORS[method],
                mfc=COLORS[method] if index == 0 else "white",
                label=f"{label}, $L={length}$",
            )
    panel.set_ylim(0, 1)
    panel.set_xlabel("processor time of a trajectory / µs")
    panel.set_ylabel("effective sample size / $N$")
    if panel.has_data():
        panel.set_xscale("log")
        panel.legend(fontsize=5.5)


def _growth(panel: Any, data: Data) -> None:
    """Steps at the target against the volume, with the fitted power."""
    for method in ("stochastic", "annealing"):
        if f"growth/{method}/steps" not in data:
            continue
        rows, (power, error, scale) = (data[f"growth/{method}/{x}"] for x in ("steps", "fit"))
        label = f"{METHODS[method]}: $V^{{{power:.2f}\\pm{error:.2f}}}$"
        panel.errorbar(*rows.T, fmt="o", ms=3, color=COLORS[method], label=label)
        x = np.array([rows[0, 0], rows[-1, 0]])
        panel.plot(x, scale * x**power, lw=0.8, color=COLORS[method])
    panel.set_xlabel("volume $V$ / sites")
    panel.set_ylabel("steps needed")
    if panel.has_data():
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.legend(fontsize=6)
    else:
        panel.text(0.5, 0.5, "less than three volumes", ha="center", va="center", fontsize=7)


def _free_energies(panel: Any, data: Data) -> None:
    """Distributions of the work there and, with the other sign, back, cross at the free energy."""
    for method, color in (("stochastic flow", "C0"), ("annealing", "C1")):
        there, back = (data[f"exact/{method}/{x}"] for x in ("work", "work back"))
        for values, style, way in ((there, "-", "$W$"), (-back, "--", "$-W$ back")):
            low, high = np.percentile(values, (0.2, 99.8))
            counts, edges = np.histogram(values, 40, (low, high), density=True)
            panel.stairs(counts, edges, color=color, ls=style, lw=0.9, label=f"{method}, {way}")
    truth = data["exact/annealing/Crooks"][2]
    panel.axvline(-truth, color="k", lw=0.8, label="$-\\log Z/Z_0$, exact")
    panel.set_xlabel("work")
    panel.set_ylabel("density")
    panel.legend(fontsize=5.5)


def _charges(panel: Any, data: Data) -> None:
    """The charge of one chain against the trajectories of all rungs, and the two times."""
    for name, label, shift in (("alone", "HMC", 5), ("exchange", "replica exchange", -5)):
        if f"defect/{name}/charge" not in data:
            continue
        charge, cost = data[f"defect/{name}/charge"], float(data[f"defect/{name}/cost"])
        tau, error = data[f"defect/{name}/tau"]
        at = cost * np.arange(len(charge))
        text = f"{label}: $\\tau_\\mathrm{{int}}={tau:.0f}\\pm{error:.0f}$"
        panel.plot(at, charge + shift, lw=0.5, label=text)
    panel.set_xlabel("trajectories, all rungs counted")
    panel.set_ylabel("charge, shifted by $\\pm5$")
    panel.set_ylim(-11, 14)
    panel.legend(fontsize=6, loc="upper right")
