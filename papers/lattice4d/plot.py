"""The figure: plaquette, its residuals, integrators, the flow, the charge and the transport."""

from pathlib import Path
from typing import Any

import numpy as np

from diffhep.core import plotting

INTEGRATORS = ("leapfrog", "omelyan2", "omelyan4", "force_gradient")
MARKERS = ("o", "s", "^", "v")

Data = dict[str, np.ndarray]


def plot(data: Data, directory: Path) -> list[Path]:
    """Draw the figure of a run.

    Args:
        data: The arrays of data.h5.
        directory: Where the files go.

    Returns:
        The files.
    """
    draw = (_curve, _residuals, _orders, _flow, _charge, _transport)
    path, title = directory / "lattice4d", "SU(3) gauge theory in four dimensions"
    return plotting.save_panels(draw, data, path, title=title, rows=2, height_inch=4.5)


def _curve(panel: Any, data: Data) -> None:
    """The plaquette against beta between the two series."""
    length = int(data["curve/length"])
    panel.plot(*data["curve/strong"], color="0.6", label="strong coupling")
    panel.plot(*data["curve/weak"], color="0.6", ls="--", label="weak coupling, 2 loops")
    published = data["curve/published"]
    panel.plot(published[:, 0], published[:, 1], "_", ms=6, color="k", label="published")
    panel.plot(data["curve/beta"], data["curve/mean"], "o", label=f"heatbath ${length}^4$")
    panel.plot(data["hmc/beta"], data["hmc/mean"], "s", ms=6, mfc="none", label="HMC")
    if "large/beta" in data:
        side = int(data["large/length"])
        panel.plot(data["large/beta"], data["large/mean"], "D", ms=3, label=f"${side}^4$")
    panel.set_xscale("log")
    ticks = [0.5, 1, 2, 5, 10, 20]
    panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    panel.minorticks_off()
    panel.set_xlim(0.4, 30)
    panel.set_ylim(0, 1)
    panel.set_xlabel("$\\beta$")
    panel.set_ylabel("plaquette $\\langle P\\rangle$")
    panel.legend(loc="upper left", fontsize=6)


def _residuals(panel: Any, data: Data) -> None:
    """Deviations from the references, with the allowance of each behind."""
    unit = 1e-4
    lengths, betas, means, errors, references, allowances = data["comparison/table"].T
    at = np.arange(betas.size)
    panel.bar(at, 2 * allowances / unit, 0.8, -allowances / unit, color="0.88", label="allowance")
    for index, length in enumerate(np.unique(lengths)):
        own = lengths == length
        panel.errorbar(
            at[own],
            (means - references)[own] / unit,
            errors[own] / unit,
            fmt="oD"[index],
            color=f"C{index}",
            label=f"${length:g}^4$, statistical",
        )
    panel.axhline(0.0, color="0.5", lw=0.6)
    panel.set_xticks(at, [f"{beta:g}" for beta in betas], fontsize=6)
    panel.set_yscale("symlog", linthresh=1.0)
    panel.set_ylim(-200, 2000)
    panel.set_xlabel("$\\beta$")
    panel.set_ylabel("(measured $-$ reference) / $10^{-4}$")
    panel.legend(loc="upper left", fontsize=6)


def _orders(panel: Any, data: Data) -> None:
    """Energy errors of unit trajectories against the number of steps."""
    for name, marker in zip(INTEGRATORS, MARKERS, strict=True):
        order = float(data[f"order/{name}/order"])
        label = f"{name.replace('_', ' ')}: {order:.2f}"
        panel.plot(
            data[f"order/{name}/steps"], data[f"order/{name}/error"], marker + "-", label=label
        )
    panel.set_xscale("log", base=2)
    panel.set_yscale("log")
    panel.set_xlabel("steps of a unit trajectory")
    panel.set_ylabel("rms $\\Delta H$")
    low, high = panel.get_ylim()
    panel.set_ylim(low / 3000, 3 * high)
    panel.legend(loc="lower left", fontsize=6, title="fitted order", title_fontsize=6)


def _flows(data: Data) -> list[str]:
    return [name for name in ("small", "large") if f"flow/{name}/time" in data]


def _label(data: Data, name: str) -> str:
    side, beta = int(data[f"flow/{name}/length"]), float(data[f"flow/{name}/beta"])
    return f"${side}^4$, $\\beta={beta:g}$"


def _flow(panel: Any, data: Data) -> None:
    """The flowed energy density and where it passes 0.3."""
    for index, name in enumerate(_flows(data)):
        time = data[f"flow/{name}/time"]
        panel.errorbar(
            time,
            data[f"flow/{name}/t2e"],
            data[f"flow/{name}/t2e_error"],
            fmt="o-",
            color=f"C{index}",
            label=_label(data, name),
        )
        if f"flow/{name}/t0" in data:
            t0, error = data[f"flow/{name}/t0"]
            panel.errorbar(
                t0, 0.3, xerr=error, fmt="*", ms=8, color=f"C{index}", label=f"$t_0={t0:.2f}\\,a^2$"
            )
    if not _flows(data):
        time, label = data["fixed_steps/time"], "one field, adaptive steps"
        panel.plot(time, data["fixed_steps/adaptive"], "o", label=label)
        panel.plot(time, data["fixed_steps/fixed"], "-", color="0.5", label="fixed steps")
    panel.axhline(0.3, color="0.5", lw=0.6)
    panel.set_xlim(left=0)
    panel.set_ylim(bottom=0)
    panel.set_xlabel("flow time $t/a^2$")
    panel.set_ylabel("$t^2\\langle E(t)\\rangle$")
    panel.legend(loc="lower right", fontsize=6)


def _charge(panel: Any, data: Data) -> None:
    """Charges of the flowed configurations: near integers."""
    names = _flows(data)
    panel.set_xlabel("improved charge $Q$")
    panel.set_ylabel("configurations")
    if not names:
        panel.text(0.5, 0.5, "not in this preset", ha="center", transform=panel.transAxes)
        return
    largest = max(np.max(np.abs(data[f"flow/{name}/charge"])) for name in names)
    edge = np.ceil(largest) + 0.5
    bins = np.arange(-edge, edge + 0.05, 0.1)
    for index, name in enumerate(names):
        time = float(data[f"flow/{name}/time"][-1])
        label = f"{_label(data, name)}, $t={time:g}a^2$"
        panel.hist(data[f"flow/{name}/charge"], bins, color=f"C{index}", alpha=0.7, label=label)
    low, high = panel.get_ylim()
    panel.set_ylim(low, 1.35 * high)
    panel.legend(loc="upper left", fontsize=6)


def _transport(panel: Any, data: Data) -> None:
    """Effective sample size against the cost of a trajectory, with and without stout couplings."""
    from matplotlib.ticker import LogLocator

    for kind, label, marker in (
        ("annealing", "annealing", "o"),
        ("stout", "with stout couplings", "s"),
    ):
        table = data[f"transport/{kind}/table"]
        panel.errorbar(table[:, 3], table[:, 1], table[:, 2], fmt=marker + "-", label=label)
        for row in table:
            panel.annotate(
                f"{row[0]:g} steps",
                (row[3], row[1]),
                (3, -7),
                textcoords="offset points",
                fontsize=6,
            )
    first, last = data["transport/beta"]
    panel.set_xscale("log")
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.xaxis.set_major_formatter("{x:g}")
    panel.minorticks_off()
    panel.set_ylim(0, 1)
    panel.margins(x=0.25)
    panel.set_xlabel("seconds of a trajectory")
    panel.set_ylabel("effective sample size / $N$")
    panel.set_title(f"$4^4$, $\\beta={first:g}\\to{last:g}$", fontsize=7, loc="right")
    panel.legend(loc="upper left", fontsize=6)
