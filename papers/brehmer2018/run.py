"""Every way of learning a likelihood ratio against the exact one, at equal budget."""

from typing import Any

import numpy as np

from diffhep.core.rng import key_for
from diffhep.core.run import Claim, RunDir
from diffhep.core.typing import Key
from diffhep_sbi import ExactRatio
from papers.brehmer2018 import stages
from papers.brehmer2018.config import PRESETS, Config
from papers.brehmer2018.stages import Place

__all__ = ["PRESETS", "Config", "run"]

PAPER = "arXiv:1805.00020"

FRACTIONS = np.linspace(-1.0, 1.0, 21)
"""Along the first parameter, in half-widths of the box."""

ORDER = (
    ("alice", "carl", 0.1),
    ("rascal", "carl", 0.2),
    ("alice", "rascal", 1.0),
    ("alices", "rascal", 1.0),
    ("rascal", "rolr", 1.0),
    ("cascal", "rolr", 1.0),
    ("rolr", "carl", 1.0),
    ("sallino", "carl", 0.0213 / 0.0124),
    ("sallino", "sally", 0.0213 / 0.0132),
)
"""Which method's mean square error is to be how much smaller than which other's.

The bars of SALLINO are the ratios of the published ones.
"""


def run(config: Config, directory: RunDir, *, key: Key) -> list[Claim]:
    """Mine, train and compare.

    Args:
        config: The settings.
        directory: Where the run lives; every training resumes from its checkpoint there.
        key: The one key that everything random is derived from.

    Returns:
        The claims.
    """
    made: list[Claim] = []
    arrays: dict[str, Any] = {}
    for point in config.points:
        test = (config.n_test, config.n_thetas)
        place = stages.prepare(point, test, directory, key_for(key, point.problem))
        made += _gold(place, config)
        claims, found = _methods(place, config)
        made += claims
        arrays |= {f"{point.problem}/{name}": value for name, value in found.items()}
    directory.save_data(arrays, {"problems": ",".join(point.problem for point in config.points)})
    return made


def _gold(place: Place, config: Config) -> list[Claim]:
    """What the means of joint ratio and score must be, at the largest number of events."""
    gold = stages.gold_for(place, "carl", max(config.training.n_events), 0)
    is_first = np.asarray(gold.label) == 0
    ratio, score = np.exp(np.asarray(gold.log_ratio))[~is_first], np.asarray(gold.score)[is_first]
    name = place.point.problem
    rows = {"mean joint ratio": (ratio, 1.0), "mean joint score": (score[:, 0], 0.0)}
    return [
        Claim(
            f"{name}: {row}",
            float(values.mean()),
            float(values.std() / np.sqrt(values.size)),
            expected,
            "exact",
            "pull<4",
        )
        for row, (values, expected) in rows.items()
    ]


def _methods(place: Place, config: Config) -> tuple[list[Claim], dict[str, Any]]:
    """Learning curves of every method, and what its last ratios say."""
    settings, made = config.training, []
    exact = ExactRatio(place.problem, place.theta1)
    arrays: dict[str, Any] = {
        "n_events": np.array(settings.n_events),
        "fractions": FRACTIONS * place.point.half_width,
        "exact/curve": stages.expected_curve(place, exact, FRACTIONS),
    }
    for method in place.point.methods:
        errors, last = stages.learning_curve(place, settings, method)
        arrays[f"{method}/errors"] = errors
        curves = [stages.expected_curve(place, ratio, FRACTIONS) for ratio in last]
        arrays[f"{method}/curve"] = np.mean(curves, axis=0)
        if method == "sally":
            made += _sally(place, config, last)
    if config.judge_order:
        made += _order(place, arrays)
    elif {"alice", "carl"} <= set(place.point.methods):
        made.append(stages.compare(place, arrays, ("alice", "carl"), 1.0, PAPER))
    return made, arrays


def _order(place: Place, arrays: dict[str, Any]) -> list[Claim]:
    """The order of the methods as published, on the most events."""
    known = set(place.point.methods)
    return [
        stages.compare(place, arrays, (better, worse), bar, PAPER)
        for better, worse, bar in ORDER
        if {better, worse} <= known
    ]


def _sally(place: Place, config: Config, ratios: list[Any]) -> list[Claim]:
    """Score and information at the reference against the exact ones."""
    truth = stages.exact_information(place)
    exact_score = stages.scores_of(place, ExactRatio(place.problem, place.theta1))
    shares, traces = [], []
    for ratio in ratios:
        score = stages.scores_of(place, ratio)
        shares.append(np.mean((score - exact_score) ** 2) / np.mean(exact_score**2))
        # On the same events as the exact score: their fluctuation is common to both.
        found = stages.information_of(score) - stages.information_of(exact_score)
        traces.append(np.trace(found) / np.trace(truth))
    bar, name, n = config.largest_information_error, place.point.problem, np.sqrt(len(ratios))
    rows = {
        "squared error of the score / its variance": np.array(shares),
        "error of the information / its value": np.abs(np.array(traces)),
    }
    return [
        Claim(
            f"{name}: SALLY, {row}",
            float(values.mean()),
            float(values.std(ddof=1) / n) if len(ratios) > 1 else None,
            bar,
            "exact",
            "<=",
        )
        for row, values in rows.items()
    ]
