"""The driver of an ensemble: warm-up, measurement, storage, resumption and reseeding."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Shaped

from diffhep.core.checks import as_integer, require, require_real, require_shape, require_type
from diffhep.core.config import config_hash
from diffhep.core.distributed import on_main, require_same, to_host
from diffhep.core.errors import DataError
from diffhep.core.progress import Show
from diffhep.core.rng import key_at, key_for
from diffhep.core.run import RunDir
from diffhep.core.sampling import AbstractSamplingAlgorithm, Observable, SampleRecord, sample
from diffhep.core.typing import Key
from diffhep_lattice.ensemble.description import describe
from diffhep_lattice.ensemble.schedule import Schedule
from diffhep_lattice.ensemble.storage import Storage, check_formats
from diffhep_lattice.ensemble.table import TableRow, format_table, tabulate
from diffhep_lattice.io.files import atomic_file
from diffhep_lattice.links import require_unitary
from diffhep_lattice.sharding import partition_streams

__citations__ = ("arXiv:hep-lat/0306017",)

DATA = "observables/{}", "info/{}"
"""Where data.h5 has the measurements and what the algorithm reports of every trajectory."""


Derive = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]
"""Makes series of series."""


class EnsembleResult(NamedTuple):
    """What a run measured, and where it ended.

    Attributes:
        positions: The last configuration of every stream.
        trajectories: Number of the trajectory of each measurement, those of the warm-up included.
        observables: Measurements by name, (stream, measurement, ...).
        info: What the algorithm reports of every trajectory by name, (stream, trajectory).
        table: Gamma-method analysis of what was measured after the warm-up.
        seconds: Time in chunks, summed over resumptions.
    """

    positions: Shaped[np.ndarray, "stream mu ..."]
    trajectories: np.ndarray
    observables: dict[str, np.ndarray]
    info: dict[str, np.ndarray]
    table: list[TableRow]
    seconds: float


@dataclass(frozen=True)
class _Identity:
    """What may not change when a run is resumed; devices and file formats may."""

    algorithm: dict[str, Any]
    schedule: Schedule
    shape: tuple[int, ...]
    dtype: str
    observables: dict[str, Any]


class _Segment(NamedTuple):
    """Trajectories with one seed number, from the one after `begin`."""

    number: int
    begin: int

    def key(self, seed: int) -> Key:
        """The key of its stream of random numbers."""
        root = jax.random.key(seed)
        if self.number == 0:
            return key_for(root, "ensemble")
        return key_at(key_for(root, "reseed"), self.number)

    @property
    def name(self) -> str:
        """What its loop is called, also in errors, where steps are counted from its begin."""
        return f"ensemble after trajectory {self.begin}" if self.begin else "ensemble"


class Ensemble:
    r"""A run that generates configurations, one Markov chain per stream, and survives anything.

    The folder is that of a `RunDir`. Killed at any moment, a run that is resumed ends with the bits
    of one left alone: the last configuration, the stored ones and all measurements. Links do not
    depend on the number of streams beside them nor on the mesh.

    Args:
        out: The folder.
        algorithm: The Markov transition, for instance `hmc(action)`.
        schedule: When to measure and to store.
        start: Where every stream starts, shape (stream, mu, *element, *site).
        observe: What to measure, by name: maps one configuration to a scalar or a small array, or
            to several by name, inside `jit`. The measurements are kept in memory and in every
            checkpoint.
        derive: More series for the table, from the measurements after the warm-up: maps arrays
            (stream, measurement, ...) by name to such arrays.
        seed: Of everything random.
        formats: Files that configurations are stored in, out of "hdf5", "nersc" and "ildg".
        metadata: More that HDF5 files shall say of the ensemble, as JSON can hold it.
        mesh: Devices that share the sites or the streams; see `diffhep_lattice.sharding`.
        resume: Whether the folder may hold an earlier part of this run.
        reseed: A number, at least 1: from the last checkpoint on, random numbers are drawn from a
            stream of this number. The number a run has already changes nothing, so a command can
            be repeated; another one must be larger. What was done is kept in reseeds.json and with
            each configuration.
        checkpoint_every_s: Least time between two checkpoints, in seconds.
        progress: Whether to show a bar; "force" writes lines where there is no terminal.

    Raises:
        ConfigError: A setting is out of range, or the folder is of a run with other settings; the
            message names the setting and both values.
        DataError: The folder cannot be written, files in it are missing or of another run, or a
            link of `start` is not finite or not of its group.
        ShapeError: `start` is no field with a stream axis, or none of the action's.
    """

    def __init__(
        self,
        out: Path | str,
        algorithm: AbstractSamplingAlgorithm,
        schedule: Schedule,
        *,
        start: Shaped[Array | np.ndarray, "stream mu ..."],
        observe: Mapping[str, Observable] | None = None,
        derive: Derive | None = None,
        seed: int = 0,
        formats: Sequence[str] = ("hdf5",),
        metadata: Mapping[str, Any] | None = None,
        mesh: Mesh | None = None,
        resume: bool = False,
        reseed: int | None = None,
        checkpoint_every_s: float = 60.0,
        progress: Show = True,
    ) -> None:
        rule = "be a sampling algorithm, such as hmc(action)"
        require_type(algorithm, AbstractSamplingAlgorithm, "algorithm", rule)
        require_type(schedule, Schedule, "schedule", "be a Schedule")
        require_type(start, (jax.Array, np.ndarray), "start", "be an array")
        require_real(checkpoint_every_s, "checkpoint_every_s", "be at least 0", low=0.0)
        seed = as_integer(seed, "seed", low=0)
        for name, function in (observe or {}).items():
            rule = "be a function of one configuration"
            require(callable(function), f"observe[{name!r}]", rule, function)
        rule = "have a stream axis before the field's"
        require_shape(
            start.ndim >= 3 and start.shape[0] >= 1, "start", rule, f"shape {start.shape}"
        )
        for field in start:
            require_unitary(field, "start")
        require(reseed is None or reseed >= 1, "reseed", "be at least 1", reseed)
        self._algorithm = algorithm
        self._schedule = schedule
        self._start = start
        self._observe = dict(observe or {})
        self._derive = derive
        self._seed = seed
        self._mesh = mesh
        self._partition = None if mesh is None else partition_streams(mesh, start.shape)
        self._every_s = checkpoint_every_s
        self._progress: Show = progress
        check_formats(formats, start.shape, start.dtype)
        self._trace()
        identity = _Identity(
            describe(algorithm),
            schedule,
            tuple(start.shape),
            str(start.dtype),
            {name: describe(function) for name, function in sorted(self._observe.items())},
        )
        self._run_dir = RunDir.open(
            out, identity, resume=resume, paper="ensemble", preset="ensemble", seed=seed
        )
        about = dict(metadata or {})
        about |= {"seed": seed, "run": config_hash(identity), **asdict(identity)}
        folder = self._run_dir.path / "configurations"
        self._storage = Storage(folder, formats, start.shape, start.dtype, about)
        self._segments = self._known_segments()
        done = self._done()
        self._storage.require_stored(schedule.stored_until(done))
        if reseed is not None:
            self._reseed(reseed, done)

    def _trace(self) -> None:
        """Let the algorithm and the observables refuse the field before anything is written."""
        one = jax.ShapeDtypeStruct(self._start.shape[1:], self._start.dtype)
        jax.eval_shape(self._algorithm.init, one)
        for function in self._observe.values():
            jax.eval_shape(function, one)

    @property
    def path(self) -> Path:
        """The folder of the run."""
        return self._run_dir.path

    @property
    def reseeds(self) -> tuple[tuple[int, int], ...]:
        """The seed numbers so far, each with the trajectory after which it came."""
        return tuple((segment.number, segment.begin) for segment in self._segments)

    def configuration_path(self, stream: int = 0) -> Path:
        """The HDF5 file of a stream.

        Args:
            stream: Its number, from 0.

        Returns:
            The path; open it with `diffhep_lattice.io.EnsembleFile`.
        """
        return self._storage.path(stream)

    def _history(self) -> list[dict[str, Any]]:
        """The records of reseeds.json."""
        file = self._run_dir.path / "reseeds.json"
        try:
            return json.loads(file.read_text()) if file.exists() else []
        except (OSError, ValueError) as error:
            raise DataError(f"Could not read {file}: {error}.") from error

    def _known_segments(self) -> list[_Segment]:
        later = [_Segment(row["reseed"], row["after_trajectory"]) for row in self._history()]
        require_same(len(later), f"The number of entries in {self._run_dir.path}/reseeds.json")
        return [_Segment(0, 0), *later]

    def _done(self) -> int:
        """Trajectories up to the last checkpoint."""
        index = len(self._segments) - 1
        checkpoint = self._run_dir.checkpoint(f"segment{index}")
        done = self._segments[-1].begin
        if checkpoint.exists():
            done += checkpoint.read_metadata()["done"] * self._schedule.measure_every
        require_same(done, f"The trajectory saved in {checkpoint.path}")
        return done

    def _reseed(self, number: int, done: int) -> None:
        """Begin a segment, unless the last one has this number."""
        last = self._segments[-1]
        if number == last.number:
            return
        rule = f"be larger than {last.number}, the number that the run has"
        require(number > last.number, "reseed", rule, number)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        row = {"reseed": number, "after_trajectory": done, "time": now}
        history = [*self._history(), row]
        self._segments.append(_Segment(number, done))
        on_main(lambda: self._write_text("reseeds.json", json.dumps(history, indent=2)))

    def _write_text(self, name: str, text: str) -> None:
        with atomic_file(self._run_dir.path / name) as file:
            file.write(f"{text}\n".encode())

    def run(self, n_configurations: int) -> EnsembleResult:
        """Go on until there are so many configurations after the warm-up.

        A run that has them already only writes its results again; asked for more, it goes on.

        Args:
            n_configurations: Of every stream, in all.

        Returns:
            Measurements, table and last configurations. The same is in data.h5, results.json and
            table.txt.

        Raises:
            ConfigError: The run is longer already.
            ConvergenceError: A number is not finite; the last good state is saved, and the message
                says which chain and step.
            Interrupted: The user stopped the run; its state is saved.
            DataError: A file could not be written; what was there before is untouched.
        """
        require(n_configurations >= 0, "n_configurations", "not be negative", n_configurations)
        last, done = self._schedule.last(n_configurations), self._done()
        rule = f"be enough for the {done} trajectories that are done"
        require(last >= done, "n_configurations", rule, n_configurations)
        ends = [*(segment.begin for segment in self._segments[1:]), last]
        positions, records, seconds = self._start, [], 0.0
        for index, end in enumerate(ends):
            result = self._run_segment(index, end, positions)
            positions = result.state.position
            records.append(SampleRecord(result.observables, result.info))
            seconds += result.seconds
        record = jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), *records)
        return self._finish(to_host(positions), record, last, seconds)

    def _run_segment(self, index: int, end: int, positions: Any) -> Any:
        """All trajectories of one seed number; one that is complete is read from its checkpoint."""
        segment = self._segments[index]
        latest: list[SampleRecord] = []

        def log(done: int, record: SampleRecord) -> None:
            latest[:] = [record]
            values = {name: rows[:, -1] for name, rows in record.observables.items()}
            rates = {name: rows.mean(axis=1) for name, rows in _rates(record.info).items()}
            self._run_dir.log("ensemble", segment.begin + done, **values, **rates)

        def store(done: int, states: Any) -> None:
            trajectory = segment.begin + done
            if self._storage.is_needed and self._schedule.stores(trajectory):
                attributes = self._attributes(segment, latest[0])
                self._storage.store(states.position, trajectory, attributes)

        return sample(
            self._algorithm,
            positions,
            end - segment.begin,
            observe=self._observe,
            key=segment.key(self._seed),
            thin=self._schedule.measure_every,
            chunk=self._schedule.visit_every,
            name=segment.name,
            checkpoint=self._run_dir.checkpoint(f"segment{index}"),
            checkpoint_every_s=self._every_s,
            mesh=self._mesh,
            partition=self._partition,
            on_chunk=log,
            on_states=store,
            progress=self._progress,
        )

    def _attributes(self, segment: _Segment, record: SampleRecord) -> list[dict[str, Any]]:
        """What is stored with the configuration of each stream."""
        scalars = {name: rows for name, rows in record.observables.items() if rows.ndim == 2}
        return [
            {"reseed": segment.number}
            | {name: rows[c, -1].item() for name, rows in scalars.items()}
            for c in range(self._start.shape[0])
        ]

    def _finish(
        self, positions: np.ndarray, record: SampleRecord, last: int, seconds: float
    ) -> EnsembleResult:
        """Analyse and write."""
        schedule = self._schedule
        warm = schedule.n_warmup // schedule.measure_every
        trajectories = np.arange(schedule.measure_every, last + 1, schedule.measure_every)
        series = {name: rows[:, warm:] for name, rows in record.observables.items()}
        series |= {} if self._derive is None else self._derive(series)
        for name, rows in _rates(record.info).items():
            series[name] = rows[:, schedule.n_warmup :].astype(float)
        for name, rows in record.info.items():
            if name.rpartition("/")[2] == "energy_change":
                series[f"exp(-{name})"] = np.exp(-rows[:, schedule.n_warmup :])
        table = tabulate(series)
        arrays = {DATA[0].format(name): rows for name, rows in record.observables.items()}
        arrays |= {DATA[1].format(name): rows for name, rows in record.info.items()}
        arrays["trajectory"] = trajectories
        self._run_dir.save_data(arrays, {"seed": self._seed, **asdict(schedule)})
        rows = [row._asdict() for row in table]
        reseeds = [segment._asdict() for segment in self._segments]
        self._run_dir.write_results([], table=rows, reseeds=reseeds, seconds=seconds)
        text = f"{self._heading()}\n\n{format_table(table)}"
        on_main(lambda: self._write_text("table.txt", text))
        return EnsembleResult(
            positions, trajectories, record.observables, record.info, table, seconds
        )

    def _heading(self) -> str:
        """What the table's unit of time is."""
        schedule = self._schedule
        return (
            f"{self._start.shape[0]} stream(s); warm-up {schedule.n_warmup} trajectories; "
            f"observables measured every {schedule.measure_every} trajectories, "
            "acceptance and exp(-energy_change) every trajectory; tau_int in measurements"
        )


def _rates(info: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The acceptance probabilities among what an algorithm reports."""
    name = "acceptance_probability"
    return {key: rows for key, rows in info.items() if key.rpartition("/")[2] == name}
