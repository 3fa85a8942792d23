"""The figure: asymmetries, closure of the weights, learning curves, fits of fresh runs."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from diffhep.core import plotting
from diffhep_sbi.problems.ee_mumu import forward_backward_asymmetry

Data = dict[str, np.ndarray]


def plot(data: Data, directory: Path) -> list[Path]:
    """Draw the figure of a run.

    Args:
        data: The arrays of data.h5.
        directory: Where the files go.

    Returns:
        The files.
    """
    draw: list[Callable[[Any, Data], None]] = [_asymmetries]
    for name in ("shower", "string"):
        if f"{name}/closure" in data:
            draw.append(partial(_closure, name=name))
    if "shower/carl/squared_error" in data:
        draw.append(_learning)
    draw += [_shower] if "shower/theta" in data else []
    draw += [_string] if "string/theta" in data else []
    rows = 2 if len(draw) > 3 and len(draw) % 2 == 0 else 1
    title = "PYTHIA's shower and fragmentation from event shapes"
    height = 2.3 * rows
    return plotting.save_panels(
        draw, data, directory / "pythia_tune", title=title, rows=rows, height_inch=height
    )


def _asymmetries(panel: Any, data: Data) -> None:
    energies = np.linspace(30.0, 130.0, 201)
    curve = [forward_backward_asymmetry(float(energy)) for energy in energies]
    panel.plot(energies, curve, "k-", lw=0.8, label="formula")
    value, error, _ = data["muons/asymmetries"].T
    panel.errorbar(data["muons/energies_GeV"], value, error, fmt="o", color="C1", label="PYTHIA")
    panel.set_xlabel("energy / GeV")
    panel.set_ylabel("$A_{FB}$ of muon pairs")
    panel.legend(loc="lower right")


def _closure(panel: Any, data: Data, *, name: str) -> None:
    """Pulls of all means at all truths, sorted by size."""
    kinds = (("unweighted", "no weights"), ("closure_default", "default"), ("closure", "closing"))
    for index, (kind, label) in enumerate(kinds):
        if f"{name}/{kind}" in data:
            pulls = np.sort(np.abs(data[f"{name}/{kind}"]).ravel())[::-1]
            panel.plot(np.arange(1, pulls.size + 1), pulls, "o-", color=f"C{index}", label=label)
    panel.axhline(1.0, color="0.6", lw=0.6)
    panel.set_yscale("log")
    panel.set_ylim(0.02, None)
    panel.set_xlabel("means, by size of pull")
    panel.set_ylabel("|pull| to a direct run")
    panel.set_title(name, loc="right", fontsize=7)
    panel.legend(fontsize=6, loc="lower left")


def _learning(panel: Any, data: Data) -> None:
    for index, (method, label) in enumerate((("carl", "CARL"), ("alices", "ALICES, weights"))):
        errors = data[f"shower/{method}/squared_error"]
        n_seeds = errors.shape[1]
        spread = errors.std(axis=1, ddof=1) / np.sqrt(n_seeds) if n_seeds > 1 else None
        n_events = data[f"shower/{method}/n_events"]
        panel.errorbar(
            n_events, errors.mean(axis=1), spread, fmt="o-", color=f"C{index}", label=label
        )
    panel.set_xscale("log")
    panel.set_yscale("log")
    ticks = data["shower/carl/n_events"]
    panel.set_xticks(ticks, [f"{n:g}" for n in ticks])
    panel.set_xticks([], minor=True)
    panel.set_xlabel("events drawn for the training")
    panel.set_ylabel("squared error of the scale / (0.15)$^2$")
    panel.legend()


def _shower(panel: Any, data: Data) -> None:
    """Every experiment, and their mean at each truth."""
    truths, theta = data["shower/truths"][:, 0], data["shower/theta"][..., 0]
    for index, truth in enumerate(truths):
        n = theta.shape[1]
        place = truth + np.linspace(-0.006, 0.006, n) if n > 1 else [truth]
        panel.plot(place, theta[index], ".", ms=3, color="0.6")
    spread = theta.std(axis=1, ddof=1) / np.sqrt(theta.shape[1]) if theta.shape[1] > 1 else None
    panel.errorbar(truths, theta.mean(axis=1), spread, fmt="o", color="C1", label="mean")
    panel.plot([0.85, 1.15], [0.85, 1.15], "k-", lw=0.6)
    panel.set_xlabel("fsr:muRfac of the run")
    panel.set_ylabel("fitted")
    panel.legend(loc="upper left")


def _string(panel: Any, data: Data) -> None:
    truths, theta = data["string/truths"], data["string/theta"]
    for index, truth in enumerate(truths):
        panel.plot(*theta[index].T, ".", ms=3, color=f"C{index}")
        mean = theta[index].mean(axis=0)
        spread = theta[index].std(axis=0, ddof=1) / np.sqrt(len(theta[index]))
        panel.errorbar(*mean, xerr=spread[0], yerr=spread[1], fmt="o", color=f"C{index}")
        panel.plot(*truth, "x", color=f"C{index}", ms=6)
    panel.set_xlabel("aLund (cross: of the run)")
    panel.set_ylabel("bLund / GeV$^{-2}$")
