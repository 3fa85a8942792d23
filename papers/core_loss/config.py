"""Settings of the losses and their presets."""

from dataclasses import dataclass

from diffhep.core.checks import require, require_counts, require_positive


@dataclass(frozen=True)
class Config:
    """Everything that decides the numbers of a run.

    Attributes:
        grades: Electrical steels whose loops are identified; none for a known loop.
        highest_A_m: Field strength up to which a loop is used.
        degree: Of the regression of losses.
        n_folds: Parts into which the waveforms are cut; each is predicted from the others.
        most_steps: Most steps of the search for a loop's parameters.
    """

    grades: tuple[str, ...]
    highest_A_m: float = 2000.0
    degree: int = 4
    n_folds: int = 5
    most_steps: int = 300

    def __post_init__(self) -> None:
        require_positive(self, "highest_A_m")
        require_counts(self, 1, "degree", "most_steps")
        require(self.n_folds >= 2, "n_folds", "be at least 2", self.n_folds)


PRESETS = {
    "smoke": Config(grades=(), most_steps=60),
    "demo": Config(grades=("M400_50A",)),
    "full": Config(grades=("M270_50A", "M330_50A", "M400_50A", "M400_50AP", "M800_65A")),
}
