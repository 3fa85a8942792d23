"""Settings of the reproduction and its presets."""

from dataclasses import dataclass, field

from diffhep.core.checks import require, require_counts, require_positive, require_real

MIN_SAMPLES = 64
"""Samples below which errors mean nothing."""

PERIOD = 4
"""Sites after which the sets of links repeat."""


@dataclass(frozen=True)
class Point:
    """One theory, the effective sample size to reach there, and the steps of training."""

    n_colors: int
    beta: float
    smallest_ess: float
    steps: int = 100

    def __post_init__(self) -> None:
        require(self.n_colors in (2, 3), "n_colors", "be 2 or 3", self.n_colors)
        require_real(self.beta, "beta", "be finite and at least 0", low=0.0)
        require_counts(self, 1, "steps")


@dataclass(frozen=True)
class Training:
    """The flow and the lattice on which its parameters are found."""

    length: int = 4
    n_flow_steps: int = 4
    n_knots: int = 2
    batch: int = 48
    learning_rate: float = 3e-2

    def __post_init__(self) -> None:
        require_counts(self, 1, "n_flow_steps", "n_knots", "batch")
        require_positive(self, "learning_rate")
        require_period("length", self.length)


@dataclass(frozen=True)
class Config:
    """Everything that decides the numbers of a run.

    Attributes:
        length: Sites along both axes of the lattice that the trained parameters are taken to.
        points: The theories; those of a group after the first start from the parameters before.
        training: How the parameters are found.
        n_samples: Samples on the large lattice.
        scan_lengths: Other lattices for the last theory's parameters.
        leading: Whether the leading order, without any parameter, is measured for the last theory.
        most_parameters: Bar for the number of parameters.
    """

    length: int
    points: tuple[Point, ...]
    training: Training = field(default_factory=Training)
    n_samples: int = 1024
    scan_lengths: tuple[int, ...] = ()
    leading: bool = False
    most_parameters: int = 14

    def __post_init__(self) -> None:
        require(len(self.points) > 0, "points", "name at least one theory", self.points)
        require_counts(self, MIN_SAMPLES, "n_samples")
        require_period("length", self.length)
        for length in self.scan_lengths:
            require_period("scan_lengths", length)


def require_period(name: str, length: int) -> None:
    """Raise a `ConfigError` unless a length fits the sets of links."""
    good = length >= PERIOD and length % PERIOD == 0
    require(good, name, f"be a multiple of {PERIOD}", length)


SU2 = Point(2, 2.7, 0.56, 75)
SU3 = (Point(3, 4.0, 0.88, 75), Point(3, 5.0, 0.75, 75), Point(3, 6.0, 0.48, 150))
"""Theories, with the effective sample sizes of arXiv:2008.05456 on 16x16."""

PRESETS = {
    "smoke": Config(
        length=4,
        points=(Point(2, 2.2, 0.80, 25),),
        training=Training(n_flow_steps=2, batch=32, learning_rate=5e-2),
        n_samples=1024,
    ),
    "demo": Config(length=16, points=(SU2, SU3[0]), n_samples=512, scan_lengths=(8,), leading=True),
    "full": Config(length=16, points=(SU2, *SU3), scan_lengths=(4, 8), leading=True),
}
