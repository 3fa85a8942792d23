"""Settings of the optimal tracker and their presets."""

from dataclasses import dataclass

from diffhep.core.checks import require, require_counts


@dataclass(frozen=True)
class Config:
    """Everything that decides the numbers of a run.

    Attributes:
        hits: Numbers of hits of the closed forms; multiples of 4.
        n_starts: Random starts of each search.
        n_steps: Steps of each search.
        n_tracks: Simulated tracks of each test of errors.
        layers: Of the tracker with multiple scattering.
        momenta_GeV: At which that tracker is optimised; the lowest and the highest are simulated.
        layout_starts: Random starts of its searches.
        layout_steps: Steps of its searches.
    """

    hits: tuple[int, ...]
    n_starts: int
    n_steps: int
    n_tracks: int
    layers: int
    momenta_GeV: tuple[float, ...]
    layout_starts: int
    layout_steps: int

    def __post_init__(self) -> None:
        require_counts(self, 1, "n_starts", "n_steps", "layout_starts", "layout_steps")
        require_counts(self, 30, "n_tracks")
        require_counts(self, 4, "layers")
        good = all(n >= 4 and n % 4 == 0 for n in self.hits)
        require(bool(self.hits) and good, "hits", "be multiples of 4", self.hits)
        good = all(p > 0.0 for p in self.momenta_GeV)
        require(len(self.momenta_GeV) >= 1 and good, "momenta_GeV", "be positive", self.momenta_GeV)


PRESETS = {
    "smoke": Config((8,), 20, 1500, 400, 6, (1.0,), 2, 60),
    "demo": Config((8, 20), 20, 3000, 2000, 8, (1.0, 100.0), 4, 300),
    "full": Config((8, 20), 20, 3000, 20000, 8, (0.5, 1.0, 3.0, 10.0, 100.0), 8, 600),
}
