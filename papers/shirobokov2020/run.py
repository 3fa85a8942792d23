"""Searches with and without a local surrogate: simulated events to the optimum."""

from collections.abc import Callable
from typing import Any

import numpy as np

from diffhep.core.rng import key_at, key_for
from diffhep.core.run import Claim, RunDir
from diffhep.core.typing import Key
from diffhep.detector import (
    AbstractOptimiser,
    BayesianOptimisation,
    DesignProblem,
    LocalSurrogate,
    ScoreDescent,
    problems,
)
from diffhep.detector.optimisers.base import generator
from diffhep.detector.optimisers.gradient import smooth_functions
from diffhep.detector.simulations import BudgetSpentError, Simulations
from papers.shirobokov2020.config import PRESETS, Config

__all__ = ["PRESETS", "Config", "run"]

SHARE = 0.05
"""Of the optimum, or of the start's excess where the optimum is zero: what counts as found."""

SOURCE = "arXiv:2002.04632"

BUILD: dict[str, Callable[[], DesignProblem]] = {
    "hump2": lambda: problems.three_hump(raw=False),
    "rosenbrock10": problems.rosenbrock,
    "rosenbrock100": lambda: problems.rosenbrock(n_params=100),
    "hump40": lambda: problems.three_hump(40, raw=False),
}

RATES = {"hump2": 0.4, "rosenbrock10": 0.1, "rosenbrock100": 0.1, "hump40": 0.2}
"""Learning rates of the score function's descent: of the least mean number of events of eight
searches with other seeds."""

BAYESIAN = ("rosenbrock10", "rosenbrock100", "hump40")
"""Tasks of Bayesian optimisation: those of ten dimensions and more."""

MEDIAN_ERROR = 1.25
"""Standard error of a median over that of the mean, of a normal sample."""

Search = tuple[int, np.ndarray]
"""Events until the design is good, and the way there: events and exact objectives."""


def run(config: Config, directory: RunDir, *, key: Key) -> list[Claim]:
    """Every method on every task from every seed.

    Args:
        config: The settings.
        directory: Where the run lives.
        key: The one key that everything random is derived from.

    Returns:
        The claims.
    """
    arrays: dict[str, Any] = {}
    claims = []
    for task in config.tasks:
        claims += _task(task, config, directory, arrays, key=key_for(key, task))
    directory.save_data(arrays)
    return claims


def _task(
    task: str, config: Config, directory: RunDir, arrays: dict[str, Any], *, key: Key
) -> list[Claim]:
    """Searches of all methods on one task."""
    problem, counts = BUILD[task](), {}
    target, optimum, start = _levels(problem)
    arrays[f"{task}/levels"] = np.asarray([target, optimum, start])
    for name, (method, budget) in _methods(task, config).items():
        found = _searches(problem, method, budget, config.n_seeds, key=key_for(key, name))
        counts[name] = np.asarray([calls for calls, _ in found])
        for index, (_, path) in enumerate(found):
            arrays[f"{task}/{name}/{index}"] = path
        directory.log(task, 0, **{f"{name} {i}": int(n) for i, n in enumerate(counts[name])})
    return _claims(task, config, counts)


def _methods(task: str, config: Config) -> dict[str, tuple[AbstractOptimiser, int]]:
    """Methods with their budgets."""
    methods: dict[str, tuple[AbstractOptimiser, int]] = {
        "local surrogate": (LocalSurrogate(), config.budget)
    }
    if config.n_batch:
        score = ScoreDescent(n_designs=config.n_batch, learning_rate=RATES[task])
        methods["score function"] = score, config.budget
    if config.bayesian_budget and task in BAYESIAN:
        bayesian = BayesianOptimisation(
            n_events=config.bayesian_batch, n_first=config.bayesian_first
        )
        methods["Bayesian optimisation"] = bayesian, config.bayesian_budget
    return methods


def _searches(
    problem: DesignProblem, method: AbstractOptimiser, budget: int, n_seeds: int, *, key: Key
) -> list[Search]:
    return [_search(problem, method, budget, key=key_at(key, seed)) for seed in range(n_seeds)]


def _search(problem: DesignProblem, method: AbstractOptimiser, budget: int, *, key: Key) -> Search:
    """Until an accepted design is good by the exact objective, which the method does not see."""
    simulations = Simulations(problem, budget)
    exact, target = smooth_functions(problem)[0], _levels(problem)[0]
    path: list[tuple[float, float]] = []
    try:
        for step in method.search(problem, simulations, generator(key)):
            if not step.accepted:
                continue
            path.append((simulations.n_calls, exact(step.free)[0]))
            if path[-1][1] <= target:
                return simulations.n_calls, np.asarray(path)
    except BudgetSpentError:
        pass
    return budget, np.asarray(path)


def _levels(problem: DesignProblem) -> tuple[float, float, float]:
    """Exact objective that counts as found, that of the optimum and that of the start."""
    start = smooth_functions(problem)[0](np.asarray(problem.start.to_free()))[0]
    optimum = problem.optimum or 0.0
    return optimum + SHARE * (abs(optimum) or start), optimum, start


def _claims(task: str, config: Config, counts: dict[str, np.ndarray]) -> list[Claim]:
    local = counts["local surrogate"]
    share = float(np.mean(local < config.budget))
    name = f"{task}: share of searches by local surrogates that find the optimum"
    claims = [Claim(name, share, None, 1.0, "target", ">=")]
    for rival, rows in counts.items():
        if rival == "local surrogate":
            continue
        ratio = float(np.median(local) / np.median(rows))
        error = ratio * float(np.hypot(_relative(local), _relative(rows)))
        name = f"{task}: events by local surrogates / by {rival}"
        claims.append(Claim(name, ratio, error, 1.0, SOURCE, "<"))
    return claims


def _relative(rows: np.ndarray) -> float:
    """Relative standard error of a median, by that of the mean of logarithms."""
    return MEDIAN_ERROR * float(np.std(np.log(rows), ddof=1)) / np.sqrt(len(rows))
