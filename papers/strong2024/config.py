"""Settings of the muon tomography and their presets."""

from dataclasses import dataclass

from diffhep.core.checks import require_counts, require_positive


@dataclass(frozen=True)
class Config:
    """Everything that decides the numbers of a run.

    Attributes:
        n_steps: Steps of the search.
        n_muons: Muons of a step, fresh ones in each.
        n_scans: Scans of the test, with fresh muons.
        rate: Largest step of the optimiser.
        largest_ratio: Bar of the loss after the search over that before.
    """

    n_steps: int
    n_muons: int
    n_scans: int
    rate: float = 0.05
    largest_ratio: float = 0.8

    def __post_init__(self) -> None:
        require_counts(self, 1, "n_steps")
        require_counts(self, 100, "n_muons")
        require_counts(self, 4, "n_scans")
        require_positive(self, "rate", "largest_ratio")


PRESETS = {
    "smoke": Config(40, 500, 8, largest_ratio=1.0),
    "demo": Config(200, 1000, 30),
    "full": Config(600, 2000, 100),
}
