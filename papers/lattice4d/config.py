"""Settings of the runs in four dimensions and their presets."""

import math
from dataclasses import dataclass

from diffhep.core.checks import require, require_counts, require_positive
from diffhep.core.stats import MIN_LENGTH

TRANSPORT_BATCH = 16
"""Trajectories of a stochastic flow run at once: few to lose, and enough to fill the arrays."""


def _require_length(length: int) -> None:
    rule = "be an even number of at least 4, for the parities of heatbath and stout couplings"
    require(length >= 4 and length % 2 == 0, "length", rule, length)


def _require_couplings(betas: tuple[float, ...]) -> None:
    good = all(0.0 < beta < math.inf for beta in betas)
    require(good and len(set(betas)) == len(betas) > 0, "betas", "be positive and differ", betas)


@dataclass(frozen=True)
class Curve:
    """The mean plaquette against the coupling, by heatbath and overrelaxation from cold starts.

    `single` runs the sweeps in single precision.
    """

    length: int
    betas: tuple[float, ...]
    n_chains: int = 1
    n_warm: int = 50
    n_sweeps: int = 150
    n_overrelaxation: int = 1
    single: bool = False

    def __post_init__(self) -> None:
        _require_length(self.length)
        _require_couplings(self.betas)
        require_counts(self, 1, "n_chains")
        require_counts(self, 0, "n_warm", "n_overrelaxation")
        require_counts(self, MIN_LENGTH, "n_sweeps")


@dataclass(frozen=True)
class Trajectories:
    """HMC from the last fields of the curve, and the laws of its integrators at the last coupling.

    A trajectory has unit length. `order_steps` are the numbers of integrator steps between which
    the order is read off, for schemes of second and of fourth order.
    """

    betas: tuple[float, ...]
    n_warm: int = 20
    n_trajectories: int = 150
    n_steps: int = 3
    order_momenta: int = 2
    order_steps: tuple[tuple[int, int], tuple[int, int]] = ((24, 48), (8, 16))

    def __post_init__(self) -> None:
        _require_couplings(self.betas)
        require_counts(self, MIN_LENGTH, "n_trajectories")
        require_counts(self, 0, "n_warm")
        require_counts(self, 1, "n_steps", "order_momenta")
        for few, many in self.order_steps:
            require(1 <= few < many, "order_steps", "rise in each pair", (few, many))


@dataclass(frozen=True)
class Flowed:
    """Configurations that are flowed: energy density against flow time, and the charge at its end.

    HMC from a warm start, `n_between` trajectories of unit length from one configuration to the
    next; the first `n_warm` configurations are not used. `t0` is the published scale, or None where
    there is none to be held against. `single` runs trajectories and flow in single precision.
    """

    name: str
    length: int
    beta: float
    n_warm: int = 3
    n_configs: int = 10
    n_between: int = 10
    n_steps: int = 3
    last_time: float = 3.0
    n_times: int = 10
    tolerance: float = 1e-5
    single: bool = False
    t0: float | None = None
    t0_error: float = 0.0

    def __post_init__(self) -> None:
        _require_length(self.length)
        require_positive(self, "beta", "last_time", "tolerance")
        require_counts(self, 0, "n_warm")
        require_counts(self, MIN_LENGTH, "n_configs")
        require_counts(self, 1, "n_between", "n_steps")
        require_counts(self, 4, "n_times")


@dataclass(frozen=True)
class Transport:
    """Stochastic flow on a small lattice from one coupling to another, and annealing beside it.

    `annealing` and `stout` are the numbers of steps that are run. The stout couplings are trained
    with `training_layers` steps and carried over to other numbers of them; without training their
    step is `first_rate` times that of beta. `both_ways` is the number of steps that is run
    backwards too, 0 for none. The integral of the plaquette, by Gauss's rule of `n_nodes`, is what
    the free energies are held against.
    """

    length: int
    beta_0: float
    beta_1: float
    n_trajectories: int = 64
    n_chains: int = 8
    n_warm: int = 40
    n_between: int = 5
    annealing: tuple[int, ...] = (2, 4)
    stout: tuple[int, ...] = (2,)
    both_ways: int = 2
    md_steps: int = 1
    md_length: float = 0.5
    first_rate: float = 0.02
    training_layers: int = 2
    training_steps: int = 10
    training_batch: int = 4
    learning_rate: float = 3e-4
    n_nodes: int = 2

    def __post_init__(self) -> None:
        _require_length(self.length)
        require_positive(self, "beta_0", "beta_1", "md_length", "learning_rate")
        require(self.beta_0 < self.beta_1, "beta_1", f"be above {self.beta_0}", self.beta_1)
        require_counts(self, 0, "n_warm", "both_ways", "training_steps")
        require_counts(self, 1, "n_chains", "n_between", "md_steps", "training_batch", "n_nodes")
        require_counts(self, 1, "training_layers")
        rule = f"be a multiple of {TRANSPORT_BATCH}"
        n = self.n_trajectories
        require(n >= 1 and n % TRANSPORT_BATCH == 0, "n_trajectories", rule, n)
        least = (MIN_LENGTH - 2) * self.n_chains
        require(n >= least, "n_trajectories", f"be at least {least} for as many chains", n)
        common = set(self.annealing) & set(self.stout)
        require(bool(common), "stout", "share a number of steps with annealing", self.stout)


@dataclass(frozen=True)
class Config:
    """Everything that decides the numbers of a run.

    Attributes:
        curve: The plaquette against the coupling.
        hmc: HMC beside it.
        flows: Ensembles for the gradient flow.
        transport: The stochastic flow.
        large: The plaquette on a larger lattice, or None.
        fixed_time: Last flow time of the integration with fixed steps, on the curve's lattice.
        fixed_steps: Number of the fixed steps.
        judge_cost: Whether a claim on equal seconds is made; they are not the same twice.
    """

    curve: Curve
    hmc: Trajectories
    flows: tuple[Flowed, ...]
    transport: Transport
    large: Curve | None = None
    fixed_time: float = 1.0
    fixed_steps: int = 50
    judge_cost: bool = False

    def __post_init__(self) -> None:
        missing = set(self.hmc.betas) - set(self.curve.betas)
        require(not missing, "hmc.betas", "be couplings of the curve", self.hmc.betas)
        names = [settings.name for settings in self.flows]
        require(set(names) <= {"small", "large"}, "flows", "be named small or large", names)
        require(len(set(names)) == len(names), "flows", "have names that differ", names)
        require_positive(self, "fixed_time")
        rule = "be a positive multiple of 5"
        require(
            self.fixed_steps > 0 and self.fixed_steps % 5 == 0,
            "fixed_steps",
            rule,
            self.fixed_steps,
        )


PRESETS = {
    "smoke": Config(
        curve=Curve(4, (1.0, 3.0, 24.0), n_chains=2, n_warm=6, n_sweeps=26),
        hmc=Trajectories(
            (1.0, 3.0),
            n_warm=3,
            n_trajectories=26,
            n_steps=3,
            order_steps=((16, 32), (8, 16)),
        ),
        flows=(),
        transport=Transport(
            4,
            3.0,
            3.1,
            n_trajectories=16,
            n_chains=2,
            n_warm=6,
            n_between=2,
            annealing=(2,),
            both_ways=0,
            training_steps=0,
            n_nodes=1,
        ),
        fixed_time=0.2,
        fixed_steps=10,
    ),
    "demo": Config(
        curve=Curve(8, (0.5, 1.0, 3.0, 5.0, 5.7, 6.0, 12.0, 24.0), n_warm=30, n_sweeps=50),
        hmc=Trajectories((5.0, 6.0), n_warm=10, n_trajectories=60),
        flows=(Flowed("small", 8, 5.85, n_configs=15, n_between=5, n_warm=6, last_time=2.0),),
        transport=Transport(
            4,
            6.0,
            6.2,
            n_trajectories=64,
            annealing=(4, 8),
            stout=(4,),
            both_ways=4,
            training_steps=20,
            training_batch=4,
        ),
    ),
    "full": Config(
        curve=Curve(
            8, (0.5, 1.0, 2.0, 3.5, 5.0, 5.7, 5.8, 6.0, 6.2, 12.0, 24.0), n_warm=40, n_sweeps=110
        ),
        large=Curve(16, (6.0,), n_chains=2, n_warm=100, n_sweeps=250, single=True),
        hmc=Trajectories((5.7, 6.0), n_trajectories=240),
        flows=(
            Flowed("small", 8, 5.85, n_configs=40, n_between=5, n_warm=40, last_time=2.0),
            Flowed(
                "large",
                16,
                5.96,
                n_configs=16,
                n_warm=20,
                n_between=8,
                n_steps=4,
                last_time=3.3,
                n_times=11,
                single=True,
                t0=2.7854,
                t0_error=0.0062,
            ),
        ),
        transport=Transport(
            4,
            6.0,
            6.2,
            n_trajectories=96,
            n_chains=12,
            annealing=(4, 8, 16, 32),
            stout=(2, 4, 8, 16),
            both_ways=8,
            training_steps=25,
            training_batch=8,
            n_nodes=3,
        ),
        fixed_time=2.0,
        fixed_steps=200,
        judge_cost=True,
    ),
}
