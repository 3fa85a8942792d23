"""The figure: the scan and the search's path, what the search saw, widths, and segments."""

from pathlib import Path
from typing import Any

import numpy as np

from diffhep.core import plotting

Data = dict[str, np.ndarray]


def plot(data: Data, directory: Path) -> list[Path]:
    """Draw the figure of a run.

    Args:
        data: The arrays of data.h5.
        directory: Where the files go.

    Returns:
        The files.
    """
    path, title = directory / "calo_design", "A sampling calorimeter under a budget"
    draw, rows = [_map, _history], 1
    if "unseen/width" in data:
        draw, rows = [*draw, _lines, _segments], 2
    return plotting.save_panels(draw, data, path, title=title, rows=rows, height_inch=2.8 * rows)


def _map(panel: Any, data: Data) -> None:
    """sigma/E over the plane of thicknesses, and the accepted designs of the search."""
    absorber, gap = data["scan/absorber_mm"], data["scan/gap_mm"]
    levels = 100 * data["scan/width"].min() * np.geomspace(1.0, 2.0, 9)
    drawn = panel.contourf(absorber, gap, 100 * data["scan/width"].T, levels, extend="max")
    panel.figure.colorbar(drawn, ax=panel, label=r"$\sigma/E$ (%)", format="%.1f")
    a, g = np.meshgrid(absorber, gap)
    panel.plot(a, g, ".", color="0.8", ms=2)
    taken = data["search/designs"][data["search/accepted"]]
    panel.plot(*taken.T, "o-", color="w", ms=3, lw=0.8, label="local surrogates")
    panel.plot(*data["search/found"], "*", color="w", ms=8, mec="k", label="found by them")
    if "rounds/found" in data:
        panel.plot(*data["rounds/found"], "*", color="r", ms=9, mec="k", label="found by one flow")
    panel.plot(*data["scan/best"], "s", color="r", ms=5, mfc="none", label="scan's best")
    panel.set_xlabel("lead / mm")
    panel.set_ylabel("scintillator / mm")
    legend = panel.legend(fontsize=6, loc="upper right", frameon=True)
    legend.get_frame().set_facecolor("0.6")


def _history(panel: Any, data: Data) -> None:
    """What the search saw by its events, beside the scan's best by fresh events."""
    values, errors = 100 * data["search/values"]
    calls, taken = data["search/calls"], data["search/accepted"]
    for chosen, fill, label in ((taken, "C0", "accepted"), (~taken, "none", "refused")):
        panel.errorbar(
            calls[chosen], values[chosen], errors[chosen],
            fmt="o", ms=3, color="C0", mfc=fill, label=label,
        )  # fmt: skip
    value, error, n_calls = data["search/verified"]
    panel.errorbar(
        n_calls, 100 * value, 100 * error, fmt="*", color="r", label="found by them, verified"
    )
    if "rounds/verified" in data:
        value, error, n_calls = data["rounds/verified"]
        panel.errorbar(
            n_calls, 100 * value, 100 * error, fmt="D", ms=4, color="k", label="one flow, verified"
        )
    again, again_error = 100 * data["scan/again"]
    panel.axhspan(again - again_error, again + again_error, color="0.8", label="scan's best, again")
    panel.set_xlabel("simulated events of the search")
    panel.set_ylabel(r"$\sigma/E$ (%)")
    panel.legend(fontsize=6)


def _lines(panel: Any, data: Data) -> None:
    """The scan's widths with their errors, and the surrogate's."""
    for index, gap in enumerate(data["scan/gap_mm"]):
        seen, error = (100 * data[f"scan/{name}"][:, index] for name in ("width", "error"))
        label = f"{gap:g} mm"
        colour = f"C{index}"
        panel.errorbar(data["scan/absorber_mm"], seen, error, fmt=".", color=colour, label=label)
        panel.plot(data["lines/absorber_mm"], 100 * data["lines/width"][index], color=colour)
    width, error, _ = 100 * data["unseen/width"]
    panel.errorbar(data["unseen/designs"][:, 0], width, error, fmt="kx", ms=4, label="unseen")
    panel.set_xlabel("lead / mm (points simulated, lines surrogate)")
    panel.set_ylabel(r"$\sigma/E$ (%)")
    panel.legend(title="scintillator", title_fontsize=6, fontsize=6, ncols=2)


def _segments(panel: Any, data: Data) -> None:
    """Energy by segment at the first unseen design."""
    for index, (one, two) in enumerate(
        zip(data["unseen/simulated"][0].T, data["unseen/drawn"][0].T, strict=True)
    ):
        edges = np.linspace(0.0, np.quantile(data["unseen/simulated"][0], 0.999), 60)
        colour = f"C{index}"
        panel.hist(one, edges, histtype="stepfilled", alpha=0.3, color=colour, density=True)
        panel.hist(two, edges, histtype="step", color=colour, density=True, label=f"{index + 1}")
    panel.set_yscale("log")
    panel.set_xlabel("energy of a segment / MeV")
    panel.set_ylabel("density (filled simulated, lines surrogate)")
    panel.legend(title="segment", title_fontsize=6, fontsize=6, ncols=2, loc="upper right")
