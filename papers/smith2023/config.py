"""Settings of the vertex layer and their presets."""

from dataclasses import dataclass

from diffhep.core.checks import require, require_counts, require_positive


@dataclass(frozen=True)
class Config:
    """Everything that decides the numbers of a run.

    Attributes:
        n_checks: Vertices whose minimum and slopes are compared with others'.
        n_tracks: Numbers of tracks whose cost is compared, ascending; none leaves it out.
        n_rounds: Timings of each number of tracks.
        n_train: Jets of the training.
        n_tune: Jets of the training that choose the cuts of selections; 0 for no selections, and
            no claims that need a network trained to the end.
        n_steps: Steps of training.
        batch: Jets of a step.
        n_test: Jets of the test.
        n_networks: Networks of each kind, trained apart.
        rate: Largest step of the optimiser.
    """

    n_checks: int
    n_tracks: tuple[int, ...]
    n_rounds: int
    n_train: int
    n_tune: int
    n_steps: int
    batch: int
    n_test: int
    n_networks: int
    rate: float = 3e-3

    def __post_init__(self) -> None:
        require_counts(self, 1, "n_checks", "n_rounds", "n_steps", "batch", "n_networks")
        require_counts(self, 100, "n_train", "n_test")
        require_counts(self, 0, "n_tune")
        require(self.n_tune <= self.n_train, "n_tune", "be at most n_train", self.n_tune)
        good = len(self.n_tracks) != 1 and sorted(set(self.n_tracks)) == list(self.n_tracks)
        good = good and all(n >= 2 for n in self.n_tracks)
        rule = "be none, or two or more that ascend from 2 or more"
        require(good, "n_tracks", rule, self.n_tracks)
        require_positive(self, "rate")
        require(self.rate < 1.0, "rate", "be below 1", self.rate)


PRESETS = {
    "smoke": Config(3, (), 1, 2000, 0, 80, 64, 200, 1),
    "demo": Config(10, (10, 1000), 5, 20000, 200, 400, 128, 1000, 1),
    "full": Config(20, (10, 100, 1000), 20, 50000, 500, 1000, 128, 4000, 1),
}
