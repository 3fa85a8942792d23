"""Settings of the transients and their presets."""

from dataclasses import dataclass

from diffhep.core.checks import require, require_counts, require_positive


@dataclass(frozen=True)
class Config:
    """Everything that decides the numbers of a run.

    Attributes:
        measured: Whether the ferrite is forecast, whose data are looked for; else a known operator.
        n_steps: Of training.
        n_members: Forecasters that are averaged.
        width: Hidden units of each.
        n_columns: Outputs of each network.
        learning_rate: At the start; it falls to 0 along a cosine.
        stride: Every so many samples are trained on, from a random one on.
        penalty: Of the squares of the network's weights.
        n_folds: Parts into which the sequences are cut; each is forecast from the others.
        n_tested: Of these folds, how many are forecast.
    """

    measured: bool
    n_steps: int = 2500
    n_members: int = 5
    width: int = 12
    n_columns: int = 8
    learning_rate: float = 1e-2
    stride: int = 8
    penalty: float = 1e-4
    n_folds: int = 5
    n_tested: int = 5

    def __post_init__(self) -> None:
        require_counts(self, 1, "n_steps", "n_members", "width", "n_columns", "stride", "n_tested")
        require_positive(self, "learning_rate", "penalty")
        require(self.n_folds >= 2, "n_folds", "be at least 2", self.n_folds)
        rule = f"be at most `n_folds`, {self.n_folds}"
        require(self.n_tested <= self.n_folds, "n_tested", rule, self.n_tested)


PRESETS = {
    "smoke": Config(
        measured=False, n_steps=120, n_members=1, width=6, n_columns=4, n_tested=1, stride=8
    ),
    "demo": Config(measured=True, n_steps=1000, n_members=2, n_tested=1),
    "full": Config(measured=True),
}
