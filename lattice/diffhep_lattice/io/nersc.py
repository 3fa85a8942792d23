"""The format of the NERSC archive: a header of lines in ASCII, then the links.

Reference: the Gauge Connection archive's description; Grid, CPS and Chroma write and read it.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Array, Complex

from diffhep.core.checks import is_integer, require
from diffhep_lattice.io.files import atomic_file, damaged
from diffhep_lattice.io.links import as_links, require_su_n
from diffhep_lattice.io.metadata import Checksum, Contents
from diffhep_lattice.io.sites import SiteLayout, read_sites, write_sites

MAGIC = b"BEGIN_HEADER"

_LARGEST_HEADER = 2**16
_CHUNK = 2**20
_END = re.compile(rb"\nEND_HEADER[ \t\r]*\n")
_DATATYPE = re.compile(r"4D_SU(\d+)_GAUGE(?:_(\d+)x(\d+))?")
_DIMENSIONS = tuple(f"DIMENSION_{i}" for i in range(1, 5))

# Programs differ in the byte order that they mean when they do not name it: there the checksum
# decides.
_FLOATING_POINT = {
    "IEEE32BIG": (32, ("big",)),
    "IEEE64BIG": (64, ("big",)),
    "IEEE32LITTLE": (32, ("little",)),
    "IEEE64LITTLE": (64, ("little",)),
    "IEEE32": (32, ("big", "little")),
    "IEEE64": (64, ("big", "little")),
}

_OWN_KEYS = frozenset(
    {
        "HDR_VERSION",
        "DATATYPE",
        "STORAGE_FORMAT",
        *_DIMENSIONS,
        "LINK_TRACE",
        "PLAQUETTE",
        *(f"BOUNDARY_{i}" for i in range(1, 5)),
        "CHECKSUM",
        "FLOATING_POINT",
    }
)


class _WordSum:
    """Sum of the file's 32-bit words modulo 2^32."""

    def __init__(self, word: np.dtype) -> None:
        self._word = word
        self._total = 0

    def update(self, block: np.ndarray) -> None:
        self._total += int(np.add.reduce(block.view(self._word), dtype=np.uint64))

    @property
    def value(self) -> int:
        return self._total % 2**32


def _sum_words(file: BufferedReader, start: int, layout: SiteLayout) -> int:
    """The checksum in the byte order of a layout, without keeping the links."""
    file.seek(start)
    checksum = _WordSum(layout.word)
    while block := file.read(_CHUNK):
        checksum.update(np.frombuffer(block, np.uint8))
    return checksum.value


def _parse_header(text: bytes, path: Path) -> dict[str, str]:
    """The fields between the first and the last line."""
    fields: dict[str, str] = {}
    for line in text.decode("latin-1").splitlines()[1:]:
        key, equals, value = (part.strip() for part in line.partition("="))
        if not line.strip():
            continue
        if not equals:
            raise damaged(path, "have header lines 'KEY = value'", f"one is {line!r}")
        if key in fields:
            raise damaged(path, "name each header field once", f"{key} is there twice")
        fields[key] = value
    return fields


def _field(fields: Mapping[str, str], key: str, path: Path) -> str:
    if key not in fields:
        raise damaged(path, f"have the header field {key}", "it is missing")
    return fields[key]


def _number(fields: Mapping[str, str], key: str, path: Path, base: int = 10) -> int:
    text = _field(fields, key, path)
    kind = "a hexadecimal number" if base == 16 else "a positive integer"
    try:
        number = int(text, base)
    except ValueError:
        number = -1
    if number < (base == 10):
        raise damaged(path, f"have {kind} as {key}", f"it is {text!r}")
    return number


def _layouts(fields: Mapping[str, str], path: Path) -> list[SiteLayout]:
    """The layout that the header describes; two where it leaves the byte order open."""
    extra = [key for key in fields if key.startswith("DIMENSION_") and key not in _DIMENSIONS]
    if extra:
        raise damaged(path, "have four dimensions", f"it has {extra[0]}")
    x, y, z, t = (_number(fields, key, path) for key in _DIMENSIONS)
    datatype = _field(fields, "DATATYPE", path)
    match = _DATATYPE.fullmatch(datatype)
    n = int(match[1]) if match else 0
    is_full = match is not None and match[2] is not None and n >= 2
    is_reduced = match is not None and match[2] is None and n in (2, 3)
    if not (is_reduced or (is_full and match is not None and match[2] == match[3] == str(n))):
        raise damaged(
            path,
            "have the DATATYPE 4D_SU3_GAUGE_3x3 or 4D_SU3_GAUGE, or that of another SU(N)",
            f"it is {datatype!r}",
        )
    numbers = _field(fields, "FLOATING_POINT", path)
    if numbers not in _FLOATING_POINT:
        known = ", ".join(_FLOATING_POINT)
        raise damaged(path, f"have one of {known} as FLOATING_POINT", f"it is {numbers!r}")
    precision, orders = _FLOATING_POINT[numbers]
    rows = n if is_full else n - 1
    return [SiteLayout((x, y, z, t), n, rows, precision, order) for order in orders]


def read_nersc(file: BufferedReader, path: Path) -> Contents:
    """Read a file of the NERSC archive.

    Args:
        file: The open file.
        path: Its name, for errors.

    Returns:
        Links and header.

    Raises:
        DataError: The header is not understood, or header and length disagree.
    """
    file.seek(0)
    head = file.read(_LARGEST_HEADER)
    end = _END.search(head)
    if end is None:
        rule = f"have the line END_HEADER within {_LARGEST_HEADER} bytes"
        raise damaged(path, rule, "there is none")
    fields = _parse_header(head[: end.start()], path)
    layouts = _layouts(fields, path)
    length, expected = file.seek(0, 2), end.end() + layouts[0].n_bytes
    if length != expected:
        raise damaged(path, f"hold {expected} bytes by its header", f"it has {length}")
    recorded = _number(fields, "CHECKSUM", path, 16)
    layout = layouts[0]
    if len(layouts) > 1:
        sums = {each: _sum_words(file, end.end(), each) for each in layouts}
        layout = next((each for each in layouts if sums[each] == recorded), layout)
    file.seek(end.end())
    checksum = _WordSum(layout.word)
    U = read_sites(file, path, layout, [checksum.update])
    return Contents(
        U,
        "nersc",
        layout.precision,
        layout.byte_order,
        layout.rows,
        {"CHECKSUM": Checksum(f"{recorded:08x}", f"{checksum.value:08x}")},
        fields,
        fields.get("PLAQUETTE"),
        fields.get("LINK_TRACE"),
    )


def _check_fields(metadata: Mapping[str, Any]) -> dict[str, str]:
    """The caller's header fields as text."""
    fields = {key: str(value) for key, value in metadata.items()}
    for key, value in fields.items():
        require(
            re.fullmatch("[A-Z][A-Z0-9_]*", key) is not None and key not in _OWN_KEYS,
            "metadata",
            "have upper-case names that the format does not set itself",
            key,
        )
        require(
            value.isascii() and value.isprintable(),
            "metadata",
            f"have one line of ASCII as {key}",
            value,
        )
    return fields


def write_nersc(
    path: Path | str,
    U: Complex[Array | np.ndarray, "..."],
    *,
    precision: int = 64,
    rows: int | None = None,
    byte_order: str = "big",
    metadata: Mapping[str, str | int | float] | None = None,
) -> None:
    """Write links in the format of the NERSC archive.

    The file takes its place once it is whole. Plaquette, link trace and checksum are computed.

    Args:
        path: The file; one that is there is replaced.
        U: Links of shape (4, N, N, x, y, z, t) in SU(N).
        precision: Bits of a real number, 32 or 64.
        rows: Rows of each matrix to store: N (if None) or, for N = 2 and 3, N - 1.
        byte_order: That of the numbers, "big" or "little".
        metadata: More header fields by their upper-case names, for instance ENSEMBLE_ID,
            ENSEMBLE_LABEL, SEQUENCE_NUMBER, CREATOR.

    Raises:
        ShapeError: `U` is not a four-dimensional field of matrix links.
        ConfigError: An option or a header field is not one of those allowed.
        DataError: A link is not in SU(N), or the file could not be written.
    """
    path, links = Path(path), as_links(U)
    n = links.shape[1]
    n_rows = n if rows is None else rows
    require(is_integer(precision) and precision in (32, 64), "precision", "be 32 or 64", precision)
    require(byte_order in ("big", "little"), "byte_order", "be 'big' or 'little'", byte_order)
    allowed = (n, n - 1) if n <= 3 else (n,)
    require(n_rows in allowed, "rows", f"be {' or '.join(map(str, allowed))} for SU({n})", rows)
    now = datetime.now(UTC).strftime("%a %b %d %H:%M:%S %Y UTC")
    fields = {
        "ENSEMBLE_ID": "unknown",
        "ENSEMBLE_LABEL": "unknown",
        "SEQUENCE_NUMBER": "0",
        "CREATOR": "diffhep",
        "CREATOR_HARDWARE": "unknown",
        "CREATION_DATE": now,
        "ARCHIVE_DATE": now,
    } | _check_fields(metadata or {})
    averages = require_su_n(links)
    x, y, z, t = links.shape[3:]
    layout = SiteLayout((x, y, z, t), n, n_rows, precision, byte_order)

    def header(checksum: int) -> bytes:
        lines = {
            "HDR_VERSION": "1.0",
            "DATATYPE": f"4D_SU{n}_GAUGE" + (f"_{n}x{n}" if n_rows == n else ""),
            "STORAGE_FORMAT": "1.0",
            **dict(zip(_DIMENSIONS, layout.shape, strict=True)),
            "LINK_TRACE": f"{averages.link_trace:.12g}",
            "PLAQUETTE": f"{averages.plaquette:.12g}",
            **{f"BOUNDARY_{i}": "PERIODIC" for i in range(1, 5)},
            "CHECKSUM": f"{checksum:08x}",
            **fields,
            "FLOATING_POINT": f"IEEE{precision}{byte_order.upper()}",
        }
        body = "".join(f"{key} = {value}\n" for key, value in lines.items())
        return f"BEGIN_HEADER\n{body}END_HEADER\n".encode("ascii")

    size = len(header(0))
    require(size <= _LARGEST_HEADER, "metadata", f"fit {_LARGEST_HEADER} bytes of header", size)
    checksum = _WordSum(layout.word)
    with atomic_file(path) as file:
        file.write(header(0))
        write_sites(file, links, layout, [checksum.update])
        file.seek(0)
        file.write(header(checksum.value))
