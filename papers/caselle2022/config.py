"""Settings of the reproduction and its presets."""

from dataclasses import dataclass, field
from itertools import pairwise

from diffhep.core.checks import require, require_counts, require_positive

MIN_STEPS = 16
"""Steps of a chain below which its errors mean nothing."""

BATCH = 256
"""Trajectories per program call."""


@dataclass(frozen=True)
class Path:
    r"""The way from the free field to phi^4 theory, and the updates on it.

    At the time t of a step the action has $m^2 = m_0^2(1-t) + m_1^2t - b\,t(1-t)$ and
    $\lambda = t\lambda_1$; step n of N is at $t = (n/N)^p$.

    Attributes:
        mass_squared: $m_1^2$ of the target.
        coupling: $\lambda_1$ of the target.
        prior_mass_squared: $m_0^2$ of the free field it starts from.
        bend: $b$; the correlation length stays about the same on the way if it is not zero.
        power: $p$; above one the first steps are the shorter ones.
        md_steps: Leapfrog steps of the trajectory of HMC that every step ends with.
        step_size: Their length.
    """

    mass_squared: float = -4.0
    coupling: float = 6.975
    prior_mass_squared: float = 0.5
    bend: float = 2.0
    power: float = 2.5
    md_steps: int = 5
    step_size: float = 0.15

    def __post_init__(self) -> None:
        require_positive(self, "coupling", "prior_mass_squared", "power", "step_size")
        require_counts(self, 1, "md_steps")


@dataclass(frozen=True)
class Training:
    """How the maps of the stochastic flows, and those of the plain flows, are trained.

    The stochastic flow of one step is trained from the identity. That of twice as many steps starts
    from the maps of the one before, each cut into two; beyond `n_refined` steps they are only cut.

    Attributes:
        length: Sites along both axes of the lattice of all training.
        n_pairs: Pairs of couplings in every step of the stochastic flow.
        n_steps: Optimiser steps of the first stochastic flow and of the plain flows.
        n_refining: Optimiser steps of every other stochastic flow.
        n_refined: Steps of the longest stochastic flow that is trained.
        batch: Trajectories or samples a step.
        learning_rate: The largest learning rate of the first, and of a plain flow with as many
            couplings; less in proportion where a plain flow has more.
        refining_rate: That of the others times their number of steps.
    """

    length: int = 8
    n_pairs: int = 2
    n_steps: int = 300
    n_refining: int = 120
    n_refined: int = 8
    batch: int = 64
    learning_rate: float = 1e-2
    refining_rate: float = 1e-2

    def __post_init__(self) -> None:
        require_counts(self, 1, "n_pairs", "n_steps", "n_refining", "n_refined", "batch")
        require_positive(self, "learning_rate", "refining_rate")
        _require_even("length", self.length)


@dataclass(frozen=True)
class Volume:
    """A lattice, how many steps the schedules have there, and how many trajectories they run."""

    length: int
    stochastic: tuple[int, ...]
    annealing: tuple[int, ...] = ()
    n_trajectories: int = 4 * BATCH

    def __post_init__(self) -> None:
        _require_even("length", self.length)
        _require_batches(self.n_trajectories)
        for name in ("stochastic", "annealing"):
            steps = getattr(self, name)
            rising = all(a < b for a, b in pairwise(steps))
            good = all(n >= 1 for n in steps) and rising
            require(good, name, "hold numbers of steps, increasing", steps)
        require(len(self.stochastic) >= 1, "stochastic", "hold a number of steps", self.stochastic)


@dataclass(frozen=True)
class Defect:
    """U(1) in two dimensions: a ladder in the strength of one plaquette.

    Attributes:
        length: Sites along both axes.
        beta: Inverse coupling.
        strengths: Weights of the one plaquette, from 0 to 1.
        n_chains: Chains.
        n_steps: Steps that are measured, each of a trajectory on every rung.
        burn_in: Steps before them.
        beside_hmc: Whether HMC alone runs as many trajectories.
    """

    length: int = 8
    beta: float = 6.0
    strengths: tuple[float, ...] = (0.0, 0.25, 0.5, 1.0)
    n_chains: int = 32
    n_steps: int = 500
    burn_in: int = 100
    beside_hmc: bool = True

    def __post_init__(self) -> None:
        require_counts(self, MIN_STEPS, "n_steps")
        require_counts(self, 1, "n_chains", "burn_in")
        require_counts(self, 2, "length")
        require_positive(self, "beta")
        good = len(self.strengths) >= 2 and self.strengths[0] == 0.0 and self.strengths[-1] == 1.0
        require(good, "strengths", "go from 0 to 1", self.strengths)


@dataclass(frozen=True)
class Config:
    """Everything that decides the numbers of a run.

    Attributes:
        path: The theory and the way to it.
        training: Of all maps.
        main_steps: Steps of the stochastic flow that is held against its rivals.
        exact_shape: The lattice of the exact answers.
        exact_annealing: Steps of the annealing there.
        volumes: Where the effective sample size is measured.
        duel_lengths: Lattices of the comparison, among the volumes.
        plain_couplings: Numbers of couplings of the plain flows.
        target_ess: Effective sample size at which the steps of the stochastic flow are counted.
        annealing_ess: That for the annealing.
        n_trajectories: Trajectories on the lattice of the exact answers, and samples of the
            plain flows.
        defect: The ladder in the strength of a defect.
    """

    main_steps: int
    volumes: tuple[Volume, ...]
    path: Path = field(default_factory=Path)
    training: Training = field(default_factory=Training)
    exact_shape: tuple[int, int] = (4, 8)
    exact_annealing: int = 64
    duel_lengths: tuple[int, ...] = ()
    plain_couplings: tuple[int, ...] = ()
    target_ess: float = 0.9
    annealing_ess: float = 0.5
    n_trajectories: int = 4 * BATCH
    defect: Defect = field(default_factory=Defect)

    def __post_init__(self) -> None:
        require_counts(self, 1, "main_steps", "exact_annealing")
        steps = {self.main_steps, *(n for volume in self.volumes for n in volume.stochastic)}
        powers = all(n & (n - 1) == 0 for n in steps)
        require(powers, "stochastic", "hold powers of two, as `main_steps`", sorted(steps))
        _require_batches(self.n_trajectories)
        for name in ("target_ess", "annealing_ess"):
            value = getattr(self, name)
            require(0 < value < 1, name, "lie between 0 and 1", value)
        for length in self.exact_shape:
            _require_even("exact_shape", length)
        require(self.exact_shape[0] <= 4, "exact_shape", "start with at most 4", self.exact_shape)
        at = {volume.length: volume for volume in self.volumes}
        for length in self.duel_lengths:
            good = (
                length in at
                and self.main_steps in at[length].stochastic
                and len(at[length].annealing) >= 1
            )
            rule = "name volumes with annealing and a stochastic flow of `main_steps` steps"
            require(good, "duel_lengths", rule, length)
        for number in self.plain_couplings:
            good = number >= 2 and number % 2 == 0
            require(good, "plain_couplings", "hold even numbers", number)
        good = not self.duel_lengths or len(self.plain_couplings) > 0
        require(good, "plain_couplings", "hold one at least for the comparison", ())

    @property
    def n_levels(self) -> int:
        """Stochastic flows that are trained: of 1, 2, 4 and so on steps, up to the longest."""
        longest = (volume.stochastic[-1] for volume in self.volumes)
        return max(self.main_steps, *longest, 1).bit_length()


def _require_batches(n_trajectories: int) -> None:
    good = n_trajectories >= 2 * BATCH and n_trajectories % BATCH == 0
    rule = f"be a multiple of {BATCH} of at least {2 * BATCH}"
    require(good, "n_trajectories", rule, n_trajectories)


def _require_even(name: str, length: int) -> None:
    require(length >= 4 and length % 2 == 0, name, "be even and at least 4", length)


PRESETS = {
    "smoke": Config(
        main_steps=2,
        volumes=(),
        training=Training(length=4, n_pairs=1, n_steps=60, n_refining=20, batch=32),
        exact_shape=(4, 4),
        exact_annealing=16,
        defect=Defect(
            length=4,
            beta=3.0,
            strengths=(0.0, 0.4, 1.0),
            n_steps=200,
            burn_in=50,
            beside_hmc=False,
        ),
    ),
    "demo": Config(
        main_steps=8,
        volumes=(
            Volume(4, (1, 2), (16, 64)),
            Volume(6, (1, 2, 4), (16, 64)),
            Volume(8, (2, 4, 8), (32, 128)),
        ),
        duel_lengths=(8,),
        plain_couplings=(16,),
    ),
    "full": Config(
        main_steps=64,
        volumes=(
            Volume(8, (16, 32, 64), (32, 128, 512)),
            Volume(12, (32, 64), (64, 256)),
            Volume(16, (64, 128), (128, 512)),
        ),
        duel_lengths=(8, 16),
        plain_couplings=(16, 96, 640),
    ),
}
