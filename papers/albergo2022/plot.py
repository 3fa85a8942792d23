"""The figure: histories of the charge, its distribution, agreement, and what a charge costs."""

from pathlib import Path
from typing import Any

import numpy as np

from diffhep.core import plotting

LABELS = {
    "hmc": "HMC",
    "pseudofermions": "pseudofermion HMC",
    "hmc+instanton": "HMC + instanton hits",
    "hmc+flow": "HMC + flow",
    "independence": "flow, independence",
    "delayed": "flow, delayed acceptance",
    "flow_hmc": "HMC in latent space",
}
"""Samplers in the order in which they are drawn, with the names they have in the figure."""

OBSERVABLES = {"plaquette": "$P$", "condensate": "$\\bar\\psi\\psi$", "Q^2": "$Q^2$"}

HISTORY = 160
"""Rows of a history that are drawn."""

Data = dict[str, np.ndarray]


def plot(data: Data, directory: Path) -> list[Path]:
    """Draw the figure of a run.

    Args:
        data: The arrays of data.h5.
        directory: Where the files go.

    Returns:
        The files.
    """
    draw = (_history, _distribution, _exact, _agreement, _pion, _cost)
    path, title = directory / "albergo2022", "arXiv:2202.11712, the Schwinger model"
    return plotting.save_panels(draw, data, path, title=title, rows=2, height_inch=4.6)


def _places(data: Data) -> list[str]:
    """The lattices in the data, the smallest first."""
    names = {name.split("/")[0] for name in data if name.endswith("/hmc+instanton/Q")}
    return sorted(names, key=lambda name: int(name.split("x")[0]))


def _present(data: Data, place: str) -> dict[str, str]:
    return {name: label for name, label in LABELS.items() if f"{place}/{name}/Q" in data}


def _colour(name: str) -> str:
    return f"C{list(LABELS).index(name)}"


def _history(panel: Any, data: Data) -> None:
    """The charge of one chain of each sampler on the largest lattice, one above the other."""
    place = _places(data)[-1]
    names = list(_present(data, place))[:5]
    apart = 2.0 * max(int(np.max(np.abs(data[f"{place}/{name}/Q"]))) for name in names) + 1.0
    for row, name in enumerate(names):
        charges = data[f"{place}/{name}/Q"].ravel()[:HISTORY]
        thin = int(data[f"{place}/{name}/thin"])
        panel.plot(charges - apart * row, color=_colour(name), lw=0.8)
        rows = data[f"{place}/{name}/Q"].shape[1]
        for seam in range(rows, len(charges), rows):
            panel.plot(
                [seam - 0.5] * 2, [-apart * row - 1, -apart * row + 1], ":", color="0.6", lw=0.6
            )
        label = LABELS[name] + (f", every {thin} steps" if thin > 1 else "")
        panel.text(1, -apart * row + 0.32 * apart, label, fontsize=5.5)
    ticks = [(-apart * row + q, q) for row in range(len(names)) for q in (-1, 0, 1)]
    panel.set_yticks([at for at, _ in ticks], [str(q) for _, q in ticks], fontsize=5)
    panel.set_ylim(-apart * (len(names) - 0.5), 0.5 * apart)
    panel.set_xlabel(f"row, ${place.replace('x', chr(92) + 'times ')}$, chains in a row")
    panel.set_ylabel("topological charge $Q$")


def _distribution(panel: Any, data: Data) -> None:
    """P(Q) of every sampler that moves on the largest lattice."""
    place = _places(data)[-1]
    names = [name for name in _present(data, place) if data[f"{place}/{name}/moves"]]
    for index, name in enumerate(names):
        series = data[f"{place}/{name}/Q"]
        charges = np.unique(series)
        rates = np.array([np.mean(series == q) for q in charges])
        tau, thin = data[f"{place}/{name}/tau"][0], float(data[f"{place}/{name}/thin"])
        errors = np.sqrt(rates * (1 - rates) * 2 * tau / thin / series.size)
        at = charges + 0.6 * ((index + 0.5) / len(names) - 0.5)
        panel.errorbar(at, rates, errors, fmt="o", ms=2.5, color=_colour(name), label=LABELS[name])
    panel.set_ylim(0.0, None)
    panel.set_xlabel(f"$Q$, ${place.replace('x', chr(92) + 'times ')}$")
    panel.set_ylabel("$P(Q)$")
    if names:
        panel.legend(fontsize=5)


def _exact(panel: Any, data: Data) -> None:
    """Deviations from the exact values on 2 x 2 in standard errors."""
    names = _present(data, "2x2")
    for index, name in enumerate(names):
        for k, observable in enumerate(("plaquette", "condensate")):
            mean, error = data[f"2x2/{name}/{observable}"]
            pull = (mean - float(data[f"2x2/exact/{observable}"])) / error
            at = k + 0.8 * ((index + 0.5) / len(names) - 0.5)
            panel.errorbar(at, pull, 1.0, fmt="o", ms=2.5, color=_colour(name))
    panel.axhline(0.0, color="0.5", lw=0.8)
    panel.set_xticks((0, 1), [OBSERVABLES[name] for name in ("plaquette", "condensate")])
    panel.set_ylim(-5, 5)
    panel.set_xlim(-0.5, 1.5)
    panel.set_xlabel("$2\\times2$")
    panel.set_ylabel("(measured $-$ exact) / error")


def _agreement(panel: Any, data: Data) -> None:
    """Differences from HMC with instanton hits on every lattice, in standard errors."""
    places = _places(data)
    labels = []
    for row, place in enumerate(places):
        names = [
            name
            for name in _present(data, place)
            if name != "hmc+instanton" and data[f"{place}/{name}/moves"]
        ]
        for k, observable in enumerate(OBSERVABLES):
            if not names or f"{place}/hmc+instanton/{observable}" not in data:
                continue
            labels.append((len(OBSERVABLES) * row + k, f"{OBSERVABLES[observable]}\n{place}"))
            mean, error = data[f"{place}/hmc+instanton/{observable}"]
            for index, name in enumerate(names):
                other, its_error = data[f"{place}/{name}/{observable}"]
                pull = (other - mean) / np.hypot(error, its_error)
                at = len(OBSERVABLES) * row + k + 0.7 * ((index + 0.5) / len(names) - 0.5)
                panel.errorbar(at, pull, 1.0, fmt="o", ms=2.5, color=_colour(name))
    panel.axhline(0.0, color="0.5", lw=0.8)
    panel.set_xticks([at for at, _ in labels], [text for _, text in labels], fontsize=4)
    panel.set_ylim(-5, 5)
    panel.set_ylabel("(sampler $-$ reference) / error")


def _pion(panel: Any, data: Data) -> None:
    """The correlator of the pion on every lattice, from the reference sampler."""
    known = [name for name in _places(data) if f"{name}/hmc+instanton/pion" in data]
    for index, place in enumerate(known):
        means, errors = np.transpose(data[f"{place}/hmc+instanton/pion"])
        panel.errorbar(
            np.arange(len(means)), means, errors, fmt="o-", color=f"C{index}", label=place
        )
    panel.set_yscale("log")
    panel.set_xlabel("$t$ in lattice units")
    panel.set_ylabel("$C_\\pi(t)$, HMC + instanton hits")
    if panel.has_data():
        panel.legend()


def _cost(panel: Any, data: Data) -> None:
    """Autocorrelation time of the charge times the seconds of a step."""
    places = _places(data)
    for row, place in enumerate(places):
        names = _present(data, place)
        for index, name in enumerate(names):
            tau, error = data[f"{place}/{name}/tau"]
            seconds = float(data[f"{place}/{name}/seconds"])
            at = row + 0.8 * ((index + 0.5) / len(names) - 0.5)
            moves = bool(data[f"{place}/{name}/moves"])
            panel.errorbar(
                at,
                2 * tau * seconds,
                2 * error * seconds,
                fmt="o" if moves else "^",
                mfc=None if moves else "none",
                color=_colour(name),
            )
    # The colours are those of all panels.
    for name in dict.fromkeys(name for place in _places(data) for name in _present(data, place)):
        panel.plot([], [], "o", color=_colour(name), label=LABELS[name])
    panel.set_yscale("log")
    low, high = panel.get_ylim()
    panel.set_ylim(low, 100 * high)  # room for the legend
    panel.set_xticks(range(len(places)), places)
    panel.set_xlim(-0.5, len(places) - 0.5)
    panel.set_ylabel("$2\\tau_{\\mathrm{int}}(Q)\\times$ s per step")
    panel.legend(fontsize=4, loc="upper left", ncols=2, handletextpad=0.1, columnspacing=0.2)
