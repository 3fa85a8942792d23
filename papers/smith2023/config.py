"""Settings of the vertex layer and their presets."""

from dataclasses import dataclass

from diffhep.core.checks import require, require_counts, require_positive


@dataclass(frozen=True)
class Config:
    """Everything that decides the numbers of a run.

    Attributes:
        n_steps: Steps of training.
        batch: Jets of a step.
        n_test: Jets of the test.
        n_networks: Networks of each kind, trained apart.
        rate: Largest step of the optimiser.
        largest_ratio: Bar of the error by the full gradient over that by weights alone.
    """

    n_steps: int
    batch: int
    n_test: int
    n_networks: int
    rate: float = 3e-3
    largest_ratio: float = 0.9

    def __post_init__(self) -> None:
        require_counts(self, 1, "n_steps", "batch", "n_networks")
        require_counts(self, 100, "n_test")
        require_positive(self, "rate", "largest_ratio")
        require(self.rate < 1.0, "rate", "be below 1", self.rate)


PRESETS = {
    "smoke": Config(150, 64, 500, 1, largest_ratio=1.0),
    "demo": Config(600, 128, 4000, 1),
    "full": Config(3000, 128, 10000, 3),
}
