"""Panels of the diagnostics and of limits, for `diffhep.core.plotting.save_panels`."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from diffhep.core.plotting import COLOURS
from diffhep_sbi.asymptotic import Interval
from diffhep_sbi.diagnostics.c2st import C2ST
from diffhep_sbi.diagnostics.misspecification import Misspecification
from diffhep_sbi.diagnostics.uniformity import CoverageCurve, Ranks
from diffhep_sbi.mle import Profile
from diffhep_sbi.neyman import NeymanScan

__citations__ = ("arXiv:1804.06788", "arXiv:2302.03026")


def draw_ranks(axes: Any, ranks: Ranks, n_bins: int = 10) -> None:
    """Histograms of ranks over their band of two standard deviations.

    Args:
        axes: Where to draw.
        ranks: What `sbc` found.
        n_bins: Bins.
    """
    n_trials = len(ranks.ranks)
    edges = np.linspace(0, ranks.n_draws + 1, n_bins + 1)
    share = 1.0 / n_bins
    spread = 2.0 * np.sqrt(share * (1.0 - share) / n_trials)
    axes.axhspan(share - spread, share + spread, color="0.9", label="uniform, 2 s.d.")
    for index, (column, p_value) in enumerate(zip(ranks.ranks.T, ranks.p_value, strict=True)):
        counts = np.histogram(column, edges)[0] / n_trials
        label = rf"$\theta_{index}$, p = {p_value:.2g}"
        axes.stairs(counts, edges / (ranks.n_draws + 1), color=COLOURS[index % 7], label=label)
    axes.set(xlabel="rank of the truth, as a fraction", ylabel="fraction of trials", ylim=(0, None))
    axes.legend()


def draw_coverage(axes: Any, curves: Mapping[str, CoverageCurve]) -> None:
    """Coverage against credibility, with the diagonal and its band of two standard deviations.

    Args:
        axes: Where to draw.
        curves: What `tarp` and `expected_coverage` found, by name.
    """
    first = next(iter(curves.values()))
    low, high = (first.level + side * 2.0 * first.error for side in (-1, 1))
    axes.fill_between(first.level, low, high, color="0.9", label="2 s.d.")
    axes.plot([0, 1], [0, 1], color="0.5", linewidth=0.6)
    for index, (name, curve) in enumerate(curves.items()):
        label = f"{name}, p = {curve.p_value:.2g}"
        axes.plot(curve.level, curve.coverage, color=COLOURS[index % 7], label=label)
    axes.set(xlabel="credibility", ylabel="expected coverage", xlim=(0, 1), ylim=(0, 1))
    axes.legend()


def draw_c2st(axes: Any, found: Mapping[str, C2ST]) -> None:
    """Accuracies of the classifier two-sample test, with those of single folds.

    Args:
        axes: Where to draw.
        found: What `c2st` found, by name.
    """
    for index, (name, one) in enumerate(found.items()):
        colour = COLOURS[index % 7]
        axes.plot(np.full(len(one.folds), index), one.folds, ".", color=colour, alpha=0.5)
        axes.plot(index, one.accuracy, "o", color=colour, label=name)
    axes.axhline(0.5, color="0.5", linewidth=0.6)
    axes.set(ylabel="C2ST accuracy", xticks=range(len(found)), xticklabels=list(found))


def draw_misspecification(axes: Any, found: Misspecification) -> None:
    """The discrepancy of the data over its distribution without one.

    Args:
        axes: Where to draw.
        found: What `misspecification` found.
    """
    axes.hist(found.null, bins=30, color="0.8", label="exchanged at random")
    axes.axvline(found.distance, color=COLOURS[1], label=f"observed, p = {found.p_value:.2g}")
    axes.set(xlabel=r"$\mathrm{MMD}^2$", ylabel="permutations")
    axes.legend()


def draw_profile(
    axes: Any, found: Profile, intervals: Mapping[str, Interval] | None = None
) -> None:
    """A profile likelihood ratio, and intervals beside it.

    Args:
        axes: Where to draw.
        found: What `profile` found.
        intervals: Intervals by name.
    """
    axes.plot(np.asarray(found.values), np.asarray(found.t), color=COLOURS[0])
    height = float(np.max(np.asarray(found.t)))
    for index, (name, one) in enumerate((intervals or {}).items()):
        at, colour = height * (0.9 - 0.08 * index), COLOURS[(index + 1) % 7]
        label = f"{name}, {100 * one.level:.3g} %"
        axes.plot([one.low, one.high], [at, at], "|-", color=colour, label=label)
    axes.set(xlabel=r"$\mu$", ylabel=r"$t_\mu$", ylim=(0, None))
    if intervals:
        axes.legend()


def draw_neyman(axes: Any, found: NeymanScan) -> None:
    """p-values of Neyman's construction, and the interval where they are high enough.

    Args:
        axes: Where to draw.
        found: What `neyman` found.
    """
    interval = found.interval
    axes.plot(np.asarray(found.values), np.asarray(found.p_value), ".-", color=COLOURS[0])
    axes.axhline(1.0 - interval.level, color="0.5", linewidth=0.6)
    label = f"{100 * interval.level:.3g} % interval"
    axes.axvspan(interval.low, interval.high, color=COLOURS[5], alpha=0.2, label=label)
    axes.set(xlabel=r"$\mu$", ylabel=r"$p_\mu$", ylim=(0, 1.05))
    axes.legend()
