"""Settings of the comparison and its presets."""

from dataclasses import dataclass

from diffhep.core.checks import require, require_counts, require_positive


@dataclass(frozen=True)
class Config:
    """Everything that decides the numbers of a run.

    Attributes:
        n_toy: Samples of each estimator on the toy shower.
        n_hybrid: Samples of the hybrid there; zero for none, which saves its compilation.
        n_showers: Parametrised showers, and draws of a surrogate.
        n_rehearsal: Parametrised showers at each thickness that a surrogate is fitted to.
        n_members: Fits of a surrogate to events drawn again, whose spread is its error.
        n_difference: Geant4 events at the thickness and at either side of it; zero for no Geant4.
        n_training: Geant4 events at each thickness of the surrogate and of the fitted law.
        n_close: Geant4 events at either side, `close_mm` away.
        trained_mm: Thicknesses of an absorber that the surrogate and the fitted law are trained at.
        close_mm: Distance of the series in which common random numbers could help most.
        n_groups: Groups of events of which one is left out at a time, for the fit's error.
        fit_steps: Of Levenberg-Marquardt.
    """

    n_toy: int = 4000
    n_hybrid: int = 0
    n_showers: int = 2000
    n_rehearsal: int = 1000
    n_members: int = 40
    n_difference: int = 0
    n_training: int = 0
    n_close: int = 0
    trained_mm: tuple[float, ...] = (1.7, 1.9, 2.1, 2.3, 2.5, 2.7, 2.9)
    close_mm: float = 0.05
    n_groups: int = 6
    fit_steps: int = 20

    def __post_init__(self) -> None:
        require_counts(self, 100, "n_toy", "n_showers", "n_rehearsal")
        require_counts(self, 2, "n_members", "n_groups")
        require_counts(self, 1, "fit_steps")
        require_counts(self, 0, "n_hybrid", "n_difference", "n_training", "n_close")
        require_positive(self, "close_mm")
        good = self.n_hybrid % 2 == 0 and self.n_hybrid not in range(1, 8)
        require(good, "n_hybrid", "be zero, or even and at least 8", self.n_hybrid)
        if self.n_difference:
            rule = "be at least 20 where n_difference is given"
            require(min(self.n_training, self.n_close) >= 20, "n_training, n_close", rule, "not so")
        good = len(self.trained_mm) >= 3 and min((1.0, *self.trained_mm)) > 0.0
        require(good, "trained_mm", "hold at least three positive numbers", self.trained_mm)


PRESETS = {
    "smoke": Config(n_toy=2000, n_showers=1000),
    "demo": Config(
        n_hybrid=4000,
        n_difference=200,
        n_training=100,
        n_close=50,
        trained_mm=(1.7, 2.1, 2.5, 2.9),
        n_groups=3,
    ),
    "full": Config(
        n_toy=40_000,
        n_hybrid=40_000,
        n_showers=10_000,
        n_difference=4000,
        n_training=1500,
        n_close=1000,
    ),
}
