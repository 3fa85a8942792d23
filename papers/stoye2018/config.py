"""Settings of the comparison and its presets."""

from dataclasses import dataclass

from diffhep.core.checks import require, require_counts
from papers.brehmer2018.config import Point, Training

METHODS = ("carl", "rolr", "alice", "cascal", "rascal", "alices")

GAUSSIAN = Point("latent_gaussian", 0.25, METHODS)
GALTON = Point("galton", 0.8, METHODS)


@dataclass(frozen=True)
class Config:
    """Everything that decides the numbers of a run.

    Attributes:
        points: The problems.
        training: Budget of every method.
        n_gradients: Events of each class whose gradients are compared at the exact ratio.
        n_test: Events on which log-ratios are compared.
        n_thetas: Parameter points at which they are.
    """

    points: tuple[Point, ...]
    training: Training
    n_gradients: int = 20_000
    n_test: int = 2000
    n_thetas: int = 20

    def __post_init__(self) -> None:
        require(len(self.points) > 0, "points", "name at least one problem", self.points)
        require_counts(self, 100, "n_test", "n_gradients")
        require_counts(self, 1, "n_thetas")


PRESETS = {
    "smoke": Config(
        points=(Point("galton", 0.8, ("carl", "alice")),),
        training=Training((4000,), n_epochs=6, width=16, depth=2, n_seeds=1, learning_rate=5e-3),
        n_gradients=5000,
        n_test=1000,
        n_thetas=5,
    ),
    "demo": Config(
        points=(Point("galton", 0.8, ("carl", "rolr", "alice")),),
        training=Training((4000,), n_epochs=8, width=24, depth=2, n_seeds=2, learning_rate=5e-3),
    ),
    "full": Config(
        points=(GALTON, GAUSSIAN),
        training=Training(
            (2560, 10_000), n_epochs=10, width=32, depth=2, n_seeds=3, learning_rate=5e-3
        ),
    ),
}
