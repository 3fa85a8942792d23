"""Changes to a file that happen as a whole or not at all, whatever stops the program.

A change is staged behind `StagedFile`, a file object: what it adds goes to the end of the file at
once, where nothing refers to it yet; what it overwrites stays in memory. To commit, the additions
are brought to the disk; then the bytes to overwrite, old and new, are written to a journal beside
the file, which takes its place under one name as a whole; then they are overwritten and the journal
is removed. Killed before the journal is there, the file is as it was but for bytes that nothing
refers to; killed after, the journal completes the change. Readers apply a journal in memory.
"""

import contextlib
import errno
import hashlib
import io
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from diffhep.core.errors import DataError
from diffhep_lattice.io.files import atomic_file, damaged, reason_of, sync_folder

try:
    import fcntl
except ImportError:  # not a POSIX system: nothing guards against two writers at once
    fcntl = None

_MAGIC = b"dhepjrnl"
_HEAD = struct.Struct("<8sQQQ")
_PATCH = struct.Struct("<QQ")
_DIGEST_BYTES = hashlib.sha256().digest_size

LOCK_PATIENCE_S = 60.0
"""How long to wait for another process that holds the file."""

_LOCK_POLL_S = 0.02
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


class Patch(NamedTuple):
    """Bytes to overwrite at a position."""

    position: int
    old: bytes
    new: bytes


class Journal(NamedTuple):
    """A change that is ready: the file's length before and after it, and what to overwrite."""

    old_length: int
    new_length: int
    patches: tuple[Patch, ...]

    def encode(self) -> bytes:
        """The journal as bytes, with their SHA-256 at the end."""
        parts = [_HEAD.pack(_MAGIC, self.old_length, self.new_length, len(self.patches))]
        for patch in self.patches:
            parts += [_PATCH.pack(patch.position, len(patch.new)), patch.old, patch.new]
        body = b"".join(parts)
        return body + hashlib.sha256(body).digest()

    @classmethod
    def decode(cls, data: bytes, path: Path) -> "Journal":
        """The journal from its bytes.

        Args:
            data: What `encode` returned.
            path: The journal's file, for errors.

        Returns:
            The journal.

        Raises:
            DataError: The bytes are damaged.
        """
        body, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
        if hashlib.sha256(body).digest() != digest or not body.startswith(_MAGIC):
            raise damaged(path, "be a journal with a valid checksum", "it is damaged")
        _, old_length, new_length, n = _HEAD.unpack_from(body)
        at, patches = _HEAD.size, []
        for _ in range(n):
            position, size = _PATCH.unpack_from(body, at)
            at += _PATCH.size
            old, new = body[at : at + size], body[at + size : at + 2 * size]
            patches.append(Patch(position, old, new))
            at += 2 * size
        return cls(old_length, new_length, tuple(patches))


def journal_path(path: Path) -> Path:
    """Where the journal of a file lies.

    Args:
        path: The file.

    Returns:
        The path beside it.
    """
    return path.with_name(path.name + ".journal")


def load_journal(descriptor: int, path: Path) -> Journal | None:
    """The journal of an open file, after a check that it belongs to it.

    Args:
        descriptor: The file, open for reading.
        path: Its name.

    Returns:
        The journal; None where there is none.

    Raises:
        DataError: The journal is damaged, or it is not the file's.
    """
    place = journal_path(path)
    try:
        data = place.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"Could not read {place}: {reason_of(error)}.") from error
    journal = Journal.decode(data, place)
    belongs = os.fstat(descriptor).st_size >= journal.new_length
    for patch in journal.patches:
        # Each byte is the old one or, if the change was cut off while overwriting, the new one.
        found = os.pread(descriptor, len(patch.new), patch.position)
        belongs = belongs and len(found) == len(patch.new)
        belongs = belongs and all(
            byte in pair for byte, *pair in zip(found, patch.old, patch.new, strict=True)
        )
    if not belongs:
        raise damaged(
            path,
            f"be the file that {place.name} was written for",
            "it has other bytes; remove the journal if the file was replaced on purpose",
        )
    return journal


def complete(descriptor: int, path: Path) -> None:
    """Finish a change that was cut off after its journal was written.

    Args:
        descriptor: The file, open for writing and locked.
        path: Its name.

    Raises:
        DataError: The journal is damaged or not the file's, or the file cannot be written.
    """
    journal = load_journal(descriptor, path)
    if journal is not None:
        _apply(descriptor, path, journal)


def _apply(descriptor: int, path: Path, journal: Journal) -> None:
    """Overwrite, then remove the journal."""
    try:
        for patch in journal.patches:
            _write_all(descriptor, patch.new, patch.position)
        os.fsync(descriptor)
        journal_path(path).unlink()
    except OSError as error:
        raise DataError(
            f"Could not write {path}: {reason_of(error)}; the change is kept in "
            f"{journal_path(path).name} and will be completed."
        ) from error
    sync_folder(path.parent)


def _write_all(descriptor: int, data: bytes | memoryview, position: int) -> None:
    view = memoryview(data)
    while len(view) > 0:
        written = os.pwrite(descriptor, view, position)
        view, position = view[written:], position + written


@contextlib.contextmanager
def locked(path: Path, *, write: bool) -> Iterator[int]:
    """A file open and locked, for writing by one process or for reading by many.

    Args:
        path: The file.
        write: Whether to change it.

    Yields:
        Its descriptor.

    Raises:
        DataError: It cannot be opened, or another process holds it for too long.
    """
    try:
        descriptor = os.open(path, os.O_RDWR if write else os.O_RDONLY)
    except OSError as error:
        raise DataError(f"Could not open {path}: {reason_of(error)}.") from error
    try:
        _lock(descriptor, path, write)
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path, write: bool) -> None:
    """Wait for the lock, for a while; closing the descriptor gives it back."""
    if fcntl is None:
        return
    kind = (fcntl.LOCK_EX if write else fcntl.LOCK_SH) | fcntl.LOCK_NB
    deadline = time.monotonic() + LOCK_PATIENCE_S
    while True:
        try:
            fcntl.flock(descriptor, kind)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise DataError(
                    f"Could not open {path}: another process has held it for {LOCK_PATIENCE_S:g} s."
                ) from error
            time.sleep(_LOCK_POLL_S)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return
            raise DataError(f"Could not lock {path}: {reason_of(error)}.") from error
        else:
            return


class StagedFile(io.RawIOBase):
    """A file object whose changes reach the file only when they are committed.

    It never raises inside a library that writes through it: the first error of the system is kept
    in `error`, and everything after it is dropped.

    Args:
        descriptor: The open file.
        length: Its length without what a killed change left behind.
        journal: A change to see as done already.
    """

    error: OSError | None

    def __init__(self, descriptor: int, length: int, journal: Journal | None = None) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._fixed = length
        self._length = length
        self._position = 0
        self._changes: dict[int, bytes] = {}
        self.error = None
        if journal is not None:
            self._length = self._fixed = journal.new_length
            self._changes = {patch.position: patch.new for patch in journal.patches}

    def readable(self) -> bool:
        """It can be read."""
        return True

    def writable(self) -> bool:
        """It can be written."""
        return True

    def seekable(self) -> bool:
        """It can be sought in."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move the position."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._length}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """The position."""
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        """Read at the position, with the staged changes."""
        view = memoryview(buffer).cast("B")
        start = self._position
        stop = max(start, min(start + len(view), self._length))
        done = 0
        while done < stop - start:
            part = view[done : stop - start]
            count = os.preadv(self._descriptor, [part], start + done)
            if count == 0:  # a hole that was claimed but not written yet
                part[:] = bytes(len(part))
                count = len(part)
            done += count
        for position, new in self._changes.items():
            low, high = max(position, start), min(position + len(new), stop)
            if low < high:
                view[low - start : high - start] = new[low - position : high - position]
        self._position = stop
        return stop - start

    def write(self, data: Any, /) -> int:
        """Write at the position: additions to the file, all else to memory."""
        view = memoryview(data).cast("B")
        inside = max(0, min(len(view), self._fixed - self._position))
        if inside > 0:
            self._overwrite(self._position, bytes(view[:inside]))
        if self.error is None:
            try:
                _write_all(self._descriptor, view[inside:], self._position + inside)
            except OSError as error:
                self.error = error
        self._position += len(view)
        self._length = max(self._length, self._position)
        return len(view)

    def _overwrite(self, position: int, new: bytes) -> None:
        """Note bytes that replace old ones; what was noted before for the same place is merged."""
        low, high = position, position + len(new)
        touching = [
            at for at, data in self._changes.items() if at <= high and low <= at + len(data)
        ]
        if touching:
            low = min(low, *touching)
            high = max(high, *(at + len(self._changes[at]) for at in touching))
            merged = bytearray(high - low)
            for at in touching:
                data = self._changes.pop(at)
                merged[at - low : at - low + len(data)] = data
            merged[position - low : position - low + len(new)] = new
            new = bytes(merged)
        self._changes[low] = new

    def truncate(self, size: int | None = None, /) -> int:
        """Set the length that the file will have."""
        self._length = self._position if size is None else size
        return self._length

    def commit(self, path: Path) -> None:
        """Make the changes real; they are, whatever happens after this returns.

        Args:
            path: The file's name.

        Raises:
            DataError: The disk is full or broken; the file is as it was, or will be completed from
                its journal, as the message says.
        """
        try:
            if self.error is not None:
                raise self.error
            os.ftruncate(self._descriptor, max(self._fixed, self._length))
            os.fsync(self._descriptor)
            journal = Journal(self._fixed, self._length, self._patches())
            with atomic_file(journal_path(path)) as file:
                file.write(journal.encode())
        except (OSError, DataError) as error:
            self.discard()
            reason = reason_of(error) if isinstance(error, OSError) else str(error).rstrip(".")
            raise DataError(
                f"Could not write {path}: {reason}; what it held before is untouched."
            ) from error
        _apply(self._descriptor, path, journal)

    def _patches(self) -> tuple[Patch, ...]:
        return tuple(
            Patch(position, os.pread(self._descriptor, len(new), position), new)
            for position, new in sorted(self._changes.items())
        )

    def discard(self) -> None:
        """Forget the changes and cut off what was added."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, self._fixed)
