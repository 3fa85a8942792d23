"""Settings of the muon tomography and their presets."""

from dataclasses import dataclass

from diffhep.core.checks import require, require_counts, require_positive


@dataclass(frozen=True)
class Config:
    """Everything that decides the numbers of a run.

    Attributes:
        n_steps: Steps of the search.
        n_muons: Muons through each volume.
        n_volumes: Volumes of a step, fresh ones in each.
        n_batches: Batches of as many held-out volumes in the test.
        n_scattered: Muons whose angles are compared with Highland's width.
        rate: Largest step of the optimiser.
        largest_ratio: Bar of the loss after the search over that before.
        largest_plain: Bar of the loss after the search over that of panels placed by hand.
        largest_twin: Bar of the loss with hard panels over that with soft ones.
    """

    n_steps: int
    n_muons: int
    n_volumes: int
    n_batches: int
    n_scattered: int
    rate: float = 0.08
    largest_ratio: float = 0.8
    largest_plain: float = 1.0
    largest_twin: float = 1.1

    def __post_init__(self) -> None:
        require_counts(self, 1, "n_steps", "n_volumes", "n_batches")
        require_counts(self, 100, "n_muons", "n_scattered")
        n_test = self.n_volumes * self.n_batches
        require(n_test >= 4, "n_batches", "give 4 volumes or more in all", self.n_batches)
        require_positive(self, "rate", "largest_ratio", "largest_plain", "largest_twin")


PRESETS = {
    "smoke": Config(30, 1000, 4, 3, 2000, 0.1, 1.0, 1.5, 1.5),
    "demo": Config(100, 1500, 4, 8, 20000),
    "full": Config(200, 2500, 4, 15, 100000),
}
