"""NERSC files: one written by hand from the format's description, round trips, bad headers."""

import errno
import itertools
import os
import struct

import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConfigError, DataError, ShapeError
from diffhep_lattice.io import read, write_nersc
from tests.systems.links import averages_by_loop, generator, random_links

pytestmark = pytest.mark.instant

SHAPE = (2, 3, 4, 5)
OPTIONS = list(itertools.product((32, 64), (2, 3), ("big", "little")))


def by_hand(U, *, code, numbers, rows, **changes):
    """The bytes of a file, site by site with x fastest; `code` is that of `struct`."""
    x_size, y_size, z_size, t_size = U.shape[3:]
    n = U.shape[1]
    data, checksum = [], 0
    for t, z, y, x, mu in itertools.product(
        range(t_size), range(z_size), range(y_size), range(x_size), range(4)
    ):
        for a, b in itertools.product(range(rows), range(n)):
            number = U[mu, a, b, x, y, z, t]
            data.append(struct.pack(code[0] + 2 * code[1], number.real, number.imag))
    data = b"".join(data)
    for (word,) in struct.iter_unpack(code[0] + "I", data):
        checksum = (checksum + word) % 2**32
    spatial, temporal, trace = averages_by_loop(U)
    fields = {
        "DATATYPE": f"4D_SU{n}_GAUGE" + (f"_{n}x{n}" if rows == n else ""),
        "STORAGE_FORMAT": "1.0",
        "DIMENSION_1": x_size,
        "DIMENSION_2": y_size,
        "DIMENSION_3": z_size,
        "DIMENSION_4": t_size,
        "CHECKSUM": f"{checksum:x}",
        "LINK_TRACE": f"{trace:.10g}",
        "PLAQUETTE": f"{(spatial + temporal) / 2:.10g}",
        "BOUNDARY_1": "PERIODIC",
        "ENSEMBLE_ID": "by hand",
        "SEQUENCE_NUMBER": "4",
        "FLOATING_POINT": numbers,
    } | changes
    lines = [f"{key} = {value}" for key, value in fields.items() if value is not None]
    return "\n".join(["BEGIN_HEADER", *lines, "END_HEADER", ""]).encode() + data


@pytest.mark.parametrize(
    ("code", "numbers", "rows", "n"),
    [
        (">f", "IEEE32BIG", 2, 3),
        (">d", "IEEE64BIG", 3, 3),
        ("<f", "IEEE32LITTLE", 3, 3),
        ("<d", "IEEE64LITTLE", 2, 3),
        (">f", "IEEE32", 3, 3),
        ("<f", "IEEE32", 2, 3),
        (">d", "IEEE64", 2, 3),
        ("<d", "IEEE64", 3, 3),
        (">d", "IEEE64BIG", 1, 2),
        ("<d", "IEEE64LITTLE", 4, 4),
    ],
)
def test_a_file_written_by_hand(code, numbers, rows, n, tmp_path, key):
    U = random_links(SHAPE, generator(key), n)
    path = tmp_path / "by_hand"
    path.write_bytes(by_hand(U, code=code, numbers=numbers, rows=rows))
    V, metadata = read(path)
    single = code[1] == "f"
    stored = U.astype(np.complex64) if single else U
    assert V.dtype == stored.dtype
    np.testing.assert_array_equal(V[:, :rows], stored[:, :rows])
    np.testing.assert_allclose(V, stored, atol=2e-7 if single else 1e-14)
    assert (metadata.format, metadata.shape, metadata.n_colors) == ("nersc", SHAPE, n)
    assert metadata.precision == (32 if single else 64)
    assert metadata.byte_order == ("big" if code[0] == ">" else "little")
    assert metadata.rows == rows
    spatial, temporal, trace = averages_by_loop(U)
    assert metadata.spatial_plaquette == pytest.approx(spatial, abs=1e-7)
    assert metadata.temporal_plaquette == pytest.approx(temporal, abs=1e-7)
    assert metadata.recorded_plaquette == pytest.approx((spatial + temporal) / 2, abs=1e-10)
    assert metadata.recorded_link_trace == pytest.approx(trace, abs=1e-10)
    assert metadata.header["ENSEMBLE_ID"] == "by hand"
    assert list(metadata.checksums) == ["CHECKSUM"]


@pytest.mark.parametrize(("precision", "rows", "byte_order"), OPTIONS)
def test_round_trip(precision, rows, byte_order, tmp_path, key):
    U = random_links(SHAPE, generator(key))
    path = tmp_path / "folder" / "file"
    labels = {"ENSEMBLE_ID": "test", "SEQUENCE_NUMBER": 12}
    write_nersc(path, U, precision=precision, rows=rows, byte_order=byte_order, metadata=labels)
    assert [p.name for p in path.parent.iterdir()] == ["file"]
    V, metadata = read(path)
    stored = U.astype(np.complex64) if precision == 32 else U
    assert V.dtype == stored.dtype
    np.testing.assert_array_equal(V[:, :rows], stored[:, :rows])
    np.testing.assert_allclose(V, stored, rtol=0, atol=2e-7 if precision == 32 else 1e-15)
    assert (metadata.precision, metadata.rows) == (precision, rows)
    assert (metadata.byte_order, metadata.shape) == (byte_order, SHAPE)
    assert metadata.plaquette == pytest.approx(metadata.recorded_plaquette, abs=1e-7)
    assert metadata.header["ENSEMBLE_ID"] == "test"
    assert metadata.header["SEQUENCE_NUMBER"] == "12"


@pytest.mark.parametrize(("precision", "rows", "byte_order"), OPTIONS)
def test_written_files_are_those_written_by_hand(precision, rows, byte_order, tmp_path, key):
    U = random_links((2, 2, 3, 2), generator(key))
    code = (">" if byte_order == "big" else "<") + ("f" if precision == 32 else "d")
    numbers = f"IEEE{precision}{byte_order.upper()}"
    expected = by_hand(U, code=code, numbers=numbers, rows=rows)
    path = tmp_path / "file"
    write_nersc(path, U, precision=precision, rows=rows, byte_order=byte_order)
    written = path.read_bytes()
    end = b"END_HEADER\n"
    assert written.split(end)[1] == expected.split(end)[1]
    fields = dict(line.split(" = ") for line in written.split(end)[0].decode().splitlines()[1:])
    for line in expected.split(end)[0].decode().splitlines()[1:]:
        name, value = line.split(" = ")
        if name in ("PLAQUETTE", "LINK_TRACE"):
            assert float(fields[name]) == pytest.approx(float(value), abs=1e-9)
        elif name == "CHECKSUM":
            assert int(fields[name], 16) == int(value, 16)
        elif name not in ("ENSEMBLE_ID", "SEQUENCE_NUMBER"):
            assert fields[name] == value


@pytest.mark.parametrize(("n", "rows"), [(2, 1), (2, 2), (4, 4), (5, None)])
def test_other_groups(n, rows, tmp_path, key):
    U = random_links((2, 2, 2, 2), generator(key), n)
    write_nersc(tmp_path / "file", U, rows=rows)
    V, metadata = read(tmp_path / "file")
    np.testing.assert_allclose(V, U, rtol=0, atol=1e-15)
    assert metadata.n_colors == n
    assert metadata.header["DATATYPE"].startswith(f"4D_SU{n}_GAUGE")


def test_fields_of_jax_are_written(tmp_path, key):
    U = random_links((2, 2, 2, 2), generator(key))
    write_nersc(tmp_path / "file", jnp.asarray(U))
    np.testing.assert_array_equal(read(tmp_path / "file")[0], U)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"DATATYPE": "4D_SU3_GAUGE_3p3"}, "DATATYPE 4D_SU3_GAUGE_3x3 or .*'4D_SU3_GAUGE_3p3'"),
        ({"DATATYPE": "4D_SU4_GAUGE"}, "'4D_SU4_GAUGE'"),
        ({"DATATYPE": "4D_SU3_GAUGE_3x2"}, "'4D_SU3_GAUGE_3x2'"),
        ({"DATATYPE": None}, "header field DATATYPE, but it is missing"),
        ({"CHECKSUM": None}, "header field CHECKSUM, but it is missing"),
        ({"CHECKSUM": "xyz"}, "a hexadecimal number as CHECKSUM, but it is 'xyz'"),
        ({"CHECKSUM": "12345678"}, "links of CHECKSUM 12345678, but theirs is [0-9a-f]{8}"),
        ({"DIMENSION_4": "6"}, r"hold \d+ bytes by its header, but it has \d+"),
        ({"DIMENSION_4": "-5"}, "a positive integer as DIMENSION_4, but it is '-5'"),
        ({"DIMENSION_4": None}, "header field DIMENSION_4, but it is missing"),
        ({"DIMENSION_5": "2"}, "have four dimensions, but it has DIMENSION_5"),
        ({"FLOATING_POINT": "TIDSP32"}, "as FLOATING_POINT, but it is 'TIDSP32'"),
        ({"FLOATING_POINT": "IEEE32BIG"}, "bytes by its header"),
        ({"FLOATING_POINT": "IEEE64LITTLE"}, "links of CHECKSUM"),
        ({"PLAQUETTE": "0.5937"}, "whose plaquette is the recorded 0.5937, but theirs is"),
        ({"PLAQUETTE": "good"}, "a number as its plaquette, but it is 'good'"),
        ({"PLAQUETTE": "nan"}, "whose plaquette is the recorded nan"),
        ({"LINK_TRACE": "1"}, "whose link trace is the recorded 1, but theirs is"),
        ({"STORAGE_FORMAT": "1\nCHECKSUM = 0"}, "each header field once, but CHECKSUM"),
        ({"STORAGE_FORMAT": "1\nwords"}, "'KEY = value', but one is 'words'"),
    ],
)
def test_bad_headers_are_refused(changes, words, tmp_path, key):
    U = random_links(SHAPE, generator(key))
    path = tmp_path / "bad"
    path.write_bytes(
        by_hand(U, code=">d", numbers=changes.pop("FLOATING_POINT", "IEEE64BIG"), rows=3, **changes)
    )
    with pytest.raises(DataError, match=words) as info:
        read(path)
    assert str(info.value).startswith(f"{path} must")
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("cut", [0, 200, -1, -1000, 1])
def test_other_lengths_are_refused(cut, tmp_path, key):
    path = tmp_path / "cut"
    data = by_hand(random_links(SHAPE, generator(key)), code=">d", numbers="IEEE64BIG", rows=3)
    path.write_bytes(data + b"\0" if cut == 1 else data[:cut])
    with pytest.raises(DataError, match=f"{path} must"):
        read(path)


def test_recorded_digits_count(tmp_path, key):
    """Four digits are compared to four digits, an integer to all."""
    U = random_links(SHAPE, generator(key))
    plaquette = sum(averages_by_loop(U)[:2]) / 2
    path = tmp_path / "file"
    for text, good in ((f"{plaquette:.4f}", True), (f"{plaquette + 3e-4:.4f}", False)):
        path.write_bytes(by_hand(U, code=">d", numbers="IEEE64BIG", rows=3, PLAQUETTE=text))
        if good:
            assert read(path)[1].recorded_plaquette == float(text)
        else:
            with pytest.raises(DataError, match="plaquette"):
                read(path)


def test_what_is_recorded_wrongly_can_be_read_on_request(tmp_path, key):
    U = random_links(SHAPE, generator(key))
    path = tmp_path / "file"
    changes = {"CHECKSUM": "12345678", "PLAQUETTE": "0.5", "LINK_TRACE": "none"}
    path.write_bytes(by_hand(U, code="<d", numbers="IEEE64LITTLE", rows=3, **changes))
    V, metadata = read(path, verify=False)
    np.testing.assert_array_equal(V, U)
    assert (metadata.recorded_plaquette, metadata.recorded_link_trace) == (0.5, None)
    assert dict(metadata.checksums) == {}
    assert metadata.header["CHECKSUM"] == "12345678"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"precision": 16}, "`precision` must be 32 or 64, but it is 16"),
        ({"rows": 1}, r"`rows` must be 3 or 2 for SU\(3\), but it is 1"),
        ({"byte_order": "middle"}, "`byte_order` must be"),
        ({"metadata": {"CHECKSUM": "0"}}, "does not set itself, but it is 'CHECKSUM'"),
        ({"metadata": {"lower": "0"}}, "upper-case names"),
        ({"metadata": {"ENSEMBLE_ID": "a\nb"}}, "one line of ASCII as ENSEMBLE_ID"),
        ({"metadata": {"ENSEMBLE_ID": "a" * 70000}}, "fit 65536 bytes of header"),
    ],
)
def test_bad_options_are_refused(options, words, tmp_path, key):
    U = random_links((2, 2, 2, 2), generator(key))
    with pytest.raises(ConfigError, match=words):
        write_nersc(tmp_path / "file", U, **options)
    assert list(tmp_path.iterdir()) == []


def test_bad_links_are_not_written(tmp_path, key):
    U = random_links((2, 2, 2, 2), generator(key))
    path = tmp_path / "file"
    with pytest.raises(DataError, match=r"must hold links of SU\(3\)"):
        write_nersc(path, 1.1 * U)
    with pytest.raises(ShapeError, match="four dimensions"):
        write_nersc(path, U[:3, ..., 0])
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_file(tmp_path, key, monkeypatch):
    rng = generator(key)
    old, new = random_links((2, 2, 2, 2), rng), random_links((2, 2, 2, 2), rng)
    path = tmp_path / "file"
    write_nersc(path, old)

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(DataError, match=r"Could not write .*No space left.*untouched") as info:
            write_nersc(path, new)
    assert "\n" not in str(info.value)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    np.testing.assert_array_equal(read(path)[0], old)
    with pytest.raises(DataError, match="Could not write"):
        write_nersc(path / "below_a_file", new)
