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
        closed_forms: Whether the problems with closed forms are solved too.
        n_seeds: Searches of each method on each task.
        budget: Simulated events after which a search is given up.
        batches: Designs of a step of the score function's descent, each a method of its own; none
            to leave it out.
        rates: Its learning rates, among which searches of other seeds choose.
        n_tuning: Searches with each of them.
        bayesian_budget: As `budget`, of Bayesian optimisation; 0 to leave it out.
        bayesian_batch: Events at each of its designs.
        bayesian_first: Designs that it draws at random first.
        n_starts: Random starts of the closed forms.
        n_gradients: Simulations of a gradient.
    """

    tasks: tuple[str, ...]
    closed_forms: bool = False
    n_seeds: int = 5
    budget: int = 2000
    batches: tuple[int, ...] = (10,)
    rates: tuple[float, ...] = (0.1, 0.2, 0.4)
    n_tuning: int = 5
    bayesian_budget: int = 0
    bayesian_batch: int = 25
    bayesian_first: int = 5
    n_starts: int = 20
    n_gradients: int = 2000

    def __post_init__(self) -> None:
        require_counts(self, 1, "n_starts", "n_tuning")
        require_counts(self, 2, "n_seeds", "budget", "n_gradients")
        require_counts(self, 2, "bayesian_batch", "bayesian_first")
        require_counts(self, 0, "bayesian_budget")
        positive = len(self.rates) > 0 and all(rate > 0.0 for rate in self.rates)
        require(positive, "rates", "hold positive numbers", self.rates)
        require(all(n >= 2 for n in self.batches), "batches", "be at least 2", self.batches)
        known = set(self.tasks) <= set(TASKS)
        require(known, "tasks", f"be of {', '.join(TASKS)}", self.tasks)


PRESETS = {
    "smoke": Config(tasks=("rosenbrock10",), n_seeds=2, batches=()),
    "demo": Config(tasks=("hump2", "rosenbrock10"), n_seeds=3),
    "full": Config(tasks=TASKS, closed_forms=True, bayesian_budget=500),
}
