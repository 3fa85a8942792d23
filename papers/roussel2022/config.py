"""Settings of the reproduction and its presets."""

from dataclasses import dataclass

from diffhep.core.checks import require, require_counts, require_real


@dataclass(frozen=True)
class Config:
    """Everything that decides the numbers of a run.

    Attributes:
        measured: Whether the quadrupole is fitted, whose data are looked for; else a known operator
            with noise.
        n_training: Measurements at the start that are fitted; the rest is the test.
        noise: Of the known operator's outputs, in units of their range.
        each_run: Whether every run is predicted from all others as well.
        grid: How many of each kind of setting are tried, of the library's grid.
        n_best: Members of the average.
    """

    measured: bool
    n_training: int = 62
    noise: float = 1e-4
    each_run: bool = False
    grid: int = 5
    n_best: int = 10

    def __post_init__(self) -> None:
        require_counts(self, 32, "n_training")
        require_counts(self, 1, "grid", "n_best")
        require_real(self.noise, "noise", "be finite and at least 0", low=0.0)
        require(self.measured or not self.each_run, "each_run", "be off without runs", True)


PRESETS = {
    "smoke": Config(measured=False, grid=2, n_best=4),
    "demo": Config(measured=True),
    "full": Config(measured=True, each_run=True),
}
