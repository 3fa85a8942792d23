"""The figure: frozen and free charges, their distribution, observables on the exact lines."""

from pathlib import Path
from typing import Any

import numpy as np

from diffhep.core import plotting

SAMPLERS = {
    "hmc": "HMC",
    "independence": "flow",
    "hmc+flow": "HMC + flow",
    "flow_hmc": "HMC in latent space",
    "heatbath": "heatbath",
    "hmc+instanton": "HMC + instanton hits",
}
"""Samplers in the order in which they are drawn, with the names they have in the figure."""

OBSERVABLES = {
    "plaquette": "plaquette",
    "W(2x2)": "$W_{2\\times2}$",
    "Q^2": "$\\langle Q^2\\rangle$",
}

Data = dict[str, np.ndarray]


def plot(data: Data, directory: Path) -> list[Path]:
    """Draw the figure of a run.

    Args:
        data: The arrays of data.h5.
        directory: Where the files go.

    Returns:
        The files.
    """
    draw = (_history, _distribution, _observables, _mobility, _learning, _quality)
    path, title = directory / "kanwar2020", "arXiv:2003.06413, 2D U(1)"
    return plotting.save_panels(draw, data, path, title=title, rows=2, height_inch=4.4)


def _here(data: Data) -> str:
    length, beta = (int(data["main/exact/length"]), float(data["main/exact/beta"]))
    return f"${length}\\times{length}$, $\\beta={beta:g}$"


def _present(data: Data, place: str) -> dict[str, str]:
    return {key: label for key, label in SAMPLERS.items() if f"{place}/{key}/Q" in data}


def _history(panel: Any, data: Data) -> None:
    """The charge of one chain against the step, frozen and free."""
    n_steps = min(data["main/hmc/Q"].shape[1], data["main/hmc+flow/Q"].shape[1], 500)
    panel.plot(data["main/hmc+flow/Q"][0, :n_steps], color="C1", lw=0.5, label="HMC + flow")
    panel.plot(data["main/hmc/Q"][0, :n_steps], color="C0", lw=1.5, label="HMC")
    panel.set_xlabel(f"step of one chain, {_here(data)}")
    panel.set_ylabel("topological charge $Q$")
    panel.legend(loc="upper right", ncols=2)
    panel.margins(y=0.2)


def _distribution(panel: Any, data: Data) -> None:
    """The distribution of the charge beside the exact one."""
    charge, exact = data["main/exact/charge"], data["main/exact/P"]
    shown = exact > 1e-5
    panel.bar(charge[shown], exact[shown], width=0.9, color="0.85", label="exact")
    names = _present(data, "main")
    for index, (key, label) in enumerate(names.items()):
        series = data[f"main/{key}/Q"]
        found = np.array([np.mean(series == q) for q in charge[shown]])
        seen = found > 0
        offset = 0.8 * ((index + 0.5) / len(names) - 0.5)
        panel.plot(charge[shown][seen] + offset, found[seen], "o", ms=2.5, label=label)
    panel.set_yscale("log")
    panel.set_xlabel("$Q$")
    panel.set_ylabel("$P(Q)$, all chains")
    panel.set_ylim(3e-5, 300)
    panel.legend(loc="upper center", ncols=2, fontsize=4.5, handletextpad=0.1, columnspacing=0.3)


def _observables(panel: Any, data: Data) -> None:
    """Deviations from the exact values in standard errors of each sampler."""
    names = _present(data, "main")
    for index, (key, label) in enumerate(names.items()):
        # The error of a frozen chain means nothing.
        if max(data[f"main/{key}/tau"][[0, 2]]) > data[f"main/{key}/Q"].shape[1] / 20:
            continue
        pulls = []
        for observable in OBSERVABLES:
            mean, error = data[f"main/{key}/{observable}"]
            pulls.append((mean - float(data[f"main/exact/{observable}"])) / error)
        at = np.arange(len(pulls)) + 0.7 * ((index + 0.5) / len(names) - 0.5)
        panel.errorbar(at, pulls, 1.0, fmt="o", color=f"C{index}", label=label)
    panel.axhline(0.0, color="0.5", lw=0.8)
    panel.set_xticks(range(len(OBSERVABLES)), list(OBSERVABLES.values()))
    panel.set_ylabel("(measured $-$ exact) / error")
    panel.set_ylim(-5, 5)


def _mobility(panel: Any, data: Data) -> None:
    """Autocorrelation time of the charge: against beta where there is a scan, by sampler else."""
    panel.set_yscale("log")
    panel.set_ylabel("$\\tau_{\\mathrm{int}}(Q)$ in steps")
    if "scan/table" in data:
        table = data["scan/table"]
        beta = table[:, 0]
        panel.errorbar(beta, table[:, 3], table[:, 4], fmt="s-", color="C1", label="flow")
        panel.errorbar(beta, table[:, 6], table[:, 7], fmt="o-", color="C0", label="HMC")
        panel.plot(beta, table[:, 8], "^", mfc="none", color="C0", label="HMC, lower bound")
        panel.set_xlabel("$\\beta$, $16\\times16$")
        panel.legend()
        return
    names = _present(data, "main")
    for index, key in enumerate(names):
        tau, error, bound = data[f"main/{key}/tau"]
        panel.errorbar(index, tau, error, fmt="o", color=f"C{index}")
        if key == "hmc":
            panel.plot(index, bound, "^", color=f"C{index}", mfc="none", label="lower bound")
    panel.set_xticks(range(len(names)), list(names.values()), rotation=30, ha="right", fontsize=6)
    panel.legend()


def _learning(panel: Any, data: Data) -> None:
    """Divergence of the local couplings against the step."""
    for kind, label in (("blocks", "blocks, coarse to fine"), ("stripes", "stripes, as published")):
        if f"local/{kind}/minus_log_w" not in data:
            continue
        log_z = float(data["local/exact/log_z"])
        divergence = data[f"local/{kind}/minus_log_w"] + log_z
        width = max(len(divergence) // 100, 1)
        smooth = divergence[: len(divergence) // width * width].reshape(-1, width).mean(1)
        ess = data[f"local/{kind}/ess"][0]
        steps = (np.arange(len(smooth)) + 0.5) * width
        panel.plot(steps, smooth, label=f"{label}: ESS {ess:.2f}")
    if panel.lines:
        panel.set_yscale("log")
        low, high = panel.get_ylim()
        panel.set_ylim(low, 10 * high)  # room for the legend above the curves
        panel.legend(loc="upper right", fontsize=6)
    panel.set_xlabel("training step, local couplings")
    panel.set_ylabel("KL divergence from exact / nat")


def _quality(panel: Any, data: Data) -> None:
    """Effective sample sizes, and the cost of an independent charge where it was timed."""
    timed = [key for key in _present(data, "main") if f"main/{key}/seconds_per_charge" in data]
    if timed:
        costs = [float(data[f"main/{key}/seconds_per_charge"]) for key in timed]
        panel.bar(range(len(timed)), costs, color=[f"C{i}" for i in range(len(timed))])
        panel.set_yscale("log")
        labels = [SAMPLERS[key] for key in timed]
        panel.set_xticks(range(len(timed)), labels, rotation=30, ha="right", fontsize=6)
        panel.set_ylabel("seconds per independent $Q$")
        return
    found = {}
    for name in ("main/multiscale", "check/multiscale", "local/blocks", "local/stripes"):
        if f"{name}/ess" in data:
            found[name.replace("/", "\n")] = data[f"{name}/ess"]
    for index, (ess, error) in enumerate(found.values()):
        panel.errorbar(index, ess, error, fmt="o", color="C0")
    panel.set_xticks(range(len(found)), list(found), fontsize=6)
    panel.set_xlim(-0.5, len(found) - 0.5)
    panel.set_ylim(0, 1.05)
    panel.set_ylabel("effective sample size / $N$")
