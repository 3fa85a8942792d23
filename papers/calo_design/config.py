"""Settings of the search and its presets."""

from dataclasses import dataclass

from diffhep.core.checks import require, require_counts, require_positive

SIMULATORS = ("geant4", "gflash")


@dataclass(frozen=True)
class Scan:
    """The grid that the search is held against.

    Attributes:
        absorber_mm: Thicknesses of lead.
        gap_mm: Thicknesses of scintillator, each with each.
        n_events: At each design, and again at the best.
        n_again: Fresh events at the best.
    """

    absorber_mm: tuple[float, ...]
    gap_mm: tuple[float, ...]
    n_events: int
    n_again: int

    def __post_init__(self) -> None:
        require_counts(self, 40, "n_events", "n_again")
        for name in ("absorber_mm", "gap_mm"):
            values = getattr(self, name)
            good = len(values) >= 2 and min(values) > 0.0
            require(good, name, "hold at least two positive numbers", values)


@dataclass(frozen=True)
class Search:
    """The search through local surrogates.

    Attributes:
        budget: Events in all, those of the final check included.
        n_verify: Events of the final check.
        n_designs: Scattered per step.
        n_events: At each of them.
        n_check: Events by which a step is judged, before they are doubled.
        most_check: The same at most.
        radius: Of the first trust region, and the spread of designs in it.
    """

    budget: int
    n_verify: int
    n_designs: int
    n_events: int
    n_check: int
    most_check: int
    radius: float = 0.7

    def __post_init__(self) -> None:
        require_counts(self, 40, "n_verify", "n_check")
        require_counts(self, 4, "n_designs")
        require_counts(self, 1, "n_events")
        require_positive(self, "radius")
        require(self.budget > self.n_verify, "budget", "be above n_verify", self.budget)
        require(self.most_check >= self.n_check, "most_check", "be at least n_check", "not so")


@dataclass(frozen=True)
class Rounds:
    """The search through one flow of the whole space.

    Attributes:
        n_designs: Simulated in each round: everywhere, then where the flow of the round before
            promises most.
        n_events: At each design, by round.
        n_verify: Events of the final check.
    """

    n_designs: tuple[int, ...]
    n_events: tuple[int, ...]
    n_verify: int

    def __post_init__(self) -> None:
        require_counts(self, 40, "n_verify")
        good = len(self.n_designs) == len(self.n_events) > 0
        require(good, "n_events", "have one entry for each round", self.n_events)
        rule = "be at least 4 in each round"
        require(min(self.n_designs) >= 4, "n_designs", rule, self.n_designs)
        require(min(self.n_events) >= 4, "n_events", rule, self.n_events)


@dataclass(frozen=True)
class Config:
    """Everything that decides the numbers of a run.

    Attributes:
        simulator: "geant4", or "gflash" for the parametrised shower, which needs no Geant4.
        scan: The grid.
        search: The search by local surrogates.
        rounds: The search by one flow; None for none.
        unseen: Thicknesses of lead and scintillator at which the surrogate is judged.
        n_unseen: Events at each of them.
        n_steps: Of the training of a surrogate of all thicknesses; 0 for none, and no verdict.
        energy_MeV: Of the electrons.
        seed: The first of the simulator's seeds.
    """

    simulator: str
    scan: Scan
    search: Search
    rounds: Rounds | None = None
    unseen: tuple[tuple[float, float], ...] = ()
    n_unseen: int = 100
    n_steps: int = 0
    energy_MeV: float = 1000.0
    seed: int = 0

    def __post_init__(self) -> None:
        known = ", ".join(SIMULATORS)
        require(self.simulator in SIMULATORS, "simulator", f"be one of {known}", self.simulator)
        require_counts(self, 40, "n_unseen")
        require_counts(self, 0, "n_steps", "seed")
        require_positive(self, "energy_MeV")
        good = all(len(one) == 2 for one in self.unseen)
        require(good, "unseen", "hold pairs of thicknesses", self.unseen)
        good = self.rounds is None or self.n_steps > 0
        require(good, "rounds", "be none where n_steps is 0", self.rounds)
        rule = "hold a pair of thicknesses where n_steps is positive, and none where it is 0"
        require((self.n_steps > 0) == (len(self.unseen) > 0), "unseen", rule, self.unseen)


GRID = ((1.2, 1.7, 2.3, 3.0, 3.9), (1.5, 2.5, 4.0, 5.5, 7.5, 9.5))

PRESETS = {
    "smoke": Config(
        "gflash",
        Scan((1.2, 2.3, 4.0), (1.5, 4.0, 7.5), n_events=400, n_again=400),
        Search(720, 200, n_designs=8, n_events=20, n_check=100, most_check=100),
    ),
    "demo": Config(
        "geant4",
        Scan((1.2, 2.3, 3.9), (1.5, 4.0, 7.5), n_events=500, n_again=500),
        Search(900, 300, n_designs=8, n_events=15, n_check=60, most_check=120),
        Rounds((20, 8), (15, 40), n_verify=280),
        unseen=((2.6, 4.7),),
        n_unseen=800,
        n_steps=1000,
    ),
    "full": Config(
        "geant4",
        Scan(*GRID, n_events=1500, n_again=3000),
        Search(9000, 3000, n_designs=10, n_events=40, n_check=300, most_check=1200),
        Rounds((40, 15), (75, 200), n_verify=3000),
        unseen=((2.0, 3.2), (2.6, 4.7), (3.4, 6.5)),
        n_unseen=6000,
        n_steps=4000,
    ),
}
