"""Settings of the benchmark and its presets."""

from dataclasses import dataclass

from diffhep.core.checks import require, require_counts, require_positive
from papers.lueckmann2021.published import PUBLISHED

METHODS = ("nre", "npe", "nle", "flow_matching")

BOXES = ("two_moons", "slcp", "gaussian_mixture")
"""Tasks with uniform priors, where flows of npe live on the parameters themselves."""

N_OBSERVATIONS = {"slcp": 5, "gaussian_linear": 2, "bernoulli_glm": 2}
"""Of the ten, in the recorded presets: a test in five or ten dimensions takes a minute or more."""

CHEAP_FIRST = ("two_moons", "gaussian_mixture", "sir", "slcp", "gaussian_linear", "bernoulli_glm")
"""By the time that the test of a posterior takes."""


@dataclass(frozen=True)
class Training:
    """What a method's networks are and how they are trained.

    Budgets take about `n_steps` steps, large ones as many as `least_epochs` need; a batch is
    smaller where an epoch would have less than `least_steps` of them.
    """

    n_members: int = 3
    n_steps: int = 1200
    batch: int = 256
    least_steps: int = 18
    least_epochs: int = 10
    learning_rate: float = 2e-3
    width: int = 64
    depth: int = 2
    n_layers: int = 3

    def __post_init__(self) -> None:
        counts = ("n_members", "n_steps", "least_epochs", "width", "depth", "n_layers")
        require_counts(self, 1, *counts)
        require_counts(self, 2, "batch", "least_steps")
        require_positive(self, "learning_rate")

    def n_epochs_for(self, n_simulations: int) -> int:
        """Times that all simulations are drawn."""
        n_epochs = round(self.n_steps * self.batch_for(n_simulations) / n_simulations)
        return max(self.least_epochs, n_epochs)

    def batch_for(self, n_simulations: int) -> int:
        """The batch, smaller where an epoch would have too few steps."""
        return max(2, min(self.batch, n_simulations // self.least_steps))


@dataclass(frozen=True)
class Point:
    """A task, the budgets of simulations, the methods, and how many observations are judged."""

    task: str
    n_simulations: tuple[int, ...] = (1000, 10_000)
    methods: tuple[str, ...] = ("nre", "npe")
    n_observations: int = 10

    def __post_init__(self) -> None:
        rule = f"be one of {', '.join(PUBLISHED)}"
        require(self.task in PUBLISHED, "task", rule, self.task)
        unknown = set(self.methods) - set(METHODS)
        rule = f"be among {', '.join(METHODS)}"
        require(len(self.methods) > 0 and not unknown, "methods", rule, self.methods)
        good = len(self.n_simulations) > 0 and all(n >= 200 for n in self.n_simulations)
        require(good, "n_simulations", "hold numbers of at least 200", self.n_simulations)
        good = 1 <= self.n_observations <= 10
        require(good, "n_observations", "lie in 1 to 10", self.n_observations)


@dataclass(frozen=True)
class Calibration:
    """Ranks of the truth in posteriors learned from a number of simulations."""

    problems: tuple[str, ...]
    n_simulations: int = 10_000
    n_trials: int = 300
    n_draws: int = 99

    def __post_init__(self) -> None:
        unknown = set(self.problems) - {"latent_gaussian", "two_moons"}
        require(not unknown, "problems", "be latent_gaussian or two_moons", self.problems)
        require_counts(self, 200, "n_simulations")
        require_counts(self, 20, "n_trials", "n_draws")


@dataclass(frozen=True)
class Config:
    """Everything that decides the numbers of a run.

    Attributes:
        points: The cells of the table.
        ratio: How ratios are trained.
        flow: How likelihoods and posteriors are.
        velocity: How flow matching is.
        exact: Whether observations and references are drawn by the run, from exact posteriors; else
            they are those that the benchmark published.
        n_samples: Draws of each posterior; the benchmark's number is 10,000.
        calibration: The problems whose ranks are tested.
        bars: Whether the published numbers are the bars; else only that something was learned.
    """

    points: tuple[Point, ...]
    ratio: Training = Training(n_members=2, n_steps=1200, batch=128, learning_rate=5e-3)
    flow: Training = Training(n_steps=1500, batch=128, learning_rate=2e-3, width=48)
    velocity: Training = Training(n_steps=2000, width=64, depth=2)
    exact: bool = False
    n_samples: int = 10_000
    calibration: Calibration = Calibration(())
    bars: bool = True

    def __post_init__(self) -> None:
        require(len(self.points) > 0, "points", "name at least one task", self.points)
        require_counts(self, 500, "n_samples")
        known = {"two_moons", "gaussian_linear"}
        inexact = {point.task for point in self.points} - known
        rule = "be two_moons or gaussian_linear where references are exact"
        require(not (self.exact and inexact), "points", rule, sorted(inexact))


PRESETS = {
    "smoke": Config(
        points=(Point("two_moons", (600,), ("npe",), 1),),
        flow=Training(1, 80, least_epochs=1, width=16, depth=1, n_layers=2, learning_rate=3e-3),
        exact=True,
        n_samples=1000,
        bars=False,
    ),
    "demo": Config(
        points=(Point("two_moons", (1000,), ("nre", "npe"), 3),),
        exact=True,
        n_samples=2000,
        bars=False,
    ),
    "full": Config(
        points=tuple(
            Point(task, n_observations=N_OBSERVATIONS.get(task, 10)) for task in CHEAP_FIRST
        ),
        calibration=Calibration(("latent_gaussian", "two_moons"), 3000, 100, 49),
    ),
    "large": Config(
        points=tuple(
            Point(task, (100_000,), n_observations=N_OBSERVATIONS.get(task, 10))
            for task in CHEAP_FIRST
        ),
    ),
}
