"""LIME: files of named records, gathered in messages.

Each record has a header of 144 bytes in big-endian order: a magic number, the version, flags for
the first and the last record of a message, the length of the data and the name; the data are filled
up to a multiple of eight bytes.
"""

import struct
from collections.abc import Sequence
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, NamedTuple

from diffhep_lattice.io.files import damaged

MAGIC = struct.pack(">I", 0x456789AB)

_HEADER = struct.Struct(">IHHQ128s")
_VERSION = 1
_MESSAGE_BEGIN = 0x8000
_MESSAGE_END = 0x4000
_ALIGNMENT = 8
_LARGEST_TEXT = 2**24


class LimeRecord(NamedTuple):
    """Where a record lies in its file.

    Attributes:
        name: Its type.
        start: Position of its data.
        length: Bytes of its data.
    """

    name: str
    start: int
    length: int


def list_records(file: BufferedReader, path: Path) -> list[LimeRecord]:
    """The records of a file in its order, after checks of all their headers.

    Args:
        file: The open file.
        path: Its name, for errors.

    Returns:
        Name and place of each record.

    Raises:
        DataError: A header is damaged, or the headers and the file's length disagree.
    """
    length, position = file.seek(0, 2), 0
    records: list[LimeRecord] = []
    while position < length:
        where = f"byte {position}"
        file.seek(position)
        header = file.read(_HEADER.size)
        if len(header) < _HEADER.size:
            raise damaged(path, f"have a whole LIME header at {where}", "it ends within it")
        magic, version, _, size, name = _HEADER.unpack(header)
        if struct.pack(">I", magic) != MAGIC:
            raise damaged(path, f"have the LIME number 456789ab at {where}", f"it is {magic:08x}")
        if version != _VERSION:
            raise damaged(path, f"have LIME version {_VERSION} at {where}", f"it is {version}")
        start = position + _HEADER.size
        text = name.split(b"\0", 1)[0].decode("latin-1")
        if start + size > length:
            raise damaged(
                path,
                f"hold the {size} bytes of its record {text!r}",
                f"{length - start} are left",
            )
        records.append(LimeRecord(text, start, size))
        position = start + size + -size % _ALIGNMENT
    return records


def read_text(file: BufferedReader, path: Path, record: LimeRecord) -> str:
    """The data of a record as text, without the zero bytes that end it.

    Args:
        file: The open file.
        path: Its name, for errors.
        record: The record.

    Returns:
        The text.

    Raises:
        DataError: It is far too long for a text.
    """
    if record.length > _LARGEST_TEXT:
        raise damaged(path, f"hold a text as {record.name!r}", f"it has {record.length} bytes")
    file.seek(record.start)
    return file.read(record.length).rstrip(b"\0").decode("utf-8", "replace")


class LimeWriter:
    """Writes the records of one message after the other.

    Args:
        file: A file open for writing.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write_message(self, records: Sequence[tuple[str, bytes]]) -> None:
        """A whole message.

        Args:
            records: Name and data of each record.
        """
        last = len(records) - 1
        for i, (name, data) in enumerate(records):
            self.start_record(name, len(data), begin=i == 0, end=i == last)
            self._file.write(data)
            self.end_record(len(data))

    def start_record(self, name: str, length: int, *, begin: bool, end: bool) -> None:
        """The header of a record, whose data the caller writes.

        Args:
            name: Its type.
            length: Bytes of its data.
            begin: Whether it begins a message.
            end: Whether it ends one.
        """
        flags = _MESSAGE_BEGIN * begin | _MESSAGE_END * end
        magic = int.from_bytes(MAGIC)
        self._file.write(_HEADER.pack(magic, _VERSION, flags, length, name.encode("ascii")))

    def end_record(self, length: int) -> None:
        """The bytes that fill a record up.

        Args:
            length: Bytes of its data.
        """
        self._file.write(bytes(-length % _ALIGNMENT))
