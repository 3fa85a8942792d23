"""Geant4 behind one call: events by number and seed, kept on disk whatever a process comes to."""

import hashlib
import importlib.metadata
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from diffhep.core.checkpoint import Checkpoint
from diffhep.core.checks import as_integer, require, require_positive, require_type
from diffhep.core.config import config_hash
from diffhep.core.errors import ConfigError, DataError, DiffhepError
from diffhep.detector.base import Beam
from diffhep.detector.geant4.geometry import SamplingStack, Slab, nist_name
from diffhep.detector.geant4.process import WORKER_PROGRAM, Outcome, run_worker
from diffhep.detector.geant4.tables import TABLES_VERSION, cached_em_tables
from diffhep.detector.geant4.worker import DATA_VARIABLES, EXIT_WIDTH, WORKER_VERSION

__citations__ = ("doi:10.1016/S0168-9002(03)01368-8",)

PACKAGE = "geant4-pybind"
OFFICIAL_DATA = "G4LEDATA"
PARTICLES = ("e-", "e+", "gamma", "mu-", "mu+")
"""What electromagnetic physics alone can follow."""

ENERGY_RANGE_MeV = (1.0, 100_000.0)
"""From where a shower is none yet, to where an event takes a minute."""

MAX_FAILURES = 10
"""Failed events after which a simulation that was asked to go on gives up."""


class SimulationError(DiffhepError):
    """A Geant4 process crashed or hung.

    Attributes:
        event: Number of the event it was in.
        seed: That event's seed.
        last_lines: The last of what the process printed.
        n_kept: Events before it, kept in the cache.
    """

    def __init__(self, outcome: Outcome, event: int, seed: int, path: Path) -> None:
        self.event, self.seed, self.n_kept = event, seed, event
        self.last_lines = outcome.last_lines
        said = " | ".join(outcome.last_lines[-3:]) or "nothing"
        super().__init__(
            f"Geant4 {outcome.failure}, in event {event} with seed {seed}; the {event} events "
            f"before are kept in {path}; its last lines: {said}"
        )


class Showers(NamedTuple):
    """Deposits of showers.

    Attributes:
        deposit_MeV: Energy by event and cell; NaN in a failed event.
        failed: Numbers of the events in which Geant4 crashed or hung.
    """

    deposit_MeV: Float[np.ndarray, "event layer slab ring"]
    failed: tuple[int, ...]


class Exits(NamedTuple):
    """How the beam's particles leave a slab; NaN where one did not, or its event failed.

    Attributes:
        position_mm: Across the beam.
        direction: Unit vector; the beam's is (0, 0, 1).
        energy_MeV: Kinetic energy.
        failed: Numbers of the events in which Geant4 crashed or hung.
    """

    position_mm: Float[np.ndarray, "event 2"]
    direction: Float[np.ndarray, "event 3"]
    energy_MeV: Float[np.ndarray, " event"]
    failed: tuple[int, ...]


@dataclass(frozen=True)
class _Job:
    """All that decides what an event is: its hash names the file in the cache."""

    target: SamplingStack | Slab
    particle: str
    energy_MeV: float
    cut_mm: float
    data: str
    seed: int
    worker: int = WORKER_VERSION


@dataclass(frozen=True)
class Geant4Simulator:
    """Geant4's standard electromagnetic physics on a stack, a block or a slab.

    Event i of a seed is the same in every call, however many are asked for: the cache serves a
    shorter series and is continued by a longer one, and two simulators called with one seed have
    common random numbers. Runs in a process of its own. An electron of 1 GeV costs about 10 ms of a
    core, several times that with many rings, in proportion to its energy.

    Attributes:
        target: What is built.
        cache: Folder of results and tables; `~/.cache/diffhep/geant4` if not given.
        cut_mm: Range below which secondaries are not followed.
        timeout_s: How long no event may end before the process counts as hung.
        on_failure: Whether a crashed or hung process raises an error, or the event is given up and
            the next one begun.
        program: The command of a worker.
    """

    target: SamplingStack | Slab
    cache: Path | None = None
    cut_mm: float = 0.7
    timeout_s: float = 300.0
    on_failure: Literal["stop", "continue"] = "stop"
    program: tuple[str, ...] = WORKER_PROGRAM

    def __post_init__(self) -> None:
        kinds = (SamplingStack, Slab)
        require_type(self.target, kinds, "target", "be a SamplingStack, a block or a Slab")
        require_positive(self, "cut_mm", "timeout_s")
        known = ("stop", "continue")
        require(self.on_failure in known, "on_failure", 'be "stop" or "continue"', self.on_failure)

    def __call__(self, beam: Beam, *, seed: int) -> Showers | Exits:
        """Simulate events, or read them from the cache.

        Args:
            beam: Particle, energy and number of events; it hits the middle of the front.
            seed: Of the series, not negative.

        Returns:
            `Showers` of a stack or block, `Exits` of a slab.

        Raises:
            ConfigError: An argument is out of its range, or Geant4 is not installed and the events
                are not in the cache.
            SimulationError: A process crashed or hung, and `on_failure` is "stop" or it happened
                more than `MAX_FAILURES` times; finished events are kept.
            DataError: The cache cannot be written.
        """
        require_beam(beam)
        as_integer(seed, "seed", low=0)
        rows, failed = self._load(beam, seed)
        if len(rows) < beam.n_events:
            rows, failed = self._extend(rows, failed, beam, seed)
        lost = tuple(event for event in failed if event < beam.n_events)
        return _shape(self.target, rows[: beam.n_events], lost)

    def path(self, beam: Beam, *, seed: int) -> Path:
        """The file in the cache that a series is kept in.

        Args:
            beam: Particle and energy.
            seed: Of the series.

        Returns:
            Its path, whether it is there or not.
        """
        name, energy_MeV = beam.particle.name, beam.energy_MeV
        job = _Job(self.target, name, energy_MeV, self.cut_mm, _data_name(), seed)
        return self._folder / f"{config_hash(job)}.ckpt"

    @property
    def _folder(self) -> Path:
        return self.cache or Path.home() / ".cache" / "diffhep" / "geant4"

    def _load(self, beam: Beam, seed: int) -> tuple[np.ndarray, tuple[int, ...]]:
        """Rows and failed events of the cache; a damaged file or one of another Geant4 is none."""
        empty = np.zeros((0, _width(self.target)), dtype=np.float32)
        file = Checkpoint(self.path(beam, seed=seed))
        if not file.path.exists():
            return empty, ()
        try:
            tree, about = file.restore_with(
                lambda about: {"rows": np.zeros(about["shape"], dtype=np.float32)}
            )
        except DataError as error:
            print(f"warning: {error} Simulating anew.", file=sys.stderr)
            return empty, ()
        if _version() not in (None, about["geant4"]):
            return empty, ()
        return tree["rows"], tuple(about["failed"])

    def _extend(
        self, rows: np.ndarray, failed: tuple[int, ...], beam: Beam, seed: int
    ) -> tuple[np.ndarray, tuple[int, ...]]:
        """The series up to the beam's number of events, saved after every process."""
        if self.program == WORKER_PROGRAM:
            _require_geant4()
        seeds, path = event_seeds(seed, beam.n_events), self.path(beam, seed=seed)
        n_failures = 0
        while len(rows) < beam.n_events:
            outcome = run_worker(
                _describe(self, beam),
                seeds[len(rows) :],
                environment=_environment(self._folder),
                timeout_s=self.timeout_s,
                program=self.program,
            )
            rows, event = np.concatenate([rows, outcome.rows]), len(rows) + len(outcome.rows)
            stop = False
            if event < beam.n_events:
                n_failures += 1
                stop = self.on_failure == "stop" or n_failures > MAX_FAILURES
            if event < beam.n_events and not stop:
                lost = np.full((1, rows.shape[1]), np.nan, dtype=rows.dtype)
                rows, failed = np.concatenate([rows, lost]), (*failed, event)
            about = {"shape": list(rows.shape), "failed": list(failed), "geant4": _version()}
            Checkpoint(path).save({"rows": rows}, about)
            if stop:
                raise SimulationError(outcome, event, seeds[event], path)
        return rows, failed


def require_beam(beam: Beam) -> None:
    """Raise unless the simulation can follow a beam.

    Args:
        beam: The beam.

    Raises:
        ConfigError: It is none, its particle needs hadronic physics, or its energy is out of range.
    """
    require_type(beam, Beam, "beam", "be a Beam")
    name, known = beam.particle.name, ", ".join(PARTICLES)
    require(name in PARTICLES, "beam.particle", f"be one of {known}: no hadronic physics", name)
    low, high = ENERGY_RANGE_MeV
    rule = f"lie within the range of the simulation, {low:g} to {high:g} MeV"
    require(low <= beam.energy_MeV <= high, "beam.energy_MeV", rule, beam.energy_MeV)


def event_seeds(seed: int, n_events: int) -> list[int]:
    """The seeds of a series' events: 62 bits each, independent of how many are asked for.

    Args:
        seed: Of the series.
        n_events: How many.

    Returns:
        Positive integers.
    """
    digests = (hashlib.sha256(f"{seed}/{event}".encode()).digest() for event in range(n_events))
    return [1 + (int.from_bytes(digest[:8], "little") >> 2) for digest in digests]


def _shape(
    target: SamplingStack | Slab, rows: np.ndarray, failed: tuple[int, ...]
) -> Showers | Exits:
    """Rows as what they mean."""
    if isinstance(target, Slab):
        return Exits(rows[:, :2], rows[:, 2:5], rows[:, 5], failed)
    return Showers(rows.reshape(-1, *target.shape), failed)


def _width(target: SamplingStack | Slab) -> int:
    """Numbers in a row."""
    return EXIT_WIDTH if isinstance(target, Slab) else int(np.prod(target.shape))


def _describe(simulator: Geant4Simulator, beam: Beam) -> dict[str, Any]:
    """The job as the worker reads it."""
    target = simulator.target
    if isinstance(target, Slab):
        stack = SamplingStack(
            (target.material,), (target.thickness_mm,), 1, half_width_mm=target.half_width_mm
        )
    else:
        stack = target
    return {
        "kind": "slab" if isinstance(target, Slab) else "stack",
        "materials": [nist_name(material) for material in stack.materials],
        "thicknesses_mm": list(stack.thicknesses_mm),
        "n_layers": stack.n_layers,
        "n_rings": stack.n_rings,
        "ring_mm": stack.ring_mm,
        "half_width_mm": stack.half_width_mm,
        "particle": beam.particle.name,
        "energy_MeV": beam.energy_MeV,
        "cut_mm": simulator.cut_mm,
        "width": _width(target),
    }


def _version() -> str | None:
    """Version of the Geant4 that is installed, or None."""
    try:
        return importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return None


def _require_geant4() -> None:
    """Raise unless Geant4 is installed."""
    if _version() is None:
        raise ConfigError(
            "Geant4 is not installed: pip install 'diffhep[geant4]'; without it the GFLASH "
            "calorimeter, events in the cache and everything else of diffhep.detector work."
        )


def _has_official_data() -> bool:
    """Whether the environment names a folder with Geant4's own low-energy data."""
    folder = os.environ.get(OFFICIAL_DATA)
    return bool(folder) and (Path(str(folder)) / "brem_SB").is_dir()


def _data_name() -> str:
    """Which data the physics runs on: our tables, or a release of the official ones."""
    if _has_official_data():
        return Path(os.environ[OFFICIAL_DATA]).resolve().name
    return f"diffhep tables {TABLES_VERSION}"


def _environment(folder: Path) -> Mapping[str, str]:
    """Variables for the worker: official data where they are, our tables for all that is not."""
    official = _has_official_data()
    ours = str(cached_em_tables(folder, elements=()) if official else cached_em_tables(folder))
    missing = [name for name in DATA_VARIABLES if not (official and os.environ.get(name))]
    return dict.fromkeys(missing, ours)
