"""Settings of the comparison and its presets."""

from dataclasses import dataclass

from diffhep.core.checks import require, require_counts


@dataclass(frozen=True)
class Config:
    """Everything that decides the numbers of a run.

    Attributes:
        energies_GeV: Of the electrons; none for the checks in closed form alone.
        n_events: Geant4 events at each of them.
        n_showers: Showers of the parametrisation at each energy, and in the checks.
        geant4_seed: Of Geant4's events.
    """

    energies_GeV: tuple[float, ...]
    n_events: tuple[int, ...]
    n_showers: int = 4000
    geant4_seed: int = 0

    def __post_init__(self) -> None:
        require_counts(self, 100, "n_showers")
        rule = "have one entry, of at least 20, for each energy"
        good = len(self.n_events) == len(self.energies_GeV) and min((20, *self.n_events)) >= 20
        require(good, "n_events", rule, self.n_events)
        require(min((1.0, *self.energies_GeV)) > 0.0, "energies_GeV", "be positive", "not so")


PRESETS = {
    "smoke": Config((), (), n_showers=2000),
    "demo": Config((1.0,), (100,), n_showers=2000),
    "full": Config((1.0, 5.0, 10.0), (400, 150, 100)),
}
