"""The figure: acceptance, autocorrelation, effective masses, learning."""

from pathlib import Path
from typing import Any

import numpy as np

from diffhep.core import plotting
from papers.albergo2019.config import ACCEPTANCE_BAR, PUBLISHED_ACCEPTANCE

Data = dict[str, np.ndarray]


def plot(data: Data, directory: Path) -> list[Path]:
    """Draw the figure of a run.

    Args:
        data: The arrays of data.h5.
        directory: Where the files go.

    Returns:
        The files.
    """
    draw = (_acceptance, _autocorrelation, _masses, _learning)
    path, title = directory / "albergo2019", "arXiv:1904.12072, 2D phi^4"
    return plotting.save_panels(draw, data, path, title=title, rows=2, height_inch=4.8)


def _flows(data: Data) -> list[tuple[str, str]]:
    """Theories and flows in the data, by length."""
    found = [name.split("/")[:2] for name in data if name.endswith("/batch_ess")]
    return sorted(((place, flow) for place, flow in found), key=lambda x: (_length(x[0]), *x))


def _length(place: str) -> int:
    return int(place.split()[0].removeprefix("L="))


def _label(place: str) -> str:
    return "$" + place.replace(" lambda=", "$, $\\lambda=") + "$"


def _acceptance(panel: Any, data: Data) -> None:
    """Acceptance of every flow against the length of the lattice."""
    flows = _flows(data)
    for index, kind in enumerate(sorted({flow for _, flow in flows})):
        for is_tutorial, marker in ((False, "o"), (True, "^")):
            places = [
                place
                for place, flow in flows
                if flow == kind and place.endswith("lambda=8") == is_tutorial
            ]
            if places:
                found = np.array([data[f"{place}/{kind}/acceptance"] for place in places])
                at = [_length(place) + 0.15 * index for place in places]
                label = f"{kind}, $\\lambda=8$" if is_tutorial else kind
                panel.errorbar(
                    at, found[:, 0], found[:, 1], fmt=marker, color=f"C{index}", label=label
                )
    panel.plot([8], [PUBLISHED_ACCEPTANCE], "kx", label="arXiv:2101.08176, $\\lambda=8$")
    panel.axhline(ACCEPTANCE_BAR, color="0.6", lw=0.8, ls=":")
    panel.set_ylim(0, 1.05)
    panel.set_xlabel("sites along each axis")
    panel.set_ylabel("acceptance")
    panel.legend(fontsize=6)


def _autocorrelation(panel: Any, data: Data) -> None:
    """The Gamma method's time of chi2 and |mean phi| against the acceptance."""
    for index, observable in enumerate(("phi2", "chi2", "abs_mean")):
        rows = [
            (data[f"{place}/{flow}/acceptance"][0], *data[f"{place}/{flow}/{observable}"][2:])
            for place, flow in _flows(data)
        ]
        x, tau, error = np.array(rows).T
        label = {"phi2": "$\\phi^2$", "chi2": "$\\chi_2$", "abs_mean": "$|\\bar\\phi|$"}[observable]
        panel.errorbar(x, tau, error, fmt="o", color=f"C{index}", label=label)
    rows = [
        (data[f"{place}/{flow}/acceptance"][0], data[f"{place}/{flow}/tau_of_rejections"])
        for place, flow in _flows(data)
    ]
    x, tau = np.array(sorted((float(a), float(b)) for a, b in rows)).T
    panel.plot(x, tau, "_k", ms=10, label="of the rejections")
    panel.set_yscale("log")
    panel.set_xlabel("acceptance")
    panel.set_ylabel("$\\tau_\\mathrm{int}$ / transitions")
    panel.legend(fontsize=6)


def _masses(panel: Any, data: Data) -> None:
    """Effective masses times the length, of the flow and of HMC."""
    places = list(dict.fromkeys(place for place, _ in _flows(data)))
    for index, place in enumerate(places):
        flow = next(name for at, name in _flows(data) if at == place)
        for sampler, marker, shift in ((flow, "o", -0.04), ("hmc", "s", 0.04)):
            t, mean, error = data[f"{place}/{sampler}/masses"].T
            style = {"mfc": "none"} if sampler == "hmc" else {"label": _label(place)}
            length = _length(place)
            panel.errorbar(
                t + shift, length * mean, length * error, fmt=marker, color=f"C{index}", **style
            )
    panel.set_xlabel("distance $t$ (filled: flow, open: HMC)")
    panel.set_ylabel("$L\\,m(t)$")
    panel.legend(fontsize=6)


def _learning(panel: Any, data: Data) -> None:
    """Effective sample size of the batches, averaged over blocks of steps."""
    for index, (place, flow) in enumerate(_flows(data)):
        ess = data[f"{place}/{flow}/batch_ess"]
        width = max(len(ess) // 30, 1)
        smooth = ess[: len(ess) // width * width].reshape(-1, width).mean(1)
        at = (np.arange(len(smooth)) + 0.5) * width
        line = "-" if index < len(plotting.COLOURS) else "--"
        panel.plot(at, smooth, line, lw=0.8, label=f"{_label(place)}, {flow.removesuffix(' flow')}")
    panel.set_ylim(0, 1.05)
    panel.set_xlabel("training step")
    panel.set_ylabel("effective sample size / $N$")
    panel.legend(fontsize=5)
