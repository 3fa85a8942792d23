"""Settings of the cycles and their presets."""

from dataclasses import dataclass

from diffhep.core.checks import require_counts, require_positive


@dataclass(frozen=True)
class Config:
    """Everything that decides the numbers of a run.

    Attributes:
        n_repeats: How often each supercycle to learn from is run.
        n_calibration: Sequences of cycles in random order for the intervals.
        n_test: Sequences in random order that are forecast, each from its second cycle on.
        n_free: Of these, how many are forecast without resynchronisation as well.
        n_corrected: Sequences that are corrected.
        n_cycles: Cycles forecast in a sequence.
        dt_s: Seconds between samples.
        n_steps: Of training for each network; 0 for no networks.
        judge: Whether the bars are those of the task, or only those of correctness.
    """

    n_repeats: int
    n_calibration: int
    n_test: int
    n_free: int
    n_corrected: int
    n_cycles: int
    dt_s: float = 0.02
    n_steps: int = 0
    judge: bool = True

    def __post_init__(self) -> None:
        require_positive(self, "dt_s")
        counts = ("n_repeats", "n_calibration", "n_test", "n_free", "n_corrected")
        require_counts(self, 1, *counts)
        require_counts(self, 2, "n_cycles")
        require_counts(self, 0, "n_steps")


PRESETS = {
    "smoke": Config(1, 1, 1, 1, 1, 10, dt_s=0.1, judge=False),
    "demo": Config(2, 4, 4, 2, 1, 30),
    "full": Config(4, 10, 10, 4, 2, 50, n_steps=400),
}
