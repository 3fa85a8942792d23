"""The figure: profiles, best fits, coverage, the distribution at the bound, limits, pools."""

from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import chi2

from diffhep.core import plotting

Data = dict[str, np.ndarray]

NAMES = ("exact", "learned", "histogram")

LARGEST_T = 9.0
"""Profiles are compared within three standard deviations."""


def plot(data: Data, directory: Path) -> list[Path]:
    """Draw the figure of a run.

    Args:
        data: The arrays of data.h5.
        directory: Where the files go.

    Returns:
        The files.
    """
    known = {
        "profile/exact": _profile,
        "fits/exact": _fits,
        "coverage/neyman": _coverage,
        "coverage/bound": _bound,
        "limits/exact": _limits,
        "pools/size": _pools,
    }
    draw = [drawing for name, drawing in known.items() if name in data]
    title = "arXiv:2412.01600, an unbinned measurement with learned ratios"
    return plotting.save_panels(
        draw, data, directory / "atlas2024", title=title, rows=1 + (len(draw) == len(known))
    )


def _profile(panel: Any, data: Data) -> None:
    strength = data["profile/strength"]
    exact = data["profile/exact"]
    shown = exact < LARGEST_T
    for index, curve in enumerate(data["profile/members"]):
        label = "single networks" if index == 0 else None
        panel.plot(strength[shown], (curve - exact)[shown], color="0.6", label=label)
    panel.plot(strength[shown], (data["profile/learned"] - exact)[shown], "C1-", label="all")
    panel.axhline(0.0, color="k", ls="--", lw=0.8)
    panel.set_xlabel("$\\mu$")
    panel.set_ylabel("$t_\\mu$ learned - exact")
    panel.legend(fontsize=6)


def _fits(panel: Any, data: Data) -> None:
    exact = data["fits/exact"]
    panel.plot(exact, data["fits/learned"], ".", ms=1.5, color="C1")
    ends = [0.0, float(exact.max())]
    panel.plot(ends, ends, "k--", lw=0.8)
    panel.set_xlabel("$\\hat\\mu$, exact likelihood")
    panel.set_ylabel("$\\hat\\mu$, learned ratios")


def _coverage(panel: Any, data: Data) -> None:
    strength = data["coverage/strength"]
    for place, level in enumerate(data["coverage/level"]):
        panel.axhline(level, color="k", lw=0.6, ls=":")
        error = data["coverage/error"][:, place]
        for index, name, mark in ((1, "neyman", "o"), (2, "wilks", "s")):
            label = {"neyman": "Neyman", "wilks": "Wilks"}[name] if place == 0 else None
            shift = 0.01 * (2 * index - 3)
            found = data[f"coverage/{name}"][:, place]
            panel.errorbar(strength + shift, found, error, fmt=mark, color=f"C{index}", label=label)
    panel.set_xlabel("true $\\mu$")
    panel.set_ylabel("coverage at 68 and 95 %")
    panel.set_ylim(0.6, 1.0)
    panel.legend(fontsize=6, loc="center right")


def _bound(panel: Any, data: Data) -> None:
    found = np.sort(data["coverage/bound"])
    t = np.linspace(0.0, 8.0, 200)
    panel.plot(t, chi2.sf(t, 1), "k--", lw=0.8, label="$\\chi^2_1$")
    rank = 1.0 - np.arange(found.size) / found.size
    panel.step(found, rank, color="C1", label="experiments")
    panel.set_xlim(0.0, 8.0)
    panel.set_ylim(5e-3, 1.1)
    panel.set_yscale("log")
    panel.set_xlabel("$t_0$ at $\\mu = 0$")
    panel.set_ylabel("fraction not below")
    panel.legend(fontsize=6)


def _limits(panel: Any, data: Data) -> None:
    for place, name in enumerate(NAMES):
        low, inner, middle, upper, high = data[f"limits/{name}"]
        panel.barh(place, high - low, left=low, height=0.6, color="#FFE680")
        panel.barh(place, upper - inner, left=inner, height=0.6, color="#8FD694")
        panel.plot([middle] * 2, [place - 0.3, place + 0.3], "k-")
    panel.set_yticks(range(len(NAMES)), NAMES)
    panel.invert_yaxis()
    panel.set_xlabel("expected 95 % CL$_s$ limit on $\\mu$")
    panel.set_xlim(left=0.0)


def _pools(panel: Any, data: Data) -> None:
    size, shift = data["pools/size"], data["pools/shift"]
    panel.loglog(size, shift, "o", color="C0", label="20 pools")
    panel.loglog(size, np.sqrt(40.0 / size), "k--", lw=0.8, label="$\\sqrt{N/M}$")
    ticks = [0.05, 0.1, 0.2, 0.5]
    panel.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    panel.set_yticks([], minor=True)
    panel.set_xlabel("events of a process in the pool")
    panel.set_ylabel("rms shift of $\\hat\\mu$ / error")
    panel.legend(fontsize=6)
