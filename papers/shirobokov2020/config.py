"""Settings of the benchmark and their presets."""

from dataclasses import dataclass

from diffhep.core.checks import require, require_counts

TASKS = ("hump2", "rosenbrock10", "rosenbrock100", "hump40")
"""Three humps and Rosenbrock's function, and both on submanifolds of more parameters."""


@dataclass(frozen=True)
class Config:
    """Everything that decides the numbers of a run.

    Attributes:
        tasks: Of `TASKS`.
        n_seeds: Searches of each method on each task.
        budget: Simulated events after which a search is given up.
        n_batch: Designs of a step of the score function's descent; 0 to leave it out.
        bayesian_budget: As `budget`, of Bayesian optimisation; 0 to leave it out.
        bayesian_batch: Events at each of its designs.
        bayesian_first: Designs that it draws at random first.
    """

    tasks: tuple[str, ...]
    n_seeds: int = 5
    budget: int = 2000
    n_batch: int = 10
    bayesian_budget: int = 0
    bayesian_batch: int = 25
    bayesian_first: int = 5

    def __post_init__(self) -> None:
        require_counts(self, 2, "n_seeds", "budget")
        require_counts(self, 2, "bayesian_batch", "bayesian_first")
        require_counts(self, 0, "n_batch", "bayesian_budget")
        known = set(self.tasks) <= set(TASKS)
        require(known, "tasks", f"be of {', '.join(TASKS)}", self.tasks)


PRESETS = {
    "smoke": Config(tasks=("rosenbrock10",), n_seeds=2, n_batch=0),
    "demo": Config(tasks=("hump2", "rosenbrock10"), n_seeds=3),
    "full": Config(tasks=TASKS, bayesian_budget=1000),
}
