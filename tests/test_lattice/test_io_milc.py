"""MILC files: the collaboration's samples in all their formats, and files made by hand."""

import functools
import struct

import numpy as np
import pytest

from diffhep.core.datasets import fetch
from diffhep.core.errors import DataError
from diffhep_lattice.io import read
from tests.systems.links import averages_by_loop, generator, random_links

pytestmark = pytest.mark.instant


@functools.cache
def reachable():
    """Whether the samples are here or can be had; asked once, since asking may take a while."""
    try:
        fetch("milc_l4444")
    except DataError as error:
        return str(error)
    return ""


def sample(name):
    if reachable():
        pytest.skip(reachable())
    return fetch(name)


def write_milc(path, U, byte_order, order=0, stamp=b"Thu Feb 12 13:40:21 1998", sums=None):
    """A file of version 5, with its checksums in Python's integers."""
    code = ">" if byte_order == "big" else "<"
    site_major = U.transpose(6, 5, 4, 3, 0, 1, 2)
    numbers = np.stack([site_major.real, site_major.imag], -1).astype(code + "f4")
    data = numbers.tobytes()
    totals = [0, 0]
    for i, (word,) in enumerate(struct.iter_unpack(code + "I", data)):
        for which, period in enumerate((29, 31)):
            turn = i % period
            totals[which] ^= (word << turn | word >> (32 - turn)) & 0xFFFFFFFF
    header = struct.pack(code + "I4i64siII", 20103, *U.shape[3:], stamp, order, *(sums or totals))
    path.write_bytes(header + data)


@pytest.mark.parametrize(
    ("names", "spatial", "temporal"),
    [
        (("milc_l4444", "milc_l4444_ildg", "milc_l4444_scidac"), 1.794675156, 1.774425798),
        (("milc_l4448", "milc_l4448_scidac"), 1.723748281, 1.690586065),
    ],
)
def test_samples_have_their_recorded_plaquettes_in_every_format(names, spatial, temporal):
    fields = {}
    for name in names:
        U, metadata = read(sample(name))
        assert U.dtype == np.complex64
        assert 3 * metadata.spatial_plaquette == pytest.approx(spatial, abs=1e-8)
        assert 3 * metadata.temporal_plaquette == pytest.approx(temporal, abs=1e-8)
        assert metadata.unitarity < 1e-6
        assert len(metadata.checksums) == 2
        assert metadata.format == (name.split("_")[2:] or ["milc"])[0]
        fields[metadata.format] = U
    assert len(fields) == len(names)
    for U in fields.values():
        np.testing.assert_array_equal(U.view(np.uint32), fields["milc"].view(np.uint32))


def test_samples_come_in_both_byte_orders():
    assert read(sample("milc_l4444"))[1].byte_order == "little"
    assert read(sample("milc_l4448"))[1].byte_order == "big"
    assert read(sample("milc_l4448"))[1].header["time_stamp"] == "Wed Oct 10 14:27:08 2001"


def test_texts_of_a_sample():
    metadata = read(sample("milc_l4444_ildg"))[1]
    assert "gauge.beta11 = 7.000000" in metadata.header["scidac-record-xml"]
    assert metadata.header["ildg-data-lfn"] == "lfn://USQCD/MILC/test/lat.sample.l4444"
    assert dict(metadata.checksums) == {"suma": "37affb9c", "sumb": "2fc07bbf"}


def test_schroedinger_functional_sample():
    """Its checksums are wrong for MILC's own programs too, and its boundary links carry c_t."""
    path = sample("milc_5p7")
    with pytest.raises(DataError, match="links of sum29 2e218ab1, but theirs is 72d77a0a"):
        read(path)
    with pytest.raises(DataError, match=r"links of SU\(3\) to 1e-05, but one deviates by 0\.256"):
        read(path, verify=False)
    U, metadata = read(path, verify=False, nonunitary="keep")
    assert dict(metadata.checksums) == {}
    assert metadata.header["sum31"] == "2d188e6b"
    # The weight of boundary plaquettes to one loop at beta 5.7, and the phases of the boundary.
    c_t = 1 - 0.089 * 6 / 5.7
    boundary = np.diag(np.exp(1j * np.pi / 24 * np.array([-1, 0, 1])))
    np.testing.assert_allclose(U[0, :, :, 1, 2, 3, 0], c_t * boundary, atol=1e-7)
    # MILC's program prints the mean spatial plaquette between the boundaries, 1.704563.
    inside = U[..., 1:].astype(np.complex128)
    spatial = averages_by_loop(inside)[0]
    assert 3 * spatial == pytest.approx(1.704563, abs=1e-6)
    projected = read(path, verify=False, nonunitary="project")[0]
    np.testing.assert_allclose(projected[0, :, :, 1, 2, 3, 0], boundary, atol=1e-7)
    np.testing.assert_allclose(projected[..., 1:], U[..., 1:], atol=1e-6)


@pytest.mark.parametrize("byte_order", ["big", "little"])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (4, 2, 2, 3), (6, 6, 10, 12)])
def test_files_made_by_hand(byte_order, shape, tmp_path, key):
    """The last shape is read in several blocks."""
    U = random_links(shape, generator(key))
    path = tmp_path / "file"
    write_milc(path, U, byte_order)
    V, metadata = read(path)
    np.testing.assert_array_equal(V, U.astype(np.complex64))
    assert (metadata.format, metadata.byte_order, metadata.shape) == ("milc", byte_order, shape)
    assert metadata.recorded_plaquette is None
    assert metadata.header["time_stamp"] == "Thu Feb 12 13:40:21 1998"


def test_bad_files_are_refused(tmp_path, key):
    U = random_links((2, 2, 2, 3), generator(key))
    path = tmp_path / "file"
    write_milc(path, U, "big", order=1)
    with pytest.raises(DataError, match="sites in natural order, 0, but its order is 1"):
        read(path)
    write_milc(path, U, "big", sums=(1, 2))
    with pytest.raises(DataError, match=r"links of sum29 00000001, but theirs is [0-9a-f]{8}"):
        read(path)
    write_milc(path, U, "little")
    data = path.read_bytes()
    for changed, words in [
        (data[:-1], "hold 7008 bytes by its header, but it has 7007"),
        (data + b"\0", "hold 7008 bytes by its header, but it has 7009"),
        (data[:50], "a header of 96 bytes, but it has 50"),
        (data[:4] + struct.pack("<i", -2) + data[8:], "four positive lengths, but they are -2"),
        (data[:4] + struct.pack("<i", 2**30) + data[8:], "bytes by its header"),
    ]:
        path.write_bytes(changed)
        with pytest.raises(DataError, match=words) as info:
            read(path)
        assert str(info.value).startswith(f"{path} must")
