"""The folder of one run: settings, environment, metrics, data, figures and results.

In a run of several processes all of them call the same methods, and process 0 alone writes.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from diffhep.core.checkpoint import Checkpoint
from diffhep.core.config import config_difference, config_hash, to_json
from diffhep.core.distributed import is_main, on_main
from diffhep.core.environment import Usage, describe_environment
from diffhep.core.errors import ConfigError, DataError
from diffhep.core.stats import pull

DATA_CHECKSUM = "data_sha256"
"""Entry of results.json with the SHA-256 of data.h5."""

_COMPARISONS = {
    ">=": lambda value, reference: value >= reference,
    "<=": lambda value, reference: value <= reference,
    ">": lambda value, reference: value > reference,
    "<": lambda value, reference: value < reference,
}


def _pull_limit(rule: str) -> float | None:
    """The k of a rule "pull<k", or None."""
    with suppress(ValueError):
        return float(rule.removeprefix("pull<")) if rule.startswith("pull<") else None
    return None


@dataclass(frozen=True)
class Claim:
    """One number of a paper beside what it should be.

    Args:
        name: What it is.
        value: What was measured.
        stderr: Its standard error, or None where it has none.
        reference: What it is held against, in the same unit.
        source: Where the reference comes from: exact, an arXiv number, or peer.
        rule: "pull<k": |value - reference| < k stderr; or ">=", "<=", ">", "<" the reference.
    """

    name: str
    value: float
    stderr: float | None
    reference: float
    source: str
    rule: str

    def __post_init__(self) -> None:
        if self.rule not in _COMPARISONS and _pull_limit(self.rule) is None:
            known = ", ".join(["pull<k", *_COMPARISONS])
            raise ConfigError(f"Argument `rule` must be one of {known}, but it is {self.rule!r}.")

    @property
    def passed(self) -> bool:
        """Whether the rule holds; never where value, reference or a needed error is not finite."""
        if not (math.isfinite(self.value) and math.isfinite(self.reference)):
            return False
        limit = _pull_limit(self.rule)
        if limit is None:
            return bool(_COMPARISONS[self.rule](self.value, self.reference))
        if self.stderr is None or not math.isfinite(self.stderr):
            return False
        return abs(pull(self.value, self.stderr, self.reference)) < limit

    def as_json(self) -> dict[str, Any]:
        """The claim as it stands in results.json; a number that is not finite becomes null."""
        return {
            "name": self.name,
            "value": _plain(self.value),
            "stderr": _plain(self.stderr),
            "reference": _plain(self.reference),
            "source": self.source,
            "rule": self.rule,
            "pass": self.passed,
        }


def _plain(value: Any) -> Any:
    """A number, array or nested structure as JSON has it; what is not finite becomes null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (np.ndarray, np.generic, jax.Array)):
        return _plain(np.asarray(value).tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def _write(path: Path, text: str) -> None:
    """Replace a file by a text so that a crash leaves the old one or the new one."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise DataError(f"Could not write {path}: {error.strerror or error}.") from error


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"Could not read {path}: {error}.") from error


def _sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"Could not read {path}: {error.strerror}.") from error


def check_data(folder: Path) -> None:
    """Raise unless the data.h5 of a finished run is the one its results were made with.

    A folder without a results.json, or with one that names no checksum, has nothing to compare.

    Args:
        folder: The folder of a run.

    Raises:
        DataError: The checksums of data.h5 and in results.json differ, or a file cannot be read.
    """
    data, file = folder / "data.h5", folder / "results.json"
    if not (data.is_file() and file.is_file()):
        return
    results = _read_json(file)
    written = results.get(DATA_CHECKSUM) if isinstance(results, dict) else None
    if written is not None and written != _sha256(data):
        raise DataError(
            f"{data} is damaged or of another run: its SHA-256 is not the one in {file}; "
            "run the paper again."
        )


def load_data(path: Path | str) -> dict[str, np.ndarray]:
    """All arrays of an HDF5 file.

    Args:
        path: The file.

    Returns:
        Array by name; an array in a group is called "group/name".

    Raises:
        DataError: The file cannot be read.
    """
    import h5py

    arrays: dict[str, np.ndarray] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name] = np.asarray(item[()])

    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        # HDF5 tells the history of a failed read on several lines.
        raise DataError(f"Could not read {path}: {' '.join(str(error).split())}.") from error
    return arrays


def load_attributes(path: Path | str) -> dict[str, Any]:
    """The attributes that `RunDir.save_data` put on an HDF5 file.

    Args:
        path: The file.

    Returns:
        Value by name.

    Raises:
        DataError: The file cannot be read.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return dict(file.attrs)
    except OSError as error:
        raise DataError(f"Could not read {path}: {error}.") from error


class RunDir:
    """The folder of one run; make it with `RunDir.open`."""

    path: Path

    def __init__(self, path: Path, identity: dict[str, Any]) -> None:
        self.path = path
        self._identity = identity
        self._usage = Usage(path / "usage.json")
        self._logged: set[str] = set()

    @classmethod
    def open(
        cls, path: Path | str, config: Any, *, resume: bool, paper: str, preset: str, seed: int
    ) -> "RunDir":
        """Make the folder of a run, or go on in it.

        Args:
            path: The folder; made where it does not exist.
            config: The run's settings, a frozen dataclass.
            resume: Whether the folder may hold an earlier part of this very run.
            paper: Name of the paper.
            preset: Name of the preset.
            seed: Seed of the one key everything random is derived from.

        Returns:
            The open folder, with config.json and environment.json in it.

        Raises:
            ConfigError: The folder holds another run, this run without `resume`, or other files.
            DataError: The folder cannot be written, or its config.json not be read.
        """
        folder = Path(path)
        settings = json.loads(to_json(config))
        identity: dict[str, Any] = {"paper": paper, "preset": preset, "seed": seed}
        identity |= {"hash": config_hash(config), "config": settings}
        on_main(lambda: _claim(folder, identity, resume))
        run_dir = cls(folder, identity)
        here = describe_environment(seed)
        on_main(lambda: run_dir._note_environment(here))
        return run_dir

    def _note_environment(self, here: dict[str, Any]) -> None:
        """Write where the run started; where it was resumed is added below."""
        file = self.path / "environment.json"
        if file.exists():
            first = _read_json(file)
            first["resumed"] = [*first.get("resumed", []), here]
            here = first
        _write(file, json.dumps(here, indent=2) + "\n")

    def log(self, stage: str, step: int, **metrics: Any) -> None:
        """Append one line to metrics.jsonl.

        A resumed run repeats the steps after its last checkpoint: lines of the stage at or past
        the first step that it logs are replaced.

        Args:
            stage: What is running.
            step: Its step.
            **metrics: Numbers, arrays or text.

        Raises:
            DataError: The file cannot be written.
        """
        on_main(lambda: self._log(stage, step, metrics))

    def _log(self, stage: str, step: int, metrics: dict[str, Any]) -> None:
        """Append one line."""
        file = self.path / "metrics.jsonl"
        if stage not in self._logged:
            self._logged.add(stage)
            self._forget(file, stage, step)
        line = {"stage": stage, "step": int(step), **_plain(metrics)}
        try:
            with file.open("a") as lines:
                lines.write(json.dumps(line) + "\n")
        except OSError as error:
            raise DataError(f"Could not write {file}: {error.strerror}.") from error
        self._usage.note()

    @staticmethod
    def _forget(file: Path, stage: str, step: int) -> None:
        """Drop a stage's lines from a step on, and a last line that was cut off."""
        if not file.exists():
            return
        lines = file.read_text().splitlines(keepends=True)
        kept: list[str] = []
        for line in lines:
            with suppress(ValueError):
                entry = json.loads(line)
                if entry["stage"] != stage or entry["step"] < step:
                    kept.append(line)
        if len(kept) < len(lines):
            _write(file, "".join(kept))

    def checkpoint(self, stage: str) -> Checkpoint:
        """The checkpoint of a stage, a file in checkpoints/.

        Args:
            stage: Its name, which may not hold a slash.

        Returns:
            The checkpoint, saved before or not.

        Raises:
            ConfigError: The name is no file name.
        """
        if not stage or "/" in stage or stage.startswith("."):
            raise ConfigError(f"Argument `stage` must be a file name, but it is {stage!r}.")
        if is_main():
            self._usage.note()
        return Checkpoint(self.path / "checkpoints" / f"{stage}.ckpt")

    def save_data(
        self, arrays: Mapping[str, Any], attributes: Mapping[str, Any] | None = None
    ) -> Path:
        """Replace data.h5 by the given arrays; a crash leaves the old file or the new one.

        Args:
            arrays: Array by name; "group/name" goes into a group.
            attributes: Text and numbers kept on the file.

        Returns:
            The file's path.

        Raises:
            DataError: The file cannot be written.
        """
        path = self.path / "data.h5"
        on_main(lambda: self._save_data(path, arrays, attributes or {}))
        return path

    def _save_data(
        self, path: Path, arrays: Mapping[str, Any], attributes: Mapping[str, Any]
    ) -> None:
        """Replace data.h5, or leave it as it is."""
        import h5py

        temporary = path.with_name("data.h5.tmp")
        try:
            with h5py.File(temporary, "w") as file:
                for name, value in arrays.items():
                    file.create_dataset(name, data=np.asarray(value), track_times=False)
                file.attrs.update(dict(attributes))
            temporary.replace(path)
        except (OSError, RuntimeError) as error:
            temporary.unlink(missing_ok=True)
            # HDF5 tells the history of a failed write on several lines.
            number = getattr(error, "errno", None)
            reason = os.strerror(number) if number else " ".join(str(error).split())
            raise DataError(f"Could not write {path}: {reason}.") from error
        self._usage.note()

    def load_data(self) -> dict[str, np.ndarray]:
        """All arrays of data.h5, by name.

        Returns:
            Array by name; an array in a group is called "group/name".

        Raises:
            DataError: The file cannot be read.
        """
        return load_data(self.path / "data.h5")

    def figure_path(self, name: str) -> Path:
        """Where the figure of a name belongs, without suffix; the folder is made.

        Args:
            name: Name of the figure.

        Returns:
            The path that `plotting.save` takes.
        """
        folder = self.path / "figures"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name

    def withdraw(self) -> None:
        """Leave the folder to another run, if nothing but settings has been written into it."""

        def remove() -> None:
            files = [self.path / f"{name}.json" for name in ("config", "environment", "usage")]
            with suppress(OSError):
                if set(self.path.iterdir()) <= set(files):
                    for file in files:
                        file.unlink(missing_ok=True)
                    self.path.rmdir()

        on_main(remove)

    def write_results(self, claims: Sequence[Claim], **extra: Any) -> Path:
        """Write results.json.

        Args:
            claims: What the run claims, in the order of the table.
            **extra: Further entries, as JSON can hold them.

        Returns:
            The file's path.

        Raises:
            DataError: The file cannot be written.
        """
        path = self.path / "results.json"

        def write() -> None:
            results: dict[str, Any] = {"paper": self._identity["paper"]}
            results |= {"preset": self._identity["preset"], **self._usage.note(now=True)}
            results |= {"claims": [claim.as_json() for claim in claims], **_plain(extra)}
            data = self.path / "data.h5"
            results |= {DATA_CHECKSUM: _sha256(data)} if data.exists() else {}
            _write(path, json.dumps(results, indent=2, allow_nan=False) + "\n")

        on_main(write)
        return path


def _claim(folder: Path, identity: dict[str, Any], resume: bool) -> None:
    """Make the folder of a run, or raise a `ConfigError` unless it is this run's."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # What was being written when a run was killed does not make a folder foreign.
        is_empty = all(entry.suffix == ".tmp" for entry in folder.iterdir())
    except OSError as error:
        raise DataError(f"Could not open {folder}: {error.strerror}.") from error
    if is_empty:
        _write(folder / "config.json", json.dumps(identity, indent=2) + "\n")
    else:
        _check_same_run(folder, identity, resume)


def _check_same_run(folder: Path, identity: dict[str, Any], resume: bool) -> None:
    """Raise a `ConfigError` unless a folder with files in it may be used."""
    file = folder / "config.json"
    if not file.exists():
        raise ConfigError(
            f"Argument `out` must be an empty folder or one of this run, but {folder} holds other "
            "files and no config.json."
        )
    written = _read_json(file)
    if not isinstance(written, dict):
        raise DataError(f"{file} must hold a JSON object, but it holds {type(written).__name__}.")
    for key, theirs, ours in config_difference(written, identity):
        if key == "hash":
            continue
        key = key.removeprefix("config.")
        raise ConfigError(
            f"Argument `out` must be a folder of this run, but {folder} has {key} = {theirs!r} and "
            f"this run {ours!r}; choose another folder."
        )
    if not resume:
        raise ConfigError(
            f"Argument `out` must be an empty folder, but {folder} already holds this run: "
            "go on in it with --resume, or choose another folder with --out."
        )
