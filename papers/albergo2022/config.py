"""Settings of the reproduction and its presets."""

from dataclasses import dataclass

from diffhep.core.checks import require, require_counts, require_positive, require_real

MIN_ROWS = 16
"""Measurements of a chain below which its errors mean nothing."""

SAMPLERS = (
    "hmc",
    "pseudofermions",
    "hmc+instanton",
    "hmc+flow",
    "independence",
    "delayed",
    "flow_hmc",
)
"""The samplers, in the order in which they run; the second part of the README says what each is."""

FLOW_SAMPLERS = ("hmc+flow", "independence", "delayed", "flow_hmc")
"""Those that need the flow, and pay for its training."""


@dataclass(frozen=True)
class Chains:
    """One sampler: measurements of each chain, the steps between two, and chains side by side."""

    sampler: str
    rows: int
    thin: int = 1
    n_chains: int = 16
    burn_in: int = 10

    def __post_init__(self) -> None:
        require(self.sampler in SAMPLERS, "sampler", f"be one of {SAMPLERS}", self.sampler)
        require_counts(self, MIN_ROWS, "rows")
        require_counts(self, 1, "thin", "n_chains")
        require_counts(self, 0, "burn_in")


@dataclass(frozen=True)
class Point:
    """One lattice: the flow there and the samplers.

    Attributes:
        length: Sites along both axes.
        chains: The samplers; "hmc+instanton" is the reference of the others where nothing is exact.
        flow_beta: Coupling of the pure gauge theory that the flow is trained for first.
        level_steps: Optimiser steps of that training.
        tuning_steps: Steps on the full action, determinant included; 0 leaves the tuning out.
        tuning_length: The lattice on which the flow is tuned; where it is smaller than `length`,
            the levels it has learned replace those of the same loops.
        hmc_leapfrog_steps: Steps of a trajectory of length one.
        anneal_steps: Steps of a stochastic flow from the quenched theory, which measures the mean
            determinant; 0 leaves it out.
        n_samples: Samples for the effective sample size of the flow.
        propagators: Whether condensate and pion are measured, from the inverse of a dense matrix.
    """

    length: int
    chains: tuple[Chains, ...]
    flow_beta: float = 2.4
    level_steps: int = 300
    tuning_steps: int = 0
    tuning_length: int = 4
    tuning_batch: int = 64
    tuning_rate: float = 3e-3
    hmc_leapfrog_steps: int = 6
    anneal_steps: int = 0
    n_samples: int = 2048
    propagators: bool = True

    def __post_init__(self) -> None:
        for name in ("length", "tuning_length"):
            value = getattr(self, name)
            good = value >= 2 and value & (value - 1) == 0
            require(good, name, "be a power of two, at least 2", value)
        rule = f"be at most the length {self.length}"
        good = not self.tuning_steps or self.tuning_length <= self.length
        require(good, "tuning_length", rule, self.tuning_length)
        require_real(self.flow_beta, "flow_beta", "be finite and at least 0", low=0.0)
        require_counts(self, 0, "level_steps", "tuning_steps", "anneal_steps")
        require_counts(self, 1, "tuning_batch", "hmc_leapfrog_steps")
        require_counts(self, MIN_ROWS, "n_samples")
        require_positive(self, "tuning_rate")
        names = [chains.sampler for chains in self.chains]
        require(len(set(names)) == len(names), "chains", "hold every sampler once", names)
        rule = 'hold "hmc+instanton", which the others are held against'
        require("hmc+instanton" in names, "chains", rule, names)


@dataclass(frozen=True)
class Config:
    """Everything that decides the numbers of a run.

    Attributes:
        points: The lattices, of different lengths.
        beta: Inverse coupling.
        kappa: Hopping parameter.
        judge_cost: Whether claims on seconds are made; they are not the same twice.
    """

    points: tuple[Point, ...]
    beta: float = 2.0
    kappa: float = 0.276
    judge_cost: bool = False

    def __post_init__(self) -> None:
        require(len(self.points) > 0, "points", "name at least one lattice", self.points)
        lengths = [point.length for point in self.points]
        require(len(set(lengths)) == len(lengths), "points", "differ in their length", lengths)
        require_real(self.beta, "beta", "be finite and at least 0", low=0.0)
        require_real(self.kappa, "kappa", "be finite and at least 0", low=0.0)


def _two_by_two(rows: int, samplers: tuple[str, ...], anneal_steps: int = 0) -> Point:
    """Where everything is exact, and costs next to nothing."""
    chains = tuple(
        Chains(name, rows, thin=8 if name == "independence" else 1, n_chains=64)
        for name in samplers
    )
    return Point(2, chains, level_steps=200, anneal_steps=anneal_steps)


PRESETS = {
    "smoke": Config(
        points=(_two_by_two(150, ("pseudofermions", "hmc+instanton", "independence")),)
    ),
    "demo": Config(
        points=(
            _two_by_two(
                200, ("hmc", "pseudofermions", "hmc+instanton", "independence", "flow_hmc")
            ),
        )
    ),
    "full": Config(
        points=(
            _two_by_two(200, SAMPLERS, anneal_steps=8),
            Point(
                8,
                (
                    Chains("hmc+instanton", 120, thin=2, burn_in=20),
                    Chains("hmc", 160, thin=8, burn_in=20),
                    Chains("independence", 120, thin=16),
                ),
                tuning_steps=200,
                tuning_length=8,
            ),
            Point(
                16,
                (
                    Chains("hmc+instanton", 60, thin=4, burn_in=10),
                    Chains("hmc", 120, thin=6, burn_in=20),
                    Chains("independence", 60, thin=40, burn_in=4),
                ),
            ),
        ),
        judge_cost=True,
    ),
}
