"""Files that are written whole or not at all, and errors that name the file."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from diffhep.core.errors import DataError


def damaged(path: Path, rule: str, finding: str) -> DataError:
    """The error for a file that breaks a rule, in one line.

    Args:
        path: The file.
        rule: What it must do, as the words after "must".
        finding: What was found instead, as the words after "but".

    Returns:
        The error, to be raised.
    """
    return DataError(" ".join(f"{path} must {rule}, but {finding}.".split()))


def reason_of(error: OSError) -> str:
    """Why the system refused, without its numbers."""
    return error.strerror or str(error) or type(error).__name__


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut, where the system can do it.

    Args:
        folder: The folder.
    """
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


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A file open for writing that takes its place only once it is complete and on the disk.

    Args:
        path: Where it will be; what is there now stays until then, and stays if anything fails.

    Yields:
        The file, which lies beside `path` with ".tmp" added to its name.

    Raises:
        DataError: It could not be written.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise DataError(
            f"Could not write {path}: {reason_of(error)}; what was there before is untouched."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()
