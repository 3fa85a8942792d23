"""The files that hold an ensemble's configurations: one series a stream, in any of the formats."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from diffhep.core.checks import require
from diffhep.core.distributed import on_main, to_host
from diffhep.core.errors import DataError
from diffhep_lattice.io import EnsembleFile, write_ildg, write_nersc

FORMATS = ("hdf5", "nersc", "ildg")


def check_formats(formats: Sequence[str], shape: tuple[int, ...], dtype: Any) -> None:
    """Raise a `ConfigError` unless there are such formats, and they can hold such fields.

    Args:
        formats: Names out of `FORMATS`.
        shape: Of all streams' fields, (stream, mu, *element, *site).
        dtype: Of the links.

    Raises:
        ConfigError: A format is unknown, or cannot hold them.
    """
    for name in formats:
        require(name in FORMATS, "formats", f"hold names out of {', '.join(FORMATS)}", name)
    matrices = len(shape) == 8 and shape[1] == 4 and np.dtype(dtype).kind == "c"
    rule = "be 'hdf5' alone, unless the links are matrices in four dimensions"
    require(matrices or set(formats) <= {"hdf5"}, "formats", rule, list(formats))


class Storage:
    """Where the configurations of all streams go; process 0 alone writes.

    Args:
        folder: Of the files: `stream0.h5` and one more per stream; `stream0-00000120.nersc` and
            `stream0-00000120.lime` with the number of the trajectory.
        formats: Out of "hdf5", "nersc" and "ildg", or none at all.
        shape: Of all streams' fields, (stream, mu, *element, *site).
        dtype: Of the links.
        metadata: What is stored with every HDF5 file.

    Raises:
        ConfigError: A format is unknown, or cannot hold such a field.
        DataError: A file cannot be made, or is one of another run.
    """

    def __init__(
        self,
        folder: Path,
        formats: Sequence[str],
        shape: tuple[int, ...],
        dtype: Any,
        metadata: Mapping[str, Any],
    ) -> None:
        check_formats(formats, shape, dtype)
        self._folder = folder
        self._formats = tuple(formats)
        self._precision = 8 * np.dtype(dtype).itemsize // 2
        self._n_streams = shape[0]
        if "hdf5" in formats:
            on_main(lambda: self._make_files(shape[1:], dtype, metadata))

    @property
    def is_needed(self) -> bool:
        """Whether configurations are kept at all."""
        return bool(self._formats)

    def path(self, stream: int) -> Path:
        """The HDF5 file of a stream.

        Args:
            stream: Its number, from 0.

        Returns:
            The path.
        """
        return self._folder / f"stream{stream}.h5"

    def _make_files(self, shape: tuple[int, ...], dtype: Any, metadata: Mapping[str, Any]) -> None:
        for stream in range(self._n_streams):
            path, own = self.path(stream), {**metadata, "stream": stream}
            if not path.exists():
                EnsembleFile.create(path, shape=shape, dtype=dtype, metadata=own)
                continue
            theirs = EnsembleFile(path).metadata
            if theirs != json.loads(json.dumps(own)):
                raise DataError(f"{path} must be a file of this run, but its metadata differ.")

    def require_stored(self, trajectories: Sequence[int]) -> None:
        """Raise a `DataError` unless the configurations of some trajectories are stored.

        Args:
            trajectories: Those that must be the first of every stream.

        Raises:
            DataError: One is missing.
        """
        if "hdf5" in self._formats:
            on_main(lambda: self._require_stored(list(trajectories)))

    def _require_stored(self, trajectories: list[int]) -> None:
        for stream in range(self._n_streams):
            stored = EnsembleFile(self.path(stream)).trajectories
            if list(stored[: len(trajectories)]) != trajectories:
                missing = sorted(set(trajectories) - set(stored))
                raise DataError(
                    f"{self.path(stream)} must hold trajectory {(missing or trajectories)[0]} "
                    "from before the checkpoint, but it does not."
                )

    def store(
        self,
        fields: Shaped[Any, "stream mu ..."],
        trajectory: int,
        attributes: Sequence[Mapping[str, Any]],
    ) -> None:
        """Store one configuration of every stream; on the disk once this returns.

        Args:
            fields: Links of all streams; gathered where they are spread over processes.
            trajectory: Number of the trajectory that made them.
            attributes: What is stored with each stream's configuration.

        Raises:
            DataError: A file cannot be written; what was there before is untouched.
        """
        whole = np.asarray(to_host(fields))
        on_main(lambda: self._store(whole, trajectory, attributes))

    def _store(
        self, fields: np.ndarray, trajectory: int, attributes: Sequence[Mapping[str, Any]]
    ) -> None:
        for stream, field in enumerate(fields):
            base = self._folder / f"stream{stream}-{trajectory:08d}"
            if "hdf5" in self._formats:
                EnsembleFile(self.path(stream)).append(field, trajectory, attributes[stream])
            if "nersc" in self._formats:
                header = {"SEQUENCE_NUMBER": trajectory, "ENSEMBLE_LABEL": f"stream{stream}"}
                path = base.with_suffix(".nersc")
                write_nersc(path, field, precision=self._precision, metadata=header)
            if "ildg" in self._formats:
                info = json.dumps({"trajectory": trajectory, **attributes[stream]})
                path = base.with_suffix(".lime")
                write_ildg(path, field, precision=self._precision, info=info)
