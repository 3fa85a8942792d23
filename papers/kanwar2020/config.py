"""Settings of the reproduction and its presets."""

import math
from dataclasses import dataclass, field
from typing import Any

from diffhep.core.checks import require, require_counts, require_positive
from diffhep.core.stats import MIN_LENGTH

_LEAST_LENGTH = 4
"""Sites a side that a loop of 3 x 3 fits into, and the masks of the flows."""


def _require_each(settings: Any, rule: str, good: Any, *names: str) -> None:
    """Raise a `ConfigError` that names the first setting which breaks a rule."""
    for name in names:
        value = getattr(settings, name)
        require(good(value), name, rule, value)


def _require_steps(settings: Any, *names: str) -> None:
    """Shorter series have no autocorrelation time."""
    rule = f"be 0 or at least {MIN_LENGTH}"
    _require_each(settings, rule, lambda x: x == 0 or x >= MIN_LENGTH, *names)


def _require_place(settings: Any) -> None:
    """Raise a `ConfigError` unless flows and observables fit the lattice."""
    rule = f"be a power of two, at least {_LEAST_LENGTH}"
    _require_each(settings, rule, lambda x: x >= _LEAST_LENGTH and x & (x - 1) == 0, "length")
    _require_each(settings, "be finite and at least 0", lambda x: 0 <= x < math.inf, "beta")


@dataclass(frozen=True)
class Ensemble:
    """One point of the theory, and how long each sampler runs there; 0 steps leave one out."""

    length: int
    beta: float
    level_steps: int = 1000
    # Trajectories of plain HMC are one unit of molecular-dynamics time.
    hmc_leapfrog_steps: int = 10
    latent_leapfrog_steps: int = 6
    latent_length: float = 1.0
    n_chains: int = 32
    hmc_steps: int = 2000
    independence_steps: int = 500
    mixture_steps: int = 500
    flow_hmc_steps: int = 200
    heatbath_steps: int = 0
    instanton_steps: int = 0

    def __post_init__(self) -> None:
        _require_place(self)
        require_counts(self, 0, "level_steps")
        require_counts(self, 1, "n_chains", "hmc_leapfrog_steps", "latent_leapfrog_steps")
        require_positive(self, "latent_length")
        require_counts(self, MIN_LENGTH, "independence_steps")
        steps = ("hmc", "mixture", "flow_hmc", "heatbath", "instanton")
        _require_steps(self, *(f"{name}_steps" for name in steps))
        if self.flow_hmc_steps:
            rule = "be positive where flow_hmc_steps is, which is held against it"
            require(self.hmc_steps > 0, "hmc_steps", rule, self.hmc_steps)


@dataclass(frozen=True)
class Local:
    """Local couplings at one point: optimiser steps of each kind; 0 leaves one out."""

    length: int = 8
    beta: float = 2.0
    stripe_layers: int = 16
    stripe_steps: int = 0
    block_steps: int = 300
    largest_block: int = 8
    batch: int = 128
    learning_rate: float = 4e-3
    # Sixteen stripes sharpen slowly, and their gradients have heavy tails: clipped at 10 as others
    # are, one training in two fell apart after a thousand steps.
    stripe_learning_rate: float = 3e-3
    stripe_clip_norm: float = 1.0
    n_chains: int = 32
    flow_hmc_steps: int = 0
    latent_leapfrog_steps: int = 256
    latent_length: float = 0.5

    def __post_init__(self) -> None:
        _require_place(self)
        require_counts(self, 0, "stripe_steps", "block_steps")
        require_counts(self, 1, "batch", "n_chains", "latent_leapfrog_steps")
        rates = ("learning_rate", "stripe_learning_rate", "stripe_clip_norm")
        require_positive(self, *rates, "latent_length")
        _require_steps(self, "flow_hmc_steps")
        layers, largest = self.stripe_layers, self.largest_block
        require(layers >= 8 and layers % 8 == 0, "stripe_layers", "be a multiple of 8", layers)
        half = self.length**2 // 2
        good = 1 <= largest <= half and largest & (largest - 1) == 0
        rule = f"be a power of two, at most the {half} plaquettes of half the lattice"
        require(good, "largest_block", rule, largest)


@dataclass(frozen=True)
class Config:
    """Everything that decides the numbers of a run.

    Attributes:
        main: Where plain HMC is frozen, the headline.
        check: Where plain HMC still moves, so that it can be compared.
        local: The published kind of flow.
        scan_betas: Couplings of the scan on the main lattice; empty leaves it out.
        scan: Steps of the scan; its `beta` is not used.
        n_samples: Samples for effective sample size and log Z.
        smallest_ess_main: Bar for the multiscale flow at `main`.
        smallest_ess_check: Bar for the multiscale flow at `check`.
        smallest_ess_local: Bar for effective sample size and acceptance of local couplings.
        judge_cost: Whether claims on seconds are made; they are not the same twice.
    """

    main: Ensemble
    check: Ensemble
    local: Local = field(default_factory=Local)
    scan_betas: tuple[float, ...] = ()
    scan: Ensemble = field(default_factory=lambda: Ensemble(16, 1.0))
    n_samples: int = 8192
    smallest_ess_main: float = 0.8
    smallest_ess_check: float = 0.97
    smallest_ess_local: float = 0.5
    judge_cost: bool = False

    def __post_init__(self) -> None:
        require_counts(self, 16, "n_samples")
        for beta in self.scan_betas:
            require(0 <= beta < math.inf, "scan_betas", "be finite and at least 0", beta)
        needed: dict[str, tuple[str, ...]] = {"main": ("level", "hmc", "mixture")}
        if self.local.flow_hmc_steps:
            needed["check"] = ("hmc",)
        if self.scan_betas:
            needed["scan"] = ("level", "hmc")
        if self.judge_cost:
            judged = [name for name in ("main", "check") if getattr(self, name).level_steps]
            needed |= dict.fromkeys(judged, ("level", "hmc", "mixture", "flow_hmc"))
        for part, samplers in needed.items():
            for name in samplers:
                n_steps = getattr(getattr(self, part), f"{name}_steps")
                rule = "be positive, as the figure or a claim needs it"
                require(n_steps > 0, f"{part}.{name}_steps", rule, n_steps)


PRESETS = {
    "smoke": Config(
        main=Ensemble(
            length=4,
            beta=2.0,
            level_steps=100,
            n_chains=64,
            hmc_steps=300,
            independence_steps=150,
            mixture_steps=150,
            flow_hmc_steps=100,
        ),
        check=Ensemble(length=4, beta=1.0, level_steps=0),
        local=Local(block_steps=0),
        n_samples=2048,
    ),
    "demo": Config(
        main=Ensemble(
            length=16,
            beta=7.0,
            latent_length=0.5,
            level_steps=500,
            hmc_steps=2000,
            independence_steps=400,
            mixture_steps=300,
            flow_hmc_steps=50,
            instanton_steps=1000,
        ),
        check=Ensemble(length=8, beta=2.0, level_steps=0),
        local=Local(block_steps=900, batch=256, learning_rate=1e-2),
        n_samples=4096,
    ),
    "full": Config(
        main=Ensemble(
            length=16,
            beta=7.0,
            latent_length=0.5,
            level_steps=1000,
            n_chains=64,
            hmc_steps=10_000,
            independence_steps=6000,
            mixture_steps=1000,
            flow_hmc_steps=100,
            heatbath_steps=4000,
            instanton_steps=4000,
        ),
        check=Ensemble(
            length=8,
            beta=2.0,
            level_steps=1000,
            n_chains=64,
            hmc_steps=10_000,
            independence_steps=1500,
            mixture_steps=1000,
            flow_hmc_steps=500,
            heatbath_steps=4000,
            instanton_steps=4000,
        ),
        local=Local(stripe_steps=8000, block_steps=2000, flow_hmc_steps=80),
        scan_betas=(1.0, 3.0, 5.0, 6.0, 7.0),
        scan=Ensemble(
            length=16,
            beta=1.0,
            level_steps=400,
            hmc_steps=3000,
            independence_steps=500,
            mixture_steps=0,
            flow_hmc_steps=0,
        ),
        n_samples=16_384,
        judge_cost=True,
    ),
}
