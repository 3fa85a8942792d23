"""Settings of the reproduction and its presets."""

from dataclasses import dataclass, field
from typing import Literal

from diffhep.core.checks import require, require_counts, require_positive
from diffhep.core.stats import MIN_LENGTH

Kernel = Literal["affine", "spline"]

ACCEPTANCE_BAR = 0.5
"""Target for the acceptance of a flow of the paper's five theories."""

PUBLISHED_ACCEPTANCE = 0.463
"""At 8x8, lambda = 8, in the notebook of arXiv:2101.08176."""


@dataclass(frozen=True)
class Architecture:
    """A flow of checkerboard couplings.

    Attributes:
        kernel: Affine couplings as in the paper, or rational-quadratic splines.
        is_odd: Whether the flow commutes exactly with the change of sign of the field.
        is_free: Whether it starts from a free field whose mass is trained, or from white noise as
            in the paper.
        n_layers: Number of couplings.
        hidden: Channels of the networks' hidden layers.
        width: Sites across the networks' first kernels.
    """

    kernel: Kernel = "spline"
    is_odd: bool = True
    is_free: bool = True
    n_layers: int = 6
    hidden: tuple[int, ...] = (12,)
    width: int = 3

    def __post_init__(self) -> None:
        require(self.kernel in ("affine", "spline"), "kernel", "be affine or spline", self.kernel)
        require_counts(self, 1, "n_layers", "width")
        good = self.n_layers % 2 == 0 and self.width % 2 == 1
        rule = "be even, and the width odd"
        require(good, "n_layers", rule, f"{self.n_layers}, width {self.width}")

    @property
    def name(self) -> str:
        """As in claims."""
        flags = (("free", self.is_free), ("odd", self.is_odd), (self.kernel, True))
        return " ".join([word for word, holds in flags if holds] + ["flow"])


@dataclass(frozen=True)
class Point:
    """A lattice, its coupling, and the training of a flow there.

    Attributes:
        length: Sites a side, even.
        coupling: The quartic coupling.
        n_steps: Optimiser steps, from the parameters of the point before.
        batch: Samples a step.
        learning_rate: The largest learning rate.
        least_acceptance: Bar for the acceptance of independence Metropolis.
        source: Where the bar comes from.
    """

    length: int
    coupling: float
    n_steps: int
    batch: int = 64
    learning_rate: float = 5e-3
    least_acceptance: float = ACCEPTANCE_BAR
    source: str = "target"

    def __post_init__(self) -> None:
        require_counts(self, 2, "length")
        require_counts(self, 1, "n_steps", "batch")
        require_positive(self, "coupling", "learning_rate")
        require(self.length % 2 == 0, "length", "be even for a checkerboard", self.length)


@dataclass(frozen=True)
class Series:
    """One flow, trained along its points in turn, each from the parameters of the one before."""

    flow: Architecture
    points: tuple[Point, ...]

    def __post_init__(self) -> None:
        require(len(self.points) > 0, "points", "name at least one theory", self.points)


@dataclass(frozen=True)
class Chains:
    """The samplers of every theory.

    Attributes:
        n_chains: Chains of each.
        burn_in: Transitions that are not measured, of HMC from a random start.
        flow_steps: Measured transitions of independence Metropolis.
        hmc_steps: Measured trajectories of HMC.
        leapfrog_steps: Steps of a trajectory of unit length.
    """

    n_chains: int = 64
    burn_in: int = 50
    flow_steps: int = 200
    hmc_steps: int = 200
    leapfrog_steps: int = 10

    def __post_init__(self) -> None:
        require_counts(self, 1, "n_chains", "leapfrog_steps")
        require_counts(self, 0, "burn_in")
        require_counts(self, MIN_LENGTH, "flow_steps", "hmc_steps")


@dataclass(frozen=True)
class Config:
    """Everything that decides the numbers of a run.

    Attributes:
        series: The flows and their theories.
        hmc_only: Lengths and couplings at which HMC runs without a flow, such as odd lengths.
        chains: The samplers.
        n_samples: Samples for effective sample size, acceptance and log Z of each flow.
    """

    series: tuple[Series, ...]
    hmc_only: tuple[tuple[int, float], ...] = ()
    chains: Chains = field(default_factory=Chains)
    n_samples: int = 8192

    def __post_init__(self) -> None:
        require(len(self.series) > 0, "series", "name at least one flow", self.series)
        require_counts(self, 256, "n_samples")
        for length, coupling in self.hmc_only:
            good = length >= 2 and coupling > 0
            rule = "hold lengths of at least 2 with positive couplings"
            require(good, "hmc_only", rule, (length, coupling))


THEORIES = ((6, 6.975), (8, 6.008), (10, 5.550), (12, 5.276), (14, 5.113))
"""Lengths and couplings of the paper, quoted from memory: the mass times the length is about 4."""


def _tutorial(n_steps: int, learning_rate: float) -> Point:
    """The theory of arXiv:2101.08176, which trains for 2500 steps of 64."""
    return Point(
        8,
        8.0,
        n_steps=n_steps,
        learning_rate=learning_rate,
        least_acceptance=PUBLISHED_ACCEPTANCE,
        source="arXiv:2101.08176",
    )


_SMALL = Point(4, 8.0, n_steps=150, learning_rate=1e-2)
_SIX = Point(6, 6.975, n_steps=200, learning_rate=1e-2)

PRESETS = {
    "smoke": Config(
        series=(
            Series(
                Architecture("affine", hidden=(8,)),
                (Point(4, 8.0, n_steps=100, batch=128, learning_rate=1e-2, least_acceptance=0.3),),
            ),
        ),
        n_samples=2048,
    ),
    "demo": Config(series=(Series(Architecture(), (_SMALL, _SIX)),), hmc_only=((3, 8.0),)),
    "full": Config(
        series=(
            Series(
                Architecture(),
                (_SMALL, _SIX, *(Point(n, coupling, n_steps=100) for n, coupling in THEORIES[1:])),
            ),
            Series(Architecture(), (_tutorial(150, 1e-2),)),
            Series(Architecture("affine"), (_SMALL,)),
        ),
        hmc_only=((3, 8.0), (3, 6.975)),
    ),
}
