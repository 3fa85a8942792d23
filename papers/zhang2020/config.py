"""Settings of the oscillator and the networks, and their presets."""

from dataclasses import dataclass

from diffhep.core.checks import require_counts, require_positive

NETWORKS: tuple[str, ...] = (
    "PhyLSTM 3",
    "PhyLSTM 2",
    "PhyLSTM 1",
    "LSTM",
    "LSTM, as many parameters",
)
"""The last two know no physics: the network of the PhyLSTMs' response, and a wider one that has as
many parameters as PhyLSTM 3 with the networks that a forecast does not need."""


@dataclass(frozen=True)
class Config:
    """Everything that decides the numbers of a run.

    Attributes:
        networks: Which are trained.
        n_labelled: Records whose response is learned from.
        n_held_out: Records whose response chooses the step.
        n_unlabelled: Records of which only the ground's motion is known.
        n_test: Records for the figures.
        n_samples: Of a record.
        dt_s: Between samples.
        n_substeps: Of the integration, between samples.
        width: Of the LSTMs.
        n_seeds: Networks of each kind.
        n_steps: Of training.
        batch: Records a step, and as many that were never measured.
        learning_rate: At the start.
    """

    networks: tuple[str, ...] = NETWORKS
    n_labelled: int = 4
    n_held_out: int = 2
    n_unlabelled: int = 50
    n_test: int = 50
    n_samples: int = 200
    dt_s: float = 0.05
    n_substeps: int = 16
    width: int = 20
    n_seeds: int = 5
    n_steps: int = 3000
    batch: int = 4
    learning_rate: float = 0.01

    def __post_init__(self) -> None:
        require_positive(self, "dt_s", "learning_rate")
        counts = ("n_labelled", "n_held_out", "n_unlabelled", "n_test", "n_samples")
        require_counts(self, 1, *counts, "n_substeps", "width", "n_seeds", "n_steps", "batch")


PRESETS = {
    "smoke": Config(
        NETWORKS[:1],
        n_test=4,
        n_unlabelled=4,
        n_samples=100,
        width=8,
        n_seeds=2,
        n_steps=150,
    ),
    "demo": Config(n_seeds=2, n_steps=1000),
    "full": Config(),
}
