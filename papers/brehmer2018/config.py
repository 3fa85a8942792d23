"""Settings of the comparison and its presets."""

from dataclasses import dataclass, field

from diffhep.core.checks import require, require_counts, require_positive
from diffhep_sbi.losses import METHODS

RATIO_METHODS = tuple(name for name in METHODS if not METHODS[name].is_contrastive)
"""Losses of a network that is the ratio to one reference point, SALLY last."""

ESTIMATORS = (*RATIO_METHODS, "sallino")
"""Those, and the ratio of SALLY's score projected onto the parameters."""


@dataclass(frozen=True)
class Training:
    """What every method gets alike.

    `n_events` are drawn under each hypothesis; several numbers make a learning curve. Every seed
    has events, networks and batches of its own.
    """

    n_events: tuple[int, ...]
    n_epochs: int = 30
    batch: int = 256
    learning_rate: float = 2e-3
    width: int = 64
    depth: int = 3
    n_seeds: int = 5

    def __post_init__(self) -> None:
        require(len(self.n_events) > 0, "n_events", "hold a number", self.n_events)
        least = 10 * self.batch
        good = all(n >= least for n in self.n_events)
        require(good, "n_events", f"be at least {least}, ten batches", self.n_events)
        require_counts(self, 1, "n_epochs", "batch", "width", "depth", "n_seeds")
        require_positive(self, "learning_rate")


@dataclass(frozen=True)
class Point:
    """A problem, the box of its parameters around the reference at zero, and what is learned."""

    problem: str
    half_width: float
    methods: tuple[str, ...] = RATIO_METHODS

    def __post_init__(self) -> None:
        known = ("latent_gaussian", "drell_yan", "ee_mumu", "galton")
        require(self.problem in known, "problem", f"be one of {', '.join(known)}", self.problem)
        require_positive(self, "half_width")
        unknown = set(self.methods) - set(ESTIMATORS)
        rule = f"be among {', '.join(ESTIMATORS)}"
        require(len(self.methods) > 0 and not unknown, "methods", rule, self.methods)


@dataclass(frozen=True)
class Config:
    """Everything that decides the numbers of a run.

    Attributes:
        points: The problems.
        training: Budget of every method.
        n_test: Events on which log-ratios are compared.
        n_thetas: Parameter points at which they are.
        judge_order: Whether the order of the methods is claimed; it needs many events.
        largest_information_error: Bar for the relative error of SALLY's Fisher information.
    """

    points: tuple[Point, ...]
    training: Training
    n_test: int = 5000
    n_thetas: int = 20
    judge_order: bool = False
    largest_information_error: float = field(default=0.02)

    def __post_init__(self) -> None:
        require(len(self.points) > 0, "points", "name at least one problem", self.points)
        require_counts(self, 100, "n_test")
        require_counts(self, 1, "n_thetas")
        require_positive(self, "largest_information_error")


PRESETS = {
    "smoke": Config(
        points=(Point("latent_gaussian", 0.25, ("carl", "alice", "sally", "sallino")),),
        training=Training((4000,), n_epochs=6, width=24, depth=2, n_seeds=1, learning_rate=5e-3),
        n_test=1000,
        n_thetas=5,
        largest_information_error=0.2,
    ),
    "demo": Config(
        points=(Point("latent_gaussian", 0.25),),
        training=Training((10_000,), n_epochs=12, width=32, n_seeds=2),
        largest_information_error=0.1,
    ),
    "full": Config(
        points=(
            Point("latent_gaussian", 0.25),
            Point("drell_yan", 0.1),
            Point("ee_mumu", 0.3, ("sally",)),
        ),
        training=Training((3000, 8000, 24_000), n_epochs=20),
        judge_order=True,
    ),
    "large": Config(
        points=(Point("drell_yan", 0.1), Point("ee_mumu", 0.3, ("sally",))),
        training=Training((120_000,), n_epochs=20),
        n_test=50_000,
        judge_order=True,
    ),
    "local": Config(
        points=(
            Point("latent_gaussian", 0.25, ("carl", "sally", "sallino")),
            Point("drell_yan", 0.1, ("carl", "sally", "sallino")),
            Point("ee_mumu", 0.3, ("carl", "sally", "sallino")),
        ),
        training=Training((24_000,), n_epochs=20),
        judge_order=True,
    ),
}
