"""The figure: effective sample sizes, loops on the exact lines, learning curves, volumes."""

from pathlib import Path
from typing import Any

import numpy as np

from diffhep.core import plotting

SAMPLERS = {"independence": "flow", "hmc": "HMC", "heatbath": "heatbath + overrelaxation"}
OBSERVABLES = {"plaquette": "plaquette", "W(2x2)": "$W_{2\\times2}$", "W(3x3)": "$W_{3\\times3}$"}

Data = dict[str, np.ndarray]


def plot(data: Data, directory: Path) -> list[Path]:
    """Draw the figure of a run.

    Args:
        data: The arrays of data.h5.
        directory: Where the files go.

    Returns:
        The files.
    """
    draw = (_quality, _loops, _learning, _volumes)
    path, title = directory / "boyda2021", "arXiv:2008.05456, 2D SU(2) and SU(3)"
    return plotting.save_panels(draw, data, path, title=title, rows=2, height_inch=4.6)


def _places(data: Data) -> list[str]:
    """The theories in the data, in the order of their names."""
    return sorted({name.split("/")[0] for name in data if name.endswith("/flow/ess")})


def _labels(names: list[str]) -> list[str]:
    return [name.replace(" beta=", "\n$\\beta=$") for name in names]


def _quality(panel: Any, data: Data) -> None:
    """Effective sample sizes of the flow, without its conditional maps, and as published."""
    names = _places(data)
    at = np.arange(len(names))
    for part, marker, label in (
        ("flow", "o", "comb flow"),
        ("baseline", "s", "without conditional maps"),
    ):
        rows = [
            (x, data[f"{n}/{part}/ess"])
            for x, n in zip(at, names, strict=True)
            if f"{n}/{part}/ess" in data
        ]
        if rows:
            x, found = [x for x, _ in rows], np.array([row for _, row in rows])
            panel.errorbar(x, found[:, 0], found[:, 1], fmt=marker, label=label)
    panel.plot(
        at,
        [float(data[f"{n}/exact/bar"]) for n in names],
        "_k",
        ms=14,
        label="published, $16\\times16$",
    )
    known = [float(data.get(f"{n}/baseline/exact", np.nan)) for n in names]
    panel.plot(at, known, "x", color="0.5", label="$z(\\beta)^2/z(2\\beta)$")
    panel.set_xticks(at, _labels(names), fontsize=6)
    panel.set_xlim(-0.5, len(names) - 0.5)
    panel.set_ylim(0, 1.05)
    panel.set_ylabel("effective sample size / $N$")
    panel.legend(fontsize=6, loc="lower left")


def _loops(panel: Any, data: Data) -> None:
    """Deviations from the exact values in standard errors."""
    names = _places(data)
    for index, (sampler, label) in enumerate(SAMPLERS.items()):
        at, pulls = [], []
        for x, name in enumerate(names):
            for k, observable in enumerate(OBSERVABLES):
                if f"{name}/{sampler}/{observable}" in data:
                    mean, error, truth, _ = data[f"{name}/{sampler}/{observable}"]
                    at.append(x + 0.25 * (k - 1) + 0.07 * (index - 1))
                    pulls.append((mean - truth) / error)
        if at:
            panel.errorbar(at, pulls, 1.0, fmt="o", ms=2.5, lw=0.7, color=f"C{index}", label=label)
    panel.axhline(0.0, color="0.5", lw=0.8)
    panel.set_xticks(range(len(names)), _labels(names), fontsize=6)
    panel.set_ylim(-6, 6)
    panel.set_ylabel("(measured $-$ exact) / error")
    panel.set_xlabel("for each theory: " + ", ".join(OBSERVABLES.values()))
    panel.legend(fontsize=6, loc="upper right", ncols=3)


def _learning(panel: Any, data: Data) -> None:
    """The divergence of the chain against the step."""
    for index, name in enumerate(_places(data)):
        if f"{name}/chain/loss" not in data:
            continue
        loss = data[f"{name}/chain/loss"]
        width = max(len(loss) // 40, 1)
        smooth = loss[: len(loss) // width * width].reshape(-1, width).mean(1)
        steps = (np.arange(len(smooth)) + 0.5) * width
        panel.plot(steps, smooth, color=f"C{index}", label=name.replace("beta=", "$\\beta=$"))
    panel.set_yscale("log")
    panel.set_xlabel("training step, conditional maps")
    panel.set_ylabel("KL divergence of the chain / nat")
    panel.legend(fontsize=6)


def _volumes(panel: Any, data: Data) -> None:
    """The effective sample size of the same parameters on other lattices."""
    for name in _places(data):
        if f"{name}/scan/table" in data:
            table = data[f"{name}/scan/table"]
            panel.errorbar(table[:, 0], table[:, 1], table[:, 2], fmt="o", label=name)
    panel.set_ylim(0, 1.05)
    panel.set_xlabel("sites along each axis")
    panel.set_ylabel("effective sample size / $N$")
    if panel.has_data():
        panel.legend(fontsize=6, loc="lower left")
