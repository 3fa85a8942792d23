"""Settings of the reproduction and its presets."""

from dataclasses import dataclass, field

from diffhep.core.checks import (
    as_integer,
    require,
    require_counts,
    require_positive,
    require_real,
)

MIN_STEPS = 16
"""Steps of a sampler below which its errors mean nothing."""


@dataclass(frozen=True)
class Point:
    """One theory, the effective sample size that its flow must exceed, and what else runs there."""

    n_colors: int
    beta: float
    smallest_ess: float
    run_samplers: bool = False

    def __post_init__(self) -> None:
        require(self.n_colors in (2, 3), "n_colors", "be 2 or 3", self.n_colors)
        require_real(self.beta, "beta", "be finite and at least 0", low=0.0)


@dataclass(frozen=True)
class Training:
    """The comb flow and its optimiser steps."""

    n_constrained: int = 4
    plaquette_steps: int = 1500
    chain_steps: int = 300
    batch: int = 512
    learning_rate: float = 1e-2

    def __post_init__(self) -> None:
        require_counts(self, 1, "n_constrained", "plaquette_steps", "chain_steps", "batch")
        require_positive(self, "learning_rate")


@dataclass(frozen=True)
class Chains:
    """How long each sampler runs; 0 steps leave one out."""

    n_chains: int = 32
    burn_in: int = 10
    independence_steps: int = 60
    hmc_steps: int = 150
    hmc_leapfrog_steps: int = 12
    heatbath_steps: int = 100
    n_overrelaxation: int = 2

    def __post_init__(self) -> None:
        require_counts(self, 0, "burn_in", "n_overrelaxation")
        require_counts(self, 1, "n_chains", "hmc_leapfrog_steps")
        for name in ("independence_steps", "hmc_steps", "heatbath_steps"):
            steps = as_integer(getattr(self, name), name, low=0)
            rule = f"be 0 or at least {MIN_STEPS}"
            require(steps == 0 or steps >= MIN_STEPS, name, rule, steps)


@dataclass(frozen=True)
class Config:
    """Everything that decides the numbers of a run.

    Attributes:
        length: Sites along both axes.
        points: The theories.
        training: The flow at every point.
        chains: The samplers at every point.
        n_samples: Samples for effective sample size and log Z.
        scan_lengths: Other lattices that the first point's flow is moved to as it is.
        baseline: Whether the flow without conditional maps is measured where samplers run.
        largest_size: Bar for the number of parameters.
    """

    length: int
    points: tuple[Point, ...]
    training: Training = field(default_factory=Training)
    chains: Chains = field(default_factory=Chains)
    n_samples: int = 2048
    scan_lengths: tuple[int, ...] = ()
    baseline: bool = False
    largest_size: int = 10_000

    def __post_init__(self) -> None:
        require(len(self.points) > 0, "points", "name at least one theory", self.points)
        require_counts(self, MIN_STEPS, "n_samples")
        for length in (self.length, *self.scan_lengths):
            good = length >= 4 and length % 2 == 0
            require(good, "length", "be even and at least 4", length)


SU2 = (Point(2, 1.8, 0.91), Point(2, 2.2, 0.80), Point(2, 2.7, 0.56, run_samplers=True))
SU3 = (Point(3, 4.0, 0.88), Point(3, 5.0, 0.75), Point(3, 6.0, 0.48, run_samplers=True))
"""The points of the paper, with its effective sample sizes."""

PRESETS = {
    "smoke": Config(
        length=4,
        points=(Point(2, 2.2, 0.80, run_samplers=True),),
        training=Training(n_constrained=3, plaquette_steps=400, chain_steps=60, batch=256),
        chains=Chains(
            burn_in=10, independence_steps=40, hmc_steps=200, hmc_leapfrog_steps=8, heatbath_steps=0
        ),
        n_samples=1024,
    ),
    "demo": Config(length=16, points=(SU2[2],), scan_lengths=(8,), baseline=True),
    "full": Config(
        length=16,
        points=(*SU3, *SU2),
        scan_lengths=(8,),
        baseline=True,
    ),
}
