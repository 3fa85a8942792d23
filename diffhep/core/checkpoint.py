"""Atomic, checksummed save and restore of a pytree in one file, with the one before it kept.

Layout: 8 bytes of magic, the header's length (uint64) and its SHA-256, the header (JSON: format
version, length and SHA-256 of the payload, shape and dtype of every leaf, the caller's metadata),
then the leaves as raw little-endian bytes. Nothing in a file is ever executed.
"""

import hashlib
import json
import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffhep.core.distributed import on_main, to_host
from diffhep.core.errors import DataError
from diffhep.core.rng import is_typed_key
from diffhep.core.typing import PyTree

MAGIC = b"dhepckpt"
FORMAT_VERSION = 1
_PREFIX = struct.Struct("<8sQ32s")

Metadata = dict[str, Any]


class _DamagedError(Exception):
    """Why one file cannot be used."""


def _is_stored(leaf: Any) -> bool:
    """Arrays, their shapes and Python numbers are stored; all other leaves come from `like`."""
    array_types = (np.ndarray, np.generic, jax.Array, jax.ShapeDtypeStruct)
    return isinstance(leaf, (*array_types, bool, int, float, complex))


def _to_numpy(leaf: Any) -> np.ndarray:
    """The leaf on the host, gathered from all processes, C-contiguous and little-endian."""
    value = np.asarray(to_host(leaf))
    little = value.dtype.newbyteorder("<")
    return np.ascontiguousarray(value, dtype=little).reshape(value.shape)


def _key_words(leaf: Any) -> jax.ShapeDtypeStruct:
    """Shape and dtype of the raw words of a typed key, or of its shape alone."""
    return jax.eval_shape(jax.random.key_data, leaf)


def _kind(leaf: Any) -> str:
    """What a stored leaf is: a typed key with its algorithm, or a dtype."""
    if is_typed_key(leaf):
        return str(leaf.dtype)
    return str(np.dtype(_like_array(leaf).dtype).newbyteorder("="))


def _like_array(leaf: Any) -> Any:
    """Something with the shape and dtype that the stored leaf has."""
    if is_typed_key(leaf):
        return _key_words(leaf)
    return leaf if hasattr(leaf, "dtype") else np.asarray(leaf)


def _from_numpy(value: np.ndarray, like: Any) -> Any:
    """The stored value as what `like` is: typed key, JAX array, NumPy array or number."""
    if isinstance(like, np.ndarray):
        return value.copy()
    if isinstance(like, np.generic):
        return value[()]
    if isinstance(like, (bool, int, float, complex)):
        return value.item()
    sharding = getattr(like, "sharding", None)
    if sharding is None or len(sharding.device_set) == 1:
        array = jnp.asarray(value)
    else:
        # Every device gets its part alone, and every process serves its own devices.
        array = jax.make_array_from_callback(value.shape, sharding, lambda part: value[part])
    if is_typed_key(like):
        array = jax.random.wrap_key_data(array, impl=_key_implementation(like))
    return array


def _key_implementation(like: Any) -> str:
    """Name of the generator of a typed key, or of its shape alone."""
    names: list[str] = []
    jax.eval_shape(lambda key: names.append(str(jax.random.key_impl(key))), like)
    return names[0]


def _encode(
    kinds: list[tuple[str, str]], arrays: list[np.ndarray], metadata: Metadata
) -> list[bytes | memoryview]:
    """The parts of a file, in order."""
    views = [array.reshape(-1).view(np.uint8).data for array in arrays]
    digest = hashlib.sha256()
    for view in views:
        digest.update(view)
    header = {
        "format": FORMAT_VERSION,
        "payload_bytes": sum(view.nbytes for view in views),
        "payload_sha256": digest.hexdigest(),
        "leaves": [
            {"path": path, "kind": kind, "dtype": str(array.dtype), "shape": array.shape}
            for (path, kind), array in zip(kinds, arrays, strict=True)
        ],
        "metadata": metadata,
    }
    text = json.dumps(header, allow_nan=True).encode()
    prefix = _PREFIX.pack(MAGIC, len(text), hashlib.sha256(text).digest())
    return [prefix, text, *views]


def _decode(path: Path) -> tuple[dict[str, Any], memoryview]:
    """Header and payload of a file, after all checks that need no template."""
    try:
        data = memoryview(path.read_bytes())
    except OSError as error:
        raise _DamagedError(error.strerror or str(error)) from error
    if len(data) < _PREFIX.size:
        raise _DamagedError(f"it is cut off after {len(data)} bytes, inside the prefix")
    magic, length, header_digest = _PREFIX.unpack(data[: _PREFIX.size])
    if magic != MAGIC:
        raise _DamagedError("its first bytes are not those of a checkpoint")
    text = data[_PREFIX.size : _PREFIX.size + length]
    if len(text) < length or hashlib.sha256(text).digest() != header_digest:
        raise _DamagedError("the checksum of its header does not match")
    header = json.loads(bytes(text))
    if header["format"] != FORMAT_VERSION:
        raise _DamagedError(f"its format is {header['format']}, not {FORMAT_VERSION}")
    payload = data[_PREFIX.size + length :]
    if len(payload) != header["payload_bytes"]:
        raise _DamagedError(f"it holds {len(payload)} bytes of data, not {header['payload_bytes']}")
    if hashlib.sha256(payload).hexdigest() != header["payload_sha256"]:
        raise _DamagedError("the checksum of its data does not match")
    return header, payload


def _fill(like: PyTree, header: dict[str, Any], payload: memoryview, path: Path) -> PyTree:
    """`like` with its stored leaves replaced by those of the file."""
    paths, treedef = jax.tree_util.tree_flatten_with_path(like)
    entries = header["leaves"]
    names = [jax.tree_util.keystr(name) for name, leaf in paths if _is_stored(leaf)]
    stored = [entry["path"] for entry in entries]
    if names != stored:
        odd = sorted(set(names) ^ set(stored)) or ["their order"]
        raise DataError(f"Argument `like` must have the leaves of {path}, but differs in {odd[0]}.")
    remaining, offset, filled = iter(entries), 0, []
    for name, leaf in paths:
        if not _is_stored(leaf):
            filled.append(leaf)
            continue
        entry = next(remaining)
        shape, dtype = tuple(entry["shape"]), np.dtype(entry["dtype"])
        expected = (_kind(leaf), tuple(_like_array(leaf).shape))
        if (entry["kind"], shape) != expected:
            raise DataError(
                f"Argument `like` must match {path}, but leaf {jax.tree_util.keystr(name)} is "
                f"{expected[0]}{list(expected[1])} and the file has {entry['kind']}{list(shape)}."
            )
        size = dtype.itemsize * int(np.prod(shape))
        value = np.frombuffer(payload[offset : offset + size], dtype=dtype).reshape(shape)
        filled.append(_from_numpy(value, leaf))
        offset += size
    return jax.tree_util.tree_unflatten(treedef, filled)


class Checkpoint:
    """A file that holds the last saved pytree, and beside it `*.previous` with the one before.

    Args:
        path: Where the file is or will be.
    """

    path: Path
    previous: Path

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self.previous = self.path.with_name(self.path.name + ".previous")

    def exists(self) -> bool:
        """Whether there is anything to restore."""
        return self.path.exists() or self.previous.exists()

    def remove(self) -> None:
        """Forget what was saved; several processes call this together."""

        def unlink() -> None:
            self.path.unlink(missing_ok=True)
            self.previous.unlink(missing_ok=True)

        on_main(unlink)

    def save(self, tree: PyTree, metadata: Metadata | None = None) -> None:
        """Write a pytree so that a crash at any moment leaves a whole file behind.

        Several processes call this together: arrays that are spread over them are gathered, and
        process 0 writes.

        Args:
            tree: Arrays, typed keys and Python numbers are stored; other leaves are not.
            metadata: What JSON can hold.

        Raises:
            DataError: The file could not be written; the one on disk is as it was.
        """
        leaves = [
            (jax.tree_util.keystr(path), leaf)
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
            if _is_stored(leaf)
        ]
        kinds = [(path, _kind(leaf)) for path, leaf in leaves]
        arrays = [_to_numpy(leaf) for _, leaf in leaves]
        on_main(lambda: self._write(_encode(kinds, arrays, metadata or {})))

    def _write(self, parts: list[bytes | memoryview]) -> None:
        """Replace the file, or leave it as it is."""
        temporary = self.path.with_name(self.path.name + ".tmp")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                for part in parts:
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
            if self.path.exists():
                self.path.replace(self.previous)
            temporary.replace(self.path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            reason = error.strerror or str(error)
            raise DataError(
                f"Could not save {self.path}: {reason}; the last good state is still on disk."
            ) from error
        _sync_folder(self.path.parent)

    def restore(self, like: PyTree) -> tuple[PyTree, Metadata]:
        """Read the last saved pytree, or the one before where the last is damaged.

        Args:
            like: Gives the structure, the shapes and dtypes, and every leaf that is not stored.

        Returns:
            The pytree and its metadata. Leaves come back as what they are in `like`: JAX array
            (in its sharding), NumPy array, typed key or Python number.

        Raises:
            DataError: No file is whole, or `like` does not match what was saved.
        """
        return self.restore_with(lambda _: like)

    def restore_with(self, build_like: Callable[[Metadata], PyTree]) -> tuple[PyTree, Metadata]:
        """Restore a pytree whose shapes follow from its metadata.

        Args:
            build_like: Makes `like` of `restore` from the metadata.

        Returns:
            The pytree and its metadata.

        Raises:
            DataError: No file is whole, or `like` does not match what was saved.
        """
        header, payload, path = _newest(self)
        metadata = header["metadata"]
        return _fill(build_like(metadata), header, payload, path), metadata

    def read_metadata(self) -> Metadata:
        """The metadata of the last saved pytree, or of the one before where the last is damaged.

        Returns:
            What was given to `save`.

        Raises:
            DataError: No file is whole.
        """
        return _newest(self)[0]["metadata"]


def _newest(checkpoint: Checkpoint) -> tuple[dict[str, Any], memoryview, Path]:
    """Header, payload and path of the newest file that is whole."""
    reasons: list[str] = []
    for path in (checkpoint.path, checkpoint.previous):
        try:
            header, payload = _decode(path)
        except _DamagedError as damage:
            reasons.append(f"{path}: {damage}")
            continue
        if reasons:
            print(f"warning: {reasons[0]}; going on from {path}", file=sys.stderr)
        return header, payload, path
    raise DataError(f"No checkpoint can be read. {'; '.join(reasons)}.")


def _sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut, where the system can do it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        return
    finally:
        os.close(descriptor)
