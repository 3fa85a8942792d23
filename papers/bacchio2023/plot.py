"""The figure: effective sample sizes, learning curves, volumes, coefficients, loops."""

from pathlib import Path
from typing import Any

import numpy as np

from diffhep.core import plotting

OBSERVABLES = {"plaquette": "plaquette", "W(2x2)": "$W_{2\\times2}$", "W(3x3)": "$W_{3\\times3}$"}

LOOPS = (
    "$P$",
    "$|\\mathrm{tr}P|^2$",
    "$PP'^\\dagger$",
    "$\\mathrm{tr}P\\,\\mathrm{tr}P'^*$",
    "$PP'$",
    "$\\mathrm{tr}P\\,\\mathrm{tr}P'$",
    "$(\\mathrm{tr}P)^2$",
)
"""The loops in the order of their coefficients."""

Data = dict[str, np.ndarray]


def plot(data: Data, directory: Path) -> list[Path]:
    """Draw the figure of a run.

    Args:
        data: The arrays of data.h5.
        directory: Where the files go.

    Returns:
        The files.
    """
    draw = (_quality, _parameters, _volumes, _learning, _coefficients, _loops)
    path, title = directory / "bacchio2023", "arXiv:2212.08469, 2D SU(2) and SU(3)"
    return plotting.save_panels(draw, data, path, title=title, rows=2, height_inch=4.4)


def _places(data: Data) -> list[str]:
    """The theories in the data, in the order of their names."""
    return sorted({name.split("/")[0] for name in data if name.endswith("/flow/ess")})


def _label(name: str) -> str:
    return name.replace("beta=", "$\\beta=$")


def _mark_theories(panel: Any, names: list[str]) -> None:
    labels = [name.replace(" beta=", "\n$\\beta=$") for name in names]
    panel.set_xticks(range(len(names)), labels, fontsize=5)
    panel.set_xlim(-0.5, len(names) - 0.5)


def _quality(panel: Any, data: Data) -> None:
    """Effective sample sizes beside the published ones of spectral flows."""
    names = _places(data)
    found = np.array([data[f"{name}/flow/ess"] for name in names])
    at = np.arange(len(names))
    panel.errorbar(at, found[:, 0], found[:, 1], fmt="o", label="few loops")
    bars = [float(data[f"{name}/exact/bar"]) for name in names]
    panel.plot(at, bars, "_k", ms=12, label="arXiv:2008.05456")
    _mark_theories(panel, names)
    panel.set_ylim(0, 1.05)
    panel.set_ylabel("effective sample size / $N$")
    panel.legend(fontsize=5, loc="lower left")


def _parameters(panel: Any, data: Data) -> None:
    """The effective sample size against the number of parameters."""
    for name in _places(data):
        if f"{name}/leading/table" in data:
            table = data[f"{name}/leading/table"]
            panel.errorbar(table[:, 0], table[:, 1], table[:, 2], fmt="o-", label=_label(name))
    panel.set_ylim(bottom=0)
    panel.set_xlabel("parameters")
    panel.set_ylabel("effective sample size / $N$")
    if panel.has_data():
        panel.legend(fontsize=5, loc="upper left")


def _volumes(panel: Any, data: Data) -> None:
    """The effective sample size of the same parameters on other lattices."""
    for name in _places(data):
        if f"{name}/scan/table" in data:
            table = data[f"{name}/scan/table"]
            panel.errorbar(table[:, 0], table[:, 1], table[:, 2], fmt="o-", label=_label(name))
    panel.set_ylim(0, 1.05)
    panel.set_xlabel("sites along each axis")
    panel.set_ylabel("effective sample size / $N$")
    if panel.has_data():
        panel.legend(fontsize=5, loc="lower left")


def _learning(panel: Any, data: Data) -> None:
    """The divergence on the lattice of the training against the step, all loops."""
    for index, name in enumerate(_places(data)):
        size = int(data[f"{name}/flow/parameters"])
        divergence = data[f"{name}/training {size}/divergence"]
        panel.plot(np.arange(len(divergence)), divergence, color=f"C{index}", label=_label(name))
    panel.set_yscale("symlog", linthresh=0.1)
    panel.set_xlabel("training step")
    panel.set_ylabel("KL divergence / nat")
    panel.legend(fontsize=5)


def _coefficients(panel: Any, data: Data) -> None:
    """Coefficients of the loops along the flow time, of the last theory."""
    name = _places(data)[-1]
    values = data[f"{name}/flow/coefficients"]
    times = np.linspace(0, 1, len(values))
    for index, line in enumerate(values.T):
        panel.plot(times, line, color=f"C{index}", label=LOOPS[index])
    panel.set_title(_label(name), fontsize=6, loc="right")
    panel.set_xlabel("flow time")
    panel.set_ylabel("coefficients")
    panel.legend(fontsize=4, ncols=2)


def _loops(panel: Any, data: Data) -> None:
    """Deviations of weighted means from the exact values in standard errors."""
    names = _places(data)
    for index, (observable, label) in enumerate(OBSERVABLES.items()):
        rows = np.array([data[f"{name}/loops/{observable}"] for name in names])
        pulls = (rows[:, 0] - rows[:, 2]) / rows[:, 1]
        at = np.arange(len(names)) + 0.2 * (index - 1)
        panel.errorbar(at, pulls, 1.0, fmt="o", ms=2.5, lw=0.7, label=label)
    panel.axhline(0.0, color="0.5", lw=0.8)
    _mark_theories(panel, names)
    panel.set_ylim(-5, 5)
    panel.set_ylabel("(weighted mean $-$ exact) / error")
    panel.legend(fontsize=5, ncols=3, loc="upper center")
