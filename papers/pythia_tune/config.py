"""Settings of the tune and its presets."""

from dataclasses import dataclass, field

from diffhep.core.checks import require, require_counts, require_positive
from diffhep_sbi.io.pythia import PARAMETERS
from diffhep_sbi.losses import METHODS

HADRONS = (
    "Beams:idA = 11",
    "Beams:idB = -11",
    "Beams:eCM = 91.1876",
    "PDF:lepton = off",
    "WeakSingleBoson:ffbar2gmZ = on",
    "23:onMode = off",
    "23:onIfAny = 1 2 3 4 5",
)
"""Hadrons from electron and positron at the Z, without radiation off the beams."""

MUONS = (
    "Beams:idA = 11",
    "Beams:idB = -11",
    "PDF:lepton = off",
    "WeakSingleBoson:ffbar2gmZ = on",
    "23:onMode = off",
    "23:onIfAny = 13",
    "PartonLevel:FSR = off",
)
"""Muon pairs at tree level."""

DEFAULTS = {
    "shower": (
        "UncertaintyBands:muSoftCorr = on",
        "UncertaintyBands:FSRpTmin2Fac = 4",
        "UncertaintyBands:deltaAlphaSmax = 0.2",
        "UncertaintyBands:overSampleFSR = 3",
    ),
    "string": ("VariationFrag:zHead = 1",),
}
"""What PYTHIA does with its variations unless told otherwise."""


@dataclass(frozen=True)
class Training:
    """How networks are built and trained."""

    n_steps: int = 2000
    batch: int = 256
    learning_rate: float = 2e-3
    width: int = 32
    depth: int = 2

    def __post_init__(self) -> None:
        require_counts(self, 1, "n_steps", "batch", "width", "depth")
        require_positive(self, "learning_rate")


@dataclass(frozen=True)
class Muons:
    """The asymmetry of muon pairs: training on the exact program, data from PYTHIA.

    Attributes:
        energies_GeV: Of the collisions, one run of PYTHIA each.
        n_train: Events of the exact program.
        n_events: Events of PYTHIA at each energy.
        method: Name of the loss.
        n_members: Networks of the ensemble.
        order: Of the polynomial in the asymmetry that normalises the ratio.
        training: Of these networks; None is the training of all others.
    """

    energies_GeV: tuple[float, ...]
    n_train: int = 20_000
    n_events: int = 20_000
    method: str = "alice"
    n_members: int = 4
    order: int = 4
    training: Training | None = None

    def __post_init__(self) -> None:
        rule = "hold energies between 20 and 200 GeV"
        good = len(self.energies_GeV) > 0 and all(20 <= e <= 200 for e in self.energies_GeV)
        require(good, "energies_GeV", rule, self.energies_GeV)
        require_counts(self, 1000, "n_train", "n_events")
        require(self.method in METHODS, "method", f"be one of {', '.join(METHODS)}", self.method)
        require_counts(self, 1, "n_members", "order")


@dataclass(frozen=True)
class Tune:
    """Parameters fitted to shapes of events.

    Attributes:
        name: shower or string.
        parameters: Names in PYTHIA's variations.
        half_widths: Of the box around the default tune in which the ratio is learned.
        n_per_axis: Points of the grid in the box, along each parameter.
        truths: Parameters of the fresh runs, in half-widths.
        n_truth: Events of each.
        n_experiment: Events of one experiment; the fresh runs are cut into such.
        n_final: Events of the ratio whose coverage is judged.
        curve: Events of the learning curves; of CARL all, of ALICES all but the last.
        n_seeds: Trainings of each.
        judge_default: Whether to show that PYTHIA's default settings do not close.
    """

    name: str
    parameters: tuple[str, ...]
    half_widths: tuple[float, ...]
    truths: tuple[tuple[float, ...], ...]
    n_per_axis: int = 5
    n_truth: int = 16_000
    n_experiment: int = 2000
    n_final: int = 30_000
    curve: tuple[int, ...] = ()
    n_seeds: int = 3
    judge_default: bool = False

    def __post_init__(self) -> None:
        require(self.name in DEFAULTS, "name", "be shower or string", self.name)
        unknown = set(self.parameters) - set(PARAMETERS)
        good = len(self.parameters) > 0 and not unknown
        require(good, "parameters", f"be among {', '.join(PARAMETERS)}", self.parameters)
        n_params = len(self.parameters)
        good = len(self.half_widths) == n_params and all(h > 0 for h in self.half_widths)
        require(good, "half_widths", "be positive, one a parameter", self.half_widths)
        good = len(self.truths) > 0 and all(
            len(t) == n_params and max(map(abs, t)) < 1 for t in self.truths
        )
        require(good, "truths", "be points within the box", self.truths)
        rule = "make a grid of at least 4 points"
        require(self.n_per_axis**n_params >= 4, "n_per_axis", rule, self.n_per_axis)
        require_counts(self, 100, "n_truth", "n_experiment", "n_final")
        require_counts(self, 1, "n_seeds")
        good = self.n_experiment <= self.n_truth
        require(good, "n_experiment", f"be at most the {self.n_truth} events", self.n_experiment)
        rule = "rise threefold from at least 1000"
        steps = all(b == 3 * a for a, b in zip(self.curve, self.curve[1:], strict=False))
        require(steps and min(self.curve, default=1000) >= 1000, "curve", rule, self.curve)


@dataclass(frozen=True)
class Signed:
    """Negative weights: trainings on the exact program, and events of PYTHIA."""

    n_train: int = 20_000
    n_seeds: int = 4
    n_events: int = 10_000

    def __post_init__(self) -> None:
        require_counts(self, 1000, "n_train", "n_events")
        require_counts(self, 2, "n_seeds")


@dataclass(frozen=True)
class Config:
    """Everything that decides the numbers of a run, and the number of PYTHIA's processes."""

    muons: Muons
    tunes: tuple[Tune, ...] = ()
    signed: Signed | None = None
    training: Training = field(default_factory=Training)
    n_processes: int = 2

    def __post_init__(self) -> None:
        require_counts(self, 1, "n_processes")


SHOWER = Tune(
    "shower",
    ("fsr:muRfac",),
    (0.15,),
    ((-0.7,), (-0.3,), (0.3,), (0.7,)),
    n_per_axis=13,
    n_truth=12_000,
    n_experiment=3000,
    n_final=25_000,
    curve=(4000, 12_000),
    judge_default=True,
)
STRING = Tune(
    "string",
    ("frag:aLund", "frag:bLund"),
    (0.15, 0.15),
    ((-0.4, -0.4), (-0.4, 0.4), (0.4, -0.4), (0.4, 0.4)),
    n_per_axis=4,
    n_truth=12_000,
    n_experiment=3000,
    n_final=15_000,
    judge_default=True,
)

PRESETS = {
    "smoke": Config(
        muons=Muons((35.0,), n_train=5000, n_events=5000),
        tunes=(
            Tune(
                "shower",
                ("fsr:muRfac",),
                (0.15,),
                ((0.7,),),
                n_per_axis=5,
                n_truth=1000,
                n_experiment=1000,
                n_final=1000,
            ),
        ),
        training=Training(n_steps=300, width=16),
        n_processes=1,
    ),
    "demo": Config(
        muons=Muons((35.0, 91.19), n_train=10_000, n_events=10_000),
        tunes=(
            Tune(
                "shower",
                ("fsr:muRfac",),
                (0.15,),
                ((-0.7,), (0.7,)),
                n_per_axis=7,
                n_truth=8000,
                n_experiment=4000,
                n_final=12_000,
            ),
        ),
        signed=Signed(n_train=5000, n_seeds=3, n_events=5000),
        training=Training(n_steps=1500),
    ),
    "full": Config(
        muons=Muons(
            (35.0, 60.0, 91.19, 120.0),
            n_train=200_000,
            method="alices",
            n_members=2,
            order=12,
            training=Training(n_steps=16_000, batch=512, width=64),
        ),
        tunes=(SHOWER, STRING),
        signed=Signed(),
    ),
}
