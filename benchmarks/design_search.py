"""`python -m benchmarks.design_search [TASK ...]`: simulated events until a design is found.

Five searches of every method on each task of arXiv:2002.04632, rosenbrock10 first. A search has
found the optimum at the first design whose exact objective is within five per cent: of the optimum,
or of the start's excess where the optimum is zero. A search that has not by `BUDGET` events counts
as `BUDGET`. Bayesian optimisation needs the extra `bayes`, and minutes; ask for it as the task's
suffix `+bayesian`.
"""

import sys

import jax
import numpy as np

from diffhep.detector import (
    AbstractOptimiser,
    BayesianOptimisation,
    DesignProblem,
    LocalSurrogate,
    ScoreDescent,
    TrustRegion,
    problems,
)
from diffhep.detector.optimisers.base import generator
from diffhep.detector.optimisers.gradient import smooth_functions
from diffhep.detector.simulations import BudgetSpentError, Simulations

SHARE, BUDGET, N_SEEDS = 0.05, 2000, 5

TASKS = {
    "rosenbrock10": problems.rosenbrock,
    "hump2": lambda: problems.three_hump(raw=False),
    "rosenbrock100": lambda: problems.rosenbrock(n_params=100),
    "hump40": lambda: problems.three_hump(40, raw=False),
}

METHODS: dict[str, AbstractOptimiser] = {
    "local surrogate": LocalSurrogate(region=TrustRegion(radius=1.5)),
    **{f"score function, rate {rate}": ScoreDescent(learning_rate=rate) for rate in (0.1, 0.2)},
}


def calls(problem: DesignProblem, method: AbstractOptimiser, seed: int) -> int:
    """Simulated events until the accepted design is good by the exact objective."""
    exact, _ = smooth_functions(problem)
    optimum = problem.optimum or 0.0
    size = abs(optimum) or exact(np.asarray(problem.start.to_free()))[0]
    simulations = Simulations(problem, BUDGET)
    try:
        for step in method.search(problem, simulations, generator(jax.random.key(seed))):
            if step.accepted and exact(step.free)[0] <= optimum + SHARE * size:
                return simulations.n_calls
    except BudgetSpentError:
        pass
    return BUDGET


def main(names: list[str]) -> None:
    """Print the table of the tasks asked for."""
    print("| task | method | simulated events of each search, sorted |")
    print("|---|---|---|")
    for name in names or list(TASKS):
        task, _, more = name.partition("+")
        problem = TASKS[task]()
        methods = {**METHODS, "Bayesian optimisation": BayesianOptimisation()} if more else METHODS
        for label, method in methods.items():
            found = sorted(calls(problem, method, seed) for seed in range(N_SEEDS))
            print(f"| {task} | {label} | {', '.join(map(str, found))} |", flush=True)


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    main(sys.argv[1:])
