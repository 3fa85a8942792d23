"""Geant4 behind one call: events by number and seed, kept on disk whatever a process comes to."""

import hashlib
import importlib.metadata
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from diffhep.core.checkpoint import Checkpoint
from diffhep.core.checks import as_integer, require, require_positive, require_type
from diffhep.core.config import config_hash
from diffhep.core.errors import ConfigError, DataError, DiffhepError
from diffhep.detector.geant4.geometry import Beam, SamplingStack, Slab, nist_name
from diffhep.detector.geant4.process import WORKER, Outcome, run_worker
from diffhep.detector.geant4.tables import TABLES_VERSION, cached_em_tables
from diffhep.detector.geant4.worker import DATA_VARIABLES, EXIT_WIDTH, WORKER_VERSION

__citations__ = ("doi:10.1016/S0168-9002(03)01368-8",)

PACKAGE = "geant4-pybind"
OFFICIAL_DATA = "G4LEDATA"
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
    beam: Beam
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
        beam: What is shot at it.
        cache: Folder of results and tables; `~/.cache/diffhep/geant4` if not given.
        cut_mm: Range below which secondaries are not followed.
        timeout_s: How long no event may end before the process counts as hung.
        on_failure: Whether a crashed or hung process raises an error, or the event is given up and
            the next one begun.
        program: The command of a worker.
    """

    target: SamplingStack | Slab
    beam: Beam
    cache: Path | None = None
    cut_mm: float = 0.7
    timeout_s: float = 300.0
    on_failure: Literal["stop", "continue"] = "stop"
    program: tuple[str, ...] = (sys.executable, str(WORKER))

    def __post_init__(self) -> None:
        kinds = (SamplingStack, Slab)
        require_type(self.target, kinds, "target", "be a SamplingStack, a block or a Slab")
        require_type(self.beam, Beam, "beam", "be a Beam")
        require_positive(self, "cut_mm", "timeout_s")
        known = ("stop", "continue")
        require(self.on_failure in known, "on_failure", 'be "stop" or "continue"', self.on_failure)

    def __call__(self, n_events: int, *, seed: int) -> Showers | Exits:
        """Simulate events, or read them from the cache.

        Args:
            n_events: How many: events 0 to n_events - 1 of the series.
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
        as_integer(n_events, "n_events", low=1)
        as_integer(seed, "seed", low=0)
        rows, failed = self._load(seed)
        if len(rows) < n_events:
            rows, failed = self._extend(rows, failed, n_events, seed)
        lost = tuple(event for event in failed if event < n_events)
        return _shape(self.target, rows[:n_events], lost)

    def path(self, *, seed: int) -> Path:
        """The file in the cache that a series is kept in.

        Args:
            seed: Of the series.

        Returns:
            Its path, whether it is there or not.
        """
        job = _Job(self.target, self.beam, self.cut_mm, _data_name(), seed)
        return self._folder / f"{config_hash(job)}.ckpt"

    @property
    def _folder(self) -> Path:
        return self.cache or Path.home() / ".cache" / "diffhep" / "geant4"

    def _load(self, seed: int) -> tuple[np.ndarray, tuple[int, ...]]:
        """Rows and failed events of the cache; a damaged file or one of another Geant4 is none."""
        empty = np.zeros((0, _width(self.target)), dtype=np.float32)
        file = Checkpoint(self.path(seed=seed))
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

    def _save(self, rows: np.ndarray, failed: Sequence[int], seed: int) -> None:
        about = {"shape": list(rows.shape), "failed": list(failed), "geant4": _version()}
        Checkpoint(self.path(seed=seed)).save({"rows": rows}, about)

    def _extend(
        self, rows: np.ndarray, failed: tuple[int, ...], n_events: int, seed: int
    ) -> tuple[np.ndarray, tuple[int, ...]]:
        """The series up to `n_events`, saved after every process."""
        _require_geant4()
        seeds = event_seeds(seed, n_events)
        failures = 0
        while len(rows) < n_events:
            outcome = run_worker(
                _describe(self),
                seeds[len(rows) :],
                environment=_environment(self._folder),
                timeout_s=self.timeout_s,
                program=self.program,
            )
            rows = np.concatenate([rows, outcome.rows])
            event, failures = len(rows), failures + 1
            if outcome.failure and len(rows) < n_events:
                if self.on_failure == "stop" or failures > MAX_FAILURES:
                    self._save(rows, failed, seed)
                    raise SimulationError(outcome, event, seeds[event], self.path(seed=seed))
                rows = np.concatenate([rows, np.full_like(rows, np.nan, shape=(1, rows.shape[1]))])
                failed = (*failed, event)
            self._save(rows, failed, seed)
        return rows, failed

    def with_target(self, **changes: Any) -> "Geant4Simulator":
        """The same simulator with another detector.

        Args:
            **changes: Attributes of the target and their new values.

        Returns:
            The simulator.

        Raises:
            ConfigError: A value is out of its range.
        """
        return replace(self, target=replace(self.target, **changes))


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


def _describe(simulator: Geant4Simulator) -> dict[str, Any]:
    """The job as the worker reads it."""
    target, beam = simulator.target, simulator.beam
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
        "particle": beam.particle,
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
