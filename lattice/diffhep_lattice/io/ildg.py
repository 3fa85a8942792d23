"""The format of the International Lattice Data Grid and that of SciDAC, both in LIME records.

Numbers are big-endian; each site's bytes enter the SciDAC checksum. Files written here follow both
conventions, as those of MILC, Chroma and Grid do.

Reference: ILDG binary file format 1.2; the USQCD library QIO.
"""

import re
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import numpy as np
from jaxtyping import Array, Complex

from diffhep.core.checks import is_integer, require
from diffhep_lattice.io.files import atomic_file, damaged
from diffhep_lattice.io.lime import LimeRecord, LimeWriter, list_records, read_text
from diffhep_lattice.io.links import as_links, require_su_n
from diffhep_lattice.io.metadata import Checksum, Contents
from diffhep_lattice.io.sites import SiteLayout, read_sites, write_sites

_BINARY = {"ildg-binary-data": "ildg", "scidac-binary-data": "scidac"}
_FILE_XML = "scidac-private-file-xml"
_RECORD_XML = "scidac-private-record-xml"
_USER_XML = "scidac-record-xml"
_FORMAT = "ildg-format"
_CHECKSUM = "scidac-checksum"
_KNOWN_TEXTS = (_FILE_XML, _RECORD_XML, _USER_XML, _FORMAT, _CHECKSUM)
_LARGEST_TEXT = 2**20
_LETTERS = {"F": 32, "D": 64}
_NOT_RECORDED = ("", "missing")
_PERIODS = (29, 31)
_XML = '<?xml version="1.0" encoding="UTF-8"?>'


class _SiteSum:
    """The SciDAC checksum: CRC-32 of each site, rotated by its number, combined by exclusive or."""

    def __init__(self, site_bytes: int) -> None:
        self._site_bytes = site_bytes
        self._sums = [0, 0]
        self._start = 0

    def update(self, block: np.ndarray) -> None:
        view, size = block.data, self._site_bytes
        crcs = np.fromiter(
            (zlib.crc32(view[i : i + size]) for i in range(0, len(view), size)), np.uint32
        )
        ranks = np.arange(self._start, self._start + len(crcs))
        for which, period in enumerate(_PERIODS):
            turns = (ranks % period).astype(np.uint32)
            # A shift by 32 is undefined; a rotation by 0 is its own complement's.
            rotated = (crcs << turns) | (crcs >> ((32 - turns) % 32))
            self._sums[which] ^= int(np.bitwise_xor.reduce(rotated))
        self._start += len(crcs)

    @property
    def texts(self) -> tuple[str, str]:
        """Both checksums in hexadecimal."""
        a, b = self._sums
        return f"{a:08x}", f"{b:08x}"


class _Field(NamedTuple):
    """A record of links with the texts that speak of it, by record name."""

    data: LimeRecord
    texts: dict[str, str]


def _find_fields(file: BufferedReader, path: Path) -> list[_Field]:
    """Every record of links with the texts before it and the checksum after it.

    Writers cut messages differently, so what belongs together is found by order alone: texts on the
    file count for each field after them, all others for the next field only.
    """
    fields: list[_Field] = []
    texts: dict[str, str] = {}
    for record in list_records(file, path):
        if record.name in _BINARY:
            fields.append(_Field(record, texts))
            texts = {key: text for key, text in texts.items() if "file" in key or key == _FORMAT}
        elif record.name == _CHECKSUM and fields:
            fields[-1].texts.setdefault(_CHECKSUM, read_text(file, path, record))
        elif record.length > _LARGEST_TEXT and record.name not in _KNOWN_TEXTS:
            texts[record.name] = f"{record.length} bytes"
        else:
            texts[record.name] = read_text(file, path, record)
    if not fields:
        known = " or ".join(_BINARY)
        raise damaged(path, f"hold a record {known}", "there is none")
    return fields


def _values(text: str, name: str, path: Path) -> dict[str, str]:
    """The elements below the root of a small XML text, without their namespace."""
    try:
        root = ElementTree.fromstring(text.strip())
    except (ElementTree.ParseError, ValueError) as error:
        raise damaged(path, f"have XML in its record {name!r}", f"there is {error}") from error
    return {element.tag.rpartition("}")[2]: (element.text or "").strip() for element in root}


class _Claims:
    """What the texts say of the layout; two that say different things are an error."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: dict[str, tuple[str, object]] = {}

    def add(self, what: str, value: object, source: str) -> None:
        before, other = self._found.setdefault(what, (source, value))
        if other != value:
            raise damaged(
                self._path,
                f"have one {what}",
                f"it is {other!r} in {before!r} and {value!r} in {source!r}",
            )

    def integer(self, values: dict[str, str], key: str, source: str) -> int:
        text = values.get(key, "")
        if not re.fullmatch("[0-9]+", text, re.ASCII):
            raise damaged(self._path, f"have an integer as {key} in {source!r}", f"it is {text!r}")
        return int(text)

    def get(self, what: str) -> Any:
        if what not in self._found:
            raise damaged(self._path, f"say its {what}", "no record does")
        return self._found[what][1]


def _claim_ildg(claims: _Claims, text: str, path: Path) -> None:
    """What the record ildg-format says."""
    values = _values(text, _FORMAT, path)
    match = re.fullmatch(r"su(\d+)gauge", values.get("field", ""))
    if match is None:
        found = values.get("field")
        raise damaged(path, f"have su3gauge as field in {_FORMAT!r}", f"it is {found!r}")
    shape = tuple(claims.integer(values, key, _FORMAT) for key in ("lx", "ly", "lz", "lt"))
    claims.add("shape", shape, _FORMAT)
    claims.add("number of colors", int(match[1]), _FORMAT)
    claims.add("precision", claims.integer(values, "precision", _FORMAT), _FORMAT)


def _claim_scidac_file(claims: _Claims, text: str, path: Path) -> None:
    """What QIO says of the file."""
    values = _values(text, _FILE_XML, path)
    dimension = claims.integer(values, "spacetime", _FILE_XML)
    if dimension != 4:
        raise damaged(path, "have four dimensions", f"spacetime is {dimension}")
    volume = values.get("volfmt", "0")
    if volume != "0":
        raise damaged(path, "hold the whole lattice, volfmt 0", f"volfmt is {volume!r}")
    dims = values.get("dims", "").split()
    if len(dims) != 4 or not all(re.fullmatch("[0-9]+", n, re.ASCII) for n in dims):
        raise damaged(path, f"have four integers as dims in {_FILE_XML!r}", f"they are {dims}")
    claims.add("shape", tuple(map(int, dims)), _FILE_XML)


def _claim_scidac_record(claims: _Claims, text: str, path: Path) -> None:
    """What QIO says of the field."""
    values = _values(text, _RECORD_XML, path)
    for key in ("globaldata", "recordtype"):
        if values.get(key, "0") != "0":
            raise damaged(path, f"hold a field, {key} 0", f"{key} is {values[key]!r}")
    letter = values.get("precision", "")
    if letter not in _LETTERS:
        raise damaged(path, f"have precision F or D in {_RECORD_XML!r}", f"it is {letter!r}")
    claims.add("precision", _LETTERS[letter], _RECORD_XML)
    if "colors" in values:
        claims.add("number of colors", claims.integer(values, "colors", _RECORD_XML), _RECORD_XML)
    size = claims.integer(values, "typesize", _RECORD_XML)
    count = claims.integer(values, "datacount", _RECORD_XML)
    claims.add("number of bytes at a site", size * count, _RECORD_XML)


def _layout(field: _Field, path: Path) -> SiteLayout:
    """The layout on which all texts and the length of the data agree."""
    claims = _Claims(path)
    for name, claim in (
        (_FORMAT, _claim_ildg),
        (_FILE_XML, _claim_scidac_file),
        (_RECORD_XML, _claim_scidac_record),
    ):
        if name in field.texts:
            claim(claims, field.texts[name], path)
    shape, n = claims.get("shape"), claims.get("number of colors")
    precision = claims.get("precision")
    if min(shape) < 1 or n < 2 or precision not in (32, 64):
        raise damaged(
            path,
            "have positive lengths, two or more colors and 32 or 64 bits",
            f"it has {shape}, {n} and {precision}",
        )
    layout = SiteLayout(shape, n, n, precision, "big")
    claims.add("number of bytes at a site", layout.site_bytes, "links of that shape")
    if field.data.length != layout.n_bytes:
        raise damaged(
            path,
            f"hold {layout.n_bytes} bytes of links by its texts",
            f"the record {field.data.name!r} has {field.data.length}",
        )
    return layout


def _checksums(field: _Field, checksum: _SiteSum, path: Path) -> dict[str, Checksum]:
    """The checksums, where they are recorded or must be: QIO never leaves them out."""
    names = ("suma", "sumb")
    if _CHECKSUM not in field.texts:
        missing = {
            name: Checksum(None, text) for name, text in zip(names, checksum.texts, strict=True)
        }
        return missing if _RECORD_XML in field.texts else {}
    values = _values(field.texts[_CHECKSUM], _CHECKSUM, path)
    found: dict[str, Checksum] = {}
    for name, computed in zip(names, checksum.texts, strict=True):
        text = values.get(name, "")
        if not re.fullmatch("[0-9a-fA-F]{1,8}", text, re.ASCII):
            raise damaged(path, f"have a hexadecimal number as {name}", f"it is {text!r}")
        found[name] = Checksum(f"{int(text, 16):08x}", computed)
    return found


def _recorded(field: _Field, element: str) -> str | None:
    """A number of the USQCD record, which is not always well-formed XML."""
    text = field.texts.get(_USER_XML, "")
    match = re.search(rf"<{element}>([^<]*)</{element}>", text) if "<usqcdInfo>" in text else None
    return None if match is None or match[1].strip() in _NOT_RECORDED else match[1].strip()


def read_lime(file: BufferedReader, path: Path, index: int | None = None) -> Contents:
    """Read links in ILDG or SciDAC form.

    Args:
        file: The open file.
        path: Its name, for errors.
        index: Which field, counted from 0; needed where the file holds several.

    Returns:
        Links, and the texts of all records as header.

    Raises:
        DataError: Records are damaged or missing, or disagree with each other.
        ConfigError: There is no field of that index.
    """
    fields = _find_fields(file, path)
    if index is None and len(fields) > 1:
        raise damaged(path, "hold one field if no `index` is given", f"it holds {len(fields)}")
    require(index is None or 0 <= index < len(fields), "index", f"lie below {len(fields)}", index)
    field = fields[index or 0]
    layout = _layout(field, path)
    file.seek(field.data.start)
    checksum = _SiteSum(layout.site_bytes)
    U = read_sites(file, path, layout, [checksum.update])
    return Contents(
        U,
        _BINARY[field.data.name],
        layout.precision,
        "big",
        layout.rows,
        _checksums(field, checksum, path),
        field.texts,
        _recorded(field, "plaq"),
        _recorded(field, "linktr"),
    )


def _element(name: str, **values: object) -> str:
    """An XML element with one child per value."""
    inner = "".join(f"<{key}>{escape(str(value))}</{key}>" for key, value in values.items())
    return f"<{name}>{inner}</{name}>"


def _ildg_format(layout: SiteLayout) -> str:
    lx, ly, lz, lt = layout.shape
    values = {"version": "1.0", "field": f"su{layout.n_colors}gauge"}
    body = _element("X", **values, precision=layout.precision, lx=lx, ly=ly, lz=lz, lt=lt)
    namespace = (
        'xmlns="http://www.lqcd.org/ildg" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        'xsi:schemaLocation="http://www.lqcd.org/ildg/filefmt.xsd"'
    )
    return f"<ildgFormat {namespace}>{body.removeprefix('<X>').removesuffix('</X>')}</ildgFormat>"


def _text_records(records: Sequence[tuple[str, str]]) -> list[tuple[str, bytes]]:
    """Texts as QIO writes them: XML with its declaration, and a zero byte at the end."""
    return [(name, (_XML * text.startswith("<") + text).encode() + b"\0") for name, text in records]


def write_ildg(
    path: Path | str,
    U: Complex[Array | np.ndarray, "..."],
    *,
    precision: int = 64,
    lfn: str | None = None,
    title: str = "gauge configuration",
    info: str = "",
) -> None:
    """Write links as an ILDG file with SciDAC's records and checksum.

    The file takes its place once it is whole. Plaquette and link trace go into the USQCD record.

    Args:
        path: The file; one that is there is replaced.
        U: Links of shape (4, N, N, x, y, z, t) in SU(N).
        precision: Bits of a real number, 32 or 64.
        lfn: Logical file name on the grid; "lfn://diffhep/" and the file's name if not given.
        title: What the file holds.
        info: Any text about the configuration: action, couplings, trajectory.

    Raises:
        ShapeError: `U` is not a four-dimensional field of matrix links.
        ConfigError: The precision or a text is not one of those allowed.
        DataError: A link is not in SU(N), or the file could not be written.
    """
    path, links = Path(path), as_links(U)
    require(is_integer(precision) and precision in (32, 64), "precision", "be 32 or 64", precision)
    lfn = f"lfn://diffhep/{path.name}" if lfn is None else lfn
    for name, text in (("lfn", lfn), ("title", title), ("info", info)):
        # XML has no other control characters, escaped or not.
        require(all(c.isprintable() or c in "\n\t" for c in text), name, "be printable text", text)
    averages = require_su_n(links)
    n = links.shape[1]
    x, y, z, t = links.shape[3:]
    layout = SiteLayout((x, y, z, t), n, n, precision, "big")
    letter = "F" if precision == 32 else "D"
    file_xml = _element(
        "scidacFile", version="1.1", spacetime=4, dims=f"{x} {y} {z} {t} ", volfmt=0
    )
    record_xml = _element(
        "scidacRecord",
        version="1.1",
        date=datetime.now(UTC).strftime("%a %b %d %H:%M:%S %Y UTC"),
        recordtype=0,
        datatype=f"QDP_{letter}{n}_ColorMatrix",
        precision=letter,
        colors=n,
        spins=4,
        typesize=layout.site_bytes // 4,
        datacount=4,
    )
    user_xml = _element(
        "usqcdInfo",
        version="1.0",
        plaq=f"{averages.plaquette:.12g}",
        linktr=f"{averages.link_trace:.12g}",
        info=info,
    )
    head = [(_FILE_XML, file_xml), ("scidac-file-xml", f"<title>{escape(title)}</title>")]
    body = [(_RECORD_XML, record_xml), (_USER_XML, user_xml), (_FORMAT, _ildg_format(layout))]
    checksum = _SiteSum(layout.site_bytes)
    with atomic_file(path) as file:
        lime = LimeWriter(file)
        lime.write_message(_text_records(head))
        for i, (name, data) in enumerate(_text_records([*body, ("ildg-data-lfn", lfn)])):
            lime.start_record(name, len(data), begin=i == 0, end=False)
            file.write(data)
            lime.end_record(len(data))
        lime.start_record("ildg-binary-data", layout.n_bytes, begin=False, end=False)
        write_sites(file, links, layout, [checksum.update])
        lime.end_record(layout.n_bytes)
        a, b = checksum.texts
        sums = _element("scidacChecksum", version="1.0", suma=a, sumb=b)
        (name, data), *_ = _text_records([(_CHECKSUM, sums)])
        lime.start_record(name, len(data), begin=False, end=True)
        file.write(data)
        lime.end_record(len(data))
