"""Ensembles of configurations in one HDF5 file that grows and survives a kill at any moment.

The file is plain HDF5: the group "configurations" holds one dataset per configuration, named by its
index, with its trajectory number, the SHA-256 of its bytes and further attributes. HDF5 by itself
can lose a file that is being written when the program dies; here every append is staged and
committed by a journal. The library's own metadata carry checksums (file format of HDF5 1.10).
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Shaped

from diffhep.core.checks import as_integer, is_integer, require, require_shape
from diffhep.core.errors import DataError, DiffhepError
from diffhep_lattice.io.files import damaged, reason_of, sync_folder
from diffhep_lattice.io.journal import (
    StagedFile,
    complete,
    journal_path,
    load_journal,
    locked,
)
from diffhep_lattice.io.metadata import Checksum, Contents

MAGIC = b"\x89HDF\r\n\x1a\n"

_FORMAT = "diffhep ensemble"
_VERSION = 1
_GROUP = "configurations"
_LIBRARY_VERSION = "v110"
_LARGEST_TEXT = 60_000
_END_OF_FILE = slice(28, 36)
"""Where a superblock of version 2 or 3 has the address of the end of the file."""

# What h5py raises, depending on where it meets damage.
_H5_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError)


class StoredConfiguration(NamedTuple):
    """A configuration of an ensemble.

    Attributes:
        field: Its values.
        trajectory: Number of the trajectory that made it.
        attributes: What was stored with it.
        sha256: Digest of its bytes, verified.
    """

    field: np.ndarray
    trajectory: int
    attributes: dict[str, Any]
    sha256: str


def _digest(field: np.ndarray) -> str:
    return hashlib.sha256(field.reshape(-1).view(np.uint8).data).hexdigest()


def _text(value: Mapping[str, Any], name: str) -> np.bytes_:
    """JSON as a string of fixed length, which HDF5 keeps where its checksums reach."""
    try:
        text = json.dumps(dict(value), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise DataError(f"Argument `{name}` must be what JSON can hold, but {error}.") from error
    require(len(text) <= _LARGEST_TEXT, name, f"fit {_LARGEST_TEXT} bytes of JSON", len(text))
    return np.bytes_(text)


def _name(index: int) -> str:
    return f"{_GROUP}/{index:08d}"


class EnsembleFile:
    """A file with one configuration after the other.

    Nothing is held open between calls, so that other processes can read while one appends.

    Args:
        path: An existing file; `EnsembleFile.create` makes one.

    Attributes:
        path: The file.
        metadata: What was stored with the ensemble: action, couplings, group, configuration hash.
        shape: Shape of each configuration.
        dtype: Its dtype.

    Raises:
        DataError: There is no such file, or it is damaged.
    """

    path: Path
    metadata: dict[str, Any]
    shape: tuple[int, ...]
    dtype: np.dtype

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._trajectories: list[int] = []
        with self._reading() as file:
            self.metadata = json.loads(file.attrs["metadata"])
            self.shape = tuple(int(n) for n in file.attrs["shape"])
            self.dtype = np.dtype(file.attrs["dtype"].decode())

    @classmethod
    def create(
        cls,
        path: Path | str,
        *,
        shape: tuple[int, ...],
        dtype: Any = np.complex128,
        metadata: Mapping[str, Any],
    ) -> "EnsembleFile":
        """Make a file without configurations.

        Args:
            path: Where; nothing may be there.
            shape: Shape of each configuration, (4, N, N, x, y, z, t) for SU(N) links.
            dtype: Dtype they are stored in.
            metadata: What JSON can hold: action, couplings, lattice, group, configuration hash.

        Returns:
            The ensemble.

        Raises:
            DataError: The file is there already, or it cannot be written.
            ConfigError: `metadata` is too long, or `shape` has a length below 1.
        """
        import h5py

        path = Path(path)
        require(all(n >= 1 for n in shape), "shape", "hold positive lengths", shape)
        text, kind = _text(metadata, "metadata"), np.dtype(dtype).newbyteorder("<")
        if path.exists():
            raise DataError(f"{path} must not exist yet, but it does; open it to go on with it.")
        temporary = path.with_name(path.name + ".tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with h5py.File(temporary, "w", libver=_LIBRARY_VERSION) as file:
                file.create_group(_GROUP)
                file.attrs["format"] = np.bytes_(_FORMAT)
                file.attrs["version"] = np.int64(_VERSION)
                file.attrs["metadata"] = text
                file.attrs["shape"] = np.asarray(shape, np.int64)
                file.attrs["dtype"] = np.bytes_(kind.str)
                file.attrs["count"] = np.int64(0)
            descriptor = os.open(temporary, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            # A journal without its file belongs to an ensemble that was removed.
            journal_path(path).unlink(missing_ok=True)
            temporary.replace(path)
            sync_folder(path.parent)
        except (OSError, RuntimeError) as error:
            reason = reason_of(error) if isinstance(error, OSError) else error
            raise DataError(f"Could not write {path}: {reason}.") from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()
        return cls(path)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Any]:
        """The HDF5 file as the last complete append left it."""
        import h5py

        with locked(self.path, write=False) as descriptor:
            length = os.fstat(descriptor).st_size
            journal = load_journal(descriptor, self.path)
            try:
                with h5py.File(StagedFile(descriptor, length, journal), "r") as file:
                    self._check_root(file)
                    yield file
            except DiffhepError:
                raise
            except _H5_ERRORS as error:
                raise damaged(self.path, "be a readable HDF5 ensemble", f"{error}") from error

    def _check_root(self, file: Any) -> None:
        kind = file.attrs.get("format", b"")
        if kind != _FORMAT.encode():
            raise damaged(self.path, f"be a {_FORMAT!r}", f"its format is {kind!r}")
        version = int(file.attrs["version"])
        if version != _VERSION:
            raise damaged(self.path, f"have format version {_VERSION}", f"it is {version}")

    def __len__(self) -> int:
        """Number of configurations."""
        with self._reading() as file:
            return int(file.attrs["count"])

    def __iter__(self) -> Iterator[StoredConfiguration]:
        """The configurations one after the other; each is read when it is asked for."""
        for index in range(len(self)):
            yield self.read(index)

    @property
    def trajectories(self) -> tuple[int, ...]:
        """The trajectory number of each configuration, in the order of the file."""
        with self._reading() as file:
            return tuple(self._known_trajectories(file))

    def _known_trajectories(self, file: Any) -> list[int]:
        """What was read before, and what came since."""
        known = self._trajectories
        for index in range(len(known), int(file.attrs["count"])):
            known.append(int(file[_name(index)].attrs["trajectory"]))
        return known

    def read(self, index: int) -> StoredConfiguration:
        """One configuration, its checksum verified.

        Args:
            index: Its place in the file, from 0; negative counts from the end.

        Returns:
            The configuration.

        Raises:
            ConfigError: There is none at this index.
            DataError: The file is damaged there.
        """
        require(is_integer(index), "index", "be an integer", index)
        with self._reading() as file:
            count = int(file.attrs["count"])
            require(-count <= index < count, "index", f"lie within {count} configurations", index)
            dataset = file[_name(index % count)]
            attributes = dataset.attrs
            trajectory, recorded = int(attributes["trajectory"]), attributes["sha256"].decode()
            if dataset.shape != self.shape or dataset.dtype != self.dtype:
                raise damaged(
                    self.path,
                    f"hold {self.dtype} of shape {self.shape} at index {index}",
                    f"it has {dataset.dtype} of shape {dataset.shape}",
                )
            field = np.empty(self.shape, self.dtype)
            dataset.read_direct(field)
            extra = json.loads(attributes["attributes"])
        found = _digest(field)
        if found != recorded:
            raise damaged(
                self.path,
                f"hold data of SHA-256 {recorded} at trajectory {trajectory}",
                f"theirs is {found}",
            )
        return StoredConfiguration(field, trajectory, extra, found)

    def read_trajectory(self, trajectory: int) -> StoredConfiguration:
        """The configuration that a trajectory made.

        Args:
            trajectory: Its number.

        Returns:
            The configuration.

        Raises:
            ConfigError: It is not stored.
            DataError: The file is damaged there.
        """
        known = self.trajectories
        rule = f"be one of {len(known)} stored numbers"
        if known:
            rule += f" from {known[0]} to {known[-1]}"
        require(trajectory in known, "trajectory", rule, trajectory)
        return self.read(known.index(trajectory))

    def append(
        self,
        field: Shaped[Array | np.ndarray, "..."],
        trajectory: int,
        attributes: Mapping[str, Any] | None = None,
    ) -> int:
        """Add a configuration; once this returns it is on the disk.

        A run that goes on from an earlier state makes some configurations again: the very same one
        is not stored twice. Any finite field is stored; whether links are unitary is checked by
        `read` of this package, as for every format.

        Args:
            field: Its values; rounded if the file's dtype has a lower precision.
            trajectory: Number of the trajectory that made it, at least 0 and larger than those
                stored.
            attributes: What JSON can hold: observables, acceptance, time.

        Returns:
            Its index.

        Raises:
            ShapeError: `field` has another shape or kind than the ensemble.
            ConfigError: The trajectory is no integer, or not larger than the last one.
            DataError: Values are not finite, the stored configuration of this trajectory is
                another one, or the file cannot be written; what it held is untouched.
        """
        values = self._checked(field)
        trajectory = as_integer(trajectory, "trajectory", low=0)
        require(trajectory < 2**63, "trajectory", "fit 64 bits", trajectory)
        text = _text(attributes or {}, "attributes")
        digest = _digest(values)
        with locked(self.path, write=True) as descriptor:
            complete(descriptor, self.path)
            length = self._cut(descriptor)
            staged = StagedFile(descriptor, length)
            try:
                index, is_new = self._stage(staged, values, trajectory, text, digest)
                if is_new:
                    staged.commit(self.path)
            except BaseException:
                staged.discard()
                raise
        return index

    def _checked(self, field: Any) -> np.ndarray:
        values = np.asarray(field)
        require_shape(
            values.shape == self.shape, "field", f"have shape {self.shape}", f"shape {values.shape}"
        )
        require_shape(
            bool(np.can_cast(values.dtype, self.dtype, "same_kind")),
            "field",
            f"have a dtype that {self.dtype} can hold",
            f"dtype {values.dtype}",
        )
        values = np.ascontiguousarray(values, self.dtype)
        if not np.all(np.isfinite(values)):
            raise DataError("Argument `field` must be finite, but some of its values are not.")
        return values

    def _cut(self, descriptor: int) -> int:
        """Cut off what a killed append left, and return the file's true length."""
        head = os.pread(descriptor, _END_OF_FILE.stop, 0)
        length = int.from_bytes(head[_END_OF_FILE], "little")
        size = os.fstat(descriptor).st_size
        if head[:8] != MAGIC or size < length:
            raise damaged(self.path, f"be an HDF5 file of {length} bytes", f"it has {size}")
        if size > length:
            os.ftruncate(descriptor, length)
        return length

    def _stage(
        self, staged: StagedFile, values: np.ndarray, trajectory: int, text: np.bytes_, digest: str
    ) -> tuple[int, bool]:
        """Write the configuration into a staged file, unless it is there already."""
        import h5py

        try:
            with h5py.File(staged, "r+", libver=_LIBRARY_VERSION) as file:
                self._check_root(file)
                known = self._known_trajectories(file)
                if trajectory in known:
                    index = known.index(trajectory)
                    attributes: Any = file[_name(index)].attrs
                    if attributes["sha256"].decode() != digest:
                        raise DataError(
                            f"{self.path} must hold one configuration per trajectory, but it has "
                            f"another one of trajectory {trajectory}."
                        )
                    return index, False
                last = known[-1] if known else None
                require(
                    last is None or trajectory > last,
                    "trajectory",
                    f"be larger than the last one stored, {last}",
                    trajectory,
                )
                index = len(known)
                dataset = file.create_dataset(_name(index), data=values, track_times=False)
                dataset.attrs["trajectory"] = np.int64(trajectory)
                dataset.attrs["sha256"] = np.bytes_(digest)
                dataset.attrs["attributes"] = text
                file.attrs.modify("count", np.int64(index + 1))
        except DiffhepError:
            raise
        except _H5_ERRORS as error:
            raise damaged(self.path, "be a readable HDF5 ensemble", f"{error}") from error
        return index, True


def read_hdf5(path: Path, index: int | None) -> Contents:
    """Links of an ensemble file, their checksum verified.

    Args:
        path: The file.
        index: Which configuration; needed where there are several.

    Returns:
        Links; metadata and attributes as header.

    Raises:
        ConfigError: There is no configuration of that index.
        DataError: The file is damaged, or holds something else than SU(N) links.
    """
    ensemble = EnsembleFile(path)
    if index is None and len(ensemble) != 1:
        raise damaged(
            path, "hold one configuration if no `index` is given", f"it holds {len(ensemble)}"
        )
    shape, dtype = ensemble.shape, ensemble.dtype
    if len(shape) != 7 or shape[0] != 4 or shape[1] != shape[2] or dtype.kind != "c":
        raise damaged(
            path,
            "hold complex links of shape (4, color, color, x, y, z, t)",
            f"it holds {dtype} of shape {shape}",
        )
    stored = ensemble.read(index or 0)
    header = {key: json.dumps(value) for key, value in ensemble.metadata.items()}
    header |= {key: json.dumps(value) for key, value in stored.attributes.items()}
    header["trajectory"] = str(stored.trajectory)
    return Contents(
        stored.field.astype(dtype.newbyteorder("="), copy=False),
        "hdf5",
        4 * dtype.itemsize,
        "little",
        shape[1],
        {"sha256": Checksum(stored.sha256, stored.sha256)},
        header,
    )
