"""Searches with and without a local surrogate: simulated events to the optimum; closed forms."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from diffhep.core.rng import key_at, key_for
from diffhep.core.run import Claim, RunDir
from diffhep.core.typing import Key
from diffhep.detector import (
    AbstractOptimiser,
    BayesianOptimisation,
    DesignProblem,
    LocalSurrogate,
    Pathwise,
    ScoreDescent,
    TrustRegion,
    minimise,
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

CLOSED: dict[str, Callable[[], problems.ClosedForm]] = {
    "hit positions": problems.gluckstern,
    "thickness": problems.thickness,
    "budget": problems.budget_split,
    "vertex radius": problems.vertex_radius,
}

LARGEST_EXCESS, LARGEST_PULL = 1e-4, 4.0

N_RANDOM = 10
"""Designs that Bayesian optimisation draws at random first."""


def run(config: Config, directory: RunDir, *, key: Key) -> list[Claim]:
    """Closed forms from random starts, then every method on every task from every seed.

    Args:
        config: The settings.
        directory: Where the run lives.
        key: The one key that everything random is derived from.

    Returns:
        The claims.
    """
    arrays: dict[str, Any] = {}
    claims = _closed_forms(config, arrays, key=key_for(key, "closed forms"))
    for task in config.tasks:
        problem, counts = BUILD[task](), {}
        for name, method in _methods(config, task).items():
            each = [
                _calls(problem, method, config.budget, key_at(key_for(key, f"{task} {name}"), i))
                for i in range(config.n_seeds)
            ]
            counts[name] = np.asarray([calls for calls, _ in each])
            for index, (_, path) in enumerate(each):
                arrays[f"{task}/{name}/{index}"] = path
            directory.log(task, 0, **{f"{name} median": float(np.median(counts[name]))})
        claims += _task_claims(config, task, counts)
    directory.save_data(arrays)
    return claims


def _closed_forms(config: Config, arrays: dict[str, Any], *, key: Key) -> list[Claim]:
    claims = []
    for name, build in CLOSED.items():
        known = build()
        smooth, bound = smooth_functions(known.problem)
        keys = jax.random.split(key_for(key, name), config.n_starts)
        starts = [np.asarray(known.random_start(one).to_free()) for one in keys]
        found = [minimise(smooth, start, bound) for start in starts]
        ends = np.asarray([one.value if one.violation < 1e-6 else np.inf for one in found])
        excess = ends / known.problem.optimum - 1.0
        arrays[f"closed/{name}"] = excess
        claims += [
            Claim(
                f"{name}: excess of the best of {config.n_starts} starts",
                abs(float(excess.min())), None, LARGEST_EXCESS, "exact", "<=",
            ),
            Claim(
                f"{name}: largest pull of a gradient",
                _largest_pull(known, config.n_gradients, key=key_for(key, f"{name} pull")),
                None, LARGEST_PULL, "exact", "<=",
            ),
        ]  # fmt: skip
    return claims


def _largest_pull(known: problems.ClosedForm, n: int, *, key: Key) -> float:
    """Of all components of the pathwise gradient at a random design."""
    design = known.random_start(key_for(key, "design"))
    exact = jax.grad(known.problem.exact)(design).to_vector()
    found = eqx.filter_jit(Pathwise(known.sampled, n))(design, key=key_for(key, "gradient"))
    miss = found.gradient.to_vector() - exact
    return float(jnp.max(jnp.abs(miss) / found.standard_error.to_vector()))


def _methods(config: Config, task: str) -> dict[str, AbstractOptimiser]:
    methods: dict[str, AbstractOptimiser] = {
        "local": LocalSurrogate(region=TrustRegion(radius=config.radius))
    }
    if "score" in config.baselines:
        for rate in config.learning_rates:
            methods[f"score {rate}"] = ScoreDescent(n_designs=config.n_batch, learning_rate=rate)
    if "bayesian" in config.baselines and task != "hump2":
        methods["bayesian"] = BayesianOptimisation(n_first=N_RANDOM)
    return methods


def _calls(
    problem: DesignProblem, method: AbstractOptimiser, budget: int, key: Key
) -> tuple[int, np.ndarray]:
    """Simulated events until a design is good by the exact objective, and the way there."""
    simulations = Simulations(problem, budget)
    exact, target = smooth_functions(problem)[0], _target(problem)
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


def _target(problem: DesignProblem) -> float:
    optimum, start = problem.optimum, smooth_functions(problem)[0]
    if optimum == 0.0:
        return SHARE * start(np.asarray(problem.start.to_free()))[0]
    return optimum + SHARE * abs(optimum)


def _task_claims(config: Config, task: str, counts: dict[str, np.ndarray]) -> list[Claim]:
    local = counts["local"]
    found = Claim(
        f"{task}: share of searches with a local surrogate that find the optimum",
        float(np.mean(local < config.budget)), None, 1.0, "target", ">=",
    )  # fmt: skip
    claims = [found]
    rivals = {}
    scores = [rows for name, rows in counts.items() if name.startswith("score")]
    if scores:
        rivals["score function, best rate"] = min(scores, key=lambda rows: np.median(rows))
    if "bayesian" in counts:
        rivals["Bayesian optimisation"] = counts["bayesian"]
    for name, rows in rivals.items():
        ratio = float(np.median(local) / np.median(rows))
        error = ratio * float(np.hypot(_relative(local), _relative(rows)))
        claims.append(Claim(f"{task}: events over those of {name}", ratio, error, 1.0, SOURCE, "<"))
    return claims


def _relative(rows: np.ndarray) -> float:
    """Relative standard error of a median, by that of the mean of logarithms."""
    if len(rows) < 2:
        return 0.0
    return float(1.25 * np.std(np.log(rows), ddof=1) / np.sqrt(len(rows)))
