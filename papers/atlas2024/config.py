"""Settings of the measurement and its presets."""

from dataclasses import dataclass

from diffhep.core.checks import require, require_counts, require_positive


@dataclass(frozen=True)
class Training:
    """Budget of every ratio: an ensemble trained, calibrated and judged on events of its own.

    `n_events` are drawn of numerator and denominator each for training, `n_judge` of each for
    calibration and again for the gates.
    """

    n_events: int
    n_judge: int
    n_epochs: int = 6
    batch: int = 512
    learning_rate: float = 3e-3
    width: int = 16
    depth: int = 2
    n_members: int = 3
    judges_closure: bool = True

    def __post_init__(self) -> None:
        require_counts(self, 10 * self.batch, "n_events")
        require_counts(self, 1000, "n_judge")
        require_counts(self, 1, "n_epochs", "batch", "width", "depth", "n_members")
        require_positive(self, "learning_rate")


@dataclass(frozen=True)
class Signed:
    """Ratios learned from signed weights beside those from positive ones.

    `n_events` of each class for each of `n_seeds` trainings; a fraction `excess` of events beside,
    flat in the features, has weight 1 and as many have weight -1.
    """

    n_events: int
    n_seeds: int = 4
    excess: float = 0.25

    def __post_init__(self) -> None:
        require_counts(self, 5120, "n_events")
        require_counts(self, 2, "n_seeds")
        require_positive(self, "excess")


PARTS = ("profiles", "limits", "pools", "signed", "coverage")
"""What is measured beside the best fits of the same experiments."""


@dataclass(frozen=True)
class Config:
    """Everything that decides the numbers of a run.

    Attributes:
        training: Budget of the ratios.
        signed: Budget of the check of signed weights.
        parts: What is measured beside the best fits.
        n_pool: Simulated events of every process that toys are drawn from.
        small_pools: Numbers whose effect on the best fit is measured beside.
        n_experiments: Experiments of fresh events, at every signal strength.
        n_toys: Toys of each.
        strengths: Signal strengths at which intervals are tested; the first is the bound.
        largest_bias: Bar for the bias of the best fit, in standard deviations.
        largest_difference: Bar for relative differences from the exact likelihood.
    """

    training: Training
    signed: Signed = Signed(20_000)
    parts: tuple[str, ...] = PARTS
    n_pool: int = 50_000
    small_pools: tuple[int, ...] = (100, 300, 1000, 3000)
    n_experiments: int = 1000
    n_toys: int = 100
    strengths: tuple[float, ...] = (0.0, 0.5, 1.0)
    largest_bias: float = 0.1
    largest_difference: float = 0.05

    def __post_init__(self) -> None:
        unknown = set(self.parts) - set(PARTS)
        require(not unknown, "parts", f"be among {', '.join(PARTS)}", self.parts)
        require_counts(self, 100, "n_pool")
        require_counts(self, 10, "n_experiments")
        require_counts(self, 20, "n_toys")
        require_positive(self, "largest_bias", "largest_difference")
        good = len(self.strengths) > 0 and self.strengths[0] == 0.0 and self.strengths[-1] <= 1.0
        require(good, "strengths", "start at 0 and end at 1 at most", self.strengths)
        rising = all(a < b for a, b in zip(self.strengths, self.strengths[1:], strict=False))
        require(rising, "strengths", "rise", self.strengths)
        good = len(self.small_pools) > 0 and all(10 <= n <= self.n_pool for n in self.small_pools)
        require(good, "small_pools", f"lie between 10 and {self.n_pool}", self.small_pools)


PRESETS = {
    "smoke": Config(
        training=Training(8000, 4000, n_epochs=4, width=12, n_members=2, judges_closure=False),
        parts=(),
        n_pool=5000,
        n_experiments=100,
        largest_bias=0.5,
        largest_difference=0.25,
    ),
    "demo": Config(
        training=Training(20_000, 10_000, n_members=2, judges_closure=False),
        parts=("profiles", "coverage", "limits"),
        n_pool=20_000,
        n_experiments=100,
        strengths=(0.0, 1.0),
        largest_bias=0.25,
        largest_difference=0.1,
    ),
    "full": Config(training=Training(100_000, 40_000)),
}
