"""ILDG and SciDAC files: an independent parser, round trips, records in other orders, bad ones."""

import struct
import zlib
from xml.etree import ElementTree

import numpy as np
import pytest

from diffhep.core.errors import ConfigError, DataError
from diffhep_lattice.io import read, write_ildg
from tests.systems.links import averages_by_loop, generator, random_links

pytestmark = pytest.mark.instant

SHAPE = (2, 4, 3, 5)
HEADER = ">IHHQ128s"
FILE_XML, RECORD_XML = "scidac-private-file-xml", "scidac-private-record-xml"
ILDG, SUMS = "ildg-format", "scidac-checksum"


def parse(data):
    """Every record as (begins a message, ends one, name, data), by the description of LIME."""
    records, position = [], 0
    while position < len(data):
        magic, version, flags, length, name = struct.unpack_from(HEADER, data, position)
        assert (magic, version, flags & 0x3FFF) == (0x456789AB, 1, 0)
        position += 144
        records.append(
            (
                bool(flags & 0x8000),
                bool(flags & 0x4000),
                name.rstrip(b"\0").decode(),
                data[position : position + length],
            )
        )
        position += (length + 7) // 8 * 8
    assert position == len(data)
    return records


def build(records):
    """The bytes of a file from (name, data); each record is a message of its own."""
    parts = []
    for name, data in records:
        data = data if isinstance(data, bytes) else data.encode()
        parts.append(struct.pack(HEADER, 0x456789AB, 1, 0xC000, len(data), name.encode()))
        parts.append(data + b"\0" * (-len(data) % 8))
    return b"".join(parts)


def site_bytes(U, precision):
    """The bytes of each site, in the order of their numbers."""
    code = ">f4" if precision == 32 else ">f8"
    x, y, z, t = U.shape[3:]
    for rank in range(x * y * z * t):
        i, rest = rank % x, rank // x
        j, rest = rest % y, rest // y
        k, m = rest % z, rest // z
        link = np.ascontiguousarray(U[..., i, j, k, m])
        yield np.stack([link.real, link.imag], -1).astype(code).tobytes()


def checksums(sites):
    """The SciDAC checksums of sites, in Python's integers."""
    sums = [0, 0]
    for rank, data in enumerate(sites):
        crc = zlib.crc32(data)
        for i, period in enumerate((29, 31)):
            turn = rank % period
            sums[i] ^= ((crc << turn) | (crc >> (32 - turn))) & 0xFFFFFFFF
    return sums


def texts(shape, precision, n=3):
    """The records that speak of a field."""
    letter, size = ("F", 8) if precision == 32 else ("D", 16)
    x, y, z, t = shape
    return {
        "scidac-private-file-xml": f"<scidacFile><version>1.1</version><spacetime>4</spacetime>"
        f"<dims>{x} {y} {z} {t}</dims><volfmt>0</volfmt></scidacFile>",
        "scidac-private-record-xml": "<scidacRecord><recordtype>0</recordtype>"
        f"<datatype>Lattice</datatype><precision>{letter}</precision><colors>{n}</colors>"
        f"<typesize>{n * n * size}</typesize><datacount>4</datacount></scidacRecord>",
        "ildg-format": '<ildgFormat xmlns="http://www.lqcd.org/ildg"><version>1.0</version>'
        f"<field>su{n}gauge</field><precision>{precision}</precision>"
        f"<lx>{x}</lx><ly>{y}</ly><lz>{z}</lz><lt>{t}</lt></ildgFormat>",
    }


def checksum_xml(sums):
    a, b = sums
    return f"<scidacChecksum><suma>{a:x}</suma><sumb>{b:x}</sumb></scidacChecksum>"


@pytest.mark.parametrize("precision", [32, 64])
def test_round_trip(precision, tmp_path, key):
    U = random_links(SHAPE, generator(key))
    path = tmp_path / "folder" / "file.ildg"
    info = "beta = 6.0 & <u0> = 1\nä"
    write_ildg(path, U, precision=precision, lfn="lfn://test/1", title="a & b", info=info)
    assert [p.name for p in path.parent.iterdir()] == ["file.ildg"]
    V, metadata = read(path)
    stored = U.astype(np.complex64) if precision == 32 else U
    assert V.dtype == stored.dtype
    np.testing.assert_array_equal(V, stored)
    assert (metadata.format, metadata.shape, metadata.n_colors) == ("ildg", SHAPE, 3)
    assert (metadata.precision, metadata.byte_order, metadata.rows) == (precision, "big", 3)
    assert metadata.recorded_plaquette == pytest.approx(metadata.plaquette, abs=1e-7)
    assert metadata.recorded_link_trace == pytest.approx(metadata.link_trace, abs=1e-7)
    assert set(metadata.checksums) == {"suma", "sumb"}
    assert metadata.header["ildg-data-lfn"] == "lfn://test/1"
    assert ElementTree.fromstring(metadata.header["scidac-record-xml"]).find("info").text == info


@pytest.mark.parametrize("precision", [32, 64])
def test_a_written_file_by_an_independent_parser(precision, tmp_path, key):
    U = random_links(SHAPE, generator(key))
    path = tmp_path / "file"
    write_ildg(path, U, precision=precision)
    records = parse(path.read_bytes())
    assert [(begin, end, name) for begin, end, name, _ in records] == [
        (True, False, "scidac-private-file-xml"),
        (False, True, "scidac-file-xml"),
        (True, False, "scidac-private-record-xml"),
        (False, False, "scidac-record-xml"),
        (False, False, "ildg-format"),
        (False, False, "ildg-data-lfn"),
        (False, False, "ildg-binary-data"),
        (False, True, "scidac-checksum"),
    ]
    by_name = {name: data for _, _, name, data in records}
    sites = list(site_bytes(U, precision))
    assert by_name["ildg-binary-data"] == b"".join(sites)
    sums = ElementTree.fromstring(by_name["scidac-checksum"].rstrip(b"\0"))
    assert [int(sums.find(name).text, 16) for name in ("suma", "sumb")] == checksums(sites)
    namespace = "{http://www.lqcd.org/ildg}"
    ildg = ElementTree.fromstring(by_name["ildg-format"].rstrip(b"\0"))
    names = ("field", "precision", "lx", "ly", "lz", "lt")
    assert [ildg.find(namespace + name).text for name in names] == [
        "su3gauge",
        str(precision),
        *map(str, SHAPE),
    ]
    record = ElementTree.fromstring(by_name["scidac-private-record-xml"].rstrip(b"\0"))
    assert int(record.find("typesize").text) * 4 == len(sites[0])
    usqcd = ElementTree.fromstring(by_name["scidac-record-xml"].rstrip(b"\0"))
    spatial, temporal, trace = averages_by_loop(U)
    assert float(usqcd.find("plaq").text) == pytest.approx((spatial + temporal) / 2, abs=1e-10)
    assert float(usqcd.find("linktr").text) == pytest.approx(trace, abs=1e-10)
    assert by_name["ildg-data-lfn"] == b"lfn://diffhep/file\0"


@pytest.mark.parametrize("n", [2, 4])
def test_other_groups(n, tmp_path, key):
    U = random_links((2, 2, 2, 2), generator(key), n)
    write_ildg(tmp_path / "file", U)
    V, metadata = read(tmp_path / "file")
    np.testing.assert_array_equal(V, U)
    assert metadata.n_colors == n


def good_records(U, precision=64):
    sites = list(site_bytes(U, precision))
    said = texts(U.shape[3:], precision, U.shape[1])
    return [
        *said.items(),
        ("ildg-binary-data", b"".join(sites)),
        ("scidac-checksum", checksum_xml(checksums(sites))),
    ]


@pytest.mark.parametrize("precision", [32, 64])
@pytest.mark.parametrize(
    ("left_out", "binary", "kind"),
    [
        ((), "ildg-binary-data", "ildg"),
        ((FILE_XML, RECORD_XML), "ildg-binary-data", "ildg"),
        ((ILDG,), "scidac-binary-data", "scidac"),
        ((FILE_XML, RECORD_XML, SUMS), "ildg-binary-data", "ildg"),
    ],
)
def test_records_of_other_writers(precision, left_out, binary, kind, tmp_path, key):
    """Messages cut otherwise, unknown records between, some left out, no fill at the end."""
    U = random_links(SHAPE, generator(key))
    records = [
        (name.replace("ildg-binary-data", binary), data)
        for name, data in good_records(U, precision)
        if name not in left_out
    ]
    records.insert(-1, ("ensemble-state", b"\xff\x00" * 900_000))
    records.insert(1, ("xlf-info", "plaquette = 0.5"))
    records.append(("last", b"123"))
    path = tmp_path / "file"
    path.write_bytes(build(records)[:-5])
    V, metadata = read(path)
    np.testing.assert_array_equal(V, U.astype(np.complex64) if precision == 32 else U)
    assert metadata.format == kind
    assert bool(metadata.checksums) == ("scidac-checksum" not in left_out)
    assert metadata.recorded_plaquette is None
    assert metadata.header["xlf-info"] == "plaquette = 0.5"


def test_several_fields_are_told_apart(tmp_path, key):
    rng = generator(key)
    fields = [random_links((2, 2, 3, 2), rng) for _ in range(3)]
    first, *rest = (good_records(U) for U in fields)
    per_field = [[record for record in records if "file" not in record[0]] for records in rest]
    path = tmp_path / "file"
    path.write_bytes(build([*first, *(record for records in per_field for record in records)]))
    for index, U in enumerate(fields):
        V, metadata = read(path, index=index)
        np.testing.assert_array_equal(V, U)
        assert set(metadata.checksums) == {"suma", "sumb"}
    with pytest.raises(DataError, match="one field if no `index` is given, but it holds 3"):
        read(path)
    with pytest.raises(ConfigError, match="`index` must lie below 3, but it is 3"):
        read(path, index=3)


def change(name, old, new):
    def apply(records):
        found = dict(records)
        text = found[name] if isinstance(found[name], str) else found[name].decode("latin-1")
        assert old in text
        found[name] = text.replace(old, new)
        return list(found.items())

    return apply


def drop(*names):
    return lambda records: [record for record in records if record[0] not in names]


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (drop("ildg-binary-data"), "record ildg-binary-data or scidac-binary-data"),
        (drop(SUMS), "record its checksum suma, but it does not"),
        (drop(FILE_XML, ILDG), "say its shape, but no record does"),
        (drop(RECORD_XML, ILDG), "say its number of colors, but no record does"),
        (change(ILDG, "<lx>2", "<lx>4"), r"one shape, but it is \(4, 4, 3, 5\) in 'ildg-format'"),
        (change(ILDG, "<lx>2", "<lx>two"), "an integer as lx in 'ildg-format', but it is 'two'"),
        (change(ILDG, "<lx>2</lx>", ""), "an integer as lx in 'ildg-format', but it is ''"),
        (change(ILDG, ">64<", ">32<"), "one precision, but it is 32 in 'ildg-format' and 64"),
        (change(ILDG, "su3gauge", "spinor"), "su3gauge as field in 'ildg-format'"),
        (change(ILDG, "</lt>", "<lt>"), "XML in its record 'ildg-format'"),
        (change(FILE_XML, "2 4 3 5", "2 4 3"), "four integers as dims"),
        (change(FILE_XML, "<spacetime>4", "<spacetime>5"), "have four dimensions"),
        (change(FILE_XML, "<volfmt>0", "<volfmt>1"), "the whole lattice, volfmt 0"),
        (change(RECORD_XML, "<recordtype>0", "<recordtype>1"), "a field, recordtype 0"),
        (change(RECORD_XML, "<precision>D", "<precision>Q"), "precision F or D"),
        (change(RECORD_XML, "<colors>3", "<colors>2"), "one number of colors"),
        (change(RECORD_XML, "<datacount>4", "<datacount>1"), "one number of bytes at a site"),
        (change(SUMS, "suma", "sum"), "a hexadecimal number as suma, but it is ''"),
        (change(SUMS, "<suma>", "<suma>g"), "a hexadecimal number as suma"),
        (change(SUMS, "<suma>", "<suma> "), None),
    ],
)
def test_bad_records_are_refused(broken, words, tmp_path, key):
    U = random_links(SHAPE, generator(key))
    path = tmp_path / "file"
    path.write_bytes(build(broken(good_records(U))))
    if words is None:
        np.testing.assert_array_equal(read(path)[0], U)
        return
    with pytest.raises(DataError, match=words) as info:
        read(path)
    assert str(info.value).startswith(f"{path} must")
    assert "\n" not in str(info.value)


def test_wrong_sums_lengths_and_averages_are_refused(tmp_path, key):
    U = random_links(SHAPE, generator(key))
    path = tmp_path / "file"
    records = dict(good_records(U))
    cases = [
        (records | {SUMS: checksum_xml((1, 2))}, "links of suma 00000001, but theirs is"),
        (
            records | {"ildg-binary-data": records["ildg-binary-data"][:-8]},
            r"hold 69120 bytes of links by its texts, but the record 'ildg-binary-data' has 69112",
        ),
    ]
    for changed, words in cases:
        path.write_bytes(build(changed.items()))
        with pytest.raises(DataError, match=words):
            read(path)
    user = "<usqcdInfo><plaq>{}</plaq><linktr>{}</linktr></usqcdInfo>"
    plaquette, trace = sum(averages_by_loop(U)[:2]) / 2, averages_by_loop(U)[2]
    for values, words in [
        ((plaquette + 1e-3, trace), "whose plaquette is the recorded"),
        ((plaquette, 3 * trace), "whose link trace is the recorded"),
        (("missing", ""), None),
        ((plaquette, trace), None),
    ]:
        path.write_bytes(build([("scidac-record-xml", user.format(*values)), *records.items()]))
        if words is None:
            read(path)
            continue
        with pytest.raises(DataError, match=words):
            read(path)
        assert read(path, verify=False)[1].recorded_link_trace == values[1]


def test_damaged_headers_are_refused(tmp_path, key):
    data = build(good_records(random_links((2, 2, 2, 2), generator(key))))
    path = tmp_path / "file"
    second = 144 + (struct.unpack_from(HEADER, data)[3] + 7) // 8 * 8
    for at, new, words in [
        (second, b"\0", f"the LIME number 456789ab at byte {second}, but it is 006789ab"),
        (second + 5, b"\7", f"LIME version 1 at byte {second}, but it is 7"),
        (second + 8, b"\1", r"the \d+ bytes of its record 'scidac-private-record-xml'"),
    ]:
        path.write_bytes(data[:at] + new + data[at + 1 :])
        with pytest.raises(DataError, match=words):
            read(path)
    for cut in (-9, -200, second + 100, 144, 20):
        path.write_bytes(data[:cut])
        with pytest.raises(DataError, match=f"{path} must"):
            read(path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"precision": 16}, "`precision` must be 32 or 64, but it is 16"),
        ({"info": "bell \a"}, "`info` must be printable text"),
        ({"lfn": "a\0b"}, "`lfn` must be printable text"),
    ],
)
def test_bad_options_are_refused(options, words, tmp_path, key):
    U = random_links((2, 2, 2, 2), generator(key))
    with pytest.raises(ConfigError, match=words):
        write_ildg(tmp_path / "file", U, **options)
    with pytest.raises(DataError, match="must hold links of"):
        write_ildg(tmp_path / "file", 2 * U)
    assert list(tmp_path.iterdir()) == []
