"""Reading by content: flipped bits in every format, memory, unknown files, links not in SU(N)."""

import struct
import tracemalloc

import numpy as np
import pytest

from diffhep.core.errors import ConfigError, DataError
from diffhep_lattice.io import (
    UNITARITY_TOLERANCE,
    EnsembleFile,
    read,
    write_ildg,
    write_nersc,
)
from diffhep_lattice.io.links import average_links
from tests.systems.links import generator, random_links

pytestmark = pytest.mark.fast

N_FLIPS = 1000
N_FLIPS_ELSEWHERE = 200
SHAPE = (2, 2, 2, 3)


def write_milc(path, U):
    """A file of MILC's version 5."""
    numbers = np.stack([U.real, U.imag], -1).transpose(6, 5, 4, 3, 0, 1, 2, 7).astype(">f4")
    words = np.frombuffer(numbers.tobytes(), ">u4").astype(np.uint64)
    index = np.arange(len(words), dtype=np.uint64)
    sums = []
    for period in (29, 31):
        turn = index % np.uint64(period)
        rotated = words << turn | words >> (np.uint64(32) - turn)
        sums.append(int(np.bitwise_xor.reduce(rotated & np.uint64(0xFFFFFFFF))))
    header = struct.pack(">I4i64siII", 20103, *U.shape[3:], b"now", 0, *sums)
    path.write_bytes(header + numbers.tobytes())


def write_ensemble(path, U):
    EnsembleFile.create(path, shape=U.shape, metadata={"beta": 6.0}).append(U, 7, {"dH": 0.25})


def nersc(**options):
    return lambda path, U: write_nersc(path, U, **options)


def ildg(**options):
    return lambda path, U: write_ildg(path, U, **options)


WRITERS = {
    "nersc-64-3-big": nersc(),
    "nersc-64-2-little": nersc(rows=2, byte_order="little"),
    "nersc-32-3-little": nersc(precision=32, byte_order="little"),
    "nersc-32-2-big": nersc(precision=32, rows=2),
    "ildg-64": ildg(),
    "ildg-32": ildg(precision=32),
    "milc": write_milc,
    "hdf5": write_ensemble,
}


def place_of_links(data, format_name, U):
    """Where the links begin and end in a file."""
    if format_name.startswith("nersc"):
        return data.index(b"END_HEADER\n") + 11, len(data)
    if format_name.startswith("ildg"):
        at = data.index(b"ildg-binary-data") - 16
        (length,) = struct.unpack_from(">Q", data, at + 8)
        return at + 144, at + 144 + length
    if format_name == "milc":
        return 96, len(data)
    at = data.index(U.astype("<c16").tobytes())
    return at, at + U.nbytes


def flip(path, bit):
    """Flip one bit of a file in place."""
    with path.open("r+b") as file:
        file.seek(bit // 8)
        (byte,) = file.read(1)
        file.seek(bit // 8)
        file.write(bytes([byte ^ (1 << bit % 8)]))


def attempt(path):
    """The error of reading a file, of one line and with its name, or what was read."""
    try:
        return None, read(path)
    except DataError as error:
        message = str(error)
    assert "\n" not in message
    assert str(path) in message
    return message, None


@pytest.mark.parametrize("name", WRITERS)
def test_every_flipped_bit_of_the_links_is_detected(name, tmp_path, key):
    rng = generator(key)
    U = random_links(SHAPE, rng)
    path = tmp_path / "file"
    WRITERS[name](path, U)
    data = path.read_bytes()
    start, stop = place_of_links(data, name, U)
    read(path)
    detected = 0
    for bit in rng.integers(8 * start, 8 * stop, N_FLIPS).tolist():
        flip(path, bit)
        error, _ = attempt(path)
        detected += error is not None
        flip(path, bit)
    assert detected == N_FLIPS
    assert path.read_bytes() == data


FACTS = ("format", "shape", "n_colors", "precision", "byte_order", "rows", "checksums")


@pytest.mark.parametrize("name", ["nersc-32-2-big", "ildg-64", "milc", "hdf5"])
def test_a_flipped_bit_elsewhere_is_detected_or_changes_a_text(name, tmp_path, key):
    """Never a wrong link, and never a wrong fact about them."""
    rng = generator(key)
    U = random_links(SHAPE, rng)
    path = tmp_path / "file"
    WRITERS[name](path, U)
    data = path.read_bytes()
    start, stop = place_of_links(data, name, U)
    good, facts = read(path)
    outside = np.concatenate([np.arange(8 * start), np.arange(8 * stop, 8 * len(data))])
    detected = 0
    for bit in rng.choice(outside, N_FLIPS_ELSEWHERE).tolist():
        flip(path, bit)
        error, found = attempt(path)
        if error is not None:
            detected += 1
        else:
            V, metadata = found
            np.testing.assert_array_equal(V, good)
            for fact in FACTS:
                assert getattr(metadata, fact) == getattr(facts, fact)
            for fact in ("recorded_plaquette", "recorded_link_trace"):
                number = getattr(metadata, fact)
                assert number is None or abs(number - getattr(facts, fact)) < 2e-5
        flip(path, bit)
    assert detected > N_FLIPS_ELSEWHERE / 5


@pytest.mark.parametrize("name", [*WRITERS, "nersc-64-2-big-unnamed"])
def test_memory_stays_below_three_configurations(name, tmp_path, key):
    U = random_links((8, 8, 8, 8), generator(key))
    path = tmp_path / "file"
    tracemalloc.start()
    try:
        if name in WRITERS:
            WRITERS[name](path, U)
        else:
            write_nersc(path, U, rows=2)
            path.write_bytes(path.read_bytes().replace(b"= IEEE64BIG", b"= IEEE64"))
        written = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        V, _ = read(path)
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert peak < 3 * V.nbytes
    if name != "milc":
        assert written < 3 * U.nbytes


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "first bytes are missing"),
        (b"abc", "first bytes are 616263"),
        (bytes(200), "NERSC, LIME .ILDG, SciDAC., MILC version 5 or HDF5 file, but its first"),
        (b"BEGIN_HEADER\nDATATYPE = 4D_SU3_GAUGE\n", "the line END_HEADER within 65536 bytes"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "be a readable HDF5 ensemble"),
    ],
)
def test_unknown_files_are_refused(data, words, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(DataError, match=words) as info:
        read(path)
    assert str(info.value).startswith(f"{path} must")
    assert "\n" not in str(info.value)


def test_missing_files_and_folders_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"Could not read .*file: No such file or directory"):
        read(tmp_path / "file")
    with pytest.raises(DataError, match="Is a directory"):
        read(str(tmp_path))


def test_links_out_of_su3_are_refused_projected_or_kept(tmp_path, key):
    rng = generator(key)
    U = random_links(SHAPE, rng)
    noise = rng.normal(size=U.shape) + 1j * rng.normal(size=U.shape)
    V = U + 1e-4 * noise
    path = tmp_path / "file"
    write_milc(path, V)
    with pytest.raises(DataError, match=r"links of SU\(3\) to 1e-05, but one deviates.*`nonun"):
        read(path)
    kept, metadata = read(path, nonunitary="keep")
    np.testing.assert_array_equal(kept, V.astype(np.complex64))
    assert metadata.unitarity == pytest.approx(average_links(kept).unitarity)
    assert metadata.unitarity > UNITARITY_TOLERANCE
    projected, metadata = read(path, nonunitary="project")
    assert average_links(projected).unitarity < 2e-6
    np.testing.assert_allclose(projected, V, atol=1e-3)
    assert metadata.unitarity > UNITARITY_TOLERANCE
    with pytest.raises(ConfigError, match="`nonunitary` must be one of refuse, project, keep"):
        read(path, nonunitary="mend")


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_links_that_are_no_matrices_are_refused(value, tmp_path, key):
    U = random_links(SHAPE, generator(key))
    U[1, :, :, 1, 0, 1, 2] = value
    path = tmp_path / "file"
    write_milc(path, U)
    for choice in ("refuse", "project") if value == 0 else ("refuse", "project", "keep"):
        with pytest.raises(DataError, match=str(path)):
            read(path, nonunitary=choice)


def test_single_configurations_have_index_zero(tmp_path, key):
    U = random_links(SHAPE, generator(key))
    path = tmp_path / "file"
    write_nersc(path, U)
    np.testing.assert_array_equal(read(path, index=0)[0], U)
    with pytest.raises(ConfigError, match="`index` must be 0 for a single configuration"):
        read(path, index=1)


def test_metadata_cannot_be_changed(tmp_path, key):
    path = tmp_path / "file"
    write_ildg(path, random_links(SHAPE, generator(key)))
    _, metadata = read(str(path))
    with pytest.raises(AttributeError):
        metadata.shape = (1, 1, 1, 1)
    with pytest.raises(TypeError):
        metadata.checksums["suma"] = "0"
    assert metadata.plaquette == (metadata.spatial_plaquette + metadata.temporal_plaquette) / 2
