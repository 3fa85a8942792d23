"""Settings of the benchmark and their presets."""

from dataclasses import dataclass

from diffhep.core.checks import require, require_counts, require_positive

TASKS = ("hump2", "rosenbrock10", "rosenbrock100", "hump40")
"""Three humps and Rosenbrock's function, and both on submanifolds of more parameters."""

BASELINES = ("score", "bayesian")


@dataclass(frozen=True)
class Config:
    """Everything that decides the numbers of a run.

    Attributes:
        tasks: Of `TASKS`.
        baselines: Of `BASELINES`; Bayesian optimisation is not asked in two dimensions.
        n_seeds: Searches of each method on each task.
        budget: Simulated events after which a search is given up.
        radius: Of the first trust region.
        learning_rates: Of the score function's descent; the best of them is its result.
        n_batch: Designs of a step of it.
        n_starts: Random starts of the closed forms.
        n_gradients: Simulations of a gradient.
    """

    tasks: tuple[str, ...]
    baselines: tuple[str, ...] = ("score",)
    n_seeds: int = 5
    budget: int = 2000
    radius: float = 1.5
    learning_rates: tuple[float, ...] = (0.1, 0.2)
    n_batch: int = 50
    n_starts: int = 20
    n_gradients: int = 10_000

    def __post_init__(self) -> None:
        require_counts(self, 1, "n_seeds", "n_starts")
        require_counts(self, 2, "budget", "n_batch", "n_gradients")
        require_positive(self, "radius")
        known = set(self.tasks) <= set(TASKS)
        require(known, "tasks", f"be of {', '.join(TASKS)}", self.tasks)
        known = set(self.baselines) <= set(BASELINES)
        require(known, "baselines", f"be of {', '.join(BASELINES)}", self.baselines)


PRESETS = {
    "smoke": Config(tasks=("rosenbrock10",), baselines=(), n_seeds=2, n_gradients=2000),
    "demo": Config(tasks=("hump2", "rosenbrock10"), n_seeds=3),
    "full": Config(tasks=TASKS, baselines=BASELINES),
}
